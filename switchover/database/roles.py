"""Roles that both databases need: the move's own, which may replicate, and those of others, which new gets from old."""

from __future__ import annotations

from pathlib import Path

from ..move import Move
from ..programs import programs
from ..quote import sh, sql
from ..resources import Command
from ..resources.postgres import PSQL, ask, says
from ..server import Server
from . import link

QUESTION = (Path(__file__).parent / "roles.sql").read_text()


def may_replicate(server: Server) -> Command:
    """*server*: the move's own role may replicate."""
    there = f"SELECT rolreplication FROM pg_roles WHERE rolname = {sql(link.ROLE)}"
    back = f"SELECT 'ALTER ROLE {link.ROLE} NOREPLICATION' WHERE EXISTS ({there}) \\gexec"
    alter = f"ALTER ROLE {link.ROLE} REPLICATION"
    undo = f"printf '%s\\n' {sh(back)} | {PSQL}"
    return Command(server, f"{PSQL} -c {sh(alter)}", undo, says(there, "t"), shown=alter)


def carried(move: Move) -> Command | None:
    """new: the roles of others that old's database knows (reports, integrations), with their passwords."""
    old, new = move.old, move.new
    question = ask(old.database.name, QUESTION, owner=old.database.owner, new_owner=new.database.owner)
    statements = old.look(question).out.splitlines()
    names = sorted({line.partition("\t")[0] for line in statements})
    if not names:
        return None
    listed = ", ".join(sql(name) for name in names)
    there = f"SELECT count(*) FROM pg_roles WHERE quote_ident(rolname) IN ({listed})"
    run, undo = (f"sh after/carried-roles {mode}" for mode in ("create", "drop"))
    shown = "\n".join(f"CREATE ROLE {name} (as on old, its password too: not shown)" for name in names)
    files = programs("carried-roles") | {"roles": "".join(f"{line}\n" for line in statements).encode()}
    return Command(new, run, undo, says(there, len(names)), shown, files=files)
