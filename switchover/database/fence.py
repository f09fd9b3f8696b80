"""What fences old's database: the application's roles cannot log in. And who is connected to it.

The switch has its own fence, in switch.sql.
"""

from __future__ import annotations

from ..desired import Precondition
from ..move import Move
from ..quote import ident, sh, sql
from ..resources import Command, succeeds
from ..resources.postgres import PSQL, says
from . import link, pgbouncer
from .replication_status import is_replicated


def nobody_connected(move: Move) -> Precondition:
    """old: nobody is connected to the application's database, apart from the replication of new's."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = {sql(move.old.database.name)}"
    if is_replicated(move):
        query += f" AND backend_type = 'client backend' AND usename <> {sql(link.ROLE)} AND pid <> pg_backend_pid()"
    return succeeds(move.old, says(query, 0), "somebody is still connected to old's database", within=30)


def bypassing(move: Move) -> str:
    """SQL for old, asked by the move's own role: how many sessions of the application bypass PgBouncer."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    query += f"AND (usename = {sql(move.old.database.owner)} OR "
    return query + "usename = current_user AND application_name NOT LIKE 'switchover%')"


def fence(move: Move) -> Command:
    """old: the application's role can no longer log in, and its sessions have ended."""
    # PgBouncer's role too, where there is one.
    names = f"({sql(move.old.database.owner)}, {sql(pgbouncer.ROLE)})"
    alter = f"SELECT format('ALTER ROLE %I {{}}', rolname) FROM pg_roles WHERE rolname IN {names} \\gexec"
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN {names};"
    run = f"printf '%s\\n' {sh(alter.format('NOLOGIN'))} {sh(end)} | {PSQL} >/dev/null"
    undo = f"printf '%s\\n' {sh(alter.format('LOGIN'))} | {PSQL} >/dev/null"
    check = says(f"SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname IN {names}", "f")
    shown = f"ALTER ROLE {ident(move.old.database.owner)} NOLOGIN; its sessions are ended"
    return Command(move.old, run, undo, check, shown=shown)
