"""Nothing starts regular tasks."""

from __future__ import annotations

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

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        role = self.server.role
        return Nothing(f"{role} has no regular tasks, as {role}.schedule.kind is none")

    cleared = installed = _nothing
