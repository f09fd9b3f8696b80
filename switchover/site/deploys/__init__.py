"""Deploys: how new code arrives while the site lives, and what keeps it out while the site moves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ...desired import Nothing, Precondition, Resource
from ...resources.file import Found
from ...vocabulary import Part
from ..kinds import Kind

if TYPE_CHECKING:
    from ...hosts import Host, Server
    from ...move import Notice
    from ...settings import Ci

DEFAULT = "git"  # the kind, where the settings name none


class Settings(Part):
    """How new code arrives."""

    kind: str

    @abstractmethod
    def on(self, server: Server) -> Deploys[Any]:
        """The deploys to *server*."""


S = TypeVar("S", bound=Settings)
Some = Nothing | list[Resource]


class Deploys(Kind[S]):
    """What every kind of deploy can do."""

    @abstractmethod
    def refused(self, notice: Notice, to: Server | None = None) -> Some:
        """old: a deploy is refused, with the reason; *to*: the server that takes deploys from now on."""

    @abstractmethod
    def ended(self) -> Nothing | Precondition:
        """old: a deploy that was running has ended."""

    @abstractmethod
    def accepted(self, notice: Notice, *, cron: bool, moved: bool = False) -> Some:
        """new: a deploy is taken, unless it changes the database's schema; *cron*: it installs the cron jobs.

        *moved*: the schema must not change because old's database follows new's.
        """

    @abstractmethod
    def complete(self, before: Callable[[str], Found | None]) -> Some:
        """new: a deploy does all, migrations too; *before*: what a file held before the move."""

    @abstractmethod
    def remote(self, ci: Ci, host: Host) -> Some:
        """ci: what it deploys to is this server."""

    @abstractmethod
    def deploys(self, ci: Ci, host: Host) -> Some:
        """ci: a deploy to this server succeeds."""
