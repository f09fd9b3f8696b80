"""The sections of the checklist: Collections of steps, in order, each with a Task that runs all of them."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from invoke.collection import Collection

from . import events, output
from .errors import Problem
from .move import Move
from .outcome import Outcome
from .step import Step, Titled, run_step
from .verb import verb


class Section(Titled):
    """A heading of the checklist: runs its steps in order.

    Its docstring has lines for people: `Visitors:` what they feel while it runs; `Undo:` how it is undone, what that
    takes and loses; `Asks:` what is asked before it, where it cannot be undone; `Fails:` how the move continues without
    it, where it can; `Until:` before which section it must be done, where that is not the next one.
    """

    steps: Sequence[Step] = ()

    def __init__(self, body: Any, **options: Any) -> None:
        super().__init__(body, **options)
        self.visitors = self._line("Visitors")  # what they feel while it runs
        self.question = self._line("Asks")  # what is asked before, where it cannot be undone
        self.without = self._line("Fails")  # how the move continues where it fails, if it does

    def __call__(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        with verb(context) as move:
            if self.question and not move.dry and not kwargs.get("yes"):
                output.heading(self.name, self.summary)
                if not output.ask(f"{self.question} Continue?"):
                    raise Problem("nothing was done", self.name, "Answer y, or give --yes")
            self.run(move)

    def announce(self, move: Move) -> None:
        """Says what it will do, on which servers, how that is undone, and what visitors feel."""
        output.heading(self.name, self.summary)
        if not self.steps_of(move):
            output.note(f"Nothing to do when the settings say `strategy: {move.settings.strategy}`.")
            return
        end = "Nothing is changed now (--dry)." if move.dry else self.undoing
        output.note(f"{self.changes}. {end}")
        output.note(f"Visitors: {self.visitors}")

    def run(self, move: Move, *, announced: bool = False) -> None:
        """All steps, each finished before the next begins; *announced*: who asked before it has said what it does."""
        with events.whole("section", self.name, summary=self.summary, visitors=self.visitors, dry=move.dry):
            if not announced:
                self.announce(move)
            if steps := self.steps_of(move):
                with move.lock(self.name):
                    for step in steps:
                        self._run_step(move, step)

    def _run_step(self, move: Move, step: Step) -> None:
        try:
            run_step(move, step)
        except Problem:
            if self.without:
                output.outcome(Outcome.NOTE, self.without)
            raise

    def steps_of(self, move: Move) -> list[Step]:
        """Those that are part of this move, and those that were done when the settings said otherwise."""
        return [step for step in self.steps if step.is_for(move) or move.journal.active(step.line)]

    @property
    def changes(self) -> str:
        """Which servers it changes."""
        places = ("old", "new", "ci", "dns")
        changed = [place for place in places if any(step.summary.startswith(f"{place}:") for step in self.steps)]
        return f"Changes {', '.join(changed)}"

    @property
    def undoing(self) -> str:
        """How it is undone, what that takes and loses."""
        undo = self._line("Undo")
        return f"Undo (inv undo {self.name}): {undo}" if undo else self.question

    @property
    def later(self) -> list[str]:
        """The sections that build on it: none where the move can do without it."""
        names = list(SECTIONS)
        later = [] if self.without else names[names.index(self.name) + 1 :]
        until = self._line("Until")
        return later[later.index(until) :] if until else later

    def _line(self, word: str) -> str:
        lines = (self.__doc__ or "").splitlines()
        return next((line.removeprefix(f"{word}: ") for line in lines if line.startswith(f"{word}: ")), "")


class Ordered(str):
    """A name that sorts by its place."""

    place = 0

    def __lt__(self, other: str) -> bool:
        return self.place < other.place if isinstance(other, Ordered) else str(self) < other


def _in_order(collection: Collection, name: str) -> str:
    plain = _transform(collection, name)
    places: dict[str, int] = collection.__dict__.setdefault("_places", {})
    ordered = Ordered(plain)
    ordered.place = places.setdefault(plain, len(places))
    return ordered


# Invoke lists tasks by name, and copies our Collections into plain ones of its own; a checklist has an order.
_transform = Collection.transform
Collection.transform = _in_order  # type: ignore[method-assign, assignment]


SECTIONS: dict[str, Section] = {}  # by name, as the checklist has them


def section(module: ModuleType) -> Collection:
    """The Collection of a checklist module: its steps in the order of their lines, the whole section by default."""
    name = module.__name__.rpartition(".")[2].replace("_", "-")

    def whole(context: Any) -> None:
        """The whole section."""

    def whole_after_a_question(context: Any, yes: bool = False) -> None:
        """The whole section, which asks first."""

    doc = module.__doc__ or ""
    body = whole_after_a_question if "\nAsks: " in doc else whole
    body.__doc__ = doc
    task = Section(body, name=Ordered(name), default=True)
    task.steps = [value for value in vars(module).values() if isinstance(value, Step)]
    SECTIONS[name] = task
    collection = Collection(name)
    collection.__doc__ = doc.strip().splitlines()[0]
    collection.add_task(task, name="all")
    for step in task.steps:
        step.heading = task
        step._name = collection.transform(step.name)
        collection.add_task(step)
    return collection
