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

    there = False
    runs = "false"
    starting_shown = stopping_shown = did_a_job = a_job = ""

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        role = self.server.role
        return Nothing(f"{role} has no worker, as {role}.worker.kind is none")

    running = stopped = boots = seen_working = _nothing

    def _no_sh(self) -> str:
        return ":"

    starting = stopping = restart = _no_sh

    def on_deploy(self) -> str:
        """sh for a deploy hook: nothing is restarted."""
        return render("hooks/worker-none.sh.j2").decode()

    def queue(self, server: Host, database: str) -> dict[str, Any]:
        """There is none."""
        return {}

    def watched(self) -> None:
        """There is nothing to watch."""
