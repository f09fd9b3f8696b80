"""What a step would change, without doing it. For `inv plan` and `inv render`."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..checklist import WHOLE
from ..desired import Resource
from ..errors import Problem
from ..journal import Change
from ..move import Move
from ..resources import File
from ..section import Section
from ..step import Step


@dataclass(frozen=True)
class Preview:
    """*changes* by server, number of *looks*, *files* that the step would write; *obstacle*: why that is not known yet.

    *done*: when and by whom; *nothing*: that nothing is to be done, and why, where the settings say that.
    """

    step: Step
    changes: tuple[tuple[str, Change], ...] = ()
    looks: int = 0
    files: tuple[File, ...] = ()
    obstacle: str = ""
    done: str = ""
    nothing: str = ""


def sections(move: Move) -> Iterator[tuple[Section, Iterator[Preview]]]:
    """Every section of this move, with its steps' previews. Only looks."""
    for section in WHOLE:
        if steps := section.steps_of(move):
            yield section, (preview(move, step) for step in steps)


def preview(move: Move, step: Step) -> Preview:
    """What *step* would change now. Only looks."""
    entries = [entry for entry in move.journal.entries if entry.step == step.line and entry.state == "done"]
    done = f"{entries[-1].when} by {entries[-1].who}" if entries else ""
    try:
        parts, why = step.parts_and_why(move)
        resources = [part for part in parts if isinstance(part, Resource)]
        planned = [] if done else [(str(resource.server), resource.change()) for resource in resources]
    except Problem as problem:
        return Preview(step, obstacle=problem.what.splitlines()[0], done=done)
    if not parts:
        return Preview(step, done=done, nothing=f"Nothing to do: {why}." if why else "Nothing to do here.")
    changes = tuple((server, change) for server, change in planned if change is not None)
    if changes:
        move.would_change.add(step.line)
    files = tuple(resource for resource in resources if isinstance(resource, File))
    return Preview(step, changes, len(parts) - len(resources), files, done=done)
