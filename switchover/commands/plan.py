"""`inv plan`: what the whole move would do, to read. It only looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invoke.tasks import task

from .. import output
from ..checklist import WHOLE
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..verb import verb
from .preview import Line, line


@task(help={"to": "a file to write the page to, instead of the terminal"})
def plan(context: Any, to: str = "") -> None:
    """Both servers: the exact commands and diffs of the whole move as a page to read (Markdown). Only looks."""
    with verb(context, preview=True) as move:
        _write(to, "\n".join(_page(move)))


def _page(move: Move) -> Iterator[str]:
    yield f"# Moving {move.settings.domain}: {move.old.name} → {move.new.name}\n"
    yield "What each command does, line by line. A line done by hand is found by `inv status`, and left alone.\n"
    for whole in WHOLE:
        steps = whole.steps_of(move)
        if not steps:
            continue
        yield f"## {whole.summary}\n"
        yield f"`inv {whole.name}`. {whole.changes}. {whole.undoing}\n"
        yield f"Visitors: {whole.visitors}\n"
        for one in steps:
            yield from _described(line(move, one))


def _described(line: Line) -> Iterator[str]:
    yield f"### {line.step.summary}\n"
    state = f"Done {line.done}." if line.done else f"Cannot be told yet: {line.way}." if line.way else ""
    state = state or line.nothing
    if not state and not line.changes:
        state = "Looks, and changes nothing." if line.looks else "True now; the steps above may change that."
    yield f"`inv {line.step.line}`{'. ' + state if state else ''}\n"
    for server, change in line.changes:
        summed_up = bool(change.commands) and change.commands.strip() != change.diff.strip()
        fence = "diff" if change.diff.startswith("---") else "text" if summed_up else "sh"
        yield f"On {server}:\n\n```{fence}\n{change.diff.rstrip()}\n```\n"
        if summed_up:
            yield f"As commands:\n\n```sh\n{change.commands.strip()}\n```\n"


def _write(to: str, text: str) -> None:
    if not to:
        print(text)
        return
    try:
        Path(to).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Problem(f"cannot be written ({error.strerror})", to, "Choose another file") from None
    output.outcome(Outcome.NOTE, f"written: {to}")
