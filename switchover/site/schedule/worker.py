"""The worker itself starts regular tasks, so they move with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from .. import schedule
from ..app import Application


class Settings(schedule.Settings):
    """The worker itself starts regular tasks, so they move with it."""

    kind: Literal["worker"] = "worker"
    """The worker starts them: they move with it."""

    def on(self, server: Host, app: Application[Any]) -> WorkersSchedule:
        """The schedule on *server*."""
        return WorkersSchedule(server, self, app)


class WorkersSchedule(schedule.Schedule[Settings]):
    """There is nothing to do about it."""

    def cleared(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing(f"{self.server.role}'s worker starts regular tasks, and they moved with it")

    def installed(self, of_old: schedule.Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing:
        """Nothing is wanted."""
        return self.cleared()
