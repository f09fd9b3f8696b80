"""Switch the name: it leads to the new server; visitors come there by themselves, and no longer by old's proxy.

Visitors: they notice nothing: their browsers ask new by themselves as soon as they hear of it.
Undo: the records are as before, and browsers ask anew. Takes as long as the TTL, loses nothing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from .. import output
from ..desired import Desired, Precondition
from ..dns.addresses import NO_NAMES, has_names, old_remembered_until, old_ttl_until, to_new
from ..dns.change import Records
from ..errors import Problem
from ..http import ANSWERS, ask
from ..move import Move
from ..outcome import Outcome
from ..quote import sh
from ..resources import Command, succeeds
from ..step import step

LONG = 600  # seconds that are waited; for longer somebody comes again
WATCHED = 60  # seconds in which the last visitors may leave old's proxy


@step
def old_ttl_over(move: Move) -> Desired:
    """names: nobody remembers them for longer than `dns-prepare` has said."""
    if not has_names(move):
        return NO_NAMES

    def left() -> str | None:
        until = old_ttl_until(move)
        if until is None:
            long = max((one.ttl for one in move.names.look().found), default=0)
            if long > move.settings.dns.ttl and not move.journal.active("switch-dns"):
                raise Problem(f"they may be remembered for {long} s", "names", "First: inv dns-prepare")
            return None
        seconds = (until - datetime.now(UTC)).total_seconds()
        if seconds <= 0:
            return None
        if seconds > LONG:
            do = "Run it again then: sooner, some would come by old for that long"
            raise Problem(f"the old TTL is over at {until:%Y-%m-%d %H:%M:%S} UTC", "names", do)
        return f"the old TTL is over in {seconds:.0f} s"

    return Precondition(left, within=LONG + 5)


@step
def new_answers(move: Move) -> Desired:
    """old: who comes to new by the site's names is answered, with a certificate good for them; old passes others on."""
    if not has_names(move):
        return NO_NAMES
    six = any(":" in address for address in move.old.addresses)
    old = ask(move.settings.domain, move.old.main_address, ANSWERS, "-f")
    asks = [
        f'[ "$({ask(domain, address, ANSWERS, "-f")})" = new ] || {{ echo {sh(f"{domain} at {address}")}; exit 1; }}'
        for domain in move.settings.domains
        for address in move.new.addresses
        if six or ":" not in address
    ]
    passes = f'[ "$({old})" = new ] || {{ echo "old answers by itself: first inv switch-app"; exit 1; }}'
    return succeeds(move.old, "\n".join([*asks, passes]), "visitors would not all come to new")


@step
def way_back(move: Move) -> Desired:
    """new: for the way back: then browsers let go of the connections that they keep to new."""
    if not has_names(move):
        return NO_NAMES
    wait = f"wait_showing {move.settings.dns.ttl} false || :\n{move.new.web.reload}"
    return Command(move.new, run=":", undo=wait, shown="(undone: waits for the TTL, and reloads nginx)")


@step
def records(move: Move) -> Desired:
    """names: they lead to new, and every authoritative server says so."""
    return Records(move, lambda look: to_new(move, look)) if has_names(move) else NO_NAMES


@step
def visitors_follow(move: Move) -> Desired:
    """old: who still has a connection to it lets go of it, and comes to new; it is told who still comes by old."""
    if not has_names(move):
        return NO_NAMES

    def remembered() -> str | None:
        until = old_remembered_until(move)
        seconds = (until - datetime.now(UTC)).total_seconds() if until else 0
        return f"old's address may be remembered for {seconds:.0f} s more" if seconds > 0 else None

    started = time.monotonic()

    def still() -> str | None:
        ago = move.old.web.last_visitor()
        quiet, desired = move.settings.retire.quiet, min(move.settings.dns.ttl, WATCHED)
        if ago is not None and ago < desired:
            if time.monotonic() - started < move.settings.dns.ttl + 2 * WATCHED:
                return f"a visitor came by old {ago} s ago"
            output.outcome(
                Outcome.NOTE, f"Some still come by old (the last {ago} s ago); they are served. `inv watch` shows them"
            )
        left = quiet - ago if ago is not None else 0
        when = f"from {datetime.now(UTC) + timedelta(seconds=left):%Y-%m-%d %H:%M} UTC on" if left > 0 else "now"
        output.outcome(Outcome.NOTE, f"Old's proxy may go {when}, unless somebody still uses it: inv retire-old")
        return None

    web = move.old.web
    return [
        Precondition(remembered, within=3700),
        Command(move.old, web.reload, shown=f"{web.reload_shown} (what is under way ends first)"),
        Precondition(still, within=3700),
    ]
