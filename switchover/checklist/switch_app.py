"""Switch application: old's nginx passes every visitor to new; the old application stops.

Visitors: they notice nothing: requests under way end on old, the next ones are passed on to new.
Undo: the old application starts, old's nginx serves it again, uploads made since travel back. Loses nothing.
"""

from __future__ import annotations

from ..desired import Wanted
from ..move import Move
from ..render import render
from ..resources import Absent, Command, File, Seen, Service
from ..resources.command import as_user
from ..resources.uploads import synchronised
from ..step import step
from . import common

UNDER_WAY = "not pgrep -f '^nginx: worker process is shutting down' >/dev/null"
DRAIN = 900  # seconds for requests under way when nginx reloads: a large upload takes long


@step
def uploads(move: Move) -> Wanted:
    """new: has what visitors uploaded since."""
    drained = f"wait_until 300 {UNDER_WAY} || echo 'requests are still under way'"
    return [
        # Undone in reverse, after the proxy: at once, and once more when the last request to new has ended.
        *synchronised(move, deleting=not common.comes_to_new(move), always=True),
        Command(move.old, run=":", undo=drained, shown="(undone: waits for requests under way)"),
        *synchronised(move, always=True, turn="once more"),
    ]


@step
def proxy(move: Move) -> Wanted:
    """old: nginx passes every visitor to the new server."""
    old = move.old
    content = render(
        "nginx/old-proxy.conf.j2",
        domains=move.settings.domains,
        fullchain=old.certificate.fullchain,
        key=old.certificate.key,
        uploads=common.upload_urls(move, old),
        new_addresses=move.new.addresses,
        new_host=common.host(move.new),
        log=common.PROXY_LOG,
    )
    return File(old, old.web.site, content, test=common.NGINX_TEST, then=common.NGINX_RELOAD)


@step
def visitors_pass(move: Move) -> Wanted:
    """old: a visitor who asks old is answered by new."""
    answer = common.ask(move.settings.domain, move.old.settings.main_address, common.ANSWERS, "-f")
    return Seen(move.new, f'[ "$({answer})" = new ]', "old still answers by itself", within=20)


@step
def uploads_meanwhile(move: Move) -> Wanted:
    """new: has what visitors uploaded to old a moment ago; nothing is deleted from now on."""
    return synchronised(move, always=True)


@step
def requests_drained(move: Move) -> Wanted:
    """old: the requests that were under way before have ended."""
    return Seen(move.old, UNDER_WAY, "requests from before are still under way on old", within=DRAIN)


@step
def cache_cleared(move: Move) -> Wanted:
    """new: the application's cache is cleared."""
    app = move.new.app
    clear = "r=bin/rails; [ -x $r ] || r='bundle exec rails'; $r runner Rails.cache.clear"
    return Command(
        move.new, f"{as_user(app.user, app.path, clear, app.environment)} >/dev/null", shown="Rails.cache.clear"
    )


@step
def monit_off(move: Move) -> Wanted:
    """old: monit no longer watches the application."""
    watch = move.old.watch
    return Absent(move.old, watch.app, then=common.MONIT_RELOAD) if watch.app else None


@step
def stop_old(move: Move) -> Wanted:
    """old: the application has stopped and does not start at boot."""
    old = move.old
    return Service(old, old.app.service, running=False, at_boot=False, pidfile=old.in_app(old.app.pidfile))


@step
def uploads_again(move: Move) -> Wanted:
    """new: has the uploads that ended on old at the last moment."""
    return synchronised(move, always=True)
