"""Nothing starts regular tasks."""

from __future__ import annotations

from typing import Literal

from .. import schedule
from ..kinds import nothing


class Settings(schedule.Settings):
    """Nothing starts regular tasks."""

    kind: Literal["none"] = "none"
    """Nothing starts any."""


class NoSchedule(schedule.Schedule[Settings]):
    """There is nothing to do."""

    cleared = installed = nothing("{role} has no regular tasks, as {role}.schedule.kind is none")
