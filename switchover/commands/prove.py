"""`inv prove`: every row of every table on both sides, from a pair of consistent snapshots, while visitors go on.

The work is done by scripts/server/prove on new; here its answer is shown. `--files` compares the uploads too, by
checksum.
"""

from __future__ import annotations

import json as library
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from invoke.tasks import task

from .. import move as moves
from .. import output
from ..database import replication_status
from ..database.proof import Proof, Uploads, parse
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..programs import programs, unpacked
from ..progress import Progress
from ..quote import sh
from ..server import Server
from ..step import for_people

PROGRAMS = ("prove", "prove.sql", "database.sh", "pins.sh", "hold.sh")
DIFFERENT = 4  # the program's exit status


@task(
    help={
        "files": "the uploads too, by checksum",
        "jobs": "how many sessions read on each server; with 1 visitors feel it least",
        "json": "for programs",
    }
)
def prove(context: Any, files: bool = False, jobs: int = 1, json: bool = False) -> None:
    """Both servers: is every row of every table the same, while new follows? Visitors go on; nothing stays."""
    with for_people():
        move = moves.of(context)
        _refuse(move, jobs)
        if not json:
            output.heading("prove", "compares every row of every table on both servers; nothing is changed")
        if move.dry:
            output.note(
                "Would pin a pair of snapshots, in a hold of some milliseconds where it takes one, and read all rows."
            )
            return
        with move.lock("prove"):
            proof = _rows(move, jobs, silent=json)
            if files:
                proof.files = _files(move, silent=json)
        if json:
            print(library.dumps(proof.as_json(), ensure_ascii=False, indent=1))
        else:
            _show(proof)
        if proof.different:
            names = ", ".join(proof.different[:5]) + (" …" if len(proof.different) > 5 else "")
            raise Problem(
                f"{len(proof.different)} differ: {names}", "", "Find out who wrote there; docs/proof.md says how"
            )


def _refuse(move: Move, jobs: int) -> None:
    if not 1 <= jobs <= 16:
        raise Problem("--jobs is from 1 to 16")
    if move.settings.strategy != "replicate":
        raise Problem(
            "nothing follows here (strategy: copy): `inv switch-db` compares all rows by itself, under its page", "",
            "With `strategy: replicate` in the settings it can be proved at any time",
        )  # fmt: skip


def _rows(move: Move, jobs: int, *, silent: bool) -> Proof:
    found = replication_status.look(move)
    if found is None:
        raise Problem("new's database does not follow old's yet", str(move.new), "Run: inv replicate")
    pgbouncer = move.settings.pgbouncer
    words = ["pinned", move.new.database.name, jobs, pgbouncer.port, pgbouncer.pool]
    with output.progress("prove") as shown:
        answer = move.new.change(program(PROGRAMS, words), on_line=None if silent else shown.line)
    if answer.status not in (0, DIFFERENT) or not parse(answer.out).tables:
        why = replication_status.in_words(found.differences) if found.differences else answer.last_error
        raise Problem(f"the databases could not be compared: {why}", str(move.new), "Nothing was left behind")
    proof = parse(answer.out)
    proof.schema = list(found.differences)
    return proof


def program(names: tuple[str, ...], words: list[Any]) -> str:
    """sh that lays programs of `scripts/` into a directory for the time of it, and runs the first with *words*."""
    lines = ["d=$(mktemp -d) || exit 1"]
    lines += [unpacked(data, f'"$d"/{sh(name)}') for name, data in programs(*names).items()]
    lines += [f'sh "$d"/{sh(names[0])} {" ".join(map(sh, words))}', "status=$?", 'rm -rf "$d"', "exit $status"]
    return "\n".join(lines)


# Names may hold anything but NUL: a line break travels as \1.
CHECKSUMS = r"""
cd {directory} 2>/dev/null || exit 0
echo "total $(find . -type f -printf x | wc -c)"
find . -type f -print0 | LC_ALL=C sort -z | nice -n 19 ionice -c 3 xargs -0 -r -n 50 sha256sum -z -- 2>/dev/null |
  stdbuf -oL tr '\n\0' '\1\n'
"""


