"""How new's database follows old's, after the switch old's new's: whether, how far behind, what the disks keep for it.

Also who wrote to the one that follows, by no replication: the other one does not have that.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Problem
from ..move import Move
from ..quote import sh
from ..resources.postgres import PSQL, ask
from ..server import Server
from . import schema

NEAR = 1_000_000  # bytes of old's changes that a follower may lack and still be called caught up
SOON = 1.0  # seconds, likewise
FORWARD, BACK = "switchover", "switchover_back"  # slots, subscriptions and publications

QUESTION = f"""
SELECT json_build_object(
  'slots', (SELECT json_object_agg(slot_name, json_build_object('active', active,
      'behind', pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn),
      'kept', pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn),
      'state', to_jsonb(s) ->> 'wal_status', 'left', (to_jsonb(s) ->> 'safe_wal_size')::bigint))
    FROM pg_replication_slots s WHERE slot_name IN ('{FORWARD}', '{BACK}')),
  'lag', (SELECT coalesce(extract(epoch FROM replay_lag), 0) FROM pg_stat_replication
    WHERE application_name IN ('{FORWARD}', '{BACK}') AND state IN ('streaming', 'catchup') LIMIT 1),
  'subscriptions', (SELECT json_object_agg(subname, subenabled) FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND subname IN ('{FORWARD}', '{BACK}')),
  'limit', (SELECT setting::bigint * 1048576 FROM pg_settings
    WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'))
"""

# On one line, like the rest; a server that was not asked to note them has none.
LATE_WRITES = """
SELECT to_regproc('switchover_own.late_writes_found') IS NOT NULL AS asked \\gset
\\if :asked
SELECT json_build_object('late_writes', switchover_own.late_writes_found());
\\endif
"""


@dataclass(frozen=True)
class Kept:
    """What a server keeps for the other, in bytes; *limit*: at which it gives that up, *free*: of its disk."""

    kept: int
    free: int
    limit: int | None
    lost: bool

    @property
    def worrying(self) -> bool:
        """Whether the limit, or the disk's end, is not far."""
        return self.kept > 0.7 * self.limit if self.limit is not None else self.kept > self.free / 2


@dataclass(frozen=True)
class Following:
    """*behind*: bytes that the follower has not confirmed; *lag*: seconds, None where nobody follows now.

    *primary*: whose database the other one's follows. *late_writes*: on which server, and what, on one line.
    """

    follows: bool
    behind: int
    lag: float | None
    old: Kept | None
    new: Kept | None
    differences: tuple[str, ...] = ()
    primary: str = "old"
    late_writes: tuple[tuple[str, str], ...] = ()

    @property
    def follower(self) -> str:
        """Whose database follows."""
        return "new" if self.primary == "old" else "old"

    @property
    def caught_up(self) -> bool:
        """Whether new has all but the very last changes."""
        return self.follows and self.lag is not None and self.lag < SOON and self.behind < NEAR

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def shall_follow(move: Move) -> bool:
    """Whether new's database shall follow old's. Where it is copied there is no PgBouncer either."""
    return move.settings.strategy == "replicate"


def look(move: Move, *, schemas: bool = True) -> Following | None:
    """What is true now; None where neither has a slot for the other. *schemas*: whether both are compared as well."""
    if not shall_follow(move):
        return None
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(_ask, move.servers)
    forward, back = old["slots"].get(FORWARD), new["slots"].get(BACK)
    switched = bool(old["subscriptions"].get(BACK))
    slot, leading = (back, new) if switched else (forward, old)
    if slot is None:
        return None
    subscribed = switched or bool(new["subscriptions"].get(FORWARD))
    differences = tuple(schema.differences(move)) if schemas and FORWARD in new["subscriptions"] else ()
    follows = subscribed and bool(slot["active"]) and leading["lag"] is not None
    return Following(
        follows,
        int(slot["behind"] or 0),
        leading["lag"] if follows else None,
        _kept(old, forward),
        _kept(new, back),
        differences,
        "new" if switched else "old",
        tuple(
            (role, answer["late_writes"]) for role, answer in (("old", old), ("new", new)) if answer.get("late_writes")
        ),
    )


def missing(move: Move, *, disks: bool = False) -> str | None:
    """What new lacks of what old has; None where nothing. Raises Problem where waiting for it is no use.

    *disks*: what is kept on them counts too.
    """
    found = look(move)
    if found is None:
        return "new does not follow yet"
    if broken := broken_off(found):
        raise Problem(broken, str(move.new), "Then: inv replicate")
    for role, kept in (("old", found.old), ("new", found.new)):
        if disks and kept and kept.worrying:
            raise Problem(f"{role} {words(kept)}", "", "Free some of it, or raise max_slot_wal_keep_size; then go on")
    return behind(found)


def hindrance(found: Following) -> str | None:
    """Why new does not have all that old has; None where it has."""
    return broken_off(found) or behind(found)


def broken_off(found: Following) -> str | None:
    """Why new will never have all that old has unless somebody does something; None where it will."""
    if found.old and found.old.lost and found.primary == "old":
        return "old has given up what it kept for new, as its limit was reached; start over: inv undo replicate"
    if found.new and found.new.lost and found.primary == "new":
        return "new has given up what it kept for old, as its limit was reached: there is no way back without loss"
    return in_words(found.differences) if found.differences else None


def behind(found: Following) -> str | None:
    """By how much new is behind; None where it is not."""
    if not found.follows:
        who = found.follower
        return f"{who} does not follow just now ({size(found.behind)} behind): see PostgreSQL's log on {who}"
    if not found.caught_up:
        return f"{found.follower} is {size(found.behind)} and {found.lag or 0:.1f} s behind"
    return None


def in_words(differences: tuple[str, ...]) -> str:
    """The differences between the schemas, on one line, with what to do."""
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    return f"{'; '.join(differences[:3])}{more}: make both alike by hand"


def lines(found: Following) -> list[str]:
    """For people: how it follows, what is kept for it, what is different."""
    lag = f"{found.lag:.1f} s behind" if found.lag is not None else "does NOT follow just now"
    told = [f"{found.follower}'s database: {lag}, {size(found.behind)} of changes"]
    for name, kept in (("old", found.old), ("new", found.new)):
        if kept is not None:
            told.append(f"{name} {words(kept)}")
    return (
        told
        + [late_writes(*written) for written in found.late_writes]
        + [f"schema: {text}" for text in found.differences]
    )


def late_writes(role: str, what: str) -> str:
    """What somebody wrote to the database that follows."""
    other = "new" if role == "old" else "old"
    table = "switchover_own.late_writes"
    return (
        f"{role} has what {other} lacks, written past the fence: {what}; carry it over, then there: DELETE FROM {table}"
    )


def words(kept: Kept) -> str:
    """What a server keeps for the other."""
    if kept.lost:
        return "has given up what it kept: the limit was reached"
    limit = f", gives up at {size(kept.limit)}" if kept.limit is not None else ", without a limit"
    return f"keeps {size(kept.kept)} of changes; {size(kept.free)} of its disk are free{limit}"


def size(number: float) -> str:
    """Bytes, for people."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.0f} kB"


def _ask(server: Server) -> dict[str, Any]:
    database = server.database.name
    script = f"""
{PSQL} -d {sh(database)} -c {sh(QUESTION)} || exit 1
{ask(database, LATE_WRITES)} | sed 's/^/late_writes /'
df -Pk "$({PSQL} -c 'SHOW data_directory')/pg_wal/" | awk 'NR == 2 {{ printf "%.0f\\n", $4 * 1024 }}'
"""
    *lines, free = server.look(script).out.strip().splitlines()
    noted = [line.removeprefix("late_writes ") for line in lines if line.startswith("late_writes ")]
    found: dict[str, Any] = json.loads(" ".join(line for line in lines if not line.startswith("late_writes ")))
    found |= json.loads(noted[0]) if noted else {}
    return found | {name: found[name] or {} for name in ("slots", "subscriptions")} | {"free": int(free)}


def _kept(found: dict[str, Any], slot: dict[str, Any] | None) -> Kept | None:
    if slot is None:
        return None
    lost = slot["state"] == "lost"
    return Kept(int(slot["kept"] or 0), found["free"], found["limit"], lost)
