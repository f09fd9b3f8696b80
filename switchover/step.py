"""The life of a step, written once: observe, diff, record, apply, verify.

A step is an Invoke task whose body returns what shall be true, made of resources (see `switchover/resources`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from invoke.tasks import Task

from . import events, failpoint, output
from .desired import Desired, Nothing, Precondition, Resource
from .errors import NothingDone, NotYet, Problem
from .hosts import Answer, Host
from .journal import Change, Entry
from .move import Move
from .outcome import Outcome
from .progress import Progress
from .verb import verb

if TYPE_CHECKING:
    from .section import Section

Body = Callable[[Move], Desired]


class Titled(Task[Any]):
    """A task whose docstring begins with a line for people."""

    @property
    def summary(self) -> str:
        """That line: the help, the line in status and in the report."""
        return (self.__doc__ or self.name).strip().splitlines()[0].rstrip(".")


class Step(Titled):
    """A line of the checklist: an Invoke task that lives the life of a step.

    *strategy*: how the database moves, where the step is part of one such way alone.
    """

    heading: Section  # the section that it is a line of

    def __init__(self, body: Body, strategy: str | None = None) -> None:
        super().__init__(body)
        self.strategy = strategy

    @property
    def section(self) -> str:
        """The name of its section."""
        return self.heading.name

    @property
    def line(self) -> str:
        """The step's whole name, as in `inv switch-app.proxy`."""
        return f"{self.section}.{self.name.replace('_', '-')}"

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
            raise Problem(what, "", "If the settings name it twice, keep one; otherwise please report this bug")
        return parts, why

    def __call__(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        with verb(context) as move, move.lock(self.line):
            run_step(move, self)


def step(body: Body) -> Step:
    """Makes a function of a checklist module a step."""
    return Step(body)


def step_by(strategy: str) -> Callable[[Body], Step]:
    """The same, for a step that only one way of moving the database has."""
    return partial(Step, strategy=strategy)


def run_step(move: Move, step: Step) -> None:
    """Makes true what *step* wants, and prints its outcome.

    Raises Problem where it fails; the change that failed is undone then.
    """
    with events.step(step.section, step.line, step.summary) as event:
        event["outcome"] = _Run(move, step).outcome()


STRONGEST = (Outcome.FINISHED, Outcome.DONE, Outcome.WOULD, Outcome.SEEN, Outcome.ALREADY)  # a step's, of its parts'
DETAILS = {Outcome.ALREADY: "already so", Outcome.FINISHED: "an interrupted run, finished"}


@dataclass
class _Run:
    """One run of *step*; *diffs*: what it would change, by server, under --dry."""

    move: Move
    step: Step
    diffs: list[tuple[Host, str]] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """Runs it, part by part; prints and gives its outcome."""
        begun, done = time.monotonic(), set[Outcome]()
        parts, why = self.step.parts_and_why(self.move)
        left_behind = self._left_behind({part.key for part in parts if isinstance(part, Resource)})
        for part in (*left_behind, *parts):
            with output.progress(self.step.line) as shown:
                if isinstance(part, Precondition):
                    done.add(self._wait_for(part, shown))
                elif isinstance(part, Entry):
                    done.add(self._finish(part, None, shown))
                else:
                    done.add(self._converge(part, shown))
        outcome = next((outcome for outcome in STRONGEST if outcome in done), Outcome.NOTHING)
        would = "would change" if self.diffs else "would be checked"
        details = DETAILS | {Outcome.NOTHING: why or "nothing to do here", Outcome.WOULD: would}
        summary, detail = self.step.summary, details.get(outcome, "")
        output.outcome(outcome, summary, detail, None if self.move.dry else time.monotonic() - begun)
        if self.diffs:
            self.move.would_change.add(self.step.line)
        for server, diff in self.diffs:
            output.diff(diff, "" if summary.startswith((f"{server.role}:", "dns:")) else f"on {server}:")
        return outcome

    def _left_behind(self, desired: set[str]) -> list[Entry]:
        """Interrupted changes of parts that are no longer *desired*: the settings have lost them since.

        None of a step that is not for this move any more: undo is all that is left to do with it.
        """
        active = self.move.journal.active(self.step.line) if self.step.is_for(self.move) else []
        return [entry for entry in reversed(active) if entry.state == "recorded" and entry.key not in desired]

    def _converge(self, resource: Resource, shown: Progress) -> Outcome:
        """Makes one part of the step true."""
        move, line, journal = self.move, self.step.line, self.move.journal
        entry = journal.latest(line, resource.key)
        if entry and entry.state == "recorded":
            return self._finish(entry, resource, shown)
        dependents = self._dependents()
        if entry and (resource.record_only or dependents):
            return Outcome.ALREADY
        change = resource.change()
        if change is None:
            return Outcome.ALREADY
        if dependents and journal.active(line):
            return Outcome.ALREADY  # it was done; a part that was true by itself then, a later section may have changed
        if dependents and not move.dry:
            what = f"{line} is not true any more, and {dependents} was done since"
            raise Problem(what, str(resource.server), "See `inv status`")
        if move.dry:
            self.diffs.append((resource.server, change.diff))
            return Outcome.WOULD
        if entry and (edited := resource.edited(journal.path(entry))):
            self._ask_to_overwrite(edited, resource.server, change)
        failpoint.here(line, resource.key, "before-record")
        apply = not failpoint.armed(line, resource.key, "after-record")
        entry, answer = journal.record_and_apply(
            resource.server, line, resource.part, self.step.summary, change, shown.line, apply=apply
        )
        failpoint.here(line, entry.key, "after-record")
        self._complete(entry, resource, answer, shown, fresh=True)
        return Outcome.DONE

    def _finish(self, entry: Entry, resource: Resource | None, shown: Progress) -> Outcome:
        """Runs an interrupted change again, as recorded; *resource*, where still wanted, says whether it holds."""
        if self.move.dry:
            self.diffs.append((entry.server, "an interrupted change: the next run finishes it"))
            return Outcome.WOULD
        self._complete(entry, resource, self.move.journal.apply(entry, shown.line), shown, fresh=False)
        return Outcome.FINISHED

    def _ask_to_overwrite(self, edited: str, server: Host, change: Change) -> None:
        """Asks before an edit that somebody made to our file is overwritten; raises Problem where nobody says yes."""
        what = f"{edited} was edited since {self.step.line} wrote it"
        output.outcome(Outcome.NOTE, f"{what}; this would be changed:")
        output.diff(change.diff)
        if not output.ask("Overwrite that edit? The journal keeps the file as it is now."):
            raise Problem(what, str(server), "Put the edit into the template here, or answer y at a terminal")

    def _dependents(self) -> str | None:
        """A later section that was begun: then this step is not made true again, whatever a look says."""
        later = self.step.heading.later
        return next((entry.section for entry in self.move.journal.active() if entry.section in later), None)

    def _complete(self, entry: Entry, resource: Resource | None, answer: Answer, shown: Progress, fresh: bool) -> None:
        """Makes the part of a change that is outside the servers, verifies all of it, and marks it as done.

        *answer*: of the recorded script; *fresh*: no run before has begun the change.
        """
        if answer.status == 0 and entry.outside:
            answer = self._outside(entry, answer, shown, fresh)
        if answer.status != 0:
            self._roll_back(entry, answer.last_error, shown)
        failpoint.here(entry.step, entry.key, "after-change")
        if resource and resource.observable and (rest := resource.change()) is not None:
            self._roll_back(entry, f"it did not hold; still missing:\n{rest.diff}", shown)
        failpoint.here(entry.step, entry.key, "before-done")
        self.move.journal.done(entry)

    def _outside(self, entry: Entry, answer: Answer, shown: Progress, fresh: bool) -> Answer:
        try:
            self.move.outside.carry_out(self.move, entry.outside, shown.line)
        except NotYet:  # it stays, and the next run waits for it again
            raise
        except NothingDone as problem:
            if fresh and self.move.journal.undo(entry).status == 0:
                what, do = f"{entry.step} failed: {problem.what}", f"Nothing was changed. {problem.do}"
                raise Problem(what, problem.where, do) from None
            raise
        except Problem as problem:
            return Answer("", f"{problem.where}: {problem.what}", 1)
        return answer

    def _roll_back(self, entry: Entry, reason: str, shown: Progress) -> None:
        try:
            answer = revert(self.move, entry, shown.line)
        except Problem as problem:
            answer = Answer("", problem.what, 1)
        state = "The change was undone" if answer.status == 0 else f"It could NOT be undone ({answer.last_error})"
        do = f"{state}. Fix that, then run the same command again"
        raise Problem(f"{entry.step} failed: {reason}", str(entry.server), do) from None

    def _wait_for(self, precondition: Precondition, shown: Progress) -> Outcome:
        if self.move.dry:
            return Outcome.WOULD
        within, begun = precondition.within, time.monotonic()
        while (missing := precondition.missing()) is not None:
            waited = time.monotonic() - begun
            if waited >= within:
                raise Problem(f"{self.step.line}: {missing}", "", f"Waited {within:.0f} s. Fix that and run it again")
            shown.line(f"doing {missing}")
            shown.report(int(waited), int(within), "seconds")
            time.sleep(0.2)
        return Outcome.SEEN


def revert(move: Move, entry: Entry, on_line: Callable[[str], None]) -> Answer:
    """Undoes a change: what is outside the server from here, then by the recorded script."""
    if entry.outside:
        move.outside.carry_out(move, entry.outside, on_line, back=True)
    return move.journal.undo(entry, on_line)
