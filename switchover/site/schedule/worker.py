"""The worker itself starts regular tasks, so they move with it."""

from __future__ import annotations

from typing import Any, Literal

from ...hosts import Host
from .. import schedule
from ..app import Application
from ..kinds import nothing


class Settings(schedule.Settings):
    """The worker itself starts regular tasks, so they move with it."""

    kind: Literal["worker"] = "worker"
    """The worker starts them: they move with it."""

    def on(self, server: Host, app: Application[Any]) -> WorkersSchedule:
        """The schedule on *server*."""
        return WorkersSchedule(server, self, app)


class WorkersSchedule(schedule.Schedule[Settings]):
    """There is nothing to do."""

    needs_worker = True
    cleared = installed = nothing("{role}'s worker starts regular tasks, as {role}.schedule.kind is worker")
