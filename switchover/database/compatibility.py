"""What stands in the way of the new database following the old one through PgBouncer in transaction mode.

Pure: facts in, findings out. A blocker leaves only `strategy: copy`. docs/check.md lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..findings import Checks, Found, blocker, good, note, warning
from ..quote import ident
from .host import Facts, Side, Unknown

OURS = "switchover"  # how the names of the move's own slots, publications, subscriptions and roles begin
VERSIONS = range(11, 18)  # of PostgreSQL: tried, both ways
LONG = 30.0  # seconds: an open transaction for which creating a slot would wait too long
SENDERS = 2  # one follows, one holds the snapshot for the copy
WORKERS = 2  # the launcher and what applies
CLOCKS = 0.1  # seconds: a gate of the switch
RATE = 50.0  # requests a second: a busy shop's
PATIENCE = 2.0  # seconds that the queues must take at least: the held restart, or PAUSE tried once more
COPY_RATE = 30e6  # bytes a second from server to server, indexes included: a guess on the slow side
HOLD = 0.02  # seconds of a hold, besides the network: in the lab 17 ms, in the median
ROUND_TRIPS = 8  # between the servers during a hold
WHOLE_ROWS = 10_000  # rows: FULL compares all of them for each row that is changed


CHECKS = Checks[[Facts]]("database")


def _some(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    listed = [str(n).removeprefix("public.") for n in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _sides(facts: Facts) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("old", facts.old), ("new", facts.new)


def _tables(side: Side, **desired: Any) -> list[dict[str, Any]]:
    return [t for t in side["tables"] if all(t[key] == value for key, value in desired.items())]


def _names(tables: Iterable[dict[str, Any]]) -> str:
    return _some(t["name"] for t in tables)


# --- the servers ------------------------------------------------------------------------------------------------


@CHECKS.add
def superuser(facts: Facts) -> Found:
    """The user postgres is superuser on both servers."""
    for role, side in _sides(facts):
        if not side["superuser"]:
            yield blocker(f"{role}: the user postgres is no superuser", "ALTER ROLE postgres SUPERUSER")


@CHECKS.add
def versions(facts: Facts) -> Found:
    """Both PostgreSQL versions are from 11 to 17, new's no older than old's."""
    old, new = (int(side["settings"]["server_version_num"]) // 10000 for side in (facts.old, facts.new))
    if not (old in VERSIONS and new in VERSIONS):
        yield blocker(f"PostgreSQL {old} on old, {new} on new", "Only 11 to 17 can follow each other here")
    elif new < old:
        yield blocker(f"PostgreSQL {old} on old, only {new} on new", f"Install PostgreSQL {old} or later on new")


@CHECKS.add
def wal_level(facts: Facts) -> Found:
    """Both servers have wal_level = logical."""
    for role, side in _sides(facts):
        if (level := side["settings"]["wal_level"]) != "logical":
            how = "by a restart which is held, once visitors come through new" if role == "old" else "by a restart"
            yield note(f"{role}: wal_level is {level}; `replicate` makes it logical {how}")


@CHECKS.add
def listen_addresses(facts: Facts) -> Found:
    """PostgreSQL can be reached by the other server, on both."""
    for role, side in _sides(facts):
        if side["settings"]["listen_addresses"] in ("localhost", "127.0.0.1", ""):
            yield note(
                f"{role}: PostgreSQL listens on localhost alone, and goes on so: a port of the move's leads to it"
            )


def _room(facts: Facts, setting: str, used: str, need: int, what: str) -> Found:
    for role, side in _sides(facts):
        most, taken = int(side["settings"][setting]), int(side[used])
        if most - taken < need:
            yield blocker(
                f"{role}: {what}: {taken} of {setting} = {most} in use, {need} more needed",
                f"ALTER SYSTEM SET {setting} = {max(taken + need, 10)} on {role}; it counts from the next restart",
            )


@CHECKS.add
def slots_free(facts: Facts) -> Found:
    """A replication slot and an origin are free on both servers."""
    yield from _room(facts, "max_replication_slots", "slots_used", 1, "no replication slot is free")
    yield from _room(facts, "max_replication_slots", "origins_used", 1, "no replication origin is free")


@CHECKS.add
def senders_free(facts: Facts) -> Found:
    """Enough WAL senders are free on both servers."""
    yield from _room(facts, "max_wal_senders", "senders_used", SENDERS, "too few WAL senders are free")


@CHECKS.add
def workers_free(facts: Facts) -> Found:
    """Enough background workers are free on both servers."""
    yield from _room(facts, "max_logical_replication_workers", "apply_used", 1, "no logical replication worker is free")
    yield from _room(facts, "max_worker_processes", "workers_used", WORKERS, "too few worker processes are free")


@CHECKS.add
def slots(facts: Facts) -> Found:
    """There are no other replication slots."""
    for role, side in _sides(facts):
        for slot in side["slots"]:
            if slot["name"].startswith(OURS):
                continue
            kept = float(slot["retained"] or 0) / 1e6
            state = "in use" if slot["active"] else "idle"
            do = "Who reads from it must read from new after the move"
            if not slot["active"]:
                do = f"Where nobody needs it: SELECT pg_drop_replication_slot('{slot['name']}')"
            yield warning(f"{role}: the slot {slot['name']} is {state} and keeps {kept:,.0f} MB of WAL", do)


@CHECKS.add
def publications(facts: Facts) -> Found:
    """There are no other publications."""
    for role, side in _sides(facts):
        if others := [p for p in side["publications"] if not p.startswith(OURS)]:
            do = "Who subscribes to them must subscribe to new after the move"
            yield warning(f"{role}: publications: {_some(others)}", do)


@CHECKS.add
def subscriptions(facts: Facts) -> Found:
    """No other subscription writes to either database."""
    for role, side in _sides(facts):
        if others := [s for s in side["subscriptions"] if not s.startswith(OURS)]:
            do = "End them (DROP SUBSCRIPTION) before the move, and make them on new after it"
            yield blocker(f"{role}: subscriptions write to this database: {_some(others)}", do)


@CHECKS.add
def prepared_transactions(facts: Facts) -> Found:
    """There are no prepared transactions."""
    for role, side in _sides(facts):
        if side["prepared"]:
            do = f"COMMIT PREPARED or ROLLBACK PREPARED them on {role}"
            yield blocker(f"{role}: prepared transactions, which a slot waits for: {_some(side['prepared'])}", do)


@CHECKS.add
def long_transactions(facts: Facts) -> Found:
    """No transaction is open for long."""
    for role, side in _sides(facts):
        for one in side["transactions"]:
            if one["seconds"] >= LONG:
                yield blocker(
                    f"{role}: a transaction of {one['user']} is open for {one['seconds']:.0f} s ({one['state']})",
                    f"Wait for its end, or: SELECT pg_terminate_backend({one['pid']})",
                )


@CHECKS.add
def clocks(facts: Facts) -> Found:
    """The clocks agree."""
    apart, within = facts.between["apart"], facts.between["within"]
    if apart - within > CLOCKS:
        yield blocker(
            f"the clocks are {apart:.2f} s apart; at most {CLOCKS} s for the switch",
            "Set them: timedatectl set-ntp true, on both",
        )


@CHECKS.add
def slot_wal(facts: Facts) -> Found:
    """Both disks hold the WAL that a slot keeps."""
    copying = _copy_seconds(facts)
    for role, side in _sides(facts):
        free, rate = float(side["wal_free"][-1]), float(side["wal_last_hour"]) / 3600
        need = max(1e9, 3 * copying * rate)
        kept = sum(float(s["retained"] or 0) for s in side["slots"] if s["name"].startswith(OURS))
        if free < need:
            yield blocker(
                f"{role}: {free / 1e9:.1f} GB free for the WAL that a slot keeps; {need / 1e9:.1f} GB wanted",
                "Free some space where pg_wal lies",
            )
        elif kept:
            yield note(f"{role}: the move's slot keeps {kept / 1e6:,.0f} MB of WAL; {free / 1e9:.1f} GB are free")
        if role == "old" and int(side["settings"]["server_version_num"]) < 130000:
            yield warning(
                "old: PostgreSQL before 13 has no limit for the WAL that a slot keeps",
                f"Look at it with `inv watch`: {_lasts(free, rate)} would fill the disk",
            )


def _lasts(free: float, rate: float) -> str:
    return f"some {free / rate / 3600:,.0f} h of this hour's writes" if rate else "no writes of this hour"


# --- the databases ----------------------------------------------------------------------------------------------


@CHECKS.add
def encoding(facts: Facts) -> Found:
    """Both databases have one encoding."""
    old, new = facts.old["database"]["encoding"], facts.new["database"]["encoding"]
    if old != new:
        do = f"Create new's database with ENCODING '{old}' TEMPLATE template0"
        yield blocker(f"the encoding is {old} on old, {new} on new", do)


@CHECKS.add
def collation(facts: Facts) -> Found:
    """Both databases sort alike, by one collation of one version."""
    old, new = facts.old["database"], facts.new["database"]
    named = {"c": "libc", "i": "icu", "b": "builtin"}
    said = [
        f"{named.get(d['provider'], d['provider'])} {d['locale'] or d['collate']} (LC_CTYPE {d['ctype']})"
        for d in (old, new)
    ]
    if said[0] != said[1]:
        do = f"Where order matters: create new's database with LC_COLLATE '{old['collate']}' LC_CTYPE '{old['ctype']}'"
        yield warning(f"the collation is {said[0]} on old, {said[1]} on new", do)
        return
    if old["collate"] in ("C", "POSIX") or old["provider"] == "b":
        return
    versions = [d["collation_version"] for d in (old, new)]
    if old["provider"] == "c":
        versions = [facts.old["libc"][-1], facts.new["libc"][-1]]
    if versions[0] != versions[1]:
        yield note(
            f"the collation's version is {versions[0]} on old, {versions[1]} on new: texts may sort a little "
            "differently; indexes are built anew on new"
        )


@CHECKS.add
def extensions(facts: Facts) -> Found:
    """new can create every extension that old has."""
    missing = sorted(set(facts.old["extensions"]) - set(facts.new["available_extensions"]))
    if missing:
        do = f"Install their Debian packages on new (apt-cache search postgresql-.*{missing[0]})"
        yield blocker(f"new lacks the extensions {_some(missing)}", do)


@CHECKS.add
def grants(facts: Facts) -> Found:
    """The application's role may read every table."""
    owner = facts.old["owner"]
    if unread := [t for t in facts.old["tables"] if not t["readable"]]:
        do = f"Give it access (GRANT USAGE on their schema, GRANT SELECT ON … TO {ident(owner)}), or drop them"
        yield blocker(f"old: {owner} may not read {_names(unread)}", do)


