"""No monitor, or one that this tool leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from ...resources.file import Found
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

    def _nothing(self) -> Nothing:
        return Nothing(f"{self.server.role} has no monitor ({self.server.role}.watch.kind: none)")

    def forgets_application(self, *, record_only: bool = False) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def forgets_worker(self) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def remembers_application(self, before: Callable[[str], Found | None]) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def watches(self, is_ours: Callable[[str], bool]) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def watches_program(self, name: str, template: str, arguments: str) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()
