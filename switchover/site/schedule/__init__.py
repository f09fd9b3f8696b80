"""The schedule: what starts regular tasks, on one of the two servers at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

from ...desired import Nothing, Resource
from ...hosts import Host
from ...vocabulary import Part
from ..app import Application
from ..kinds import Kind

DEFAULT = "crontab"  # the kind, where the settings name none


class Settings(Part):
    """What starts regular tasks."""

    kind: str

    @abstractmethod
    def on(self, server: Host, app: Application[Any]) -> Schedule[Any]:
        """The schedule on *server*."""


S = TypeVar("S", bound=Settings)


class Schedule(Kind[S]):
    """What every kind of schedule can do."""

    def __init__(self, server: Host, settings: S, app: Application[Any]) -> None:
        super().__init__(server, settings)
        self.app = app

    @property
    def on_deploy(self) -> str | None:
        """sh with which a deploy installs it, by the application's user; None where a deploy does not."""
        return None

    @property
    def needs_worker(self) -> bool:
        """Whether it is the worker that starts them."""
        return False

    @abstractmethod
    def cleared(self) -> Nothing | Resource:
        """old: nothing is started by it any more."""

    @abstractmethod
    def installed(self, of_old: Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing | Resource:
        """new: it starts what *of_old* did; *kept*: the directory where the cleared one lies; *paths*: old's, new's."""
