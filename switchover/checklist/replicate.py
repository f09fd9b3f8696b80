"""Let new's database follow old's: copied while visitors go on, then every change at once. For `strategy: replicate`.

Undo: new's database is as it was, and nothing is left on old. Visitors notice nothing, nothing is lost.
"""

from __future__ import annotations

from ..database import facts, findings
from ..errors import Problem
from ..move import Move
from ..resources import Compared
from ..step import Wanted, step


@step
def can_follow(move: Move) -> Wanted:
    """old: nothing stands in the way of new's database following this one."""
    if move.settings.strategy != "replicate" or move.journal.active("replicate.following"):
        return None

    def hindrance() -> str | None:
        found = findings.hindering(findings.find(facts.gather(move)))
        if not found:
            return None
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        first = found[0]
        raise Problem(f"new cannot follow: {first.what}{more}", "", f"{first.do}. `inv check` says it all")

    return Compared(hindrance)
