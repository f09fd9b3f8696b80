"""Who is connected to old's database, and who may be."""

from __future__ import annotations

from ..move import Move
from ..quote import ident, sh, sql
from ..resources import Command
from ..resources.postgres import PSQL
from . import link, pgbouncer
from .replication_status import is_replicated


def strangers(move: Move) -> str:
    """SQL for old: how many are connected to the application's database; not those by whom it follows new's."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = {sql(move.old.database.name)}"
    if is_replicated(move):
        query += f" AND backend_type = 'client backend' AND usename <> {sql(link.ROLE)} AND pid <> pg_backend_pid()"
    return query


def past_pooler(move: Move) -> str:
    """SQL for old, asked by the move's own role: how many sessions of the application do not come by PgBouncer."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    query += f"AND (usename = {sql(move.old.database.owner)} OR "
    return query + "usename = current_user AND application_name NOT LIKE 'switchover%')"


def fence(move: Move) -> Command:
    """old: the application's role cannot log in any more, and its sessions have ended."""
    # PgBouncer's role too, where there is one.
    names = f"({sql(move.old.database.owner)}, {sql(pgbouncer.ROLE)})"
    alter = f"SELECT format('ALTER ROLE %I {{}}', rolname) FROM pg_roles WHERE rolname IN {names} \\gexec"
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN {names};"
    login = f"SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname IN {names}"
    check = f'[ "$({PSQL} -c {sh(login)})" = f ]'
    run = f"printf '%s\\n' {sh(alter.format('NOLOGIN'))} {sh(end)} | {PSQL} >/dev/null"
    undo = f"printf '%s\\n' {sh(alter.format('LOGIN'))} | {PSQL} >/dev/null"
    shown = f"ALTER ROLE {ident(move.old.database.owner)} NOLOGIN; its sessions are ended"
    return Command(move.old, run, undo, check, shown=shown)