@CHECKS.add
def identity(facts: Facts) -> Found:
    """Every table has a key that replication can use."""
    without = [t for t in _tables(facts.old, identity=None, unlogged=False) if t["kind"] == "r"]
    indexed = [t for t in without if t["offer"]]
    if indexed:
        offers = _some(f"{t['name']} ({t['offer'].removeprefix('public.')})" for t in indexed)
        yield note(f"old: without a primary key: {offers}: a unique index takes its place until the move's end")
    rest = [t for t in without if not t["offer"]]
    if broken := [t for t in rest if t["incomparable"]]:
        columns = _some(f"{t['name']}.{c}" for t in broken for c in t["incomparable"])
        yield blocker(
            f"old: without a key, and whole rows cannot be compared ({columns}): {_names(broken)}",
            "Give each a primary key, or a unique index on columns that are NOT NULL",
        )
    rest = [t for t in rest if not t["incomparable"]]
    slow = [t for t in rest if t["rows"] > WHOLE_ROWS and t["changes"]]
    if slow:
        counts = _some(f"{t['name']} ({t['rows']:,} rows, {t['changes']:,} changes so far)" for t in slow)
        yield warning(
            f"old: without a key, so that each change reads the whole table on new (REPLICA IDENTITY FULL): {counts}",
            "Give each a primary key, or a unique index on columns that are NOT NULL",
        )
    if fine := [t for t in rest if t not in slow]:
        yield note(f"old: without a key: {_names(fine)}: whole rows are compared (REPLICA IDENTITY FULL)")


