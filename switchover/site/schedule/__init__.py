"""The schedule: what starts regular tasks, on one of the two servers at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

from ...desired import Nothing, Resource
from ...hosts import Host
from ...vocabulary import Part
from ..app import Application
from ..kinds import OfApplication

DEFAULT = "crontab"  # the kind, where the settings name none


class Settings(Part):
    """What starts regular tasks."""

    kind: str

    @abstractmethod
    def on(self, server: Host, app: Application[Any]) -> Schedule[Any]:
        """The schedule on *server*."""


S = TypeVar("S", bound=Settings)


class Schedule(OfApplication[S]):
    """What every kind of schedule can do."""

    @property
    def on_deploy(self) -> str | None:
        """sh by which a deploy installs it, as the application's user; None where a deploy does not."""
        return None

    needs_worker = False
    """Whether the worker starts them."""

    @abstractmethod
    def cleared(self) -> Nothing | Resource:
        """old: it starts nothing any more."""

    @abstractmethod
    def installed(self, of_old: Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing | Resource:
        """new: it starts what *of_old* did; *kept*: the directory with a copy of old's; *paths*: old's -> new's."""
