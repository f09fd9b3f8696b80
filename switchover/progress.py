"""Progress of long work: a bar with a rate and a remaining time on a terminal, plain lines where there is none.

A script on a server reports with lines `progress DONE TOTAL UNIT` (UNIT: bytes, files, rows, seconds), and says with
`doing WHAT` what it is at; a line `note TEXT` is for the operator and stays, and so does `warn TEXT`, which asks for
somebody to look into it; anything else it prints is not progress.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 5.0  # seconds between two plain lines


class Progress:
    """One bar. It appears with the first report, so what is quick stays silent."""

    def __init__(self, title: str, console: Console) -> None:
        self.title, self._console = title, console
        self._bar: Any = None
        self._task: Any = None
        self._unit = self._doing = ""
        self._notes: dict[str, None] = {}  # each once, in order
        self.warnings: dict[str, None] = {}
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        for texts, mark, style in ((self._notes, "·", "dim"), (self.warnings, "!", "bold red")):
            for text in texts:
                self._console.print(f"  {mark} {text}", style=style, markup=False, highlight=False)

    def line(self, text: str) -> None:
        """One line that a script printed."""
        match text.split():
            case ["note", *words]:
                self._notes[" ".join(words)] = None
            case ["warn", *words]:
                self.warnings[" ".join(words)] = None
            case ["doing", *words]:
                self._doing = " ".join(words)
            case ["progress", done, total, unit] if done.isdigit() and total.isdigit():
                self.report(int(done), int(total), unit)

    def report(self, done: int, total: int, unit: str = "") -> None:
        """*done* of *total* so far."""
        if self._console.is_terminal:
            self._draw(done, total, unit)
        elif time.monotonic() - self._last >= PATIENCE or (done >= total and self._last > self._start):
            self._last = time.monotonic()
            doing = f" ({self._doing})" if self._doing else ""
            so_far = plain(done, total, unit, self._last - self._start)
            self._console.print(f"      {self.title}: {so_far}{doing}", markup=False)

    def _draw(self, done: int, total: int, unit: str) -> None:
        if self._bar is not None and unit != self._unit:  # the next part of the work
            self._bar.stop()
            self._bar = None
        if self._bar is None:
            from rich import progress as rich

            columns: list[Any] = [rich.SpinnerColumn(), rich.TextColumn("{task.fields[text]}")]
            if unit != "seconds":  # which are a wait, whose end nobody knows
                amount = rich.DownloadColumn() if unit == "bytes" else rich.MofNCompleteColumn()
                rate = rich.TransferSpeedColumn() if unit == "bytes" else rich.TextColumn("{task.fields[text]}")
                columns = [rich.BarColumn(bar_width=24), amount, rate, rich.TimeRemainingColumn()]
            title = rich.TextColumn("      {task.description}", markup=False)
            doing = rich.TextColumn("{task.fields[doing]}", markup=False)
            self._bar = rich.Progress(title, *columns, doing, console=self._console, transient=True)
            self._task = self._bar.add_task(self.title, total=total or None, text="", doing="")
            self._bar.start()
            self._unit = unit
        speed = self._bar.tasks[0].speed
        text = plain(done, total, unit, 0) if unit == "seconds" else f"{size(speed, unit)}/s" if speed else ""
        self._bar.update(self._task, completed=done, total=max(total, done) or None, text=text, doing=self._doing)


def plain(done: int, total: int, unit: str, seconds: float) -> str:
    """One line for people: how much of how much, how fast, how long still (seconds)."""
    if unit == "seconds":
        return f"waiting for {done} s, {total} s at most"
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if rate > 0 and total > done else ""
    share = f" ({100 * done // total} %)" if total else ""
    return f"{size(done, unit)} of {size(total, unit)}{share}, {size(rate, unit)}/s{left}"


def size(amount: float, unit: str) -> str:
    """*amount* with its unit; bytes as MB."""
    if unit == "bytes":
        return f"{amount / 1e6:.1f} MB"
    return f"{amount:.0f} {unit}".rstrip()
