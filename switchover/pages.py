"""What would be done, to read: `inv plan` the whole move, `inv render` every template. Both only look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke.tasks import task

from . import move as moves
from . import say
from .desired import Resource
from .errors import Problem
from .journal import Change
from .move import Move
from .outcome import Outcome
from .overview import WHOLE
from .resources import File
from .step import Step, for_people


@dataclass(frozen=True)
class Line:
    """A step as it stands: *changes* by server, *files* that it would put there, *way*: what is in the way."""

    step: Step
    changes: tuple[tuple[str, Change], ...] = ()
    looks: int = 0
    files: tuple[File, ...] = ()
    way: str = ""
    done: str = ""


@task(help={"to": "a file to write the page to, instead of the terminal"})
def plan(context: Any, to: str = "") -> None:
    """Both servers: the exact commands and diffs of the whole move as a page to read (Markdown). Only looks."""
    with for_people():
        _write(to, "\n".join(_page(_dry(context))))


@task(help={"to": "a directory to write the files to, as old/etc/… and new/etc/…"})
def render(context: Any, to: str = "") -> None:
    """Both servers: every template as it would be there, and the difference from what is there. Only looks."""
    with for_people():
        move = _dry(context)
        for whole in WHOLE:
            for one in whole.steps_of(move):
                line = _line(move, one)
                if line.way:
                    say.outcome(Outcome.NOTE, f"{one.line}: cannot be rendered yet", line.way)
                for file in line.files:
                    _show(file, to)


def _dry(context: Any) -> Move:
    context.config.run.dry = True  # whatever follows, the door is shut
    return moves.of(context)


def _show(file: File, to: str) -> None:
    change = file.change()
    say.outcome(
        Outcome.WOULD if change else Outcome.ALREADY, f"{file.server.role}: {file.path}", "" if change else "already so"
    )
    if change:
        say.diff(change.diff)
    if to and not file.secret:
        path = Path(to) / file.server.role / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)


def _line(move: Move, one: Step) -> Line:
    entries = [e for e in move.journal.entries if e.step == one.line and e.state == "done"]
    done = f"{entries[-1].when} by {entries[-1].who}" if entries else ""
    try:
        wanted = one.wanted(move)
        resources = [w for w in wanted if isinstance(w, Resource)]
        files = tuple(w for w in resources if isinstance(w, File))
        found = [] if done else [(str(w.server), w.change()) for w in resources]
    except Problem as problem:
        return Line(one, way=problem.what.splitlines()[0], done=done)
    changes = tuple((server, change) for server, change in found if change is not None)
    if changes:
        move.would_change.add(one.line)
    return Line(one, changes, len(wanted) - len(resources), files, done=done)


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
            yield from _described(_line(move, one))


def _described(line: Line) -> Iterator[str]:
    yield f"### {line.step.summary}\n"
    state = f"Done {line.done}." if line.done else f"Cannot be told yet: {line.way}." if line.way else ""
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
    say.outcome(Outcome.NOTE, f"written: {to}")
