"""How a journal begins: of which move it is, in which format it is written, and which release opened it.

A journal's `move` is one line of JSON that the first change of a move writes on each server that it changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from . import __version__, release
from .errors import Problem

FORMAT = 2
FIRST = ("0.1.0", "4f2106c")  # the releases of format 1, which `move` does not name; the last commit that speaks it


@dataclass(frozen=True)
class Identity:
    """Which move it is: the site's domains, and the addresses of its servers; in any order, and some may be added."""

    domains: Sequence[str]
    old: Sequence[str]
    new: Sequence[str]

    def __str__(self) -> str:
        return " -> ".join(next(iter(addresses), "?") for addresses in (self.old, self.new))

    def matches(self, other: Identity) -> bool:
        """Whether it is the same move: both have a domain, an address of old and one of new in common."""
        pairs = ((self.domains, other.domains), (self.old, other.old), (self.new, other.new))
        return all(set(mine) & set(theirs) for mine, theirs in pairs)


@dataclass(frozen=True)
class Opening:
    """What a journal's `move` says. Later formats keep these keys, so that each tool can name the right release."""

    identity: Identity
    format: int
    release: str
    commit: str

    @classmethod
    def parse(cls, name: str, text: str) -> Opening:
        """From the *text* of a journal whose directory is *name*. Raises ValueError where it says nothing."""
        if first := re.fullmatch(r"(\S+) -> (\S+)\s*", text):
            return cls(Identity([name], [first[1]], [first[2]]), 1, *FIRST)
        try:
            facts = json.loads(text)
            lists = ([str(value) for value in facts.get(key, ())] for key in ("domains", "old", "new"))
            return cls(Identity(*lists), *(facts[key] for key in ("format", "release", "commit")))
        except (KeyError, TypeError, AttributeError):
            raise ValueError(text) from None


def opening(identity: Identity, when: str, who: str) -> str:
    """The line of a journal that this release opens; *when* and by *who* is for people."""
    facts = {"format": FORMAT, "release": __version__, "commit": release.commit(), "when": when, "who": who}
    return json.dumps(asdict(identity) | facts, ensure_ascii=False)


def is_ours(ours: Identity, path: str, text: str, where: str) -> bool:
    """Whether the journal in the directory *path*, whose `move` has this *text*, is of the move *ours*.

    Raises Problem where it is of another one of the same site, or of ours in another format: nothing may change then.
    *where*: on which server.
    """
    name = path.rpartition("/")[2]
    try:
        journal = Opening.parse(name, text)
    except ValueError:
        if name not in ours.domains:
            return False
        raise Problem(f"{path}/move cannot be read: {text[:60]!r}", where, f"Look at {path}") from None
    same = ours.matches(journal.identity) and name in journal.identity.domains  # else it was renamed
    if not same and name in ours.domains:
        do = f"This one is {ours}. If that one is over, rename it: mv {path} {path}.before"
        raise Problem(f"its journal {path} is of another move ({journal.identity})", where, do)
    if same and journal.format != FORMAT:
        theirs = f"the journal {path} was begun by release {journal.release} (format {journal.format})"
        do = f"Nothing was changed. Finish or undo this move with that release: git checkout {journal.commit}"
        raise Problem(f"{theirs}; this is {__version__} (format {FORMAT})", where, do)
    return same
