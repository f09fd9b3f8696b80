"""New code arrives in no way that this tool knows: whoever deploys has to wait for the end of the move by himself."""

from __future__ import annotations

from typing import Any, Literal

from ...desired import Nothing
from ...hosts import Host
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

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        role = self.server.role
        return Nothing(f"deploys to {role} are not this tool's, as {role}.deploys.kind is none")

    refused = ended = accepted = complete = remote = deploys = _nothing
