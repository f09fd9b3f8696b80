"""Nothing starts regular tasks."""

from __future__ import annotations

from typing import Any, Literal

from ...hosts import Host
from .. import schedule
from ..app import Application
from ..kinds import nothing


class Settings(schedule.Settings):
    """Nothing starts regular tasks."""

    kind: Literal["none"] = "none"
    """Nothing starts any."""

    def on(self, server: Host, app: Application[Any]) -> NoSchedule:
        """The schedule on *server*."""
        return NoSchedule(server, self, app)


class NoSchedule(schedule.Schedule[Settings]):
    """There is nothing to do."""

    cleared = installed = nothing("{role} has no regular tasks, as {role}.schedule.kind is none")
