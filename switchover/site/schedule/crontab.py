"""A user's crontab."""

from collections.abc import Mapping
from typing import Any

from ...desired import Nothing, Resource
from ...errors import Problem
from ...programs import programs
from ...quote import sh
from ...resources.command import Command
from ...resources.file import File, read
from ...vocabulary import Line, Name
from .. import schedule

SPOOL = "/var/spool/cron/crontabs"
PROGRAM = "middle-of-a-minute"


class Settings(schedule.Settings):
    """A user's crontab."""

    user: Name | None = None
    """The user whose crontab it is; the application's user by default."""
    install: Line | None = None
    """The command by which a deploy installs the crontab (sh, run by the application's user in its directory); without
    one, old's crontab is copied, with new's paths."""


class Crontab(schedule.Schedule[Settings]):
    """The crontab of one user. cron runs at the turn of a minute; the crontab moves well within one minute."""

    def __post_init__(self) -> None:
        self.user = self.settings.user or self.app.user
        self.path = f"{SPOOL}/{self.user}"
        self.on_deploy = self.settings.install

    def cleared(self) -> Command:
        """old: there is none, from the middle of a minute on."""
        path, kept = sh(self.path), f"before/{sh(self.user)}"
        run, check = f"sh after/{PROGRAM}\nrm -f {path}", f"[ ! -e {path} ]"
        undo = f"[ ! -e {kept} ] || [ -e {path} ] || install_file {kept} {path}"
        shown = f"crontab -r -u {self.user}, in the middle of a minute"
        return Command(self.server, run, undo, check, shown, (self.path,), programs(PROGRAM))

    def installed(self, of_old: schedule.Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing | Resource:
        """new: the settings' command has installed it; or old's is there, with new's paths."""
        path, before, install = sh(self.path), f"before/{sh(self.user)}", self.settings.install
        if install is None and isinstance(of_old, Crontab):
            return File(self.server, self.path, _adapted(of_old, kept, paths), f"{self.user}:crontab", "600")
        if install is None:
            role = of_old.server.role
            return Nothing(f"{role} has no crontab to copy, as {role}.schedule.kind is not crontab")
        run, check = f"{self.app.run(install)} >/dev/null", f"grep -q '^[^#]' {path} 2>/dev/null"
        undo = f"sh after/{PROGRAM}\nif [ -e {before} ]; then install_file {before} {path}; else rm -f {path}; fi"
        return Command(self.server, run, undo, check, install, (self.path,), programs(PROGRAM))


def _adapted(of_old: Crontab, kept: str, paths: Mapping[str, str]) -> bytes:
    """old's crontab with new's paths; from the journal where old's is removed already."""
    server = of_old.server
    content = read(server, f"{kept}/{of_old.user}" if kept else of_old.path).content
    if content is None:
        raise Problem(f"{of_old.user} has no crontab", str(server), "Set old.schedule.kind: none")
    for before, after in paths.items():
        content = content.replace(before.encode(), after.encode())
    return content
