"""`inv render`: every template as it would be on the servers. It only looks."""

from pathlib import Path
from typing import Any

from invoke.tasks import task

from .. import output
from ..outcome import Outcome
from ..resources import File
from ..verb import verb
from .preview import sections


@task(help={"to": "a directory to write the files to, as old/etc/… and new/etc/…"})
def render(context: Any, to: str = "") -> None:
    """Both servers: every template as it would be there, and the difference from the file there. Only looks."""
    with verb(context, preview=True) as move:
        for _, previews in sections(move):
            for preview in previews:
                if preview.obstacle:
                    output.outcome(Outcome.NOTE, f"{preview.step.line}: cannot be rendered yet", preview.obstacle)
                for file in preview.files:
                    _show(file, to)


def _show(file: File, to: str) -> None:
    change = file.change()
    mark, detail = (Outcome.WOULD, "") if change else (Outcome.ALREADY, "already so")
    output.outcome(mark, f"{file.server.role}: {file.path}", detail)
    if change:
        output.diff(change.diff)
    if to and not file.secret:
        path = Path(to) / file.server.role / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
