"""New code arrives in no way that this tool knows: whoever deploys has to wait for the end of the move by himself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ...desired import Nothing
from ...resources.file import Found
from .. import deploys

if TYPE_CHECKING:
    from ...hosts import Host, Server
    from ...move import Notice
    from ...settings import Ci


class Settings(deploys.Settings):
    """In no way that this tool knows: nobody deploys while the site moves."""

    kind: Literal["none"] = "none"
    """Nothing is done about deploys."""

    def on(self, server: Server) -> NoDeploys:
        """The deploys to *server*."""
        return NoDeploys(server, self)


class NoDeploys(deploys.Deploys[Settings]):
    """Nothing is done about them."""

    def _nothing(self) -> Nothing:
        role = self.server.role
        return Nothing(f"deploys to {role} are not this tool's ({role}.deploys.kind: none)")

    def refused(self, notice: Notice, to: Server | None = None) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def ended(self) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def accepted(self, notice: Notice, *, cron: bool, moved: bool = False) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def complete(self, before: Callable[[str], Found | None]) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def remote(self, ci: Ci, host: Host) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()

    def deploys(self, ci: Ci, host: Host) -> Nothing:
        """Nothing is wanted."""
        return self._nothing()
