"""`inv status`: what was done of the checklist, what is true by itself, what is open, and what has nothing to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from invoke.tasks import task

from .. import output
from ..checklist import WHOLE
from ..database import replication_status
from ..desired import Precondition, Resource
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..step import Step
from ..verb import verb


@task(help={"json": "print it for programs", "markdown": "print the checklist with ticks, to paste into an issue"})
def status(context: Any, json: bool = False, markdown: bool = False) -> None:
    """Both servers: every section and step, done when and by whom, or true by itself, and what is in the way."""
    with verb(context) as move:
        rows = _rows(move)
        if json:
            _print_json(rows, _following(move))
        elif markdown:
            _print_markdown(rows)
        else:
            _print_table(move, rows)


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
    """The step's state: `done` and `interrupted` by the journal, `true` (by itself) and `open` by a look.

    `nothing`: the settings ask for nothing here, so nobody has looked; `why` says which. Where that depends on how far
    the move is, a step is open until its section has begun.
    """
    entries = [e for e in move.journal.entries if e.step == one.line and e.state != "undone"]
    if entries:
        # Only the newest change can have been the last before an interruption.
        newest = entries[-1] == move.journal.active()[0]
        done = {e.key for e in entries}
        broken = any(e.state == "recorded" for e in entries) or (newest and _rest(one.desired(move), done))
        facts = {"when": entries[-1].when, "who": entries[-1].who, "undoable": not move.journal.retired}
        return {"state": "interrupted" if broken else "done", **facts}
    try:
        parts, why = one.parts_and_why(move)
        if not parts:
            state = "nothing" if why or move.journal.active(one.section) else "open"
            return {"state": state, "undoable": False, **({"why": why} if why else {})}
        rest = _rest(parts, set())
        missing = [] if rest else _missing(parts)
    except Problem as problem:
        return {"state": "open", "undoable": False, "in_the_way": problem.what.splitlines()[0]}
    if rest or missing:
        return {"state": "open", "undoable": False, **({"in_the_way": missing[0]} if missing else {})}
    return {"state": "true", "undoable": False}


def _rest(desired: Sequence[Resource | Precondition], done: set[str]) -> bool:
    """Whether parts of a step other than those *done* are still to be made true."""
    parts = [part for part in desired if isinstance(part, Resource)]
    return any(part.key not in done and part.change() is not None for part in parts)


def _missing(desired: Sequence[Resource | Precondition]) -> list[str]:
    """What a step would wait for."""
    found = [part.missing() for part in desired if isinstance(part, Precondition)]
    return [missing for missing in found if missing]


def _following(move: Move) -> replication_status.Following | None:
    """How new's database follows old's; None where it does not, or nobody can say."""
    try:
        return replication_status.look(move)
    except Problem as problem:
        output.outcome(Outcome.FAILED, f"whether new's database follows: {problem.where}: {problem.what}", problem.do)
        return None


def _print_json(rows: Sequence[dict[str, Any]], found: replication_status.Following | None = None) -> None:
    more = {"following": found.as_json()} if found else {}
    print(json.dumps({"sections": list(rows), **more}, ensure_ascii=False, indent=1))


def _print_markdown(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(f"\n### {row['doc']} (`inv {row['section']}`)\n")
        for one in row["steps"]:
            if one["state"] == "nothing":  # no box, which would wait for its tick
                print(f"- ~~{one['doc']}~~ (nothing to do{f': {why}' if (why := one.get('why')) else ''})")
                continue
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
        "nothing": "[dim]nothing to do[/]",
        "open": "open",
        "interrupted": "[red]interrupted[/]",
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("step", "state", "when, who", "undo"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{row['section']}[/]", "", "", "")
        for one in row["steps"]:
            who = f"{one['when']} {one['who']}" if "who" in one else one.get("in_the_way") or one.get("why", "")
            undoable = "yes" if one["undoable"] else ""
            table.add_row(Text(f"  {one['doc']}"), texts[one["state"]], Text(who), undoable)
    output.console().print(table)
    if found := _following(move):
        kind = Outcome.NOTE if found.follows else Outcome.FAILED
        for line in replication_status.lines(found):
            output.outcome(kind, line)
    for server in move.servers:
        if held := move.holder(server):
            output.outcome(
                Outcome.NOTE, f"{server}: {held.get('who')} is at work since {held.get('when')} ({held.get('why')})"
            )
