"""The application: the processes that answer visitors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from ...findings import Found
from ...hosts import Host
from ...quote import sh, under
from ...resources.command import Command, as_user
from ...resources.service import Service
from ...vocabulary import Absolute, Line, Name, Part
from ..kinds import Kind, Watched

STARTS, RELOADS = 90, 120  # seconds that a start may take, and that requests under way may take when it restarts

DEFAULT = "unicorn"  # the kind, where the settings name none


class Settings(Part):
    """The Rails application."""

    kind: str
    path: Absolute
    """Its directory, from the root."""
    user: Name
    """The user it runs as."""
    service: Name
    """Its service, as for `systemctl`; an init script will do."""
    environment: Name = "production"
    """Its `RAILS_ENV`."""
    build: tuple[Line, ...] = ()
    """Commands after new code is in place, run by the application's user in its directory (`bundle install …`)."""

    @abstractmethod
    def on(self, server: Host) -> Application[Any]:
        """This application on *server*."""


S = TypeVar("S", bound=Settings)


def backlog(listens: str) -> str:
    """sh: prints how many requests may wait where something *listens*, as nginx names it; nothing where nothing does.

    It is a listening socket's Send-Q.
    """
    if listens.startswith("unix:"):
        path = sh(listens.removeprefix("unix:"))
        return f"""ss -Hlxn | awk -v a={path} -v b="$(readlink -f {path})" '$5 == a || $5 == b {{ print $4 }}'"""
    port = sh(f":{listens.rpartition(':')[2]}")  # on that address, or on all
    ends = "substr($4, length($4) - length(p) + 1) == p"
    return f"ss -Hltn | awk -v p={port} '{ends} {{ print $3 }}' | sort -n | head -n 1"


class Application(Kind[S]):
    """What every kind of application can do. sh runs as root, with the functions of the journal at hand."""

    @property
    def path(self) -> str:
        """Its directory, from the root."""
        return self.settings.path

    def within(self, path: str) -> str:
        """*path* below its directory, unless it is absolute."""
        return under(self.path, path)

    @property
    def user(self) -> str:
        """The user it runs as."""
        return self.settings.user

    @property
    def service(self) -> str:
        """Its service, as for `systemctl`."""
        return self.settings.service

    @property
    def environment(self) -> str:
        """Its `RAILS_ENV`."""
        return self.settings.environment

    @property
    def build(self) -> tuple[str, ...]:
        """Commands after new code is in place."""
        return self.settings.build

    @property
    def paths(self) -> dict[str, str]:
        """What must exist there: the settings' key, below the server's -> the path from the root."""
        return {"app.path": self.path}

    @property
    def services(self) -> dict[str, str]:
        """Its own."""
        return {"app.service": self.service}

    def run(self, command: str) -> str:
        """sh: *command* (sh), run by its user in its directory."""
        return as_user(self.user, self.path, command, self.environment)

    def rails(self, code: str) -> str:
        """sh: *code* (Ruby), run by the application."""
        return self.run(f"r=bin/rails; [ -x $r ] || r='bundle exec rails'; $r runner {sh(code)}")

    @property
    @abstractmethod
    def listens(self) -> str:
        """Where it takes requests, as nginx's `server` names it."""

    @property
    @abstractmethod
    def runs(self) -> str:
        """sh: succeeds where it runs."""

    @property
    @abstractmethod
    def started(self) -> str:
        """sh: prints since when it runs, in seconds since 1970."""

    @property
    @abstractmethod
    def main_process(self) -> str:
        """sh: prints the id of its main process; nothing where it does not run."""

    @property
    @abstractmethod
    def facts(self) -> str:
        """sh: says, by `output`, its `backlog` (how many requests wait where it listens) and `app_workers`.

        `app_configuration`: lines of its configuration that tell both, where nothing runs now.
        """

    @abstractmethod
    def reload(self) -> str:
        """sh: it runs anew, and each request under way ends first; nothing where it does not run."""

    @property
    @abstractmethod
    def reload_shown(self) -> str:
        """What a person sees instead."""

    @abstractmethod
    def on_deploy(self) -> str:
        """sh for a deploy hook, run by its user: the function `restart`, which fails where the new code does not boot.

        It sets `restarted` where that code has run meanwhile.
        """

    def check(self) -> Found:
        """What `inv check` finds."""
        yield from ()

    @abstractmethod
    def watched(self) -> Watched:
        """What a monitor has to know of it."""

    @property
    def pidfile(self) -> str:
        """The file with its process id, where systemd does not know it by itself; else empty."""
        return ""

    def running(self) -> Service:
        """It runs."""
        return Service(self.server, self.service, running=True, pidfile=self.pidfile)

    def stopped(self, *, at_boot: bool | None = None, record_only: bool = False) -> Service:
        """It has ended its requests and stopped; *at_boot*: whether it starts then, as it is where None."""
        return Service(
            self.server, self.service, running=False, at_boot=at_boot, pidfile=self.pidfile, record_only=record_only
        )

    def boots(self, on: bool, *, record_only: bool = False) -> Service:
        """It starts at boot, or does not."""
        return Service(self.server, self.service, at_boot=on, record_only=record_only)

    def restart_where_it_runs(self) -> str:
        """sh: it is restarted; requests under way may end by that. Nothing where it does not run."""
        return f"! {self.runs} || systemctl restart {sh(self.service)}"

    def restarted(self, files: Sequence[str], *, certain: bool = True) -> Command:
        """It runs, and was started after each of these *files* has changed; not *certain*: they will change yet."""
        names = " ".join(sh(file) for file in files)
        changed = f"stat -L -c %Z {names} 2>/dev/null | sort -n | tail -n 1"
        check = f'{self.runs} && [ "$({changed})" -lt "$({self.started})" ]'
        run = f"""
sleep 1
systemctl restart {sh(self.service)}
wait_until {STARTS} {self.runs} || refuse {sh(self.service)}" did not start: see its log"
"""
        shown = f"systemctl restart {self.service}"
        return Command(self.server, run, check=check if certain else "false", shown=shown)

    def reloaded(self) -> Command:
        """It was restarted gracefully, once more."""
        return Command(self.server, self.reload(), shown=self.reload_shown)
