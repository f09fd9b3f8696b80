"""The report of a rehearsal on the terminal."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import content
from .result import Rehearsal

AT_MOST = 20  # differences named
WIDE = 84  # columns of a terminal in which a table has all of its own
NARROW = ("took", "requests", "failed", "longest")


def console() -> Console:
    """The terminal; 100 columns of plain text where there is none."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=100)


def show(rehearsal: Rehearsal, to: Console, saved: str = "") -> None:
    """Prints the report: what visitors felt, what they were promised, and the judgement last, where the eye is."""
    data = rehearsal.as_json()
    undo = data["undo"]
    shown = content.FELT if to.width >= WIDE else NARROW
    felt = [
        [f"({row.name})" if row.quiet else row.name, *_cells(row, content.FELT, shown)] for row in content.felt(data)
    ]
    to.print()
    to.print(table("What visitors noticed", ("section", *shown), felt))
    rows = [[row.name, *_cells(row, content.PROMISED, content.PROMISED[:3])] for row in content.promised(data)]
    to.print(table("What the site had confirmed", ("", *content.PROMISED[:3]), rows))
    if undo["compared"]:
        to.print(Text.assemble(("After the undo", "bold"), f"  {undo['compared']} things of both servers compared"))
        to.print(_judged(content.Cell(f"  {undo['different']} different", undo["different"] == 0)))
        more = undo["different"] - AT_MOST
        named = [*undo["differences"][:AT_MOST], *([f"and {more} more, in report.json"] if more > 0 else [])]
        _points(to, named, "red")
        to.print(Text("  Left out of the comparison:", style="dim"))
        rules = [(rule["why"], ", ".join(rule["what"]).replace("file ", "")) for rule in undo["left_out"]]
        _points(to, [f"{why} ({what})" for why, what in rules], "dim")
        to.print()
    for heading, text in content.notes(data):
        to.print(Text(f"{heading}: {text}", style="dim"))
    to.print()
    if data["problems"]:
        to.print(Text("✗ This rehearsal failed.", style="bold red"))
        _points(to, data["problems"])
    else:
        for line in _good_news(data):
            to.print(Text(f"✓ {line}", style="bold green"))
    if saved:
        to.print(Text(f"  {saved}", style="dim"), soft_wrap=True)


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table: its first column are names, all others numbers. The last row may be the sum, called `all`."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        made.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for name, *cells in rows:
        if name == "all":
            made.add_section()
        style = "bold" if name == "all" else "dim" if str(name).startswith("(") else ""
        made.add_row(name, *cells, style=style)
    return made


def _cells(row: content.Row, headings: Sequence[str], shown: Sequence[str]) -> list[Text]:
    """The cells of a row that are below the *headings* that are *shown*; where it has less, fewer."""
    return [_judged(cell) for heading, cell in zip(headings, row.cells, strict=False) if heading in shown]


def _good_news(data: dict[str, Any]) -> list[str]:
    kept = ", ".join(f"{row.cells[0].text} {row.name}" for row in content.promised(data) if row.name != "cron runs")
    news = [f"{data['traffic']['requests']:,} requests, none failed.", f"{kept}: none lost, none twice."]
    for section in data["sections"]:
        if section["page_seconds"]:
            news.append(f"The maintenance page was up for {section['page_seconds']:.1f} s ({section['name']}).")
    if (hold := data["switch"]["hold_ms"]) is not None:
        switched = f"The database was switched in a hold of {content.ms(hold)}"
        if proof := data["switch"]["proof"]:
            switched += f"; {proof['rows']:,} rows of {proof['tables']} tables were equal at that moment"
        news.append(f"{switched}.")
    if compared := data["undo"]["compared"]:
        news.append(f"After the undo both servers are as they were: {compared:,} things compared.")
    return news


def _points(to: Console, lines: list[str], style: str = "") -> None:
    """Indented lines; on a terminal a line that is too long is wrapped below its own beginning."""
    if not to.is_terminal:
        for line in lines:
            to.print(Text(f"  · {line}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text("·", style), Text(line, style, overflow="fold"))
    to.print(Padding(grid, (0, 0, 0, 2)))


def _judged(cell: content.Cell) -> Text:
    return Text(cell.text, style={None: "", True: "green", False: "bold red"}[cell.good])
