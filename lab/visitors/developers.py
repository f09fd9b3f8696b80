"""Those who deploy while the site moves: a developer who pushes to old, and the CI host once it knows of new."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..services import ci
from . import deploys

if TYPE_CHECKING:
    from ..machine.server import LabServer
    from ..servers import Lab

REFUSING, MOVED = "prepare-old", "finish"  # after these a push to old is refused; after the latter CI deploys to new
REASON = r"\[\w{3} \d{1,2} \w{3} \d{4}\] .+ is moving"


@dataclass(slots=True)
class Developers:
    """What became of their pushes."""

    refused: int = 0
    by_ci: int = 0
    problems: list[str] = field(default_factory=list)

    def have_something_to_push(self, lab: Lab, section: str) -> bool:
        """Whether somebody pushes after a section: never without the ci host or pushers."""
        there = lab.ci in lab.hosts and {*lab.world.sites[0].pushers} == {"ci", "dev"}
        return there and section in (REFUSING, MOVED)

    def push(self, lab: Lab, section: str) -> None:
        """What they push after a section; what does not go as it should is in `problems`."""
        new = re.escape(ci.url(lab.world, "new").partition(":")[0])
        self._refused(lab, section, rf"git remote set-url \S+ {new}:\S+" if section == MOVED else REASON)
        if section == MOVED:
            self._by_ci(lab)

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        return {"refused": self.refused, "by_ci": self.by_ci}

    def _refused(self, lab: Lab, section: str, says: str) -> None:
        before = _commit(lab.old)
        pushed = deploys.push(lab, to="old", change="harmless", by="dev")
        if pushed.ok or _commit(lab.old) != before:
            self.problems.append(f"after {section} old took a push")
        elif not re.search(says, pushed.output):
            self.problems.append(f"after {section} old refused a push without a good reason: {_last(pushed.output)}")
        else:
            self.refused += 1

    def _by_ci(self, lab: Lab) -> None:
        pushed = deploys.push(lab, to="remote", change="harmless", by="ci")
        title = deploys.title(lab.new)
        if not pushed.ok:
            self.problems.append(f"the CI host could not push to new: {_last(pushed.output)}")
        elif title != pushed.title:
            self.problems.append(f"the CI host pushed, and new still runs what it ran: {title or 'no answer'}")
        else:
            self.by_ci += 1


def _commit(server: LabServer) -> str:
    site = server.world.site(server.role)
    return server.exec(f"runuser -u {site.user} -- git -C {site.app} rev-parse master").stdout.strip()


def _last(output: str) -> str:
    return (output.strip().splitlines() or ["nothing was said"])[-1]
