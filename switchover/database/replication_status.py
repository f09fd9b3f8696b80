"""How one database replicates from the other: new's from old's, after the switch old's from new's.

Whether it does now, its lag, what both disks keep for it, and late writes: what somebody wrote to the subscriber past
the fence, which the primary does not have.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Problem
from ..findings import listed
from ..move import Move
from ..resources.postgres import PSQL, ask
from ..server import Server
from . import schema

NEAR = 1_000_000  # bytes of changes that a subscriber may lack and still count as caught up
SOON = 1.0  # seconds, likewise
OTHER = {"old": "new", "new": "old"}
FORWARD, BACK = "switchover", "switchover_back"  # slots, subscriptions and publications

QUESTION = f"""
SELECT json_build_object(
  'slots', (SELECT json_object_agg(slot_name, json_build_object('active', active,
      'behind', pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn),
      'kept', pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn),
      'state', to_jsonb(s) ->> 'wal_status'))
    FROM pg_replication_slots s WHERE slot_name IN ('{FORWARD}', '{BACK}')),
  'lag', (SELECT coalesce(extract(epoch FROM replay_lag), 0) FROM pg_stat_replication
    WHERE application_name IN ('{FORWARD}', '{BACK}') AND state IN ('streaming', 'catchup') LIMIT 1),
  'subscriptions', (SELECT json_object_agg(subname, subenabled) FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND subname IN ('{FORWARD}', '{BACK}')),
  'limit', (SELECT setting::bigint * 1048576 FROM pg_settings
    WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'));
-- A server that does not record them has none.
SELECT to_regproc('switchover_own.late_writes_found') IS NOT NULL AS recorded \\gset
\\if :recorded
SELECT json_build_object('late', switchover_own.late_writes_found());
\\endif
"""


@dataclass(frozen=True)
class RetainedWal:
    """What a server keeps for the other, in bytes; *limit*: at which it drops that, *free*: of its disk."""

    kept: int
    free: int
    limit: int | None
    lost: bool

    @property
    def worrying(self) -> bool:
        """Whether the limit, or the disk's end, is not far."""
        return self.kept > 0.7 * self.limit if self.limit is not None else self.kept > self.free / 2

    def __str__(self) -> str:
        if self.lost:
            return "dropped the changes that it kept: the limit was reached"
        limit = f"the limit is {_size(self.limit)}" if self.limit is not None else "there is no limit"
        return f"keeps {_size(self.kept)} of changes; {_size(self.free)} of its disk are free, {limit}"


@dataclass(frozen=True)
class ReplicationStatus:
    """*behind*: bytes that the subscriber has not confirmed; *lag*: in seconds, None where nothing replicates now.

    *primary*: whose database the other one replicates. *late_writes*: on which server, and what, on one line.
    """

    replicates: bool
    behind: int
    lag: float | None
    old: RetainedWal | None
    new: RetainedWal | None
    differences: tuple[str, ...] = ()
    primary: str = "old"
    late_writes: tuple[tuple[str, str], ...] = ()

    @property
    def subscriber(self) -> str:
        """Whose database replicates the primary."""
        return OTHER[self.primary]

    @property
    def retained(self) -> list[tuple[str, RetainedWal]]:
        """What each server keeps for the other, where it does."""
        return [(role, kept) for role, kept in (("old", self.old), ("new", self.new)) if kept]

    @property
    def caught_up(self) -> bool:
        """Whether the subscriber has all but the very last changes."""
        return self.replicates and self.lag is not None and self.lag < SOON and self.behind < NEAR

    @property
    def broken(self) -> str | None:
        """Why the subscriber will never catch up unless somebody does something; None where it will."""
        if self.primary == "old" and self.old and self.old.lost:
            return "old dropped changes that new still needs: the limit was reached; start over: inv undo replicate"
        if self.primary == "new" and self.new and self.new.lost:
            return "new dropped changes that old still needs: the limit was reached; undo would lose data now"
        return self.schema_differs if self.differences else None

    @property
    def lagging(self) -> str | None:
        """By how much the subscriber lags; None where it does not."""
        if not self.replicates:
            who = self.subscriber
            return f"{who} does not replicate now ({_size(self.behind)} behind): see PostgreSQL's log on {who}"
        return None if self.caught_up else f"{self.subscriber} is {_size(self.behind)} and {self.lag or 0:.1f} s behind"

    @property
    def schema_differs(self) -> str:
        """The differences between the schemas, on one line, with what to do."""
        return f"{listed(self.differences, 3, '; ')}: make both alike by hand"

    def lines(self) -> list[str]:
        """For people: the lag, what is kept, what is different, who wrote past the fence."""
        lag = f"{self.lag:.1f} s behind" if self.lag is not None else "does NOT replicate now"
        lines = [f"{self.subscriber}'s database: {lag}, {_size(self.behind)} of changes"]
        lines += [f"{role} {kept}" for role, kept in self.retained]
        for role, what in self.late_writes:
            do = f"Carry it over, then on {role}: DELETE FROM switchover_own.late_writes"
            lines.append(f"{role} has what {OTHER[role]} lacks, written past the fence: {what}. {do}")
        return lines + [f"schema: {difference}" for difference in self.differences]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def is_replicated(move: Move) -> bool:
    """Whether new's database replicates old's in this move. Where it is copied there is no PgBouncer either."""
    return move.settings.strategy == "replicate"


def look(move: Move) -> ReplicationStatus | None:
    """What is true now, of both schemas too; None where neither has a slot for the other."""
    if not is_replicated(move):
        return None
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(_ask, move.servers)
    forward, back = old["slots"].get(FORWARD), new["slots"].get(BACK)
    switched = bool(old["subscriptions"].get(BACK))
    slot, primary = (back, new) if switched else (forward, old)
    if slot is None:
        return None
    subscribed = switched or bool(new["subscriptions"].get(FORWARD))
    replicates = subscribed and bool(slot["active"]) and primary["lag"] is not None
    behind, lag = int(slot["behind"] or 0), primary["lag"] if replicates else None
    kept = _retained(old, forward), _retained(new, back)
    differences = tuple(schema.differences(move)) if FORWARD in new["subscriptions"] else ()
    late = tuple((role, answer["late"]) for role, answer in (("old", old), ("new", new)) if answer["late"])
    return ReplicationStatus(replicates, behind, lag, *kept, differences, "new" if switched else "old", late)


def missing(move: Move, *, disks: bool = False) -> str | None:
    """What new lacks of what old has; None where nothing. Raises Problem where waiting for it is no use.

    *disks*: what they keep counts too.
    """
    status = look(move)
    if status is None:
        return "new does not replicate yet"
    if status.broken:
        raise Problem(status.broken, str(move.new), "Then: inv replicate")
    do = "Free some space there, or raise max_slot_wal_keep_size; then run this again"
    for role, kept in status.retained:
        if disks and kept.worrying:
            raise Problem(f"{role} {kept}", "", do)
    return status.lagging


def _size(number: float) -> str:
    """Bytes, for people."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.0f} kB"


def _ask(server: Server) -> dict[str, Any]:
    script = f"""
{ask(server.database.name, QUESTION)} || exit 1
df -Pk "$({PSQL} -c 'SHOW data_directory')/pg_wal/" | awk 'NR == 2 {{ printf "%.0f\\n", $4 * 1024 }}'
"""
    *answers, free = server.look(script).out.strip().splitlines()
    answer: dict[str, Any] = {"late": None, "free": int(free)}
    for line in answers:
        answer |= json.loads(line)
    return answer | {name: answer[name] or {} for name in ("slots", "subscriptions")}


def _retained(answer: dict[str, Any], slot: dict[str, Any] | None) -> RetainedWal | None:
    if slot is None:
        return None
    return RetainedWal(int(slot["kept"] or 0), answer["free"], answer["limit"], slot["state"] == "lost")
