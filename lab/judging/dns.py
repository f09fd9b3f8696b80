"""The site's name while it is moved: what the name servers answer, and to which server visitors came.

Asked by `dig` on the ci host, and counted from the addresses of the visitors' own connections.
"""

import re

from ..machine.server import LabServer
from ..report.result import Rehearsal
from ..sections import DNS_PREPARE, DNS_RECORDS, RETIRE, SWITCH_DNS
from ..servers import Lab
from .observer import Observer


def records(lab: Lab, server: str, name: str = "") -> dict[str, tuple[int, tuple[str, ...]]]:
    """By kind, what a name server answers for a name, the site's unless given: the TTL and the addresses."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for kind in ("A", "AAAA"):
        answer = lab.ci.exec(f"dig +noall +answer @{server} {name or lab.world.domain} {kind}").stdout
        lines = re.findall(r"^\S+\s+(\d+)\s+IN\s+A+\s+(\S+)$", answer, re.MULTILINE)
        if lines:
            found[kind] = int(lines[0][0]), tuple(sorted(address for _, address in lines))
    return found


class DnsAudit(Observer):
    """The name of a rehearsal."""

    name = "dns"

    def before(self, section: str) -> None:
        if section == DNS_PREPARE and self.lab.name_servers:
            self.report["old_ttl"] = self._ttl()

    def after(self, section: str) -> None:
        if not self.lab.name_servers:
            return
        if section == DNS_PREPARE:
            self.report["new_ttl"] = self._ttl()
        if section == SWITCH_DNS:
            self._must_point_to(self.lab.new)

    def audit(self, rehearsal: Rehearsal, done: set[str]) -> None:
        """Counts who came where, and checks how the name is left."""
        old, new = (server.addresses for server in self.lab.servers)
        answers, spans = rehearsal.book.answers, rehearsal.spans
        for name, addresses in (("old", old), ("new", new)):
            self.report[f"visitors_by_{name}"] = sum(answer.to in addresses for answer in answers)
        if not self.lab.name_servers or DNS_PREPARE not in {span.name for span in spans}:
            return
        self._must_point_to(self.lab.new if SWITCH_DNS in done else self.lab.old)
        desired = self.report["new_ttl" if DNS_PREPARE in done and RETIRE not in done else "old_ttl"]
        if (ttl := self._ttl()) != desired:
            self.problems.append(f"the name's TTL is {ttl} s at the end, not {desired} s")
        switched = [step for span in spans if span.name == SWITCH_DNS for step in span.steps]
        changed = [step.ended for step in switched if step.name == DNS_RECORDS]
        undone = min((span.started for span in spans if span.name == f"undo {SWITCH_DNS}"), default=float("inf"))
        if changed and (came := [a.at - changed[-1] for a in answers if a.to in old and a.at < undone]):
            self.report["last_by_old_s"] = round(max(0.0, *came), 1)

    def _ttl(self) -> int | None:
        return max((ttl for ttl, _ in records(self.lab, self.lab.name_servers[0]).values()), default=None)

    def _must_point_to(self, host: LabServer) -> None:
        for server in self.lab.name_servers:
            found = {address for _, several in records(self.lab, server).values() for address in several}
            if found != {*host.addresses}:
                where, domain = ", ".join(sorted(found)) or "no address", self.lab.world.domain
                self.problems.append(f"name server {server} answers {where} for {domain}, not the addresses of {host}")
