"""What the operator sees: a line a step, diffs, progress, questions. Plain lines where there is no terminal."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from .outcome import Outcome
from .progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@cache
def console() -> Console:
    """The terminal, or the pipe in its place."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200)


def heading(name: str, doc: str) -> None:
    """The first line of a section."""
    _print((name, "bold"), f"  {doc}")


def note(text: str) -> None:
    """A line of explanation."""
    _print((f"  {text}", "dim"))


def to_stderr(text: str) -> None:
    """What is worth knowing beside what the command prints, which a program may read."""
    print(text, file=sys.stderr)


def outcome(kind: Outcome, doc: str, detail: str = "", seconds: float | None = None) -> None:
    """A line for a step: what became of it."""
    took = f"  {seconds:.1f} s" if seconds is not None and seconds >= 0.05 else ""
    more = f"  ({detail})" if detail else ""
    _print((f"  {kind.mark} ", kind.colour), doc, (more + took, "dim"))


def diff(text: str, where: str = "") -> None:
    """A change as a unified diff or as the exact commands, indented; *where* it would be made."""
    if where:
        _print((f"      {where}", "dim"))
    for line in text.rstrip("\n").splitlines():
        _print((f"      {line}", {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")))


def _print(*parts: str | tuple[str, str]) -> None:
    """A line of *parts*, each with its style or without."""
    from rich.text import Text

    console().print(Text.assemble(*parts))


def table(*columns: str, title: str | None = None) -> Table:
    """A table for the terminal, still without rows; columns of numbers, which are right-aligned, begin with `rows`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name.startswith("rows") else "left", overflow="fold")
    return table


def progress(title: str) -> Progress:
    """Shows how far long work is, in a `with` block: fed with the lines that a script on a server prints."""
    return Progress(title, console())


def ask(question: str) -> bool:
    """The operator's yes or no; no where nobody can answer."""
    if not sys.stdin or not sys.stdin.isatty():
        return False
    console().print(f"{question} [y/N] ", end="")
    try:
        return input().strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False
