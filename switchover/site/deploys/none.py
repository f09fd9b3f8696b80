"""New code arrives in no way that this tool knows: whoever deploys has to wait for the end of the move by himself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
from ...resources.file import Found
from .. import deploys
from ..app import Application
from ..schedule import Schedule
from ..worker import Worker


class Settings(deploys.Settings):
    """In no way that this tool knows: nobody deploys while the site moves."""

    kind: Literal["none"] = "none"
    """Nothing is done about deploys."""

    def on(self, server: Host, app: Application[Any], worker: Worker[Any], schedule: Schedule[Any]) -> NoDeploys:
        """The deploys to *server*."""
        return NoDeploys(server, self, app, worker, schedule)


class NoDeploys(deploys.Deploys[Settings]):
    """Nothing is done about them."""

    def _nothing(self) -> Nothing:
        role = self.server.role
        return Nothing(f"deploys to {role} are not this tool's ({role}.deploys.kind: none)")

    def refused(self, notice: deploys.Notice, to: deploys.Deploys[Any] | None = None) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def ended(self) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def accepted(self, notice: deploys.Notice, *, cron: bool, moved: bool = False) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def complete(self, before: Callable[[str], Found | None]) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def remote(self, ci: deploys.Ci, host: Host) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def deploys(self, ci: deploys.Ci, host: Host) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()