@CHECKS.add
def unlogged_tables(facts: Facts) -> Found:
    """There are no unlogged tables."""
    if found := _tables(facts.old, unlogged=True):
        do = f"ALTER TABLE {found[0]['name']} SET LOGGED (it writes the table anew), or drop it"
        yield blocker(f"old: unlogged tables do not replicate: {_names(found)}", do)


@CHECKS.add
def large_objects(facts: Facts) -> Found:
    """There are no large objects."""
    if count := facts.old["large_objects"]:
        do = "Keep them in bytea columns or files; orphans go by `vacuumlo`"
        yield blocker(f"old: {count:,} large objects, which do not replicate", do)


@CHECKS.add
def foreign_tables(facts: Facts) -> Found:
    """There are no foreign tables."""
    if found := _tables(facts.old, kind="f"):
        yield warning(f"old: foreign tables: {_names(found)}", "See that new reaches the servers that they are on")


@CHECKS.add
def triggers(facts: Facts) -> Found:
    """No trigger fires for replicated rows."""
    for one in facts.old["triggers"]:
        how = "ALWAYS" if one["enabled"] == "A" else "REPLICA"
        table = one["table"].removeprefix("public.")
        yield blocker(
            f"old: the trigger {one['name']} of {table} is ENABLE {how}: it would fire again on new",
            f"ALTER TABLE {table} ENABLE TRIGGER {ident(one['name'])} until the switch",
        )


