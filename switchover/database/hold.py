"""The hold: PgBouncer on new holds every query for a moment. Here: while old's PostgreSQL restarts (wal_level).

scripts/server/hold.py does it, for the switch and the proof too.
"""

from __future__ import annotations

from ..desired import Precondition, Resource
from ..move import Move
from ..programs import programs
from ..quote import sh
from ..render import render
from ..resources import Command, File, Service, succeeds
from . import fence, link

PROGRAMS = ("hold.py", "servers.py", "refusals.py")  # beside the program that holds


def logical_by_a_restart(move: Move) -> list[Resource | Precondition]:
    """old's wal_level is logical; its PostgreSQL restarts while PgBouncer on new holds every query."""
    old, new, pool = move.old, move.new, move.settings.pgbouncer
    is_so = f'[ "$({link.ON_OLD} -c "SHOW wal_level")" = logical ]'
    # A restart ends sessions that bypass PgBouncer: this is refused before anything begins.
    alone = f'[ "$(PGAPPNAME=switchover {link.ON_OLD} -c {sh(fence.bypassing(move))})" = 0 ]'
    otherwise = "the application has sessions on old that bypass PgBouncer; a restart would end them: inv switch-app"
    words = f"{sh(new.database.name)} {pool.port} {pool.pool} {sh(old.database.owner)}"
    run, undo = (f"python3 -B after/held-restart {mode} {words}" for mode in ("logical", "before"))
    shown = "ALTER SYSTEM SET wal_level = logical on old, and its restart while PgBouncer holds all queries"
    restart = Command(new, run, undo, is_so, shown, files=programs("held-restart", *PROGRAMS))
    return [succeeds(new, f"{is_so} || {alone}", otherwise, within=10), *_restarts_on_request(move), restart]


def _restarts_on_request(move: Move) -> list[File | Service]:
    """old: its PostgreSQL restarts when new asks for it, and only then: the two programs agree, and each survives the
    other.
    """
    old, program, name = move.old, "/usr/local/sbin/switchover-restart", "switchover-restart.service"
    words = {"database": old.database.name, "role": link.ROLE, "state": f"{move.journal.home}/wal_level"}
    unit = render("templates/restart-on-request.service.j2", program=program, **words)
    anew = f"systemctl daemon-reload; systemctl try-restart {name} 2>/dev/null || :"
    return [
        File(old, program, programs("restart-on-request")["restart-on-request"], "root:root", "755", then=anew),
        File(old, f"/etc/systemd/system/{name}", unit, "root:root", "644", then=anew),
        Service(old, name, running=True, at_boot=True),
    ]
