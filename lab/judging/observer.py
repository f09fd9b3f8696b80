"""What watches one side of a rehearsal: the name, the mail, the certificate, the deploys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..report.result import Rehearsal


class Observer:
    """Is called as the move proceeds. *name*: of its part in report.json; `problems`: what went wrong, in words."""

    name: str

    def __init__(self) -> None:
        self.problems: list[str] = []

    def before(self, section: str) -> None:
        """The move comes to a section."""

    def after(self, section: str) -> None:
        """A section has been done."""

    def moved(self, done: set[str]) -> None:
        """The move is at its end, and nothing is undone yet; *done*: its sections."""

    def audit(self, rehearsal: Rehearsal, done: set[str]) -> None:
        """The visitors have gone; *done*: the sections that were not undone since."""

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        raise NotImplementedError
