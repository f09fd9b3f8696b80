"""What became of a step, a check or a command: the mark that its line begins with."""

from enum import StrEnum
from typing import Self


class Outcome(StrEnum):
    """The values are those of the JSON lines (see `events`); each has a *mark* for its line, and a colour."""

    mark: str
    colour: str

    def __new__(cls, value: str, mark: str, colour: str) -> Self:
        outcome = str.__new__(cls, value)
        outcome._value_, outcome.mark, outcome.colour = value, mark, colour
        return outcome

    DONE = "done", "✓", "green"
    FINISHED = "finished", "✓", "green"  # an interrupted run of before
    SEEN = "seen", "✓", "green"
    ALREADY = "already", "=", "dim"
    NOTHING = "nothing", "=", "dim"  # the settings ask for nothing here
    WOULD = "would", "~", "yellow"  # under --dry
    FAILED = "failed", "✗", "red"
    UNDONE = "undone", "↶", "cyan"
    NOTE = "note", "·", "dim"  # no outcome: something to know
