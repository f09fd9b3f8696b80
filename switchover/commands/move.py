"""`inv move`: the whole checklist, section by section."""

from typing import Any

from invoke.tasks import task

from .. import output
from ..checklist import MOVE
from ..errors import Problem, Unreached
from ..move import Move
from ..outcome import Outcome
from ..section import Section
from ..verb import verb


@task(help={"yes": "do not ask before each section"})
def move(context: Any, yes: bool = False) -> None:
    """Both servers: runs all sections in order, and asks before each."""
    with verb(context) as the_move, the_move.lock("move"):
        for section in (section for section in MOVE if section.steps_of(the_move)):
            section.announce(the_move)
            if not (yes or the_move.dry or output.ask(f"Run {section.name}?")):
                raise Problem(f"stopped before {section.name}", "", "To continue: `inv move`, or `inv move --yes`")
            _run(the_move, section)


def _run(the_move: Move, section: Section) -> None:
    """The section, which was announced; one that the move can do without may fail."""
    try:
        section.run(the_move, announced=True)
    except Problem as problem:
        if isinstance(problem, Unreached) or not section.without:
            raise
        output.outcome(Outcome.FAILED, str(problem))
