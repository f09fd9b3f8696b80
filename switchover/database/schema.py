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
Lines = set[tuple[str, ...]]


def differences(move: Move) -> list[str]:
    """What one database has and the other has not, or has differently; a line each, without new's database too."""
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(_lines, move.servers)
    return compare(old, new)


def compare(old: Lines, new: Lines) -> list[str]:
    """The differences between two answers to schema.sql, in words."""
    on_old, on_new = _by_part(old), _by_part(new)
    differences, alone = [], {key[:2] for key in on_old.keys() ^ on_new.keys() if key[0] in ("table", "view")}
    for key in sorted(on_old.keys() | on_new.keys()):
        kind, name, part = key
        ours, theirs = on_old.get(key), on_new.get(key)
        # A table that is missing stands for all of its columns and indexes.
        if ours == theirs or (part and alone & {("table", name), ("view", name)}):
            continue
        what = f"the {kind} {_plain(name)}" + (f".{part}" if kind == "column" else f" {part}" if part else "")
        more = f" ({ours or theirs})" if kind == "column" else ""
        if ours is not None and theirs is not None:
            differences.append(f"{what} is {ours} on old, {theirs} on new")
        else:
            there, lacks = ("old", "new") if theirs is None else ("new", "old")
            differences.append(f"{what}{more} is on {there} and not on {lacks}")
    missing = {name for _, name in alone}
    later = sorted(line[1] for line in old if line[0] == "unpublished" and line[1] not in missing)
    newer = "is newer than the publication: it is not replicated"
    return differences + [f"the table {_plain(name)} {newer}" for name in later]


def parse(out: str) -> Lines:
    """The lines that psql printed."""
    return {tuple(line.split("\t", 3)) for line in out.splitlines() if "\t" in line}


def _by_part(lines: Lines) -> dict[tuple[str, str, str], str]:
    whole = ((*line, "", "", "")[:4] for line in lines if line[0] != "unpublished")
    return {(kind, name, part): definition for kind, name, part, definition in whole}


def _plain(name: str) -> str:
    return name.removeprefix("public.")


def _lines(server: Server) -> Lines:
    answer = server.look(ask(server.database.name, QUESTION), check=False)
    if answer.status != 0:
        raise Problem(f"its schema cannot be read ({answer.last_error})", str(server), "Check that PostgreSQL runs")
    return parse(answer.out)
