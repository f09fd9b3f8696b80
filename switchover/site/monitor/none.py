"""No monitor, or one that this tool leaves alone."""

from .. import monitor
from ..kinds import nothing


class Settings(monitor.Settings):
    """None, or one that this tool leaves alone: it must not start anything that the move has stopped."""


class NoMonitor(monitor.Monitor[Settings]):
    """It is left alone."""

    forgets_application = forgets_worker = remembers_application = watches = watches_program = nothing(
        "{role} has no monitor, as {role}.watch.kind is none"
    )
