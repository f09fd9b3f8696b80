"""The addresses of the site's names: what they become, and until when resolvers may have the old ones cached."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import TypeVar

from ..desired import Desired, Nothing
from ..errors import Problem
from ..journal import Entry
from .needs import Move
from .records import KINDS, Addresses, Look, from_json

M = TypeVar("M", bound=Move)


def needs_names(body: Callable[[M], Desired]) -> Callable[[M], Desired]:
    """Decorator of a step's function: there is nothing to do where the settings leave DNS alone."""

    @wraps(body)
    def guarded(move: M) -> Desired:
        if move.settings.dns.kind == "none":
            return Nothing("the DNS records are left alone, as dns.kind is none")
        return body(move)

    return guarded


def to_new(move: Move, look: Look) -> list[Addresses]:
    """The records that lead to new. A CNAME is left alone."""
    new = {kind: tuple(sorted(a for a in move.new.addresses if (":" in a) == (kind == "AAAA"))) for kind in KINDS}
    found = {record.key: record for record in look.found}
    desired = []
    for name in move.settings.domains:
        its = [found[name, kind] for kind in KINDS if (name, kind) in found]
        if any(record.kind == "A" and record.data for record in its) and not new["A"]:
            do = "Add it to new.address: most visitors have no IPv6"
            raise Problem(f"{name} has an IPv4 address, and new has none", "dns", do)
        ttl = min((record.ttl for record in its if record.data), default=move.settings.dns.ttl)
        desired += [replace(record, ttl=record.ttl if record.data else ttl, data=new[record.kind]) for record in its]
    return desired


def records_before(entry: Entry) -> list[Addresses]:
    """The records that a step has changed, as they were before."""
    return from_json(entry.outside["before"])


def old_ttl_until(move: Move) -> datetime | None:
    """Until when resolvers may cache records with the TTL from before `dns-prepare`; None where it changed nothing."""
    return _cached_until(move, "dns-prepare.ttl")


def old_remembered_until(move: Move) -> datetime | None:
    """Until when resolvers may have old's addresses cached; None where `switch-dns` changed nothing."""
    return _cached_until(move, "switch-dns.records")


def _cached_until(move: Move, line: str) -> datetime | None:
    """Until when resolvers may have the records from before a step cached."""
    entries = [(move.journal.done_at(entry), entry) for entry in move.journal.active(line)]
    # A step is marked as done when every name server has its change, so the last one can have been asked then.
    ends = [at + timedelta(seconds=max(record.ttl for record in records_before(entry))) for at, entry in entries if at]
    return max(ends, default=None)
