"""Nothing starts regular tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from .. import schedule
from ..app import Application


class Settings(schedule.Settings):
    """Nothing starts regular tasks."""

    kind: Literal["none"] = "none"
    """Nothing starts any."""

    def on(self, server: Host, app: Application[Any]) -> NoSchedule:
        """The schedule on *server*."""
        return NoSchedule(server, self, app)


class NoSchedule(schedule.Schedule[Settings]):
    """There is nothing to do about it."""

    def cleared(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing(f"{self.server.role} has no regular tasks")

    def installed(self, of_old: schedule.Schedule[Any], kept: str, paths: Mapping[str, str]) -> Nothing:
        """Nothing is wanted."""
        return self.cleared()
