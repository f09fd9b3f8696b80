"""What became of a step, a check or a command: the mark that its line begins with."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The values are those of the JSON lines (see `events`)."""

    DONE = "done"
    FINISHED = "finished"  # an interrupted run of before
    ALREADY = "already"
    NOTHING = "nothing"  # the settings ask for nothing here
    SEEN = "seen"
    WOULD = "would"  # under --dry
    FAILED = "failed"
    UNDONE = "undone"
    NOTE = "note"  # no outcome: something to know

    @property
    def mark(self) -> str:
        """What begins its line."""
        return _MARKS[self][0]

    @property
    def colour(self) -> str:
        """The mark's, on a terminal."""
        return _MARKS[self][1]


_MARKS = {
    Outcome.DONE: ("✓", "green"),
    Outcome.FINISHED: ("✓", "green"),
    Outcome.SEEN: ("✓", "green"),
    Outcome.ALREADY: ("=", "dim"),
    Outcome.NOTHING: ("=", "dim"),
    Outcome.WOULD: ("~", "yellow"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.UNDONE: ("↶", "cyan"),
    Outcome.NOTE: ("·", "dim"),
}
