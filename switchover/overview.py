"""The move as a whole: status, undo, move; all read the Collections of the checklist."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from . import events, outside, say
from . import move as moves
from .checklist import LAST, SECTIONS
from .database import following
from .desired import Precondition, Resource
from .errors import Problem, Unreached
from .journal import Entry
from .move import Move
from .outcome import Outcome
from .step import Section, Step, for_people, section, take_back

COLLECTIONS = tuple(section(module) for module in (*SECTIONS, LAST))
WHOLE: tuple[Section, ...] = tuple(collection.tasks["all"] for collection in COLLECTIONS)
MOVE = WHOLE[:-1]  # what `inv move` does; retire-old is days later


def steps() -> list[Step]:
    """Every step, in the checklist's order."""
    return [one for whole in WHOLE for one in whole.steps]


@task(help={"json": "print it for programs", "markdown": "print the checklist with ticks, to paste into an issue"})
def status(context: Any, json: bool = False, markdown: bool = False) -> None:
    """Both servers: every section and step, done when and by whom, or true by itself, and what is in the way."""
    with for_people():
        rows = _rows(moves.of(context))
        if json:
            _print_json(rows, _following(moves.of(context)))
        elif markdown:
            _print_markdown(rows)
        else:
            _print_table(moves.of(context), rows)


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


@task(help={"yes": "do not ask before each section"})
def move(context: Any, yes: bool = False) -> None:
    """Both servers: all sections in the checklist's order, each after a question."""
    with for_people():
        the_move = moves.of(context)
        with the_move.lock("move"):
            for whole in (one for one in MOVE if one.steps_of(the_move)):
                whole.announce(the_move)
                if not (yes or the_move.dry or say.ask(f"Go on with {whole.name}?")):
                    raise Problem(f"stopped before {whole.name}", "", "`inv move` goes on from there; or give --yes")
                _run(the_move, whole)


def _run(the_move: Move, whole: Section) -> None:
    """The section, which was announced; one that the move can do without may fail."""
    try:
        whole.run(the_move, announced=True)
    except Unreached:
        raise
    except Problem as problem:
        if not whole.without:
            raise
        say.outcome(Outcome.FAILED, str(problem))


@task(help={"yes": "do not ask"})
def unlock(context: Any, yes: bool = False) -> None:
    """Both servers: takes away the lock of a command that is gone for good."""
    with for_people():
        the_move = moves.of(context)
        for server in the_move.servers:
            if not the_move.locked(server):
                say.outcome(Outcome.NOTE, f"{server}: not locked")
                continue
            held = the_move.holder(server) or {"who": "somebody"}  # whoever died before leaving a name
            say.outcome(
                Outcome.NOTE, f"{server}: locked by {held.get('who')} since {held.get('when')} ({held.get('why')})"
            )
            if the_move.dry:
                continue
            if not yes and not say.ask("Is that command gone for good?"):
                raise Problem("still locked", str(server), "Answer y, or give --yes")
            the_move.unlock(server)


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
    say.heading(f"undo {what or entries[0].section}", f"{len(entries)} recorded changes, last first")
    if not (move.dry or yes or say.ask("Put these back as they were before?")):
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
        say.outcome(Outcome.WOULD, f"{entry.server}: sh {move.journal.path(entry)}/undo")
        if entry.outside:
            say.diff(outside.maker(entry.outside).undoing(entry.outside))
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
    watch, warnings = say.Stopwatch(), list[str]()
    for entry in parts:
        with say.progress(f"undo {entry.step}") as shown:
            answer = take_back(move, entry, shown.line)
        warnings += shown.warnings
        if answer.status != 0:
            raise Problem(
                f"{entry.step} could not be undone: {answer.last_error}",
                str(entry.server),
                f"Mend that and run it again, or there: sudo sh {move.journal.path(entry)}/undo",
            )
    say.outcome(Outcome.UNDONE, parts[0].doc, parts[0].step, watch.seconds)
    return warnings


def _rows(move: Move) -> list[dict[str, Any]]:
    return [
        {
            "section": whole.name,
            "doc": whole.summary,
            "visitors": whole.visitors,
            "steps": [{"step": one.line, "doc": one.summary, **_state(move, one)} for one in steps],
        }
        for whole in WHOLE
        if (steps := whole.steps_of(move))
    ]


def _state(move: Move, one: Step) -> dict[str, Any]:
    """The step's state: `done` and `interrupted` by the journal, `true` (by itself) and `open` by a look."""
    entries = [e for e in move.journal.entries if e.step == one.line and e.state != "undone"]
    if entries:
        # Only the newest change can have been the last before an interruption.
        newest = entries[-1] == move.journal.active()[0]
        done = {e.key for e in entries}
        broken = any(e.state == "recorded" for e in entries) or (newest and _rest(move, one, done))
        facts = {"when": entries[-1].when, "who": entries[-1].who, "undoable": not move.journal.retired}
        return {"state": "interrupted" if broken else "done", **facts}
    try:
        rest = _rest(move, one, set())
        missing = [] if rest else _missing(move, one)
    except Problem as problem:
        return {"state": "open", "undoable": False, "in_the_way": problem.what.splitlines()[0]}
    if rest or missing:
        return {"state": "open", "undoable": False, **({"in_the_way": missing[0]} if missing else {})}
    return {"state": "true", "undoable": False}


def _rest(move: Move, one: Step, done: set[str]) -> bool:
    """Whether parts of the step other than those *done* are still to be made true."""
    parts = [part for part in one.wanted(move) if isinstance(part, Resource)]
    return any(part.key not in done and part.change() is not None for part in parts)


def _missing(move: Move, one: Step) -> list[str]:
    """What the step would wait for."""
    found = [part.missing() for part in one.wanted(move) if isinstance(part, Precondition)]
    return [missing for missing in found if missing]


def _following(move: Move) -> following.Following | None:
    """How new's database follows old's; None where it does not, or nobody can say."""
    try:
        return following.look(move)
    except Problem as problem:
        say.outcome(Outcome.FAILED, f"whether new's database follows: {problem.where}: {problem.what}", problem.do)
        return None


def _print_json(rows: Sequence[dict[str, Any]], found: following.Following | None = None) -> None:
    more = {"following": found.as_json()} if found else {}
    print(json.dumps({"sections": list(rows), **more}, ensure_ascii=False, indent=1))


def _print_markdown(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(f"\n### {row['doc']} (`inv {row['section']}`)\n")
        for one in row["steps"]:
            tick = "x" if one["state"] in ("done", "true") else " "
            who = f" ({one['when']}, {one['who']})" if "who" in one else ""
            print(f"- [{tick}] {one['doc']}{who}")


def _print_table(move: Move, rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    texts = {
        "done": "[green]done[/]",
        "true": "[green]true by itself[/]",
        "open": "open",
        "interrupted": "[red]interrupted[/]",
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("step", "state", "when, who", "undo"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{row['section']}[/]", "", "", "")
        for one in row["steps"]:
            who = f"{one['when']} {one['who']}" if "who" in one else one.get("in_the_way", "")
            undoable = "yes" if one["undoable"] else ""
            table.add_row(Text(f"  {one['doc']}"), texts[one["state"]], Text(who), undoable)
    say.console().print(table)
    if found := _following(move):
        kind = Outcome.NOTE if found.follows else Outcome.FAILED
        for line in following.lines(found):
            say.outcome(kind, line)
    for server in move.servers:
        if held := move.holder(server):
            say.outcome(
                Outcome.NOTE, f"{server}: {held.get('who')} is at work since {held.get('when')} ({held.get('why')})"
            )
