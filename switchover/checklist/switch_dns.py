"""Switch DNS: the site's domains point to new, so that visitors no longer pass old's proxy.

Visitors: they notice nothing: their browsers ask new directly once they see the new records.
Undo: the records are as before, and browsers ask old again. Takes as long as the TTL, loses nothing.
"""

import time
from datetime import UTC, datetime, timedelta

from .. import output
from ..desired import Desired, Precondition
from ..dns.addresses import needs_names, old_remembered_until, old_ttl_until, to_new
from ..dns.change import Records
from ..errors import Problem
from ..http import ANSWERS, ask
from ..move import Move
from ..outcome import Outcome
from ..quote import sh
from ..resources import Command, succeeds, undone
from ..step import step

LONG = 600  # seconds that this waits; for longer, run it again later
WATCHED = 60  # seconds in which the last visitors may leave old's proxy


def _seconds_left(until: datetime | None) -> float:
    return (until - datetime.now(UTC)).total_seconds() if until else 0


@step
@needs_names
def old_ttl_over(move: Move) -> Desired:
    """dns: no resolver still uses the TTL of before `dns-prepare`."""

    def left() -> str | None:
        until = old_ttl_until(move)
        if until is None:
            longest = max((record.ttl for record in move.names.look().found), default=0)
            if longest > move.settings.dns.ttl and not move.journal.active("switch-dns"):
                raise Problem(f"the TTL is {longest} s", "dns", "First: inv dns-prepare")
        seconds = _seconds_left(until)
        if seconds > LONG:
            do = "Run this again then: sooner, some visitors would be proxied by old for that long"
            raise Problem(f"the old TTL is over at {until:%Y-%m-%d %H:%M:%S} UTC", "dns", do)
        return f"the old TTL is over in {seconds:.0f} s" if seconds > 0 else None

    return Precondition(left, within=LONG + 5)


@step
@needs_names
def new_answers(move: Move) -> Desired:
    """old: new answers for every domain with a valid certificate, and old proxies everybody else to it."""
    six = any(":" in address for address in move.old.addresses)
    old = ask(move.settings.domain, move.old.main_address, ANSWERS, "-f")
    asks = [
        f'[ "$({ask(domain, address, ANSWERS, "-f")})" = new ] || {{ echo {sh(f"{domain} at {address}")}; exit 1; }}'
        for domain in move.settings.domains
        for address in move.new.addresses
        if six or ":" not in address
    ]
    proxies = f'[ "$({old})" = new ] || {{ echo "old does not proxy to new: first inv switch-app"; exit 1; }}'
    return succeeds(move.old, "\n".join([*asks, proxies]), "new does not answer every domain")


@step
@needs_names
def way_back(move: Move) -> Desired:
    """new: prepared for undo, which waits until browsers close the connections that they keep to new."""
    wait = f"wait_showing {move.settings.dns.ttl} false || :\n{move.new.web.reload}"
    return undone(move.new, wait, "waits for the TTL, and reloads nginx")


@step
@needs_names
def records(move: Move) -> Desired:
    """dns: every domain points to new, at every authoritative server."""
    return Records(move, lambda look: to_new(move, look))


@step
@needs_names
def visitors_follow(move: Move) -> Desired:
    """old: closes the connections that browsers keep to it; a note says whether it still proxies visitors."""

    def remembered() -> str | None:
        seconds = _seconds_left(old_remembered_until(move))
        return f"resolvers may give old's address for {seconds:.0f} s more" if seconds > 0 else None

    started = time.monotonic()

    def still_proxied() -> str | None:
        ago = move.old.web.last_visitor()
        quiet, wanted = move.settings.retire.quiet, min(move.settings.dns.ttl, WATCHED)
        if ago is not None and ago < wanted:
            if time.monotonic() - started < move.settings.dns.ttl + 2 * WATCHED:
                return f"old proxied a visitor {ago} s ago"
            what = f"Old still proxies some visitors (the last {ago} s ago). `inv watch` shows them"
            output.outcome(Outcome.NOTE, what)
        left = quiet - ago if ago is not None else 0
        when = f"from {datetime.now(UTC) + timedelta(seconds=left):%Y-%m-%d %H:%M} UTC on" if left > 0 else "now"
        output.outcome(Outcome.NOTE, f"Old can be retired {when}, unless it still proxies somebody: inv retire-old")
        return None

    web = move.old.web
    closes = Command(move.old, web.reload, shown=f"{web.reload_shown} (requests under way end first)")
    return [Precondition(remembered, within=3700), closes, Precondition(still_proxied, within=3700)]
