"""`inv plan`: what the whole move would do, to read. It only looks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invoke.tasks import task

from .. import output
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..verb import verb
from .preview import Preview, sections


@task(help={"to": "a file to write the page to, instead of the terminal"})
def plan(context: Any, to: str = "") -> None:
    """Both servers: the exact commands and diffs of the whole move as a page to read (Markdown). Changes nothing."""
    with verb(context, preview=True) as move:
        page = "\n".join(_page(move))
        if not to:
            print(page)
            return
        try:
            Path(to).write_text(page + "\n", encoding="utf-8")
        except OSError as error:
            raise Problem(f"cannot be written ({error.strerror})", to, "Choose another file") from None
        output.outcome(Outcome.NOTE, f"written: {to}")


def _page(move: Move) -> Iterator[str]:
    yield f"# Moving {move.settings.domain}: {move.old.name} → {move.new.name}\n"
    yield "What each command does, line by line. `inv status` recognises what was done by hand, and leaves it alone.\n"
    for section, previews in sections(move):
        yield f"## {section.summary}\n"
        yield f"`inv {section.name}`. {section.changes}. {section.undoing}\n"
        yield f"Visitors: {section.visitors}\n"
        for preview in previews:
            yield from _described(preview)


def _described(preview: Preview) -> Iterator[str]:
    yield f"### {preview.step.summary}\n"
    state = f"Done {preview.done}." if preview.done else preview.nothing
    if preview.obstacle and not preview.done:
        state = f"Not known yet: {preview.obstacle}."
    if not state and not preview.changes:
        state = "Looks, and changes nothing." if preview.looks else "True now; the steps above may change that."
    yield f"`inv {preview.step.line}`{'. ' + state if state else ''}\n"
    for server, change in preview.changes:
        summed_up = bool(change.commands) and change.commands.strip() != change.diff.strip()
        fence = "diff" if change.diff.startswith("---") else "text" if summed_up else "sh"
        yield f"On {server}:\n\n```{fence}\n{change.diff.rstrip()}\n```\n"
        if summed_up:
            yield f"As commands:\n\n```sh\n{change.commands.strip()}\n```\n"
