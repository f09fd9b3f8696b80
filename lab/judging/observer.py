"""What watches one side of a rehearsal: the name, the mail, the certificate, the deploys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..report.result import Rehearsal
    from ..servers import Lab

# The observers' parts of report.json, as they are where nothing was observed.
NOTHING: dict[str, dict[str, Any]] = {
    "deploys": {"refused": 0, "by_ci": 0},
    "mail": {"queued": 0, "never_sent": 0, "sent_twice": 0},
    "dns": dict.fromkeys(("old_ttl", "new_ttl", "visitors_by_old", "visitors_by_new", "last_by_old_s")),
    "certificate": {},
}


class Observer:
    """Is called as the move proceeds. `report`: its part of report.json, by the *name*; `problems`: what went wrong, in
    words.
    """

    name: str

    def __init__(self, lab: Lab) -> None:
        self.lab, self.report = lab, dict(NOTHING[self.name])
        self.problems: list[str] = []

    def before(self, section: str) -> None:
        """The move comes to a section."""

    def after(self, section: str) -> None:
        """A section has been done."""

    def moved(self, done: set[str]) -> None:
        """The move is at its end, and nothing is undone yet; *done*: its sections."""

    def audit(self, rehearsal: Rehearsal, done: set[str]) -> None:
        """The visitors have gone; *done*: the sections that were not undone since."""
