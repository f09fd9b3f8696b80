"""`inv undo`: undoes a section or a step, with the scripts that the journals recorded."""

import sys
import time
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
    """Both servers: undoes the last section, or the one (or the step) named after it; its last step first."""
    with for_people():
        name = _named(sys.argv)
        move = moves.of(context)
        with move.lock(f"undo {name}".strip()):
            _undo(move, name, yes)
    if name:
        raise Exit(code=0)  # for Invoke the name is the next task, which must not run


def _named(words: Sequence[str]) -> str:
    """The section or step after `undo` on the command line: Invoke knows no optional positional."""
    known = {section.name for section in WHOLE} | {step.line for step in steps()}
    after = list(words[words.index("undo") + 1 :]) if "undo" in words else []
    pairs = zip(after, ["", *after], strict=False)
    names = [word for word, before in pairs if not word.startswith("-") and before not in ("-f", "--config")]
    if len(names) > 1:
        raise Problem(f"undo takes one name, not {len(names)}", "", f"First: inv undo {names[-1]}")
    if names and names[0].removesuffix(".all") not in known:
        raise Problem(f"there is no section or step '{names[0]}'", "", "`inv --list` shows them")
    return names[0].removesuffix(".all") if names else ""


def _undo(move: Move, name: str, yes: bool) -> None:
    entries = _to_undo(move, name)
    what = f"undo {name or entries[0].section}"
    output.heading(what, f"recorded changes: {len(entries)}, the last is undone first")
    if not (move.dry or yes or output.ask(f"{what}?")):
        raise Problem("nothing was undone", "", "Answer y, or give --yes")
    warnings: list[str] = []
    with events.whole("undo", entries[0].section, changes=len(entries), dry=move.dry):
        for _, parts in groupby(entries, key=lambda entry: entry.step):
            changes = list(parts)
            with events.step(changes[0].section, changes[0].step, changes[0].doc) as event:
                warnings += _show_undo(move, changes) if move.dry else _undo_step(move, changes)
                event["outcome"] = Outcome.WOULD if move.dry else Outcome.UNDONE
        if warnings:
            raise Problem(f"all of it is undone, but {warnings[0]}", "", "Look into that before anything else")


def _show_undo(move: Move, parts: Sequence[Entry]) -> list[str]:
    """Shows the scripts that would undo a step; there is nothing to look into."""
    for entry in parts:
        output.outcome(Outcome.WOULD, f"undo {entry.doc}", f"on {entry.server}: sh {move.journal.path(entry)}/undo")
        if entry.outside:
            output.diff(move.outside.undoing(entry.outside))
    return []


def _to_undo(move: Move, name: str) -> list[Entry]:
    active = move.journal.active()
    if move.journal.retired:
        raise Problem("retire-old has ended undo: nothing can be undone any more")
    if not active:
        raise Problem("nothing to undo: neither server's journal has a change in effect")
    order = [section.name for section in WHOLE]
    entries = move.journal.active(name or max((entry.section for entry in active), key=order.index))
    if not entries:
        raise Problem(f"{name} has nothing to undo", "", "`inv status` shows what was done")
    dependents = WHOLE[order.index(entries[0].section)].later
    if later := sorted({entry.section for entry in active if entry.section in dependents}, key=order.index):
        raise Problem(f"{', '.join(later)} came after {name}", "", f"First: inv undo {', then '.join(later[::-1])}")
    return entries


def _undo_step(move: Move, parts: Sequence[Entry]) -> list[str]:
    """Undoes one step, its last part first; returns warnings that somebody must look into."""
    begun, warnings = time.monotonic(), list[str]()
    for entry in parts:
        with output.progress(f"undo {entry.step}") as shown:
            answer = revert(move, entry, shown.line)
        warnings += shown.warnings
        if answer.status != 0:
            do = f"Fix that and run this again, or on that server: sudo sh {move.journal.path(entry)}/undo"
            raise Problem(f"{entry.step} could not be undone: {answer.last_error}", str(entry.server), do)
    output.outcome(Outcome.UNDONE, f"undone: {parts[0].doc}", parts[0].step, time.monotonic() - begun)
    return warnings
