"""`inv unlock`: takes away the lock of a command that is gone."""

from __future__ import annotations

from typing import Any

from invoke.tasks import task

from .. import output
from ..errors import Problem
from ..outcome import Outcome
from ..verb import verb


@task(help={"yes": "do not ask"})
def unlock(context: Any, yes: bool = False) -> None:
    """Both servers: takes away the lock of a command that is gone for good."""
    with verb(context) as the_move:
        for server in the_move.servers:
            if not the_move.locked(server):
                output.outcome(Outcome.NOTE, f"{server}: not locked")
                continue
            held = the_move.holder(server) or {"who": "somebody"}  # whoever died before leaving a name
            output.outcome(
                Outcome.NOTE, f"{server}: locked by {held.get('who')} since {held.get('when')} ({held.get('why')})"
            )
            if the_move.dry:
                continue
            if not yes and not output.ask("Is that command gone for good?"):
                raise Problem("still locked", str(server), "Answer y, or give --yes")
            the_move.unlock(server)
