"""Deploys: how new code gets to a server, and what refuses it during the move."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...desired import Desired
from ...hosts import Host
from ...resources.file import FileState
from ...vocabulary import Absolute, Destination, Name, Part
from ..kinds import KindSettings, OfApplication, S
from ..schedule import Schedule
from ..worker import Worker

DEFAULT = "git"  # the kind, where the settings name none


class Settings(KindSettings):
    """How new code gets to the server."""


class Ci(Part):
    """The host that deploys after the tests."""

    ssh: Destination
    """How to reach it, as for ssh: `name`, `user@name` or `user@name:port`; the user has sudo."""
    user: Name = "buildkite-agent"
    """The user who deploys there."""
    checkout: Absolute
    """That user's checkout of the application, from the root."""
    remote: Name = "production"
    """The git remote of production in that checkout."""


@dataclass(frozen=True)
class Notice:
    """What a refused deploy prints: *who* is moving, or has moved, which *domain*, and since when (*date*)."""

    date: str
    who: str
    domain: str


@dataclass(eq=False)
class Deploys(OfApplication[S]):
    """What every kind of deploy can do."""

    worker: Worker[Any]
    schedule: Schedule[Any]

    @abstractmethod
    def refused(self, notice: Notice, to: Deploys[Any] | None = None) -> Desired:
        """old: a deploy is refused, with the reason; *to*: where to deploy from now on."""

    @abstractmethod
    def ended(self) -> Desired:
        """old: no deploy is running."""

    @abstractmethod
    def accepted(self, notice: Notice, *, cron: bool, moved: bool = False) -> Desired:
        """new: a deploy succeeds, unless it changes the database's schema; *cron*: it installs the cron jobs.

        *moved*: the schema must not change because old's database replicates new's.
        """

    @abstractmethod
    def complete(self, before: Callable[[str], FileState | None]) -> Desired:
        """new: a deploy does everything, migrations too; *before* returns a file as it was before the move."""

    @abstractmethod
    def remote(self, ci: Ci, host: Host) -> Desired:
        """ci: it deploys to this server."""

    @abstractmethod
    def deploys(self, ci: Ci, host: Host) -> Desired:
        """ci: a deploy to this server succeeds."""
