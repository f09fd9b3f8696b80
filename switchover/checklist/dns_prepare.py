"""Prepare DNS: a short TTL, so that browsers find the new server soon after the switch.

Visitors: they notice nothing.
Undo: the old TTL is back. Takes seconds, loses nothing.
Until: switch-dns
"""

from dataclasses import replace

from .. import output
from ..desired import Desired, Precondition
from ..dns.addresses import needs_names, old_ttl_until
from ..dns.change import Records
from ..dns.records import Addresses, Look
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..step import step


@step
@needs_names
def servers_agree(move: Move) -> Desired:
    """dns: every authoritative server answers, and all give the same records."""

    def otherwise() -> str | None:
        look = move.names.look()
        for server, why in look.silent.items():
            do = "Fix it, or remove it from the zone: visitors ask it too"
            raise Problem(f"does not answer ({why})", server, do)
        return look.missing(look.found)

    return Precondition(otherwise, within=60)


@step
@needs_names
def ttl(move: Move) -> Desired:
    """dns: TTL lowered to `dns.ttl` seconds; a note says from when on that counts."""

    def lower(look: Look) -> list[Addresses]:
        return [replace(record, ttl=min(record.ttl, move.settings.dns.ttl)) for record in look.found if record.data]

    def notes() -> None:
        if until := old_ttl_until(move):
            what = f"Until {until:%Y-%m-%d %H:%M:%S} UTC resolvers may use the old TTL; `inv switch-dns` waits for that"
            output.outcome(Outcome.NOTE, what)
            for name, other in move.names.look().aliases.items():
                output.outcome(Outcome.NOTE, f"{name} is an alias of {other} (CNAME), and stays as it is")

    return [Records(move, lower), Precondition(notes)]
