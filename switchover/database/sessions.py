"""Who is connected to old's database."""

from __future__ import annotations

from ..move import Move
from ..quote import sql
from . import link
from .following import shall_follow


def strangers(move: Move) -> str:
    """SQL for old: how many are connected to the application's database; not those by whom it follows new's."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = {sql(move.old.database.name)}"
    if shall_follow(move):
        query += f" AND backend_type = 'client backend' AND usename <> {sql(link.ROLE)} AND pid <> pg_backend_pid()"
    return query
