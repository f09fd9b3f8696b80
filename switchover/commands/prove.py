"""`inv prove`: shows whether every row of every table is the same on both servers, while visitors write.

`--files` compares the uploads too, by checksum.
"""

import json as library
from collections.abc import Iterator
from typing import Any

from invoke.tasks import task

from .. import output
from ..database import proof as proofs
from ..database.proof import Proof
from ..errors import Problem
from ..findings import listed
from ..move import Move
from ..outcome import Outcome
from ..verb import verb


@task(
    help={
        "files": "the uploads too, by checksum",
        "jobs": "sessions that read on each server; 1 slows visitors least",
        "json": "for programs",
    }
)
def prove(context: Any, files: bool = False, jobs: int = 1, json: bool = False) -> None:
    """Both servers: is every row of every table the same, while new follows? Visitors keep working."""
    with verb(context) as move:
        _refuse(move, jobs)
        if not json:
            output.heading("prove", "compares every row of every table on both servers; nothing is changed")
        if move.dry:
            output.note("Would take a pair of snapshots, in a hold of some milliseconds if need be, and read all rows.")
            return
        with move.lock("prove"):
            with output.progress("prove") as shown:
                proof = proofs.compare(move, jobs, None if json else shown.line)
            for uploads in move.settings.uploads if files else ():
                with output.progress(f"prove --files {uploads.source}") as shown:
                    proof.files.append(proofs.compare_uploads(move, uploads, None if json else shown.report))
        if json:
            print(library.dumps(proof.as_json(), ensure_ascii=False, indent=1))
        else:
            _show(proof)
        if proof.different:
            what = f"{len(proof.different)} differ: {listed(proof.different)}"
            raise Problem(what, "", "Find out who wrote there; docs/proof.md says how")


def _refuse(move: Move, jobs: int) -> None:
    if not 1 <= jobs <= 16:
        raise Problem("--jobs is from 1 to 16")
    if move.settings.strategy != "replicate":
        what = "no replication (strategy: copy): `inv switch-db` compares all rows itself, under its page"
        raise Problem(what, "", "With `strategy: replicate` in the settings, `inv prove` works at any time")


def _show(proof: Proof) -> None:
    from rich.text import Text

    shown = output.table("table", "rows on old", "rows on new", "equal")
    for table in proof.tables:
        counts = ["none" if table[side] is None else f"{table[side]:,}" for side in ("old", "new")]
        shown.add_row(Text(table["table"]), *counts, "✓" if table["equal"] else Text(f"✗ {table['why']}", style="red"))
    output.console().print(shown)
    for line in _differences(proof):
        output.outcome(Outcome.FAILED, line)
    bad = sum(not table["equal"] for table in proof.tables)
    rate = f", {proof.rows / proof.seconds:,.0f} rows/s" if proof.seconds >= 1 else ""
    waited = f"visitors waited for {proof.pinned['hold_ms']} ms" if proof.pinned["held"] else "nobody had to wait"
    result = f"{bad} of {len(proof.tables)} tables differ" if bad else f"{len(proof.tables)} tables are equal"
    detail = f"{proof.seconds:.1f} s{rate}; {waited}"
    output.outcome(Outcome.FAILED if bad else Outcome.SEEN, f"{result}, {proof.rows:,} rows", detail)
    both = [sequence for sequence in proof.sequences if sequence["equal"]]
    behind = sum(sequence["old"] != sequence["new"] for sequence in both)
    note = f"; {behind} get their last value in the switch" if behind else ""
    output.outcome(Outcome.SEEN, f"{len(both)} sequences on both{note}")
    for uploads in proof.files:
        more = f", {len(uploads.more)} on new alone" if uploads.more else ""
        good = Outcome.SEEN if uploads.equal else Outcome.FAILED
        output.outcome(good, f"{uploads.directory}: {len(uploads.old):,} files on old{more}")


def _differences(proof: Proof) -> Iterator[str]:
    """A line for each row, sequence, file and piece of the schema that differs."""
    where = {"both": "is not the same on both", "old": "is on old alone", "new": "is on new alone"}
    for table in proof.tables:
        name, more = table["table"], table["more"]
        for row in table["keys"]:
            key = ", ".join(f"{column} {value}" for column, value in row["key"].items())
            yield f"{name}: {key} {where[row['on']]}"
        if more:
            buckets, of = more["buckets"], more["of"]
            part = f" in {buckets} of the {of} parts that differ" if buckets != of else ""
            yield f"{name}: {more['keys']:,} rows differ{part}; the first are named"
    for sequence in proof.sequences:
        if not sequence["equal"]:
            yield f"sequence {sequence['sequence']}: {sequence['old']} on old, {sequence['new']} on new"
    yield from proof.schema
    for uploads in proof.files:
        kinds = [("is not the same on both", uploads.other), ("is not on new", uploads.missing)]
        kinds += [] if uploads.ahead else [("is on new alone", uploads.more)]
        for words, names in kinds:
            yield from (f"{uploads.directory}{name} {words}" for name in names[:20])
            if len(names) > 20:
                yield f"{uploads.directory}: {len(names) - 20:,} more like that"
