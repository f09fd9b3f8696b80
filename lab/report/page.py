"""The report of a rehearsal as a page for people: one file that fetches nothing, readable on a phone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jinja2

from lab.report import charts
from lab.report.result import Rehearsal
from lab.report.timeline import timeline

TEMPLATES = Path(__file__).parent


def page(found: Rehearsal) -> str:
    """The page, from the same numbers as report.json."""
    data = found.as_json()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, seconds=_seconds, ms=_ms, clock=_clock)
    return environment.get_template("report.html.j2").render(
        data,
        picture=charts.picture(timeline(found)) if data["traffic"]["requests"] else None,
        rows=_rows(data),
        pages=[section for section in data["sections"] if section["page_seconds"]],
        undone=bool(data["undo"]["compared"]),
    )


def _rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """All spans of time in order; the sections have the number that the picture shows."""
    numbers = {id(section): number for number, section in enumerate(data["sections"], 1)}
    spans = sorted(data["sections"] + data["quiet"], key=lambda span: span["started"])
    return [span | {"number": numbers.get(id(span))} for span in spans]


def _number(value: int) -> str:
    return f"{value:,}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def _clock(value: float) -> str:
    return time.strftime("%-d %B %Y, %H:%M UTC", time.gmtime(value))
