"""Mail: the shop's customers are written to by the mail server of old or new, and have their mailbox on the ci host.

Each tenth order is confirmed by the job that ships it. During a rehearsal the ci host defers old's mail for a while, as
receivers do, so that mail is queued on old when the site moves; it shall arrive once.
"""

import time
from collections import Counter

from ..judging.audit import Shop, counted
from ..judging.observer import Observer
from ..machine.server import LabServer
from ..report.result import Rehearsal
from ..sections import FINISH, PREPARE_NEW, SWITCH_DB
from ..servers import Lab
from ..services.postfix import CUSTOMERS
from ..world import Role

SECONDS = 60  # that the last mails may take
QUEUE = "cd /var/spool/postfix && find maildrop incoming active deferred -type f 2>/dev/null | wc -l"


def later(lab: Lab, *roles: Role) -> None:
    """The ci host defers the mail of these servers; it takes all others'."""
    lines = "".join(f"{lab.world.address4(role)} 450 Come again later\n" for role in roles)
    lab.ci.exec("cat >/etc/postfix/later; postfix reload 2>/dev/null", input=lines)


def queued(server: LabServer) -> int:
    """How many mails wait there to go out."""
    return int(server.exec(QUEUE).stdout)


def received(lab: Lab) -> Counter[str]:
    """How often each order was confirmed."""
    headers = lab.ci.exec(f"grep -rhi '^X-Order:' {CUSTOMERS}/new || true").stdout
    return Counter(line.split()[1] for line in headers.splitlines())


class MailAudit(Observer):
    """The mail of a rehearsal."""

    name = "mail"

    def before(self, section: str) -> None:
        if section == PREPARE_NEW:  # from here on it is deferred
            later(self.lab, "old")
        if section == FINISH:
            self.report["queued"] = queued(self.lab.old)
            later(self.lab)

    def audit(self, rehearsal: Rehearsal, done: set[str]) -> None:
        """Waits for the last mails, and compares what arrived with the orders."""
        later(self.lab)
        end = time.monotonic() + SECONDS
        while any(queued(server) for server in self.lab.servers) and time.monotonic() < end:
            for server in self.lab.servers:
                server.exec("postqueue -f", check=False)
            time.sleep(1)
        came = received(self.lab)
        sql = "SELECT DISTINCT number FROM orders JOIN job_runs ON order_number = number "
        sql += "WHERE orders.id % 10 = 0 AND number LIKE 'V-%'"
        promised = Shop(self.lab.new if SWITCH_DB in done else self.lab.old).psql(sql).split()
        never = {number: "not received" for number in sorted(promised) if number not in came}
        twice = {number: f"{times} times" for number, times in sorted(came.items()) if times > 1}
        self.report |= {"never_sent": len(never), "sent_twice": len(twice)}
        self.problems += counted("mail(s) never sent", never) + counted("mail(s) sent twice", twice)
