"""The copy of old's database to new: from one moment, before replication begins; or of all of it (`strategy: copy`)."""

from __future__ import annotations

from dataclasses import replace

from ..move import Move
from ..programs import programs
from ..quote import ident, sh, sql
from ..resources import Command, undone
from ..resources.postgres import PSQL
from ..server import Server
from . import proof
from .replication_status import FORWARD

PROGRAMS = ("copy-database", "database_copy.py", "servers.py", "refusals.py")


def before_move(server: Server) -> str:
    """The name under which new's database of before the move is kept."""
    return f"{server.database.name}_before_move"


def empty_database(new: Server) -> Command:
    """*new* has an empty database that nobody can use; the one of before is kept."""
    name, words = new.database.name, f"{sh(new.database.name)} {sh(new.database.owner)}"
    run, undo = (f"python3 -B after/copy-database {mode} {words}" for mode in ("fresh", "restore"))
    shown = f"{name} -> {before_move(new)}; CREATE DATABASE {name}"
    return Command(new, run, undo, shown=shown, files=programs(*PROGRAMS))


def first_copy(move: Move) -> list[Command]:
    """new: has every row as it was on old at one moment; old's slot keeps later changes."""
    old, new = move.old, move.new
    of_old, of_new = (f"{sh(server.database.name)} {sh(server.database.owner)}" for server in move.servers)
    # The slot is old's: its undo needs nobody else.
    dropped = undone(old, f"sh after/follow-database slot-gone {of_old}", f"the slot {FORWARD} is dropped")
    run, undo = (f"sh after/detached-copy {mode} {of_new}" for mode in ("begin", "end"))
    shown = f"{old.name}:{old.database.name} -> {new.database.name}, from the snapshot of the slot {FORWARD}"
    files = programs("detached-copy", "detached.sh", *PROGRAMS)
    return [replace(dropped, files=programs("follow-database")), Command(new, run, undo, shown=shown, files=files)]


def whole_copy(move: Move) -> Command:
    """new: its own database has all that old's has, and every row was compared; undone, the same the other way."""
    new, old = move.new, move.old
    name = sh(new.database.name)
    run = f"""
python3 -B after/copy-database here {name} {sh(new.database.owner)}
python3 -B after/prove still {name} 2
python3 -B after/copy-database open {name}
"""
    undo = f"sh after/copy-back {name} {sh(old.database.owner)}"
    shown = f"{old.name}:{old.database.name} -> {new.database.name} (what is there is kept: …_before_move)"
    return Command(new, run, undo, shown=shown, files=programs("copy-back", *PROGRAMS, *proof.PROGRAMS))


def closed(new: Server) -> Command:
    """*new*'s own database can be used by nobody while it is being filled, and on the way back."""
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = {sql(new.database.name)}"
    alter = f"ALTER DATABASE {ident(new.database.name)} CONNECTION LIMIT "
    run = f"[ -s before/limit ] || {PSQL} -c {sh(limit)} >before/limit\n{PSQL} -c {sh(f'{alter}0')}"
    undo = f'[ ! -s before/limit ] || {PSQL} -c {sh(alter)}"$(cat before/limit)"'
    return Command(new, run, undo, shown=f"{alter}0")
