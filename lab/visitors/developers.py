"""Those who deploy while the site moves: a developer who pushes to old, and the CI host once its remote is new."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..judging.observer import Observer
from ..sections import FINISH, PREPARE_OLD
from ..services import ci
from ..texts import last_line
from . import deploys

if TYPE_CHECKING:
    from ..machine.server import LabServer
    from ..servers import Lab

REASON = r"\[\w{3} \d{1,2} \w{3} \d{4}\] .+ is moving"


class DeployAudit(Observer):
    """What became of their pushes; they push in a *quiet* stretch, in which nobody moves anything."""

    name = "deploys"

    def __init__(self, lab: Lab, quiet: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(lab)
        self.quiet = quiet

    def after(self, section: str) -> None:
        if section in (PREPARE_OLD, FINISH):
            with self.quiet("pushes"):
                new = re.escape(ci.url(self.lab.world, "new").partition(":")[0])
                self._refused(section, rf"git remote set-url \S+ {new}:\S+" if section == FINISH else REASON)
                if section == FINISH:
                    self._by_ci()

    def _refused(self, section: str, reason: str) -> None:
        before = _commit(self.lab.old)
        pushed = deploys.push(self.lab, to="old", change="harmless", by="dev")
        if pushed.ok or _commit(self.lab.old) != before:
            self.problems.append(f"after {section} old accepted a push")
        elif not re.search(reason, pushed.output):
            self.problems.append(f"after {section} old refused a push without the reason: {last_line(pushed.output)}")
        else:
            self.report["refused"] += 1

    def _by_ci(self) -> None:
        pushed = deploys.push(self.lab, to="remote", change="harmless", by="ci")
        title = deploys.title(self.lab.new)
        if not pushed.ok:
            self.problems.append(f"the CI host could not push to new: {last_line(pushed.output)}")
        elif title != pushed.title:
            self.problems.append(f"the CI host pushed, and new still runs the code before: {title or 'no answer'}")
        else:
            self.report["by_ci"] += 1


def _commit(server: LabServer) -> str:
    site = server.world.site(server.role)
    return server.exec(f"runuser -u {site.user} -- git -C {site.app} rev-parse master").stdout.strip()
