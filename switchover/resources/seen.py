"""What must be seen before the move goes on; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..desired import Precondition
from ..hosts import Host
from ..journal import FUNCTIONS


@dataclass(frozen=True)
class Seen(Precondition):
    """*script* (sh, as root on *server*) succeeds within *within* seconds; *otherwise* says what is missing."""

    server: Host
    script: str
    otherwise: str
    within: float = 0

    def missing(self) -> str | None:
        """None where it is seen."""
        answer = self.server.look(f"{FUNCTIONS}\n{self.script}", check=False)
        if answer.status == 0:
            return None
        said = (answer.err.strip() or answer.out.strip()).splitlines()
        return f"{self.otherwise}" + (f" ({said[-1].strip()})" if said else "")


@dataclass(frozen=True)
class Compared(Precondition):
    """*difference* returns None, within *within* seconds."""

    difference: Callable[[], str | None]
    within: float = 0

    def missing(self) -> str | None:
        """None where both are alike."""
        return self.difference()
