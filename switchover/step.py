"""The life of a step, written once: observe, diff, record, apply, verify; and the Collections that hold steps.

A step is an Invoke task whose body returns what shall be true, made of resources (see `switchover/resources`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from invoke.tasks import Task

from . import events, failpoint, output
from .desired import Desired, Nothing, Precondition, Resource
from .errors import NothingDone, NotYet, Problem
from .hosts import Answer, Host
from .journal import Change, Entry
from .move import Move
from .outcome import Outcome
from .verb import verb

if TYPE_CHECKING:
    from .section import Section


class Step(Task[Any]):
    """A line of the checklist: an Invoke task that lives the life of a step."""

    heading: Section  # the section that it is a line of
    strategy: str | None = None  # of the database's move, where the step is for one of them alone

    @property
    def section(self) -> str:
        """The name of its section."""
        return self.heading.name

    @property
    def line(self) -> str:
        """The step's whole name, as in `inv switch-app.proxy`."""
        return f"{self.section}.{self.name.replace('_', '-')}"

    @property
    def summary(self) -> str:
        """The first line of its docstring: the help, the line in status and in the report."""
        return summary(self)

    def is_for(self, move: Move) -> bool:
        """Whether it is part of this move, the way its database moves."""
        return self.strategy in (None, move.settings.strategy)

    def desired(self, move: Move) -> list[Resource | Precondition]:
        """What shall be true or be seen, in order."""
        return self.parts_and_why(move)[0]

    def parts_and_why(self, move: Move) -> tuple[list[Resource | Precondition], str]:
        """What shall be true or be seen, in order; and why that is nothing, where a kind of the site says so."""
        desired = self.body(move) if self.is_for(move) else None
        if desired is None:
            return [], ""
        several = list(desired) if isinstance(desired, (list, tuple)) else [desired]
        parts = [part for part in several if not isinstance(part, Nothing)]
        why = next((part.why for part in several if isinstance(part, Nothing)), "")
        keys = [part.key for part in parts if isinstance(part, Resource)]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            what = f"{self.line} has two parts of one name: {twice}"
            raise Problem(what, "", "Where the settings name it twice, leave one; else please report it")
        return parts, why

    def __call__(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        with verb(context) as move, move.lock(self.line):
            run_step(move, self)
        self.times_called += 1


def summary(task: Task[Any]) -> str:
    """The first line of a task's docstring."""
    return (task.__doc__ or task.name).strip().splitlines()[0].rstrip(".")


def step(body: Callable[[Move], Desired]) -> Step:
    """Makes a function of a checklist module a step."""
    return Step(body)


def step_by(strategy: str) -> Callable[[Callable[[Move], Desired]], Step]:
    """The same, for a step that only one way of moving the database has."""

    def made(body: Callable[[Move], Desired]) -> Step:
        one = Step(body)
        one.strategy = strategy
        return one

    return made


def run_step(move: Move, one: Step) -> None:
    """Makes true what *one* wants; says what became of it.

    Raises Problem where it could not; what it had begun is put back then.
    """
    with events.step(one.section, one.line, one.summary) as event:
        event["outcome"] = _outcome(move, one)


def _outcome(move: Move, one: Step) -> Outcome:
    watch, done = output.Stopwatch(), set[Outcome]()
    diffs: list[tuple[Host, str]] = []
    parts, why = one.parts_and_why(move)
    for entry in _left_behind(move, one, parts):
        done.add(_finish(move, entry, None, diffs))
    for desired in parts:
        if isinstance(desired, Precondition):
            done.add(_see(move, one, desired))
        else:
            done.add(_converge(move, one, desired, diffs))
    outcome = next((kind for kind in STRONGEST if kind in done), Outcome.NOTHING)
    detail = DETAILS.get(outcome, "")
    if outcome is Outcome.NOTHING and why:
        detail = why
    if outcome is Outcome.WOULD:
        detail = "would change" if diffs else "would look"
    output.outcome(outcome, one.summary, detail, None if move.dry else watch.seconds)
    if diffs:
        move.would_change.add(one.line)
    for server, diff in diffs:
        output.diff(diff, "" if one.summary.startswith((f"{server.role}:", "names:")) else f"on {server}:")
    return outcome


STRONGEST = (Outcome.FINISHED, Outcome.DONE, Outcome.WOULD, Outcome.SEEN, Outcome.ALREADY)  # a step's, of its parts'
DETAILS = {
    Outcome.ALREADY: "already so",
    Outcome.NOTHING: "nothing to do here",
    Outcome.FINISHED: "an interrupted run, finished",
}


def _converge(move: Move, one: Step, resource: Resource, diffs: list[tuple[Host, str]]) -> Outcome:
    """Makes one part of a step true."""
    entry = move.journal.latest(one.line, resource.key)
    if entry and entry.state == "recorded":
        return _finish(move, entry, resource, diffs)
    dependents = _dependents(move, one)
    if entry and (resource.record_only or dependents):
        return Outcome.ALREADY
    change = resource.change()
    if change is None:
        return Outcome.ALREADY
    if dependents and move.journal.active(one.line):
        return Outcome.ALREADY  # it was done; a part that was true by itself then, a later section may have changed
    if dependents and not move.dry:
        raise Problem(
            f"{one.line} is not true any more, and {dependents} was done since",
            str(resource.server),
            "Look: inv status",
        )
    if move.dry:
        diffs.append((resource.server, change.diff))
        return Outcome.WOULD
    if entry and (edited := resource.edited(move.journal.path(entry))):
        _may_overwrite(one, resource, edited, change)
    failpoint.here(one.line, resource.key, "before-record")
    apply = not failpoint.armed(one.line, resource.key, "after-record")
    with output.progress(one.line) as shown:
        entry, answer = move.journal.record_and_apply(
            resource.server, one.line, resource.part, one.summary, change, shown.line, apply=apply
        )
        failpoint.here(one.line, entry.key, "after-record")
        answer = _outside(move, entry, answer, shown.line, fresh=True)
    _verify(move, entry, resource, answer)
    return Outcome.DONE


def _left_behind(move: Move, one: Step, parts: Sequence[Resource | Precondition]) -> list[Entry]:
    """Interrupted changes of parts that the step no longer wants: a line was taken out of the settings since.

    None of a step that is not for this move any more: its undo is what is left to do.
    """
    if not one.is_for(move):
        return []
    desired = {part.key for part in parts if isinstance(part, Resource)}
    active = reversed(move.journal.active(one.line))
    return [entry for entry in active if entry.state == "recorded" and entry.key not in desired]


def _finish(move: Move, entry: Entry, resource: Resource | None, diffs: list[tuple[Host, str]]) -> Outcome:
    """Makes an interrupted change whole, as it was recorded; *resource*, where still wanted, tells whether it holds."""
    if move.dry:
        diffs.append((entry.server, "an interrupted change: the next run finishes it"))
        return Outcome.WOULD
    with output.progress(entry.step) as shown:
        answer = move.journal.apply(entry, shown.line)
        answer = _outside(move, entry, answer, shown.line, fresh=False)
    _verify(move, entry, resource, answer)
    return Outcome.FINISHED


def _may_overwrite(one: Step, resource: Resource, edited: str, change: Change) -> None:
    """Asks before an edit that somebody made to what is ours is overwritten; raises Problem where nobody says yes."""
    output.outcome(Outcome.NOTE, f"{edited} was edited since {one.line} wrote it; this would be changed:")
    output.diff(change.diff)
    if not output.ask("Overwrite that edit? Its present contents are kept in the journal."):
        raise Problem(
            f"{edited} was edited since {one.line} wrote it",
            str(resource.server),
            "Put the edit into the template here, or answer y at a terminal",
        )


def _dependents(move: Move, one: Step) -> str | None:
    """A later section that was begun: then this one's steps are not made true anew, whatever a look says."""
    later = one.heading.later
    return next((e.section for e in move.journal.active() if e.section in later), None)


def _verify(move: Move, entry: Entry, resource: Resource | None, answer: Answer) -> None:
    if answer.status != 0:
        _roll_back(move, entry, answer.last_error)
    failpoint.here(entry.step, entry.key, "after-change")
    if resource and resource.observable and (rest := resource.change()) is not None:
        _roll_back(move, entry, f"it did not hold; still missing:\n{rest.diff}")
    failpoint.here(entry.step, entry.key, "before-done")
    move.journal.done(entry)


def _outside(move: Move, entry: Entry, answer: Answer, on_line: Callable[[str], None], *, fresh: bool) -> Answer:
    """The part of a change that is made outside the server, where there is one; what came of all of it.

    *fresh*: no run before has begun it.
    """
    if not entry.outside or answer.status != 0:
        return answer
    try:
        move.outside.carry_out(move, entry.outside, on_line)
    except NotYet:  # it stands, and the next run goes on with it
        raise
    except NothingDone as problem:
        if fresh and move.journal.undo(entry).status == 0:
            raise Problem(
                f"{entry.step} failed: {problem.what}", problem.where, f"Nothing was changed. {problem.do}"
            ) from None
        raise
    except Problem as problem:
        return Answer("", f"{problem.where}: {problem.what}", 1)
    return answer


def revert(move: Move, entry: Entry, on_line: Callable[[str], None]) -> Answer:
    """Undoes a change: what is outside the server from here, then by the recorded script."""
    if entry.outside:
        move.outside.carry_out(move, entry.outside, on_line, back=True)
    return move.journal.undo(entry, on_line)


def _roll_back(move: Move, entry: Entry, reason: str) -> None:
    try:
        with output.progress(entry.step) as shown:
            answer = revert(move, entry, shown.line)
    except Problem as problem:
        answer = Answer("", problem.what, 1)
    state = "It was put back as before" if answer.status == 0 else f"It could NOT be put back ({answer.last_error})"
    raise Problem(f"{entry.step} failed: {reason}", str(entry.server), f"{state}. Mend that and run it again") from None


def _see(move: Move, one: Step, precondition: Precondition) -> Outcome:
    if move.dry:
        return Outcome.WOULD
    end = time.monotonic() + precondition.within
    with output.progress(one.line) as shown:
        while (missing := precondition.missing()) is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise Problem(
                    f"{one.line}: {missing}", "", f"Waited {precondition.within:.0f} s; look into it and run it again"
                )
            shown.line(f"doing {missing}")
            shown.report(int(precondition.within - left), int(precondition.within), "seconds")
            time.sleep(0.2)
    return Outcome.SEEN
