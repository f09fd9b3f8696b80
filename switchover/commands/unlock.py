"""`inv unlock`: removes the lock of a command that no longer runs."""

from typing import Any

from invoke.tasks import task

from .. import output
from ..errors import Problem
from ..outcome import Outcome
from ..verb import verb


@task(help={"yes": "do not ask"})
def unlock(context: Any, yes: bool = False) -> None:
    """Both servers: removes the lock of a command that no longer runs."""
    with verb(context) as move:
        for server in move.servers:
            if not move.locked(server):
                output.outcome(Outcome.NOTE, f"{server}: not locked")
                continue
            held = move.holder(server) or {"who": "somebody"}  # it died before it wrote its name
            locked = f"locked by {held.get('who')} since {held.get('when')} ({held.get('why')})"
            output.outcome(Outcome.NOTE, f"{server}: {locked}")
            if move.dry:
                continue
            if not yes and not output.ask("Are you sure that command no longer runs?"):
                raise Problem("still locked", str(server), "Answer y, or give --yes")
            move.unlock(server)
