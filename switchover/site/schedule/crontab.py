"""A user's crontab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...desired import Nothing
from ...errors import Problem
from ...hosts import Host
from ...programs import programs
from ...quote import sh
from ...resources.command import Command
from ...resources.file import File, read
from ...vocabulary import Line, Name
from .. import schedule
from ..app import Application

SPOOL = "/var/spool/cron/crontabs"
PROGRAM = "middle-of-a-minute"


class Settings(schedule.Settings):
    """A user's crontab."""

    kind: Literal["crontab"] = "crontab"
    """A user's crontab starts them."""
    user: Name | None = None
    """Whose crontab; the application's user unless it is given."""
    install: Line | None = None
    """The command that installs the crontab as the deploy hook does (sh, in the application's directory, by its user);
    without one, old's crontab is copied and adapted."""

    def on(self, server: Host, app: Application[Any]) -> Crontab:
        """The crontab on *server*."""
        return Crontab(server, self, app)


class Crontab(schedule.Schedule[Settings]):
    """The crontab of one user. Both servers' change well inside one minute, so that its turn finds exactly one."""

    @property
    def user(self) -> str:
        """Whose it is."""
        return self.settings.user or self.app.user

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{SPOOL}/{self.user}"

    @property
    def on_deploy(self) -> str | None:
        """The settings' command."""
        return self.settings.install

    def cleared(self) -> Command:
        """old: it is gone, from the middle of a minute on."""
        path, kept = sh(self.path), f"before/{sh(self.user)}"
        return Command(
            self.server,
            f"sh after/{PROGRAM}\nrm -f {path}",
            f"[ ! -e {kept} ] || [ -e {path} ] || install_file {kept} {path}",
            check=f"[ ! -e {path} ]",
            shown=f"crontab -r -u {self.user}, in the middle of a minute",
            keep=(self.path,),
            files=programs(PROGRAM),
        )

    def installed(
        self, of_old: schedule.Schedule[Any], kept: str, paths: Mapping[str, str]
    ) -> File | Command | Nothing:
        """new: it is installed by the settings' command; or old's is there, with new's paths."""
        if self.settings.install is None and not isinstance(of_old, Crontab):
            role = of_old.server.role
            return Nothing(f"{role} has no crontab to be copied, as {role}.schedule.kind is another")
        if self.settings.install is None:
            assert isinstance(of_old, Crontab)
            return File(self.server, self.path, _adapted(of_old, kept, paths), f"{self.user}:crontab", "600")
        path, before = sh(self.path), f"before/{sh(self.user)}"
        put_back = f"if [ -e {before} ]; then install_file {before} {path}; else rm -f {path}; fi"
        return Command(
            self.server,
            f"{self.app.run(self.settings.install)} >/dev/null",
            f"sh after/{PROGRAM}\n{put_back}",
            check=f"grep -q '^[^#]' {path} 2>/dev/null",
            shown=self.settings.install,
            keep=(self.path,),
            files=programs(PROGRAM),
        )


def _adapted(of_old: Crontab, kept: str, paths: Mapping[str, str]) -> bytes:
    """old's crontab with new's paths, from the journal when it has been cleared."""
    server = of_old.server
    content = read(server, f"{kept}/{of_old.user}" if kept else of_old.path).content
    if content is None:
        raise Problem(f"{of_old.user} has no crontab", str(server), "Say in the settings: old.schedule.kind: none")
    for before, after in paths.items():
        content = content.replace(before.encode(), after.encode())
    return content
