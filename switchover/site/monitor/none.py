"""No monitor, or one that this tool leaves alone."""

from __future__ import annotations

from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from .. import monitor
from ..app import Application
from ..worker import Worker


class Settings(monitor.Settings):
    """None, or one that this tool leaves alone: it must start nothing that the move has stopped."""

    kind: Literal["none"] = "none"
    """It is left alone."""

    def on(self, server: Host, app: Application[Any], worker: Worker[Any]) -> NoMonitor:
        """The monitor on *server*."""
        return NoMonitor(server, self, app, worker)


class NoMonitor(monitor.Monitor[Settings]):
    """It is left alone."""

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        role = self.server.role
        return Nothing(f"{role} has no monitor, as {role}.watch.kind is none")

    forgets_application = forgets_worker = remembers_application = watches = watches_program = _nothing
