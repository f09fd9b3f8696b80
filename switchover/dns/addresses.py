"""The addresses of the site's names: what the move makes of them, and until when somebody may remember the old ones."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..desired import Nothing
from ..errors import Problem
from ..journal import Entry
from .needs import Move
from .records import KINDS, Addresses, Look, from_json

NO_NAMES = Nothing("the names are left alone, as dns.kind is none")


def has_names(move: Move) -> bool:
    """Whether the site's names are part of the move."""
    return move.settings.dns.kind != "none"


def to_new(move: Move, look: Look) -> list[Addresses]:
    """What the names shall be. One that stands for another name is left."""
    new = {kind: tuple(sorted(a for a in move.new.addresses if (":" in a) == (kind == "AAAA"))) for kind in KINDS}
    found = {record.key: record for record in look.found}
    desired = []
    for name in move.settings.domains:
        its = [found[name, kind] for kind in KINDS if (name, kind) in found]
        if any(record.kind == "A" and record.data for record in its) and not new["A"]:
            do = "Say it in new.address: most visitors have no IPv6"
            raise Problem(f"{name} has an IPv4 address, and new has none", "dns", do)
        ttl = min((record.ttl for record in its if record.data), default=move.settings.dns.ttl)
        desired += [
            Addresses(name, record.kind, record.ttl if record.data else ttl, new[record.kind]) for record in its
        ]
    return desired


def records_before(entry: Entry) -> list[Addresses]:
    """The records that a step has changed, as they were before it."""
    return from_json(entry.outside["before"])


def old_ttl_until(move: Move) -> datetime | None:
    """Until when the names may be remembered for as long as before `dns-prepare`; None where it changed nothing."""
    return _remembered(move, "dns-prepare.ttl")


def old_remembered_until(move: Move) -> datetime | None:
    """Until when old's addresses may be remembered; None where `switch-dns` changed nothing."""
    return _remembered(move, "switch-dns.records")


def _remembered(move: Move, line: str) -> datetime | None:
    """Until when what was there before a step may be remembered."""
    entries = [(move.journal.done_at(entry), entry) for entry in move.journal.active(line)]
    # It was verified before it was written down as done, so no name server says the old any more since then.
    ends = [at + timedelta(seconds=max(record.ttl for record in records_before(entry))) for at, entry in entries if at]
    return max(ends, default=None)
