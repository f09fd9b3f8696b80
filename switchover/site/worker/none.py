"""No worker: nothing works off jobs, or the application does it by itself."""

from __future__ import annotations

from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from ...render import render
from .. import worker
from ..app import Application


class Settings(worker.Settings):
    """There is no worker."""

    kind: Literal["none"] = "none"
    """Nothing works off jobs."""

    def on(self, server: Host, app: Application[Any]) -> NoWorker:
        """No worker on *server*."""
        return NoWorker(server, self, app)


class NoWorker(worker.Worker[Settings]):
    """It is never there."""

    runs = "false"
    starting_shown = stopping_shown = did_a_job = a_job = ""

    def running(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing(f"{self.server.role} has no worker")

    def stopped(self, *, record_only: bool = False) -> Nothing:
        """Nothing is wanted."""
        return self.running()

    def boots(self, on: bool) -> Nothing:
        """Nothing is wanted."""
        return self.running()

    def seen_working(self, within: int) -> Nothing:
        """Nothing is wanted."""
        return self.running()

    def starting(self) -> str:
        """sh: nothing."""
        return ":"

    def stopping(self) -> str:
        """sh: nothing."""
        return ":"

    def restart(self) -> str:
        """sh: nothing."""
        return ":"

    def on_deploy(self) -> str:
        """sh for a deploy hook: nothing is restarted."""
        return render("hooks/worker-none.sh.j2").decode()

    def queue(self, server: Host, database: str) -> dict[str, Any]:
        """There is none."""
        return {}

    def watched(self) -> None:
        """There is nothing to watch."""
