"""How every command begins and fails: with the move that it is for, and with one line for a person."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from invoke.exceptions import Exit

from . import events
from . import move as moves
from .errors import Problem
from .move import Move


@contextmanager
def verb(context: Any, *, preview: bool = False) -> Iterator[Move]:
    """The move of this command; *preview*: as under --dry, so that nothing can be changed. Fails as `for_people`."""
    with for_people():
        if preview:
            context.config.run.dry = True
        yield moves.of(context)


@contextmanager
def for_people() -> Iterator[None]:
    """Any failure becomes one line for a person; the traceback only under --debug."""
    events.ready()
    try:
        yield
        return
    except KeyboardInterrupt:
        problem = Problem("interrupted", "", "Run the same command again to continue, or `inv undo`")
    except Problem as error:
        problem = error
    except Exit:
        raise
    except Exception as error:
        if logging.getLogger("invoke").isEnabledFor(logging.DEBUG):
            raise
        first_line = next(iter(str(error).strip().splitlines()), "")
        do = "This should not happen: run it again with --debug and report it"
        problem = Problem(f"{type(error).__name__}: {first_line}", "", do)
    events.problem(problem)
    raise problem from None
