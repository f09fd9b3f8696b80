"""Whether new's database can replicate old's, with PgBouncer in transaction mode in front of it.

Facts in, findings out. A blocker leaves only `strategy: copy`. docs/check.md lists all checks, in this order.
"""

from __future__ import annotations

from itertools import chain

from ..findings import Found
from . import capacity, contents, pooling, requirements
from .host import DatabaseFacts

GROUPS = (requirements.CHECKS, contents.CHECKS, pooling.CHECKS, capacity.CHECKS)
KEYS = tuple(chain.from_iterable(GROUPS))


def find(facts: DatabaseFacts) -> Found:
    """All findings; at least one of each check."""
    for checks in GROUPS:
        yield from checks.find(facts)