@CHECKS.add
def event_triggers(facts: Facts) -> Found:
    """There are no event triggers."""
    for role, side in _sides(facts):
        if side["event_triggers"]:
            yield warning(
                f"{role}: event triggers: {_some(side['event_triggers'])}",
                "See that they let the schema be restored and the move's own changes pass",
            )


@CHECKS.add
def row_security(facts: Facts) -> Found:
    """No table has row security."""
    if found := _tables(facts.old, row_security=True):
        yield note(f"old: row security on {_names(found)}: it is carried over; copy and replication see every row")


@CHECKS.add
def generated_columns(facts: Facts) -> Found:
    """There are no generated columns."""
    if found := [t for t in facts.old["tables"] if t["generated"]]:
        yield note(f"old: generated columns in {_names(found)}: new computes them itself")


@CHECKS.add
def identity_columns(facts: Facts) -> Found:
    """There are no identity columns."""
    if found := [t for t in facts.old["tables"] if t["identity_columns"]]:
        yield note(f"old: identity columns in {_names(found)}: their sequences are carried at the switch")


@CHECKS.add
def sequences_unowned(facts: Facts) -> Found:
    """Every sequence belongs to a column."""
    if found := [s["name"] for s in facts.old["sequences"] if not s["owned"]]:
        yield note(f"old: sequences of no column: {_some(found)}: they are carried at the switch like the others")


@CHECKS.add
def sequences_cached(facts: Facts) -> Found:
    """No sequence has CACHE above 1."""
    if found := [s["name"] for s in facts.old["sequences"] if s["cache"] > 1]:
        yield note(f"old: sequences with CACHE: {_some(found)}: numbers that sessions hold are skipped at the switch")


@CHECKS.add
def materialised_views(facts: Facts) -> Found:
    """There are no materialised views."""
    if found := _tables(facts.old, kind="m"):
        size = sum(t["size"] for t in found) / 1e6
        yield note(f"old: materialised views: {_names(found)} ({size:,.0f} MB): refreshed on new after the switch")


@CHECKS.add
def role_settings(facts: Facts) -> Found:
    """new has the settings that old has by ALTER ROLE and ALTER DATABASE."""
    there = {(s["role"], s["name"]) for s in facts.new["role_settings"]}
    for one in facts.old["role_settings"]:
        role, name = one["role"], one["name"]
        if role == facts.old["owner"]:  # it has another name there
            role = facts.new["owner"]
        if (role, name) in there:
            continue
        new = ident(facts.new["name"])
        where = " IN DATABASE " + new if one["here"] else ""
        alter = f"ALTER ROLE {ident(role)}{where}" if role else f"ALTER DATABASE {new}"
        by = f"ALTER ROLE {one['role']}" if one["role"] else "ALTER DATABASE"
        yield warning(
            f"old: {by} sets {name}; new does not", f"On new: {alter} SET {name} = … (old's: psql -c '\\drds')"
        )


# --- who connects -----------------------------------------------------------------------------------------------


def _others(facts: Facts) -> list[dict[str, Any]]:
    """Roles besides the application's and the move's that have something to do in old's database."""
    mine = facts.old["owner"]
    return [
        r
        for r in facts.old["roles"]
        if r["name"] != mine and not r["name"].startswith(OURS) and r["login"] and (r["access"] or r["sessions"])
    ]


@CHECKS.add
def roles(facts: Facts) -> Found:
    """Only the application has access to old's database."""
    for one in _others(facts):
        now = f", connected now from {_some(one['from'])}" if one["sessions"] else ""
        yield warning(
            f"old: {one['name']} has access too{now}; its role and grants are carried over",
            "Tell its people when: it is kept out during the switch, and new has another address",
        )


@CHECKS.add
def passwords(facts: Facts) -> Found:
    """Every password that is carried over works on new."""
    if set(facts.new["methods"]) <= {"md5", "password"}:
        return
    if old := [r["name"] for r in _others(facts) if r["password"] == "md5"]:  # noqa: S105
        yield warning(
            f"old: md5 passwords of {_some(old)}; new's pg_hba.conf wants scram-sha-256",
            "Set them anew on new after `replicate` (\\password), or say md5 in its pg_hba.conf, which takes both",
        )


