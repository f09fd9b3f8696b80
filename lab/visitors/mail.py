"""Mail: the shop's customers are written to by the mail server of old or new, and have their mailbox on the ci host.

Each tenth order is confirmed by the job that ships it. During a rehearsal the ci host has old come again later for a
while, as receivers do, so that mail is queued on old when the site moves; it shall arrive once.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..judging.audit import Place, few
from ..machine.server import LabServer
from ..servers import Lab
from ..services.postfix import CUSTOMERS
from ..world import Role

LATER, TAKEN = "prepare-new", "finish"  # before these sections old is told to come again later, and no more
SECONDS = 60  # that the last mails may take
QUEUE = "cd /var/spool/postfix && find maildrop incoming active deferred -type f 2>/dev/null | wc -l"


def later(lab: Lab, *roles: Role) -> None:
    """The ci host has these servers come again later; all others' mail it takes."""
    lines = "".join(f"{lab.world.address4(role)} 450 Come again later\n" for role in roles)
    lab.ci.exec("cat >/etc/postfix/later; postfix reload 2>/dev/null", input=lines)


def queued(server: LabServer) -> int:
    """How many mails wait there to go out."""
    return int(server.exec(QUEUE).stdout)


def received(lab: Lab) -> Counter[str]:
    """How often each order was confirmed."""
    shown = lab.ci.exec(f"grep -rhi '^X-Order:' {CUSTOMERS}/new || true").stdout
    return Counter(line.split()[1] for line in shown.splitlines())


@dataclass
class Post:
    """The mail of a rehearsal. *waited*: how many were queued on old when visitors had moved to new."""

    lab: Lab
    waited: int = 0
    never_sent: list[str] = field(default_factory=list)
    sent_twice: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether there is a host that takes mail."""
        return self.lab.ci in self.lab.hosts

    def before(self, section: str) -> None:
        """What receivers do as the move comes to a section."""
        if self.works and section == LATER:
            later(self.lab, "old")
        if self.works and section == TAKEN:
            self.waited = queued(self.lab.old)
            later(self.lab)

    def audit(self, place: Place) -> None:
        """Waits for the last mails, and compares what came with the orders in *place*'s database."""
        if not self.works:
            return
        later(self.lab)
        end = time.monotonic() + SECONDS
        while any(queued(server) for server in self.lab.servers) and time.monotonic() < end:
            for server in self.lab.servers:
                server.exec("postqueue -f", check=False)
            time.sleep(1)
        came = received(self.lab)
        sql = "SELECT DISTINCT number FROM orders JOIN job_runs ON order_number = number "
        sql += "WHERE orders.id % 10 = 0 AND number LIKE 'V-%'"
        promised = place.machine.psql(sql, db=place.database).split()
        self.never_sent = sorted(number for number in promised if number not in came)
        self.sent_twice = sorted(number for number, times in came.items() if times > 1)

    @property
    def problems(self) -> list[str]:
        """What went wrong with it, in words."""
        sorts = {"never sent": self.never_sent, "sent twice": self.sent_twice}
        return [f"{len(found)} mail(s) {how}: {few(found)}" for how, found in sorts.items() if found]

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        return {"queued": self.waited, "never_sent": len(self.never_sent), "sent_twice": len(self.sent_twice)}
