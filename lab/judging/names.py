"""The site's name while it is moved: what the name servers say of it, and by which server visitors came.

Asked by `dig` on the ci host, and counted from where the visitors' own connections led.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..report.result import Span
from ..visitors.ledger import Book

if TYPE_CHECKING:
    from ..machine.server import LabServer
    from ..servers import Lab

PREPARE, SWITCH, RETIRE = "dns-prepare", "switch-dns", "retire-old"


def records(lab: Lab, server: str, name: str = "") -> dict[str, tuple[int, tuple[str, ...]]]:
    """By kind, what a name server says of a name, the site's unless given: the TTL and the addresses."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for kind in ("A", "AAAA"):
        said = lab.ci.exec(f"dig +noall +answer @{server} {name or lab.world.domain} {kind}").stdout
        lines = re.findall(r"^\S+\s+(\d+)\s+IN\s+A+\s+(\S+)$", said, re.MULTILINE)
        if lines:
            found[kind] = int(lines[0][0]), tuple(sorted(address for _, address in lines))
    return found


@dataclass
class Names:
    """The name of a rehearsal. *by_old*, *by_new*: requests by the server that they came to; *last*: seconds after the
    change in which somebody still came by old."""

    lab: Lab
    old_ttl: int | None = None
    new_ttl: int | None = None
    by_old: int = 0
    by_new: int = 0
    last: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether there are name servers."""
        return bool(self.lab.name_servers)

    def before(self, section: str) -> None:
        """Looks as the move comes to a section."""
        if self.works and section == PREPARE:
            self.old_ttl = self._ttl()

    def after(self, section: str) -> None:
        """Looks when a section has been done."""
        if self.works and section == PREPARE:
            self.new_ttl = self._ttl()
        if self.works and section == SWITCH:
            self._must_lead(self.lab.new)

    def audit(self, book: Book, spans: list[Span], done: set[str]) -> None:
        """Counts who came where, and looks at how the name is left."""
        old, new = (_addresses(server) for server in self.lab.servers)
        came = Counter("old" if a.to in old else "new" if a.to in new else "" for a in book.answers)
        self.by_old, self.by_new = came["old"], came["new"]
        if not self.works or PREPARE not in {span.name for span in spans}:
            return
        self._must_lead(self.lab.new if SWITCH in done else self.lab.old)
        lowered = PREPARE in done and RETIRE not in done
        if (ttl := self._ttl()) != (desired := self.new_ttl if lowered else self.old_ttl):
            self.problems.append(f"the name's TTL is {ttl} s in the end, not {desired} s")
        switched = [step for span in spans if span.name == SWITCH for step in span.steps]
        changed = [step.ended for step in switched if step.name == f"{SWITCH}.records"]
        if changed:
            by_old = [a.at - changed[-1] for a in book.answers if a.to in old and a.at < _undone(spans)]
            self.last = max(0.0, *by_old) if by_old else None

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        return {
            "old_ttl": self.old_ttl,
            "new_ttl": self.new_ttl,
            "visitors_by_old": self.by_old,
            "visitors_by_new": self.by_new,
            "last_by_old_s": None if self.last is None else round(self.last, 1),
        }

    def _ttl(self) -> int | None:
        return max((ttl for ttl, _ in records(self.lab, self.lab.name_servers[0]).values()), default=None)

    def _must_lead(self, to: LabServer) -> None:
        for server in self.lab.name_servers:
            found = {address for _, several in records(self.lab, server).values() for address in several}
            if found != {*_addresses(to)}:
                where, domain = ", ".join(sorted(found)) or "nowhere", self.lab.world.domain
                self.problems.append(f"{server} says that {domain} is at {where}, not {to}")


def _addresses(server: LabServer) -> tuple[str, str]:
    return server.address4, server.address6


def _undone(spans: list[Span]) -> float:
    """When the change of the name was taken back, if it was."""
    return min((span.started for span in spans if span.name == f"undo {SWITCH}"), default=float("inf"))
