"""Deploys: how new code arrives while the site lives, and what keeps it out while the site moves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...desired import Nothing, Precondition, Resource
from ...findings import Found as Findings
from ...hosts import Host
from ...resources.file import FileState
from ...vocabulary import Absolute, Destination, Name, Part
from ..app import Application
from ..kinds import Kind
from ..schedule import Schedule
from ..worker import Worker

DEFAULT = "git"  # the kind, where the settings name none


class Settings(Part):
    """How new code arrives."""

    kind: str

    @abstractmethod
    def on(self, server: Host, app: Application[Any], worker: Worker[Any], schedule: Schedule[Any]) -> Deploys[Any]:
        """The deploys to *server*."""


class Ci(Part):
    """The host that deploys after the tests."""

    ssh: Destination
    """How it is reached, as for ssh: `name`, `user@name` or `user@name:port`; the user has sudo."""
    user: Name = "buildkite-agent"
    """The user who deploys there."""
    checkout: Absolute
    """That user's checkout of the application, from the root."""
    remote: Name = "production"
    """The git remote in that checkout that leads to production."""


@dataclass(frozen=True)
class Notice:
    """What somebody is told who deploys: *who* is moving, or has moved, which *domain*, and since when (*date*)."""

    date: str
    who: str
    domain: str


S = TypeVar("S", bound=Settings)
Some = Nothing | list[Resource]


class Deploys(Kind[S]):
    """What every kind of deploy can do."""

    def __init__(
        self, server: Host, settings: S, app: Application[Any], worker: Worker[Any], schedule: Schedule[Any]
    ) -> None:
        super().__init__(server, settings)
        self.app, self.worker, self.schedule = app, worker, schedule

    def check(self) -> Findings:
        """What `inv check` finds."""
        yield from ()

    @abstractmethod
    def refused(self, notice: Notice, to: Deploys[Any] | None = None) -> Some:
        """old: a deploy is refused, with the reason; *to*: what takes them from now on."""

    @abstractmethod
    def ended(self) -> Nothing | Precondition:
        """old: a deploy that was running has ended."""

    @abstractmethod
    def accepted(self, notice: Notice, *, cron: bool, moved: bool = False) -> Some:
        """new: a deploy is taken, unless it changes the database's schema; *cron*: it installs the cron jobs.

        *moved*: the schema must not change because old's database follows new's.
        """

    @abstractmethod
    def complete(self, before: Callable[[str], FileState | None]) -> Some:
        """new: a deploy does all, migrations too; *before*: what a file held before the move."""

    @abstractmethod
    def remote(self, ci: Ci, host: Host) -> Some:
        """ci: what it deploys to is this server."""

    @abstractmethod
    def deploys(self, ci: Ci, host: Host) -> Some:
        """ci: a deploy to this server succeeds."""
