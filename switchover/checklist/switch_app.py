"""Switch application: old's nginx proxies every visitor to new; the old application stops.

Visitors: they notice nothing: requests under way finish on old, the next ones are proxied to new.
Undo: the old application starts, old's nginx serves it again, later uploads are copied back. Loses nothing.
"""

from ..desired import Desired
from ..http import ANSWERS, answered_by_new, ask
from ..move import Move
from ..resources import Command, succeeds, undone
from ..step import step

DRAIN = 900  # seconds for requests under way when nginx reloads: a large upload takes long


@step
def uploads(move: Move) -> Desired:
    """new: has what visitors have uploaded since."""
    drained = f"wait_until 300 {move.old.web.drained} || echo 'requests are still under way'"
    # Undone in reverse, after the proxy: at once, and once more when the last request to new has ended.
    first = move.uploads(deleting=not answered_by_new(move.old, move.settings.domain), always=True)
    waits = undone(move.old, drained, "waits for requests under way")
    return [*first, waits, *move.uploads(always=True, turn="once more")]


@step
def proxy(move: Move) -> Desired:
    """old: nginx proxies every visitor to new."""
    return move.old.web.passes_on(move.front(move.old))


@step
def visitors_pass(move: Move) -> Desired:
    """old: new answers a visitor who asks old."""
    answer = ask(move.settings.domain, move.old.main_address, ANSWERS, "-f")
    return succeeds(move.new, f'[ "$({answer})" = new ]', "old still answers itself", within=20)


@step
def uploads_meanwhile(move: Move) -> Desired:
    """new: has what visitors uploaded to old a moment ago; from now on nothing is deleted there."""
    return move.uploads(always=True)


@step
def requests_drained(move: Move) -> Desired:
    """old: the requests that were under way have ended."""
    return move.old.web.drains(DRAIN)


@step
def cache_cleared(move: Move) -> Desired:
    """new: the application's cache is cleared."""
    return Command(move.new, f"{move.new.app.rails('Rails.cache.clear')} >/dev/null", shown="Rails.cache.clear")


@step
def monit_off(move: Move) -> Desired:
    """old: monit no longer watches the application."""
    return move.old.monitor.forgets_application()


@step
def stop_old(move: Move) -> Desired:
    """old: the application has stopped and does not start at boot."""
    return move.old.app.stopped(at_boot=False)


@step
def uploads_again(move: Move) -> Desired:
    """new: has the uploads that finished on old at the last moment."""
    return move.uploads(always=True)
