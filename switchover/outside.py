"""The part of a change that is made outside the servers, from the operator's machine: today records of the name system.

What it needs to be made, finished and reverted is recorded with the change, as `Change.outside`; its `kind` says who
makes it. It is made after the recorded script, and reverted before the undo script, which
sees whether it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .errors import Problem


class NotYet(Problem):
    """The change was made, or handed to people, and is not seen everywhere yet: the next run goes on with it."""


class NothingDone(Problem):
    """It went wrong before anything was changed."""


class Maker(Protocol):
    """Who makes changes of one kind."""

    def carry_out(
        self, move: Any, facts: Mapping[str, Any], on_line: Callable[[str], None], *, back: bool = False
    ) -> None:
        """Makes the change that the journal has the *facts* of, or takes it *back*; safe to repeat.

        Raises NotYet, NothingDone, or Problem where it cannot be made.
        """

    def undoing(self, facts: Mapping[str, Any]) -> str:
        """What goes and comes when it is taken back, as a diff."""


MAKERS: dict[str, Maker] = {}  # by kind; a kind of resource puts its own here


def maker(facts: Mapping[str, Any]) -> Maker:
    """Who makes the change that has these *facts*."""
    return MAKERS[facts["kind"]]
