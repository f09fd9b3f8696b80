"""`inv status`: which steps of the checklist are done, true already, open, or have nothing to do."""

import json
from collections.abc import Sequence
from typing import Any

from invoke.tasks import task

from .. import output
from ..checklist import WHOLE
from ..database import replication_status
from ..database.replication_status import ReplicationStatus
from ..desired import Precondition, Resource
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..step import Step
from ..verb import verb

WORDS = {"done": ("done", "green"), "true": ("true already", "green"), "nothing": ("nothing to do", "dim")}
WORDS |= {"open": ("open", ""), "interrupted": ("interrupted", "red")}  # of a state: in the table, and their style


@task(help={"json": "print it for programs", "markdown": "print the checklist with ticks, to paste into an issue"})
def status(context: Any, json: bool = False, markdown: bool = False) -> None:
    """Both servers: every section and step, done when and by whom, or already so, and what is in the way."""
    with verb(context) as move:
        rows = _rows(move)
        if json:
            _print_json(rows, _replication(move))
        elif markdown:
            _print_markdown(rows)
        else:
            _print_table(move, rows)


def _rows(move: Move) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for section in WHOLE:
        steps = [{"step": step.line, "doc": step.summary, **_state(move, step)} for step in section.steps_of(move)]
        if steps:
            names = {"section": section.name, "doc": section.summary, "visitors": section.visitors}
            rows.append({**names, "steps": steps})
    return rows


def _state(move: Move, step: Step) -> dict[str, Any]:
    """The step's state: `done` and `interrupted` by the journal, `true` (without the journal) and `open` by a look.

    `nothing`: the settings ask for nothing here, so nobody has looked; `why` says which. Where that depends on how far
    the move is, a step is open until its section has begun.
    """
    entries = [entry for entry in move.journal.entries if entry.step == step.line and entry.state != "undone"]
    if entries:
        # Only the newest change can have been the last before an interruption.
        newest = entries[-1] == move.journal.active()[0]
        done = {entry.key for entry in entries}
        unfinished = any(entry.state == "recorded" for entry in entries)
        unfinished = unfinished or (newest and _is_open(step.desired(move), done))
        facts = {"when": entries[-1].when, "who": entries[-1].who, "undoable": not move.journal.retired}
        return {"state": "interrupted" if unfinished else "done", **facts}
    try:
        parts, why = step.parts_and_why(move)
        if not parts:
            state = "nothing" if why or move.journal.active(step.section) else "open"
            return {"state": state, "undoable": False, **({"why": why} if why else {})}
        still_open = _is_open(parts, set())
        looks = (part.missing() for part in parts if isinstance(part, Precondition))
        obstacle = "" if still_open else next(filter(None, looks), "")  # what it would wait for first
    except Problem as problem:
        still_open, obstacle = True, problem.what.splitlines()[0]
    state = "open" if still_open or obstacle else "true"
    return {"state": state, "undoable": False, **({"in_the_way": obstacle} if obstacle else {})}


def _is_open(desired: Sequence[Resource | Precondition], done: set[str]) -> bool:
    """Whether parts of a step other than those *done* are still to be made true."""
    parts = [part for part in desired if isinstance(part, Resource)]
    return any(part.key not in done and part.change() is not None for part in parts)


def _replication(move: Move) -> ReplicationStatus | None:
    """How one database replicates from the other; None where it does not, or nobody can tell."""
    try:
        return replication_status.look(move)
    except Problem as problem:
        output.outcome(Outcome.FAILED, f"replication: {problem.where}: {problem.what}", problem.do)
        return None


def _print_json(rows: Sequence[dict[str, Any]], replication: ReplicationStatus | None = None) -> None:
    more = {"replication": replication.as_json()} if replication else {}
    print(json.dumps({"sections": list(rows), **more}, ensure_ascii=False, indent=1))


def _print_markdown(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(f"\n### {row['doc']} (`inv {row['section']}`)\n")
        for step in row["steps"]:
            if step["state"] == "nothing":  # no box, which would wait for its tick
                print(f"- ~~{step['doc']}~~ (nothing to do{f': {why}' if (why := step.get('why')) else ''})")
                continue
            tick = "x" if step["state"] in ("done", "true") else " "
            who = f" ({step['when']}, {step['who']})" if "who" in step else ""
            print(f"- [{tick}] {step['doc']}{who}")


def _print_table(move: Move, rows: Sequence[dict[str, Any]]) -> None:
    from rich.text import Text

    table = output.table("step", "state", "when, who", "undo")
    for row in rows:
        table.add_row(f"[bold]{row['section']}[/]", "", "", "")
        for step in row["steps"]:
            detail = f"{step['when']} {step['who']}" if "who" in step else step.get("in_the_way") or step.get("why", "")
            undoable = "yes" if step["undoable"] else ""
            text, style = WORDS[step["state"]]
            table.add_row(Text(f"  {step['doc']}"), Text(text, style), Text(detail), undoable)
    output.console().print(table)
    if replication := _replication(move):
        for line in replication.lines():
            output.outcome(Outcome.NOTE if replication.replicates else Outcome.FAILED, line)
    for server in move.servers:
        if held := move.holder(server):
            what = f"{held['who']} has been at work since {held['when']} ({held['why']})"
            output.outcome(Outcome.NOTE, f"{server}: {what}")
