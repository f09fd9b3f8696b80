"""The schedule: what starts regular tasks, on one of the two servers at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from ...desired import Nothing, Resource
from ..kinds import KindSettings, OfApplication, S

DEFAULT = "crontab"  # the kind, where the settings name none


class Settings(KindSettings):
    """What starts regular tasks."""


class Schedule(OfApplication[S]):
    """What every kind of schedule can do."""

    on_deploy: str | None = None  # sh by which a deploy installs it, as the application's user; None where it does not
    needs_worker = False  # whether the worker starts them

    @abstractmethod
    def cleared(self) -> Nothing | Resource:
        """old: it starts nothing any more."""

    @abstractmethod
    def installed(self, of_old: Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing | Resource:
        """new: it starts what *of_old* did; *kept*: the directory with a copy of old's; *paths*: old's -> new's."""
