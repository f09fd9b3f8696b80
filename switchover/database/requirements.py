"""What both PostgreSQL servers need for replication: versions, free slots and workers, clocks, no other replication."""

from __future__ import annotations

from ..findings import Checks, Found, blocker, listed, note, warning
from .host import GROUP, OURS, DatabaseFacts

VERSIONS = range(11, 18)  # of PostgreSQL: tried, both ways
LONG = 30.0  # seconds: creating a slot would wait too long for such a transaction
SENDERS = 2  # one for the subscription, one holds the snapshot for the copy
WORKERS = 2  # the launcher and the apply worker
CLOCKS = 0.1  # seconds: a gate of the switch

CHECKS = Checks[[DatabaseFacts]](GROUP)


@CHECKS.add
def superuser(facts: DatabaseFacts) -> Found:
    """The user postgres is superuser on both servers."""
    for role, side in facts.sides:
        if not side["superuser"]:
            yield blocker(f"{role}: the user postgres is no superuser", "ALTER ROLE postgres SUPERUSER")


@CHECKS.add
def versions(facts: DatabaseFacts) -> Found:
    """Both PostgreSQL versions are from 11 to 17, new's no older than old's."""
    old, new = (side.version // 10000 for _, side in facts.sides)
    if not (old in VERSIONS and new in VERSIONS):
        yield blocker(f"PostgreSQL {old} on old, {new} on new", "Replication is supported from version 11 to 17")
    elif new < old:
        yield blocker(f"PostgreSQL {old} on old, only {new} on new", f"Install PostgreSQL {old} or later on new")


@CHECKS.add
def wal_level(facts: DatabaseFacts) -> Found:
    """Both servers have wal_level = logical."""
    for role, side in facts.sides:
        if (level := side["settings"]["wal_level"]) != "logical":
            how = "by a restart during a hold, once old proxies visitors to new" if role == "old" else "by a restart"
            yield note(f"{role}: wal_level is {level}; `replicate` sets it to logical {how}")


@CHECKS.add
def listen_addresses(facts: DatabaseFacts) -> Found:
    """PostgreSQL can be reached by the other server, on both."""
    for role, side in facts.sides:
        if side["settings"]["listen_addresses"] in ("localhost", "127.0.0.1", ""):
            yield note(f"{role}: PostgreSQL listens on localhost only. It stays so: the move opens a relay to it")


def _room(facts: DatabaseFacts, setting: str, used: str, need: int, what: str) -> Found:
    for role, side in facts.sides:
        most, taken = int(side["settings"][setting]), int(side[used])
        if most - taken < need:
            do = f"ALTER SYSTEM SET {setting} = {max(taken + need, 10)} on {role}, then restart its PostgreSQL"
            yield blocker(f"{role}: {what}: {taken} of {setting} = {most} in use, {need} more needed", do)


@CHECKS.add
def slots_free(facts: DatabaseFacts) -> Found:
    """A replication slot and an origin are free on both servers."""
    yield from _room(facts, "max_replication_slots", "slots_used", 1, "no replication slot is free")
    yield from _room(facts, "max_replication_slots", "origins_used", 1, "no replication origin is free")


@CHECKS.add
def senders_free(facts: DatabaseFacts) -> Found:
    """Enough WAL senders are free on both servers."""
    yield from _room(facts, "max_wal_senders", "senders_used", SENDERS, "too few WAL senders are free")


@CHECKS.add
def workers_free(facts: DatabaseFacts) -> Found:
    """Enough background workers are free on both servers."""
    yield from _room(facts, "max_logical_replication_workers", "apply_used", 1, "no logical replication worker is free")
    yield from _room(facts, "max_worker_processes", "workers_used", WORKERS, "too few worker processes are free")


@CHECKS.add
def slots(facts: DatabaseFacts) -> Found:
    """There are no other replication slots."""
    for role, side in facts.sides:
        for slot in (slot for slot in side["slots"] if not slot["name"].startswith(OURS)):
            kept = float(slot["retained"] or 0) / 1e6
            state = "in use" if slot["active"] else "idle"
            do = "Its consumer has to read from new after the move"
            if not slot["active"]:
                do = f"If nobody needs it: SELECT pg_drop_replication_slot('{slot['name']}')"
            yield warning(f"{role}: the slot {slot['name']} is {state} and retains {kept:,.0f} MB of WAL", do)


@CHECKS.add
def publications(facts: DatabaseFacts) -> Found:
    """There are no other publications."""
    for role, side in facts.sides:
        if others := [name for name in side["publications"] if not name.startswith(OURS)]:
            do = "Subscribers have to subscribe to new after the move"
            yield warning(f"{role}: other publications: {listed(others)}", do)


@CHECKS.add
def subscriptions(facts: DatabaseFacts) -> Found:
    """No other subscription writes to either database."""
    for role, side in facts.sides:
        if others := [name for name in side["subscriptions"] if not name.startswith(OURS)]:
            do = "Remove them (DROP SUBSCRIPTION) before the move, and create them on new after it"
            yield blocker(f"{role}: subscriptions write to this database: {listed(others)}", do)


@CHECKS.add
def prepared_transactions(facts: DatabaseFacts) -> Found:
    """There are no prepared transactions."""
    for role, side in facts.sides:
        if side["prepared"]:
            do = f"COMMIT PREPARED or ROLLBACK PREPARED them on {role}"
            yield blocker(f"{role}: prepared transactions, for which a new slot waits: {listed(side['prepared'])}", do)


@CHECKS.add
def long_transactions(facts: DatabaseFacts) -> Found:
    """No transaction is open for long."""
    for role, side in facts.sides:
        for transaction in side["transactions"]:
            if transaction["seconds"] >= LONG:
                what = "{user} has been open for {seconds:.0f} s ({state})".format_map(transaction)
                do = f"Wait for its end, or: SELECT pg_terminate_backend({transaction['pid']})"
                yield blocker(f"{role}: a transaction of {what}", do)


@CHECKS.add
def clocks(facts: DatabaseFacts) -> Found:
    """The clocks agree."""
    apart, within = facts.between["apart"], facts.between["within"]
    if apart - within > CLOCKS:
        do = "Set them: timedatectl set-ntp true, on both"
        yield blocker(f"the clocks are {apart:.2f} s apart; the switch allows {CLOCKS} s", do)
