"""Nothing starts regular tasks."""

from .. import schedule
from ..kinds import nothing


class Settings(schedule.Settings):
    """Nothing starts regular tasks."""


class NoSchedule(schedule.Schedule[Settings]):
    """There is nothing to do."""

    cleared = installed = nothing("{role} has no regular tasks, as {role}.schedule.kind is none")
