"""How long visitors can be held, what the disks can keep, and how long a copy takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..findings import Checks, Found, blocker, good, note, warning
from .host import GROUP, OURS, DatabaseFacts, Unknown

RATE = 50.0  # requests a second: a busy shop's
PATIENCE = 2.0  # seconds that the queues must last at least: the held restart, or PAUSE tried once more
COPY_RATE = 30e6  # bytes a second from server to server, indexes included: a guess on the slow side
HOLD = 0.02  # seconds of a hold, besides the network: in the lab 17 ms, in the median
ROUND_TRIPS = 8  # between the servers during a hold

CHECKS = Checks[[DatabaseFacts]](GROUP)


@dataclass(frozen=True)
class RequestQueue:
    """How many requests wait in one place before one is refused."""

    where: str
    holds: int


def request_queues(facts: DatabaseFacts) -> list[RequestQueue]:
    """What visitors' requests pass: old's nginx, new's nginx, new's application.

    A proxied request takes two of nginx's connections. Its workers share them unevenly, so that one worker's decide:
    in the lab the first of two took all of 384 requests, and the 389th was refused.
    """
    queues = []
    for role, side in facts.sides:
        connections = _last(side["nginx"], r"worker_connections\s+(\d+)", 512)
        files = int((side.get("nginx_files") or [connections])[-1])
        queues.append(RequestQueue(f"{role}'s nginx", min(connections, files) // 2))
    new = facts.new
    configuration = new.get("app_configuration", [])
    backlog = int((new.get("backlog") or [_last(configuration, r"backlog\D+(\d+)", 1024)])[-1])
    workers = int((new.get("app_workers") or [_last(configuration, r"worker_processes\s+(\d+)", 1)])[-1])
    queues.append(RequestQueue("new's application", min(backlog, int(new["somaxconn"][-1])) + workers))
    return queues


def _last(lines: list[str], pattern: str, otherwise: int) -> int:
    matches = re.findall(pattern, "\n".join(lines))
    return int(matches[-1]) if matches else otherwise


def rate_now(facts: DatabaseFacts) -> float:
    """Requests a second in the busiest of old's last minutes."""
    return max((int(count) for count in facts.old.get("requests", ())), default=0) / 60


def smallest_queue(facts: DatabaseFacts) -> RequestQueue:
    """The one that is full first."""
    return min(request_queues(facts), key=lambda queue: queue.holds)


def longest_hold(facts: DatabaseFacts) -> tuple[float, RequestQueue]:
    """Seconds that the queues can last at the present rate, 50 a second at least; and which is full first."""
    smallest = smallest_queue(facts)
    return smallest.holds / max(RATE, rate_now(facts)), smallest


@CHECKS.add
def slot_wal(facts: DatabaseFacts) -> Found:
    """Both disks hold the WAL that a slot retains."""
    for role, side in facts.sides:
        free, rate = float(side["wal_free"][-1]), float(side["wal_last_hour"]) / 3600
        need = max(1e9, 3 * _copy_seconds(facts) * rate)
        retained = sum(float(slot["retained"] or 0) for slot in side["slots"] if slot["name"].startswith(OURS))
        if free < need:
            what = f"{free / 1e9:.1f} GB free for the WAL that a slot retains; {need / 1e9:.1f} GB needed"
            yield blocker(f"{role}: {what}", "Free some space on the disk of pg_wal")
        elif retained:
            yield note(f"{role}: the move's slot retains {retained / 1e6:,.0f} MB of WAL; {free / 1e9:.1f} GB are free")
        if role == "old" and side.version < 130000:
            lasts = f"about {free / rate / 3600:,.0f} h of writing as in the last hour" if rate else "a lot of writing"
            do = f"Watch it with `inv watch`: {lasts} would fill the disk"
            yield warning("old: PostgreSQL before 13 has no limit for the WAL that a slot retains", do)


@CHECKS.add
def queues(facts: DatabaseFacts) -> Found:
    """The queues in front hold the requests long enough."""
    smallest, now = smallest_queue(facts), rate_now(facts)
    for rate, words in ((RATE, "50/s"), (now, f"now's {now:.0f}/s")):
        if rate and smallest.holds / rate < PATIENCE:
            what = f"{smallest.where} holds {smallest.holds} requests: {smallest.holds / rate:.1f} s at {words}"
            do = "Raise worker_connections (nginx), or the application's backlog and net.core.somaxconn"
            yield blocker(f"{what}; {PATIENCE:.0f} s needed", do)
            return


@CHECKS.add
def rack_timeout(facts: DatabaseFacts) -> Found:
    """Rack::Timeout does not end requests that wait."""
    for role, side in facts.sides:
        limits = [int(match) for match in re.findall(r"(\d+)\s*$", "\n".join(side.get("rack_timeout", [])), re.M)]
        shortest = min(filter(None, limits), default=0)
        if 0 < shortest < 2 * PATIENCE:
            enough = f"{2 * PATIENCE:.0f} s or more (service_timeout, RACK_TIMEOUT_SERVICE_TIMEOUT)"
            yield blocker(f"{role}: Rack::Timeout ends requests after {shortest} s", f"Allow {enough}; restart the app")
        elif shortest or side.get("rack_timeout_gem"):
            limit = f"{shortest} s" if shortest else "15 s, unless something else is set"
            yield note(f"{role}: Rack::Timeout ends requests after {limit}: longer than any hold")


@CHECKS.add
def cost(facts: DatabaseFacts) -> Found:
    """The costs are known."""
    try:
        yield good(costs(facts))
    except (Unknown, ValueError, IndexError) as fact:  # nobody needs them to move
        yield note(f"sizes and times are not known ({fact})")


def costs(facts: DatabaseFacts) -> str:
    """Sizes, the expected time of the copy, the expected hold, and how long the queues would last."""
    tables = facts.old.tables(kind="r")
    size, rows = facts.old["database"]["size"], sum(table["rows"] for table in tables)
    trip = facts.between.get("round_trip")
    hold = HOLD + ROUND_TRIPS * (trip or 0) + 2e-6 * len(facts.old["sequences"])
    network = "" if trip else " and eight round trips"
    holds, now = smallest_queue(facts).holds, rate_now(facts)
    at = f"{holds / RATE:.1f} s at 50/s" + (f", {holds / now:,.0f} s at today's {now:.1f}/s" if now >= 0.1 else "")
    copying = _copy_seconds(facts)
    duration = f"{copying:.0f} s" if copying < 120 else f"{copying / 60:.0f} min"
    copy = f"{size / 1e6:,.0f} MB, {len(tables)} tables, {rows:,} rows: copied in about {duration}"
    return f"{copy}; visitors wait about {hold * 1000:.0f} ms{network}; the queues would be full after {at}"


def _copy_seconds(facts: DatabaseFacts) -> float:
    return max(1.0, float(facts.old["database"]["size"]) / COPY_RATE)
