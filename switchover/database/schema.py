"""Whether both databases have the same tables, columns, constraints, indexes, sequences and types.

DDL is not replicated. What somebody changed by hand on one side is named, with what to do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import Problem
from ..move import Move
from ..resources.postgres import ask
from ..server import Server

QUESTION = (Path(__file__).parent / "schema.sql").read_text()
# Of old: tables that no publication of ours names, so that their rows do not come.
UNPUBLISHED = """
SELECT 'unfollowed' || E'\\t' || format('%I.%I', nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't'
  AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'switchover', 'switchover_own')
  AND EXISTS (SELECT FROM pg_publication WHERE pubname = 'switchover')
  AND NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid
    WHERE prrelid = c.oid AND pubname = 'switchover')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e');
"""
Lines = set[tuple[str, ...]]


def differences(move: Move) -> list[str]:
    """What one database has and the other has not, or has differently; a line each, without new's database too."""
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(_lines, move.servers, (QUESTION + UNPUBLISHED, QUESTION))
    return compare(old, new)


def compare(old: Lines, new: Lines) -> list[str]:
    """The differences between two answers to schema.sql, in words."""
    there, here = _by_thing(old), _by_thing(new)
    found, alone = [], {k[:2] for k in there.keys() ^ here.keys() if k[0] in ("table", "view")}
    for key in sorted(there.keys() | here.keys()):
        kind, name, part = key
        one, two = there.get(key), here.get(key)
        # A table that is missing stands for all of its columns and indexes.
        if one == two or (part and alone & {("table", name), ("view", name)}):
            continue
        what = f"the {kind} {_plain(name)}" + (f".{part}" if kind == "column" else f" {part}" if part else "")
        if one is not None and two is not None:
            found.append(f"{what} is {one} on old, {two} on new")
            continue
        more = f" ({one or two})" if kind == "column" else ""
        found.append(
            f"{what}{more} is on old and not on new" if two is None else f"{what}{more} is on new and not on old"
        )
    missing = {name for _, name in alone}
    since = sorted(line[1] for line in old if line[0] == "unfollowed" and line[1] not in missing)
    return found + [f"the table {_plain(name)} came since and is not followed" for name in since]


def parse(out: str) -> Lines:
    """The lines that psql printed."""
    return {tuple(line.split("\t", 3)) for line in out.splitlines() if "\t" in line}


def _by_thing(lines: Lines) -> dict[tuple[str, str, str], str]:
    whole = ((*line, "", "", "")[:4] for line in lines if line[0] != "unfollowed")
    return {(kind, name, part): said for kind, name, part, said in whole}


def _plain(name: str) -> str:
    return name.removeprefix("public.")


def _lines(server: Server, question: str) -> Lines:
    answer = server.look(ask(server.database.name, question), check=False)
    if answer.status != 0:
        raise Problem(f"its schema cannot be read ({answer.last_error})", str(server), "See that PostgreSQL answers")
    return parse(answer.out)
