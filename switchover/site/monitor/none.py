"""No monitor, or one that this tool leaves alone."""

from __future__ import annotations

from typing import Any, Literal

from ...hosts import Host
from .. import monitor
from ..app import Application
from ..kinds import nothing
from ..worker import Worker


class Settings(monitor.Settings):
    """None, or one that this tool leaves alone: it must not start anything that the move has stopped."""

    kind: Literal["none"] = "none"
    """It is left alone."""

    def on(self, server: Host, app: Application[Any], worker: Worker[Any]) -> NoMonitor:
        """The monitor on *server*."""
        return NoMonitor(server, self, app, worker)


class NoMonitor(monitor.Monitor[Settings]):
    """It is left alone."""

    forgets_application = forgets_worker = remembers_application = watches = watches_program = nothing(
        "{role} has no monitor, as {role}.watch.kind is none"
    )
