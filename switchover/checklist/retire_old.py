"""Retire old server: after days of watching, what was opened for the move is closed.

Asks: This ends undo. Nothing can go back to the old server afterwards.
"""

from __future__ import annotations

from ..move import Move
from ..quote import sh
from ..render import render
from ..resources import Command, File, Seen
from ..resources.taken_back import TakenBack
from ..resources.uploads import KEY, on, ssh
from ..step import Wanted, step
from . import common

FINAL = "refuse 'retire-old has ended undo'"


@step
def nobody_by_old(move: Move) -> Wanted:
    """old: no visitor has come by the proxy for a time (retire.quiet seconds)."""
    return Seen(move.old, common.last_visitor(move), f"visitors still come by {move.old.name}: change DNS first")


@step
def undo_ends(move: Move) -> Wanted:
    """new: the journal is closed; nothing is undone any more."""
    ended = sh(f"{move.journal.home}/retired")
    return [
        Command(server, f"date -u >{ended}", FINAL, check=f"[ -e {ended} ]", shown="undo ends")
        for server in (move.new, move.old)
    ]


@step
def access_closed(move: Move) -> Wanted:
    """old: what was opened for the new server is closed: key, role, port and firewall rule."""
    opened = (
        "database-certificate",
        "firewall",
        "database-door",
        "database-role",
        "database-password",
        "access",
        "key",
    )
    return [
        TakenBack(entry.server, move.journal.path(entry), entry.step)
        for name in opened
        for entry in move.journal.active(f"prepare-old.{name}")
    ]


@step
def closed_from_outside(move: Move) -> Wanted:
    """new: reaches neither old's database nor its files any more."""
    address, door = move.old.settings.main_address, move.settings.door
    url = sh(f"telnet://{common.host(move.old)}:{door}")
    # 7: refused, 28: no answer; both are closed.
    script = f"""
curl -s --connect-timeout 2 -m 2 {url} </dev/null
case $? in 7|28) ;; *) echo "port {door} of {address} answers"; exit 1 ;; esac
[ -e {KEY} ] || exit 0
# A key made by hand stays; it must open nothing.
if rsync -s -e {sh(ssh(move.old))} {sh(on(move.old, move.old.app.path))} >/dev/null 2>&1; then
  echo "the key {KEY} still opens old's files"; exit 1
fi
"""
    return Seen(move.new, script, "old is still open to new", within=10)


@step
def copies_removed(move: Move) -> Wanted:
    """new: the database from before the move is gone."""
    name = sh(move.new.database.name)
    return Command(
        move.new,
        f"sh after/copy-database forget {name}",
        FINAL,
        shown=f"DROP DATABASE {move.new.database.name}_before_move",
        files=common.programs("copy-database", "database.sh"),
    )


@step
def proxy_gone(move: Move) -> Wanted:
    """old: nginx no longer answers for the site."""
    old = move.old
    content = render(
        "nginx/old-gone.conf.j2",
        domains=move.settings.domains,
        fullchain=old.certificate.fullchain,
        key=old.certificate.key,
    )
    return File(old, old.web.site, content, test=common.NGINX_TEST, then=common.NGINX_RELOAD)
