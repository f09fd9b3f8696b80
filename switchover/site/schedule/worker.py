"""The worker itself starts regular tasks, so they move with it."""

from .. import schedule
from ..kinds import nothing


class Settings(schedule.Settings):
    """The worker itself starts regular tasks, so they move with it."""


class WorkersSchedule(schedule.Schedule[Settings]):
    """There is nothing to do."""

    needs_worker = True
    cleared = installed = nothing("{role}'s worker starts regular tasks, as {role}.schedule.kind is worker")
