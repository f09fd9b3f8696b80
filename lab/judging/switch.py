"""The database switch, as it is judged when it is done: by its program's output, and by the orders themselves.

The program is asked for what only it can know, its hold. For how long no order was committed is measured without it: by
when PostgreSQL committed each order, which the lab's servers record (`track_commit_timestamp`).
"""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from switchover.database.proof import parse as parse_proof
from switchover.journal import ROOT

from ..machine.server import LabServer
from ..sections import RESTART, SWITCH
from .audit import Shop

# An order writes one such row, which nobody changes, in a transaction of its own; a copy brings many in one. What came
# by following has its origin, and the time of the server that it came from.
_ORDERED = """
SELECT coalesce(json_agg(json_build_array(extract(epoch FROM pg_xact_commit_timestamp(made::xid)), {followed})), '[]')
FROM (SELECT xmin::text AS made FROM audits WHERE event = 'ordered' GROUP BY xmin::text HAVING count(*) = 1) t
WHERE pg_xact_commit_timestamp(made::xid) IS NOT NULL
"""
_FOLLOWED = "(pg_xact_commit_timestamp_origin(made::xid)).roident <> 0"  # since PostgreSQL 14


@dataclass(slots=True)
class SwitchFacts:
    """What is known of a switch, times in ms; None: it is no part of it, or not known."""

    hold_ms: float | None = None  # all tries together
    tries: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    restart_hold_ms: float | None = None  # while old's PostgreSQL was restarted, before the databases followed
    proof: dict[str, int] | None = None
    last_on_old: float | None = None  # when the last order was committed there, and the first on new (unix seconds)
    first_on_new: float | None = None

    @property
    def gap_between_commits_ms(self) -> float | None:
        """How long no order was committed anywhere."""
        if self.last_on_old is None or self.first_on_new is None:
            return None
        return round((self.first_on_new - self.last_on_old) * 1000, 1)

    def as_json(self) -> dict[str, Any]:
        """As report.json has it."""
        names = ("hold_ms", "tries", "restart_hold_ms", "proof", "gap_between_commits_ms")
        facts = asdict(self) | {"gap_between_commits_ms": self.gap_between_commits_ms}
        return {name: facts[name] for name in names}


def measure(old: LabServer, new: LabServer) -> SwitchFacts:
    """Asks both servers of a move after its switch. Raises Problem when one of them does not answer."""
    journal = f"{ROOT}/{old.world.domain}"
    facts = parse(output(new))
    held = new.exec(f"cat {journal}/*-{RESTART}*/held 2>/dev/null", check=False).stdout
    if restart := re.search(r"^held (\d+) ms", held, re.MULTILINE):
        facts.restart_hold_ms = float(restart[1])
    facts.last_on_old, facts.first_on_new = _commits(Shop(old), Shop(new))
    return facts


def output(new: LabServer) -> str:
    """What the program of the last switch printed, on the new server."""
    last = f"ls -d {ROOT}/{new.world.domain}/*-{SWITCH}/said 2>/dev/null | tail -n 1"
    return new.exec(f"cat $({last}) </dev/null").stdout


def events(output: str) -> list[dict[str, Any]]:
    """The events among the lines that the program of the switch printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"event"')]


def parse(output: str) -> SwitchFacts:
    """The facts that the program of the switch printed."""
    last: dict[str, Any] = next((event for event in reversed(events(output)) if "hold_ms" in event), {})
    proof = parse_proof(output)
    different = sum(not table["equal"] for table in proof.tables)
    compared = {"tables": len(proof.tables), "rows": proof.rows, "different": different} if proof.tables else None
    return SwitchFacts(last.get("hold_ms"), last.get("tries"), last.get("parts", {}), proof=compared)


def _commits(old: Shop, new: Shop) -> tuple[float | None, float | None]:
    if int(new.server.psql("SHOW server_version_num")) < 140000:
        return None, None
    orders = _orders(new, _FOLLOWED)
    # A copy brings no times; old, to which nobody writes any more, has them.
    before = [at for at, followed in orders if followed] or [at for at, _ in _orders(old, "true")]
    return around(before, [at for at, followed in orders if not followed])


def _orders(shop: Shop, followed: str) -> list[tuple[float, bool]]:
    return [(at, came) for at, came in json.loads(shop.psql(_ORDERED.format(followed=followed)))]


def around(old: list[float], new: list[float]) -> tuple[float | None, float | None]:
    """The last of old's moments, and the first of new's after it; None where there is none."""
    last = max(old, default=None)
    return last, min((at for at in new if last is not None and at > last), default=None)
