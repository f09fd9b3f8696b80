"""The write-ahead log: its level, for which PostgreSQL restarts, and how much of it is kept for the other server."""

from __future__ import annotations

from ..desired import Precondition, Resource
from ..move import Move
from ..programs import programs
from ..quote import sh
from ..render import render
from ..resources import Command, File, Service, setting, succeeds
from ..resources.postgres import PSQL
from ..server import Server
from . import fence, link

# What holds queries, beside the program that uses it.
PROGRAMS = ("hold.py", "servers.py", "refusals.py")


def is_logical(server: Server) -> bool:
    """Whether *server* writes down what a follower needs."""
    return server.look(f"{PSQL} -c 'SHOW wal_level'").out.strip() == "logical"


def logical(server: Server) -> Command:
    """*server*'s wal_level is logical; its PostgreSQL, which nobody uses, restarts."""
    return Command(
        server,
        "sh after/wal-level logical",
        "sh after/wal-level before",
        check=f'[ "$({PSQL} -c "SHOW wal_level")" = logical ]',
        shown="ALTER SYSTEM SET wal_level = logical; systemctl restart postgresql",
        files=programs("wal-level"),
    )


def logical_in_use(move: Move) -> list[Resource | Precondition]:
    """old's wal_level is logical; its PostgreSQL restarts while PgBouncer on new holds every query."""
    old, new, pool = move.old, move.new, move.settings.pgbouncer
    is_so = f'[ "$({link.ON_OLD} -c "SHOW wal_level")" = logical ]'
    # A restart ends sessions that bypass PgBouncer: said before anything is begun.
    alone = f'[ "$(PGAPPNAME=switchover {link.ON_OLD} -c {sh(fence.past_pooler(move))})" = 0 ]'
    otherwise = "the application has sessions on old that bypass PgBouncer; a restart would end them: inv switch-app"
    given = f"{sh(new.database.name)} {pool.port} {pool.pool} {sh(old.database.owner)}"
    restart = Command(
        new,
        run=f"python3 after/held-restart logical {given}",
        undo=f"python3 after/held-restart before {given}",
        check=is_so,
        shown="ALTER SYSTEM SET wal_level = logical on old, and its restart while PgBouncer holds all queries",
        files=programs("held-restart", *PROGRAMS),
    )
    return [succeeds(new, f"{is_so} || {alone}", otherwise, within=10), *_restarts_on_request(move), restart]


def _restarts_on_request(move: Move) -> list[File | Service]:
    """old: its PostgreSQL restarts when new asks for it. Of itself the unit does nothing: two programs agree, and each
    survives the other.
    """
    old, program, name = move.old, "/usr/local/sbin/switchover-restart", "switchover-restart.service"
    unit = render(
        "templates/restart-on-request.service.j2",
        program=program,
        database=old.database.name,
        role=link.ROLE,
        state=f"{move.journal.home}/wal_level",
    )
    anew = f"systemctl daemon-reload; systemctl try-restart {name} 2>/dev/null || :"
    return [
        File(old, program, programs("restart-on-request")["restart-on-request"], "root:root", "755", then=anew),
        File(old, f"/etc/systemd/system/{name}", unit, "root:root", "644", then=anew),
        Service(old, name, running=True, at_boot=True),
    ]


def limits(server: Server) -> list[Command]:
    """*server* keeps changes only as long as its disk can take it; a link that broke is tried again at once."""
    data = f"\"$({PSQL} -c 'SHOW data_directory')/pg_wal/\""
    free = int(server.look(f"df -Pk {data} | awk 'NR == 2 {{ print int($4 / 1024) }}'").out)
    return [
        # PostgreSQL before 13 has no such limit. One that somebody set stays.
        setting(server, "max_slot_wal_keep_size", f"{max(64, free // 200 * 100)}MB", "setting <> '-1'"),
        setting(server, "wal_retrieve_retry_interval", "100ms", "setting::int <= 100"),
    ]
