"""The report of a rehearsal as a page for people: one file that fetches nothing, readable on a phone."""

import time
from pathlib import Path

from ..texts import render
from . import charts, content
from .result import Rehearsal
from .timeline import timeline


def page(found: Rehearsal) -> str:
    """The page, from the same numbers as report.json."""
    data = found.as_json()
    *rows, total = content.felt(data)
    return render(
        Path(__file__).with_name("report.html.j2"),
        **data,
        line=timeline(found),
        picture=charts.picture,
        content=content,
        rows=rows,
        total=total,
        promises=content.promised(data),
        notes=content.notes(data),
        pages=[section for section in data["sections"] if section["page_seconds"]],
        undone=bool(data["undo"]["compared"]),
        clock=lambda value: time.strftime("%-d %B %Y, %H:%M UTC", time.gmtime(value)),
        **content.FILTERS,
    )