def _files(move: Move, *, silent: bool) -> list[Uploads]:
    """Every directory of uploads, each file by its checksum, on both servers at once."""
    ahead = bool(move.journal.active("switch-app"))
    found = []
    for upload in move.settings.uploads:
        paths = (move.old.in_app(upload.source), move.new.in_app(upload.target))
        with output.progress(f"prove --files {upload.source}") as shown, ThreadPoolExecutor(2) as pool:
            counted = _Counted(None if silent else shown)
            old, new = pool.map(_sums, move.servers, paths, (counted, counted))
        found.append(Uploads(upload.source, old, new, ahead))
    return found


class _Counted:
    """Files read so far, on both servers."""

    def __init__(self, shown: Progress | None) -> None:
        self.shown, self.done, self.total, self._lock = shown, 0, 0, Lock()

    def line(self, text: str) -> None:
        with self._lock:
            if text.startswith("total "):
                self.total += int(text.split()[1])
            else:
                self.done += 1
                if self.shown:
                    self.shown.report(self.done, self.total, "files")


def _sums(server: Server, directory: str, counted: _Counted) -> dict[str, str]:
    answer = server.look(CHECKSUMS.format(directory=sh(directory)), on_line=counted.line)
    pairs = (line.split("  ./", 1) for line in answer.out.splitlines() if "  ./" in line)
    return {name: checksum for checksum, name in pairs}


def _show(proof: Proof) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("table", "rows on old", "rows on new", "equal"):
        table.add_column(name, justify="right" if name.startswith("rows") else "left", overflow="fold")
    for one in proof.tables:
        counts = ["none" if one[side] is None else f"{one[side]:,}" for side in ("old", "new")]
        table.add_row(Text(one["table"]), *counts, "✓" if one["equal"] else Text(f"✗ {one['why']}", style="red"))
    output.console().print(table)
    for line in _differences(proof):
        output.outcome(Outcome.FAILED, line)
    bad = sum(not one["equal"] for one in proof.tables)
    seconds = proof.took.get("ms", 0) / 1000
    rate = f", {proof.rows / seconds:,.0f} rows/s" if seconds >= 1 else ""
    held = proof.pinned.get("held", 0)
    waited = f"visitors waited for {proof.pinned['hold_ms']} ms" if held else "nobody had to wait"
    result = f"{bad} of {len(proof.tables)} tables differ" if bad else f"{len(proof.tables)} tables are equal"
    output.outcome(
        Outcome.FAILED if bad else Outcome.SEEN, f"{result}, {proof.rows:,} rows", f"{seconds:.1f} s{rate}; {waited}"
    )
    behind = sum(one["old"] != one["new"] for one in proof.sequences if one["equal"])
    note = f"; {behind} get their last value in the switch" if behind else ""
    both = sum(one["equal"] for one in proof.sequences)
    output.outcome(Outcome.SEEN, f"{both} sequences on both{note}")
    for uploads in proof.files:
        more = f", {len(uploads.more)} on new alone" if uploads.more else ""
        good = Outcome.SEEN if uploads.equal else Outcome.FAILED
        output.outcome(good, f"{uploads.directory}: {len(uploads.old):,} files on old{more}")


def _differences(proof: Proof) -> Iterator[str]:
    """A line for each row, sequence, file and piece of the schema that differs."""
    where = {"both": "is not the same on both", "old": "is on old alone", "new": "is on new alone"}
    for table in dict.fromkeys(one["table"] for one in proof.keys):
        for one in (key for key in proof.keys if key["table"] == table):
            yield f"{table}: {', '.join(f'{name} {value}' for name, value in one['key'].items())} {where[one['on']]}"
        for one in (more for more in proof.more if more["table"] == table):
            part = "" if one["buckets"] == one["of"] else f" in {one['buckets']} of the {one['of']} parts that differ"
            yield f"{table}: {one['keys']:,} rows differ{part}; the first are named"
    for one in proof.sequences:
        if not one["equal"]:
            yield f"sequence {one['sequence']}: {one['old']} on old, {one['new']} on new"
    yield from proof.schema
    for uploads in proof.files:
        kinds = [("is not the same on both", uploads.other), ("is not on new", uploads.missing)]
        kinds += [] if uploads.ahead else [("is on new alone", uploads.more)]
        for words, names in kinds:
            yield from (f"{uploads.directory}{name} {words}" for name in names[:20])
            if len(names) > 20:
                yield f"{uploads.directory}: {len(names) - 20:,} more like that"
