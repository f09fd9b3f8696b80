"""What the report says, from the numbers of report.json: once for the terminal and for the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..texts import render

FELT = ("took", "requests", "failed", "page seen", "usual", "99 of 100", "longest")
PROMISED = ("confirmed", "lost", "twice", "where")


@dataclass(frozen=True)
class Cell:
    """Of a table. *good*: None where there is nothing to judge."""

    text: str
    good: bool | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table; *number*: of a section, as the picture has it. *notes*: small print below its name."""

    name: str
    cells: tuple[Cell, ...]
    number: int | None = None
    notes: tuple[str, ...] = ()
    quiet: bool = False  # between two sections


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def ms(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


FILTERS = {"seconds": seconds, "ms": ms, "number": "{:,}".format}  # of the report's templates


def judged(count: int) -> Cell:
    """A number that shall be 0."""
    return Cell(f"{count:,}", count == 0)


def felt(data: dict[str, Any]) -> list[Row]:
    """What visitors felt: a row for each stretch of time, in order, and the last one for all of them (`FELT`)."""
    numbers = {id(section): number for number, section in enumerate(data["sections"], 1)}
    rows = []
    for span in sorted(data["sections"] + data["quiet"], key=lambda span: span["started"]):
        notes = [span["title"], f"Visitors: {span['promised']}" if span["promised"] else ""]
        number = numbers.get(id(span))
        rows.append(Row(span["name"], _felt(span), number, tuple(filter(None, notes)), quiet=number is None))
    page = sum(section["page_seconds"] for section in data["sections"])
    return [*rows, Row("all", _felt(data["traffic"] | {"page_seconds": page}))]


def _felt(span: dict[str, Any]) -> tuple[Cell, ...]:
    took, requests = Cell(seconds(span["seconds"])), Cell(f"{span['requests']:,}")
    if not span["requests"]:
        return took, requests
    page = f"{span['page']:,} in {seconds(span['page_seconds'])}" if span["page"] else ""
    times = [Cell(ms(span[key])) for key in ("p50_ms", "p99_ms", "longest_ms")]
    return (took, requests, judged(span["failed"]), Cell(page), *times)


def promised(data: dict[str, Any]) -> list[Row]:
    """What became of what visitors were promised (`PROMISED`)."""
    orders, jobs, cron = data["orders"], data["jobs"], data["cron"]
    by_database = {f"in {server}'s database": count for server, count in orders["by_database"].items()}
    rows = [
        ("orders", orders["acknowledged"], orders["lost"], orders["duplicated"], _counts(by_database)),
        ("jobs", jobs["expected"], jobs["never_ran"], jobs["ran_twice"], _counts(jobs["by_host"], "on ")),
        ("cron runs", cron["expected"], cron["missed"], cron["ran_twice"], _counts(cron["by_host"], "on ")),
        ("uploads", data["uploads"]["acknowledged"], data["uploads"]["lost"], None, "compared byte by byte"),
        ("sessions", data["sessions"]["checked"], data["sessions"]["lost"], None, "asked for again after the move"),
    ]
    return [
        Row(name, (Cell(f"{count:,}"), judged(lost), Cell("") if twice is None else judged(twice), Cell(where)))
        for name, count, lost, twice, where in rows
    ]


def _counts(counts: dict[str, int], before: str = "") -> str:
    return ", ".join(f"{count:,} {before}{name}" for name, count in counts.items() if count)


def notes(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What happened besides, and what explains the numbers: a heading and a text each."""
    text = render(Path(__file__).with_name("notes.txt.j2"), **data, **FILTERS)
    return [(heading, note) for heading, _, note in (line.partition(": ") for line in text.splitlines() if line)]