# --- PgBouncer in transaction mode -------------------------------------------------------------------------------


@CHECKS.add
def pgbouncer(facts: Facts) -> Found:
    """new has PgBouncer, or can install it."""
    if _pgbouncer(facts) is None:
        yield blocker("new: no package pgbouncer to be had", "apt update, or add Debian's main archive")


@CHECKS.add
def prepared_statements(facts: Facts) -> Found:
    """PgBouncer has prepared statements (1.21 or later), or Rails makes none."""
    version = _pgbouncer(facts)
    if version is None or version >= (1, 21):
        return
    if _rails(facts.old).get("prepared_statements", True) is not False:
        said = ".".join(map(str, version))
        yield note(
            f"new: PgBouncer {said} has no prepared statements, and old's database.yml does not turn them off; "
            "new's has to, as long as PgBouncer is in the way"
        )


@CHECKS.add
def advisory_locks(facts: Facts) -> Found:
    """Rails takes no advisory locks for migrations."""
    if _rails(facts.old).get("advisory_locks", True) is not False:
        yield note("old: database.yml does not say advisory_locks: false; no migration runs during the move")


@CHECKS.add
def connection_variables(facts: Facts) -> Found:
    """database.yml sets no variables when it connects."""
    for role, side in _sides(facts):
        names = sorted(dict(_rails(side).get("variables") or {}))
        if names and role == "old":
            first = f"ALTER ROLE {ident(facts.old['owner'])} SET {names[0]} = …"
            yield blocker(
                f"old: database.yml sets variables when it connects, which PgBouncer hands to others: {_some(names)}",
                f"Set them by {first} on both servers, and take `variables:` away",
            )
        elif names:
            yield note(f"new: database.yml sets variables: {_some(names)}; replaced during the move")


@CHECKS.add
def session_state(facts: Facts) -> Found:
    """Nothing depends on a session, as far as pg_stat_statements tells."""
    statements = facts.old["statements"]
    if statements is None:
        yield warning(
            "old: no pg_stat_statements, so nothing tells whether the application uses LISTEN, SET, PREPARE, temporary "
            "tables or advisory locks, which break in transaction pooling",
            "Search the code for them, or add pg_stat_statements to shared_preload_libraries at the next restart",
        )
        return
    for one in statements:
        what, calls = one["what"], int(one["calls"])
        if what.startswith("SET "):
            # What Rails says on connecting is the same for all, or what PgBouncer looks after.
            if what[4:] not in HARMLESS:
                yield warning(
                    f"old: {what} ({calls:,} times): meets other people's transactions in transaction pooling",
                    "Make it SET LOCAL or ALTER ROLE … SET; where pg_dump said it, nothing",
                )
        elif what == "migrations' advisory lock":
            yield note(f"old: {what} ({calls:,} times): no migration runs during the move")
        else:
            yield blocker(f"old: {what} ({calls:,} times) breaks in transaction pooling", INSTEAD[what])


HARMLESS = {"client_min_messages", "standard_conforming_strings", "timezone", "time", "intervalstyle", "datestyle"}
HARMLESS |= {"client_encoding", "application_name"}
INSTEAD = {
    "LISTEN": "Let that part connect to PostgreSQL directly, by a configuration of its own",
    "PREPARE": "Take prepare and execute out of the code",
    "CREATE TEMPORARY": "Create it in one transaction, with ON COMMIT DROP",
    "DECLARE WITH HOLD": "Read the cursor in one transaction, without WITH HOLD",
    "advisory lock": "Use pg_advisory_xact_lock",
}


def _rails(side: Side) -> dict[str, Any]:
    """What database.yml says for the environment, without what could be a secret."""
    import yaml

    try:
        said = yaml.safe_load("\n".join(side["yml"]))
        mine = said.get(side["environment"], {})
        # Rails 6: a database a key.
        inner = mine.get("primary", mine)
        return inner if isinstance(inner, dict) else {}
    except (yaml.YAMLError, AttributeError):
        raise Unknown("database.yml") from None


def _pgbouncer(facts: Facts) -> tuple[int, int] | None:
    said = re.match(r"(?:\d+:)?(\d+)\.(\d+)", (facts.new.get("pgbouncer") or [""])[-1])
    return (int(said[1]), int(said[2])) if said else None


# --- how long can it be held, and what it costs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """How many requests wait in one place before one is refused."""

    where: str
    holds: int


