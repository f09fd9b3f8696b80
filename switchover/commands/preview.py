"""A step as it stands, without doing it: what it would change, what is in the way. For `inv plan` and `inv render`."""

from __future__ import annotations

from dataclasses import dataclass

from ..desired import Resource
from ..errors import Problem
from ..journal import Change
from ..move import Move
from ..resources import File
from ..step import Step


@dataclass(frozen=True)
class Line:
    """A step as it stands: *changes* by server, *files* that it would put there, *way*: what is in the way.

    *nothing*: that nothing is wanted, and why, where the settings say that.
    """

    step: Step
    changes: tuple[tuple[str, Change], ...] = ()
    looks: int = 0
    files: tuple[File, ...] = ()
    way: str = ""
    done: str = ""
    nothing: str = ""


def line(move: Move, one: Step) -> Line:
    """How *one* stands. Only looks."""
    entries = [e for e in move.journal.entries if e.step == one.line and e.state == "done"]
    done = f"{entries[-1].when} by {entries[-1].who}" if entries else ""
    try:
        desired, why = one.parts_and_why(move)
        resources = [w for w in desired if isinstance(w, Resource)]
        files = tuple(w for w in resources if isinstance(w, File))
        found = [] if done else [(str(w.server), w.change()) for w in resources]
    except Problem as problem:
        return Line(one, way=problem.what.splitlines()[0], done=done)
    if not desired:
        return Line(one, done=done, nothing=f"Nothing to do: {why}." if why else "Nothing to do here.")
    changes = tuple((server, change) for server, change in found if change is not None)
    if changes:
        move.would_change.add(one.line)
    return Line(one, changes, len(desired) - len(resources), files, done=done)
