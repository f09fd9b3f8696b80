"""Prepare the name: its records are remembered for minutes only, so that everybody soon hears of the new server.

Visitors: they notice nothing.
Undo: the old TTL is back. Takes seconds, loses nothing.
Until: switch-dns
"""

from __future__ import annotations

from dataclasses import replace

from .. import output
from ..desired import Desired, Precondition
from ..dns.addresses import NO_NAMES, has_names, old_ttl_until
from ..dns.change import Records
from ..dns.records import Addresses, Look
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..step import step


@step
def servers_agree(move: Move) -> Desired:
    """names: every authoritative server answers, and all say the same."""
    if not has_names(move):
        return NO_NAMES

    def otherwise() -> str | None:
        look = move.names.look()
        for server, why in look.silent.items():
            do = "Mend it, or take it out of the zone: visitors ask it too"
            raise Problem(f"does not answer ({why})", server, do)
        return look.missing(look.found)

    return Precondition(otherwise, within=60)


@step
def ttl(move: Move) -> Desired:
    """names: their addresses may be remembered for a few minutes only; it is told from when on that is so."""
    if not has_names(move):
        return NO_NAMES

    def lower(look: Look) -> list[Addresses]:
        return [replace(found, ttl=min(found.ttl, move.settings.dns.ttl)) for found in look.found if found.data]

    def told() -> None:
        if until := old_ttl_until(move):
            output.outcome(Outcome.NOTE, f"Until {until:%Y-%m-%d %H:%M:%S} UTC somebody may remember them for longer; "
                        "`inv switch-dns` waits for that")  # fmt: skip
            for name, other in move.names.look().aliases.items():
                output.outcome(Outcome.NOTE, f"{name} stands for {other} (CNAME), and is left as it is")

    return [Records(move, lower), Precondition(told)]
