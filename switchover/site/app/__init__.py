"""The application: the processes that answer requests."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from ...quote import sh, under
from ...resources.command import Command, as_user
from ...resources.service import Service
from ...vocabulary import Absolute, Line, Name
from ..kinds import Action, Kind, KindSettings, Watched

STARTS, RELOADS = 90, 120  # seconds: for a start; for requests under way during a graceful restart

DEFAULT = "unicorn"  # the kind, where the settings name none


class Settings(KindSettings):
    """The Rails application."""

    path: Absolute
    """Its directory, from the root."""
    user: Name
    """The user it runs as."""
    service: Name
    """Its service, as for `systemctl`; an init script will do."""
    environment: Name = "production"
    """Its `RAILS_ENV`."""
    build: tuple[Line, ...] = ()
    """Commands to run after new code is in place, by the application's user in its directory (`bundle install …`)."""


S = TypeVar("S", bound=Settings)


def backlog(listens: str) -> str:
    """sh: prints the backlog of the socket that *listens* names, as for nginx; nothing where nothing listens there.

    `ss` shows the backlog of a listening socket as its Send-Q.
    """
    if listens.startswith("unix:"):
        path = sh(listens.removeprefix("unix:"))
        return f"""ss -Hlxn | awk -v a={path} -v b="$(readlink -f {path})" '$5 == a || $5 == b {{ print $4 }}'"""
    port = sh(f":{listens.rpartition(':')[2]}")  # whatever the address: it may listen on all
    ends = "substr($4, length($4) - length(p) + 1) == p"
    return f"ss -Hltn | awk -v p={port} '{ends} {{ print $3 }}' | sort -n | head -n 1"


class Application(Kind[S]):
    """What every kind of application can do. All sh here runs as root, and may use the functions of functions.sh."""

    listens: str  # where it takes requests, as for nginx's `server`
    runs: str  # sh: succeeds where it runs
    started: str  # sh: prints when it was started, in seconds since 1970
    main_process: str  # sh: prints the id of its main process; nothing where it does not run
    # sh: prints its `backlog` (of the socket where it listens) and `app_workers`, by `say` of host-facts.sh;
    # `app_configuration`: lines of its configuration that have both, for when it does not run.
    facts: str
    pidfile = ""  # the file with its process id, where systemd does not know that; else empty

    def __post_init__(self) -> None:
        settings = self.settings
        self.path, self.user, self.service = settings.path, settings.user, settings.service
        self.environment, self.build = settings.environment, settings.build
        self.paths, self.services = {"app.path": self.path}, {"app.service": self.service}

    def within(self, path: str) -> str:
        """*path*, from the root; a relative one is below its directory."""
        return under(self.path, path)

    def run(self, command: str) -> str:
        """sh: *command* (sh), run as its user in its directory."""
        return as_user(self.user, self.path, command, self.environment)

    def rails(self, code: str) -> str:
        """sh: *code* (Ruby), run by the application."""
        return self.run(f"r=bin/rails; [ -x $r ] || r='bundle exec rails'; $r runner {sh(code)}")

    @abstractmethod
    def reload(self) -> Action:
        """It restarts gracefully: each request under way ends first; nothing where it does not run."""

    @abstractmethod
    def on_deploy(self) -> str:
        """sh for a deploy hook, run as its user: the function `restart`, which fails where the new code does not boot.

        It sets `restarted` where the new code did run.
        """

    @abstractmethod
    def watched(self) -> Watched:
        """What a monitor needs to know of it."""

    def running(self) -> Service:
        """It runs."""
        return Service(self.server, self.service, running=True, pidfile=self.pidfile)

    def stopped(self, *, at_boot: bool | None = None, record_only: bool = False) -> Service:
        """It has ended its requests and stopped; *at_boot*: whether it starts at boot, None: as it is."""
        server, name = self.server, self.service
        return Service(server, name, running=False, at_boot=at_boot, pidfile=self.pidfile, record_only=record_only)

    def boots(self, on: bool, *, record_only: bool = False) -> Service:
        """It starts at boot, or does not."""
        return Service(self.server, self.service, at_boot=on, record_only=record_only)

    def restart_where_it_runs(self) -> str:
        """sh: it is restarted; requests under way may fail. Nothing where it does not run."""
        return f"! {self.runs} || systemctl restart {sh(self.service)}"

    def restarted(self, files: Sequence[str], *, certain: bool = True) -> Command:
        """It runs, and was started after the last change of these *files*; not *certain*: they are about to change."""
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
        reload = self.reload()
        return Command(self.server, reload.sh, shown=reload.shown)