def queues_in_front(facts: Facts) -> list[Queue]:
    """What visitors' requests pass: old's nginx, new's nginx, new's application.

    A proxied request takes two of nginx's connections. Its workers share them unevenly, so that one worker's decide:
    in the lab the first of two took all of 384 requests, and the 389th was refused.
    """
    found = []
    for role, side in _sides(facts):
        connections = _last(side["nginx"], r"worker_connections\s+(\d+)", 512)
        files = int((side.get("nginx_files") or [connections])[-1])
        found.append(Queue(f"{role}'s nginx", min(connections, files) // 2))
    new = facts.new
    backlog = int((new.get("backlog") or [_last(new.get("app_configuration", []), r"backlog\D+(\d+)", 1024)])[-1])
    workers = int(
        (new.get("app_workers") or [_last(new.get("app_configuration", []), r"worker_processes\s+(\d+)", 1)])[-1]
    )
    found.append(Queue("new's application", min(backlog, int(new["somaxconn"][-1])) + workers))
    return found


def _last(lines: list[str], pattern: str, otherwise: int) -> int:
    found = [m for m in (re.search(pattern, line) for line in lines) if m]
    return int(found[-1][1]) if found else otherwise


def rate_now(facts: Facts) -> float:
    """Requests a second in the busiest of old's last minutes."""
    return max((int(n) for n in facts.old.get("requests", ())), default=0) / 60


def longest_hold(facts: Facts) -> tuple[float, Queue]:
    """Seconds that the queues in front can take at now's rate, 50 a second at least; and which is full first."""
    least = min(queues_in_front(facts), key=lambda q: q.holds)
    return least.holds / max(RATE, rate_now(facts)), least


@CHECKS.add
def queues(facts: Facts) -> Found:
    """The queues in front hold the requests for as long as it takes."""
    least = min(queues_in_front(facts), key=lambda q: q.holds)
    now = rate_now(facts)
    for rate, said in ((RATE, "50/s"), (now, f"now's {now:.0f}/s")):
        if rate and least.holds / rate < PATIENCE:
            yield blocker(
                f"{least.where} holds {least.holds} requests: {least.holds / rate:.1f} s at {said}; "
                f"{PATIENCE:.0f} s wanted",
                "Raise worker_connections (nginx), or the application's backlog and net.core.somaxconn",
            )
            return


@CHECKS.add
def rack_timeout(facts: Facts) -> Found:
    """No Rack::Timeout ends requests that wait."""
    for role, side in _sides(facts):
        said = [
            int(m[1]) for line in side.get("rack_timeout", []) if (m := re.search(r"(\d+)\s*$", line)) and int(m[1])
        ]
        if said and min(said) < 2 * PATIENCE:
            yield blocker(
                f"{role}: Rack::Timeout ends requests after {min(said)} s",
                f"Allow {2 * PATIENCE:.0f} s or more (service_timeout, RACK_TIMEOUT_SERVICE_TIMEOUT); restart the app",
            )
        elif said or side.get("rack_timeout_gem"):
            limit = f"{min(said)} s" if said else "15 s, unless something else is set"
            yield note(f"{role}: Rack::Timeout ends requests after {limit}: longer than any hold")


@CHECKS.add
def cost(facts: Facts) -> Found:
    """The costs are known."""
    try:
        yield good(costs(facts))
    except (Unknown, ValueError, IndexError) as fact:  # nobody needs them to move
        yield note(f"sizes and times are not known ({fact})")


def costs(facts: Facts) -> str:
    """Sizes, the expected time of the copy, the expected hold, and how long the queues would take it."""
    tables = _tables(facts.old, kind="r")
    size, rows = facts.old["database"]["size"], sum(t["rows"] for t in tables)
    trip = facts.between.get("round_trip")
    hold = HOLD + ROUND_TRIPS * (trip or 0) + 2e-6 * len(facts.old["sequences"])
    network = "" if trip else " and eight round trips"
    least, now = min(q.holds for q in queues_in_front(facts)), rate_now(facts)
    at = f"{least / RATE:.1f} s at 50/s" + (f", {least / now:,.0f} s at now's {now:.1f}/s" if now >= 0.1 else "")
    return (
        f"{size / 1e6:,.0f} MB, {len(tables)} tables, {rows:,} rows: copied in about "
        f"{_duration(_copy_seconds(facts))}; hold about {hold * 1000:.0f} ms{network}, the queues take {at}"
    )


def _copy_seconds(facts: Facts) -> float:
    return max(1.0, float(facts.old["database"]["size"]) / COPY_RATE)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
