"""`inv render`: every template as it would be on the servers. It only looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.tasks import task

from .. import output
from ..checklist import WHOLE
from ..outcome import Outcome
from ..resources import File
from ..verb import verb
from .preview import line


@task(help={"to": "a directory to write the files to, as old/etc/… and new/etc/…"})
def render(context: Any, to: str = "") -> None:
    """Both servers: every template as it would be there, and the difference from what is there. Only looks."""
    with verb(context, preview=True) as move:
        for whole in WHOLE:
            for one in whole.steps_of(move):
                seen = line(move, one)
                if seen.way:
                    output.outcome(Outcome.NOTE, f"{one.line}: cannot be rendered yet", seen.way)
                for file in seen.files:
                    _show(file, to)


def _show(file: File, to: str) -> None:
    change = file.change()
    output.outcome(
        Outcome.WOULD if change else Outcome.ALREADY, f"{file.server.role}: {file.path}", "" if change else "already so"
    )
    if change:
        output.diff(change.diff)
    if to and not file.secret:
        path = Path(to) / file.server.role / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
