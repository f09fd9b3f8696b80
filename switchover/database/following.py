"""How new's database follows old's: whether it does, how far behind it is, what old keeps for it on its disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Problem
from ..hosts import Server
from ..move import Move
from ..quote import sh
from ..resources.postgres import PSQL
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
    WHERE application_name = '{FORWARD}' AND state IN ('streaming', 'catchup') LIMIT 1),
  'subscriptions', (SELECT json_object_agg(subname, subenabled) FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND subname IN ('{FORWARD}', '{BACK}')),
  'limit', (SELECT setting::bigint * 1048576 FROM pg_settings
    WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'))
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
    """*behind*: bytes of old's changes that new has not confirmed; *lag*: seconds, None where nobody follows now."""

    follows: bool
    behind: int
    lag: float | None
    old: Kept | None
    new: Kept | None
    differences: tuple[str, ...] = ()

    @property
    def caught_up(self) -> bool:
        """Whether new has all but the very last changes."""
        return self.follows and self.lag is not None and self.lag < SOON and self.behind < NEAR

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def look(move: Move, *, schemas: bool = True) -> Following | None:
    """What is true now; None where old has no slot for new. *schemas*: whether both are compared as well."""
    if move.settings.strategy != "replicate":
        return None
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(_ask, move.servers)
    slot, back = old["slots"].get(FORWARD), new["slots"].get(BACK)
    if slot is None:
        return None
    subscribed = bool(new["subscriptions"].get(FORWARD))
    differences = tuple(schema.differences(move)) if schemas and FORWARD in new["subscriptions"] else ()
    follows = subscribed and bool(slot["active"]) and old["lag"] is not None
    behind = int(slot["behind"] or 0)
    return Following(follows, behind, old["lag"] if follows else None, _kept(old, slot), _kept(new, back), differences)


def missing(move: Move) -> str | None:
    """What new lacks of what old has; None where nothing. Raises Problem where waiting for it is no use."""
    found = look(move)
    if found is None:
        return "new does not follow yet"
    if broken := broken_off(found):
        raise Problem(broken, str(move.new), "Then: inv replicate")
    return behind(found)


def hindrance(found: Following) -> str | None:
    """Why new does not have all that old has; None where it has."""
    return broken_off(found) or behind(found)


def broken_off(found: Following) -> str | None:
    """Why new will never have all that old has unless somebody does something; None where it will."""
    if found.old and found.old.lost:
        return "old has given up what it kept for new, as its limit was reached; start over: inv undo replicate"
    return in_words(found.differences) if found.differences else None


def behind(found: Following) -> str | None:
    """By how much new is behind; None where it is not."""
    if not found.follows:
        return f"new does not follow just now ({size(found.behind)} behind): see PostgreSQL's log on new"
    if not found.caught_up:
        return f"new is {size(found.behind)} and {found.lag or 0:.1f} s behind"
    return None


def in_words(differences: tuple[str, ...]) -> str:
    """The differences between the schemas, on one line, with what to do."""
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    return f"{'; '.join(differences[:3])}{more}: make both alike by hand"


def lines(found: Following) -> list[str]:
    """For people: how it follows, what is kept for it, what is different."""
    lag = f"{found.lag:.1f} s behind" if found.lag is not None else "does NOT follow just now"
    told = [f"new's database: {lag}, {size(found.behind)} of changes"]
    for name, kept in (("old", found.old), ("new", found.new)):
        if kept is not None:
            told.append(f"{name} {words(kept)}")
    return told + [f"schema: {one}" for one in found.differences]


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
    script = f"""
{PSQL} -d {sh(server.database.name)} -c {sh(QUESTION)} || exit 1
df -Pk "$({PSQL} -c 'SHOW data_directory')/pg_wal/" | awk 'NR == 2 {{ printf "%.0f\\n", $4 * 1024 }}'
"""
    first, free = server.look(script).out.strip().rsplit("\n", 1)
    found: dict[str, Any] = json.loads(" ".join(first.splitlines()))
    return found | {name: found[name] or {} for name in ("slots", "subscriptions")} | {"free": int(free)}


def _kept(found: dict[str, Any], slot: dict[str, Any] | None) -> Kept | None:
    if slot is None:
        return None
    lost = slot["state"] == "lost"
    return Kept(int(slot["kept"] or 0), found["free"], found["limit"], lost)
