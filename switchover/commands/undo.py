"""`inv undo`: takes back a section or a step, by the scripts that the journals recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from .. import events, output
from .. import move as moves
from ..checklist import WHOLE, steps
from ..errors import Problem
from ..journal import Entry
from ..move import Move
from ..outcome import Outcome
from ..step import revert
from ..verb import for_people


@task(help={"yes": "do not ask"})
def undo(context: Any, yes: bool = False) -> None:
    """Both servers: takes back the last section, or `inv undo SECTION` or STEP: that one; last step first."""
    with for_people():
        what = _named(sys.argv)
        move = moves.of(context)
        with move.lock(f"undo {what}".strip()):
            _undo(move, what, yes)
    if what:
        raise Exit(code=0)  # for Invoke the name is the next task, which must not run


def _named(words: Sequence[str]) -> str:
    """The section or step that stands behind `undo` on the command line: Invoke knows no optional positional."""
    known = {whole.name for whole in WHOLE} | {one.line for one in steps()}
    behind = list(words[words.index("undo") + 1 :]) if "undo" in words else []
    pairs = zip(behind, ["", *behind], strict=False)
    names = [word for word, before in pairs if not word.startswith("-") and before not in ("-f", "--config")]
    if len(names) > 1:
        raise Problem(f"undo takes one name, not {len(names)}", "", f"First: inv undo {names[-1]}")
    if names and names[0].removesuffix(".all") not in known:
        raise Problem(f"there is no section or step '{names[0]}'", "", "`inv --list` shows them")
    return names[0].removesuffix(".all") if names else ""


def _undo(move: Move, what: str, yes: bool) -> None:
    entries = _to_undo(move, what)
    output.heading(f"undo {what or entries[0].section}", f"{len(entries)} recorded changes, last first")
    if not (move.dry or yes or output.ask("Put these back as they were before?")):
        raise Problem("nothing was undone", "", "Answer y, or give --yes")
    warnings: list[str] = []
    with events.whole("undo", entries[0].section, changes=len(entries), dry=move.dry):
        for _, parts in groupby(entries, key=lambda e: e.step):
            changes = list(parts)
            with events.step(changes[0].section, changes[0].step, changes[0].doc) as event:
                warnings += _show_undo(move, changes) if move.dry else _take_back(move, changes)
                event["outcome"] = Outcome.WOULD if move.dry else Outcome.UNDONE
        if warnings:
            raise Problem(f"all of it is undone, but {warnings[0]}", "", "Look into that before anything else")


def _show_undo(move: Move, parts: Sequence[Entry]) -> list[str]:
    """Shows the scripts that would take a step back; there is nothing to look into."""
    for entry in parts:
        output.outcome(Outcome.WOULD, f"{entry.server}: sh {move.journal.path(entry)}/undo")
        if entry.outside:
            output.diff(move.outside.undoing(entry.outside))
    return []


def _to_undo(move: Move, what: str) -> list[Entry]:
    active = move.journal.active()
    if move.journal.retired:
        raise Problem("retire-old has ended undo: nothing can go back any more")
    if not active:
        raise Problem("there is nothing to undo: the journals of both servers have no change that stands")
    order = [whole.name for whole in WHOLE]
    entries = move.journal.active(what or max((e.section for e in active), key=order.index))
    if not entries:
        raise Problem(f"{what} has nothing to undo", "", "`inv status` shows what was done")
    building = WHOLE[order.index(entries[0].section)].later
    if later := sorted({e.section for e in active if e.section in building}, key=order.index):
        raise Problem(f"{', '.join(later)} came after {entries[0].section}", "", f"First: inv undo {later[-1]}")
    return entries


def _take_back(move: Move, parts: Sequence[Entry]) -> list[str]:
    """Takes back one step, its last part first; says what somebody must look into."""
    watch, warnings = output.Stopwatch(), list[str]()
    for entry in parts:
        with output.progress(f"undo {entry.step}") as shown:
            answer = revert(move, entry, shown.line)
        warnings += shown.warnings
        if answer.status != 0:
            raise Problem(
                f"{entry.step} could not be undone: {answer.last_error}",
                str(entry.server),
                f"Mend that and run it again, or there: sudo sh {move.journal.path(entry)}/undo",
            )
    output.outcome(Outcome.UNDONE, parts[0].doc, parts[0].step, watch.seconds)
    return warnings
