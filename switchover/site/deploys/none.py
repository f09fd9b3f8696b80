"""New code arrives in a way that this tool does not know: whoever deploys has to wait for the end of the move."""

from __future__ import annotations

from typing import Any, Literal

from ...hosts import Host
from .. import deploys
from ..app import Application
from ..kinds import nothing
from ..schedule import Schedule
from ..worker import Worker


class Settings(deploys.Settings):
    """In a way that this tool does not know: nobody may deploy during the move."""

    kind: Literal["none"] = "none"
    """Deploys are left alone."""

    def on(self, server: Host, app: Application[Any], worker: Worker[Any], schedule: Schedule[Any]) -> NoDeploys:
        """The deploys to *server*."""
        return NoDeploys(server, self, app, worker, schedule)


class NoDeploys(deploys.Deploys[Settings]):
    """They are left alone."""

    refused = ended = accepted = complete = remote = deploys = nothing(
        "deploys to {role} are left alone, as {role}.deploys.kind is none"
    )
