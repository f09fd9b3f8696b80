"""Facts in, findings out: each check with facts that make it find something, and with sound ones that do not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchover import aftercare, preflight
from switchover.database import capacity, compatibility, pooling
from switchover.database import host as gathered
from switchover.database.host import DatabaseFacts, Side
from switchover.findings import blockers

ROOT = Path(__file__).parents[3]

TABLE = {
    "name": "orders",
    "kind": "r",
    "unlogged": False,
    "rows": 50_000,
    "size": 10_000_000,
    "changes": 100,
    "row_security": False,
    "readable": True,
    "identity": "key",
    "offer": "public.orders_pkey",
    "incomparable": None,
    "generated": 0,
    "identity_columns": 0,
}
SIDE = {
    "settings": {
        "server_version_num": "150020",
        "wal_level": "logical",
        "max_replication_slots": "10",
        "max_wal_senders": "10",
        "max_logical_replication_workers": "4",
        "max_worker_processes": "8",
        "max_slot_wal_keep_size": "-1",
        "listen_addresses": "*",
        "max_connections": "100",
    },
    "superuser": True,
    "database": {
        "encoding": "UTF8",
        "size": 300_000_000,
        "provider": "c",
        "collate": "en_AU.UTF-8",
        "ctype": "en_AU.UTF-8",
        "locale": "",
        "collation_version": "",
    },
    "tables": [TABLE],
    "sequences": [{"name": "orders_id_seq", "cache": 1, "owned": True}],
    "large_objects": 0,
    "extensions": ["plpgsql"],
    "available_extensions": ["plpgsql", "hstore"],
    "publications": [],
    "subscriptions": [],
    "slots": [],
    "slots_used": 0,
    "origins_used": 0,
    "senders_used": 0,
    "apply_used": 0,
    "workers_used": 1,
    "wal_last_hour": 36_000_000,
    "prepared": [],
    "transactions": [],
    "triggers": [],
    "event_triggers": [],
    "role_settings": [],
    "roles": [{"name": "ofn", "login": True, "password": "md5", "access": True, "sessions": 4, "from": ["::1"]}],
    "methods": ["scram-sha-256"],
    "statements": [{"what": "SET client_min_messages", "calls": 7}],
    "libc": ["glibc 2.36"],
    "pgbouncer": ["1.24.1-1"],
    "nginx": ["worker_processes auto;", "\tworker_connections 768;"],
    "nginx_files": ["1024"],
    "somaxconn": ["4096"],
    "backlog": ["1024"],
    "app_workers": ["3"],
    "yml": ["production:", "  adapter: postgresql", "  prepared_statements: false", "  advisory_locks: false"],
    "wal_free": ["20000000000"],
    "requests": ["60", "600"],
    "owner": "ofn",
    "name": "ofn_production",
    "environment": "production",
}


def sound() -> DatabaseFacts:
    """DatabaseFacts with which every check is content; the caller's own."""
    old, new = Side(copy.deepcopy(SIDE)), Side(copy.deepcopy(SIDE))
    new |= {"owner": "ofn_user", "name": "ofn_new"}
    return DatabaseFacts(old, new, Side(apart=0.01, within=0.002, round_trip=0.001))


Change = Callable[[DatabaseFacts], object]


def old(**values: Any) -> Change:
    """These facts of old's are other ones."""
    return lambda facts: facts.old.update(values)


def new(**values: Any) -> Change:
    """These facts of new's are other ones."""
    return lambda facts: facts.new.update(values)


def setting(side: str, **values: str) -> Change:
    """These of PostgreSQL's settings are other ones."""
    return lambda facts: getattr(facts, side)["settings"].update(values)


def database(side: str, **values: Any) -> Change:
    """The database differs in these."""
    return lambda facts: getattr(facts, side)["database"].update(values)


def table(**values: Any) -> Change:
    """Old has one more table, with these properties."""
    return lambda facts: facts.old["tables"].append({**TABLE, "name": "carts", **values})


def role(**values: Any) -> Change:
    """Old has one more role."""
    other = {"name": "reports", "login": True, "password": "scram", "access": True, "sessions": 0, "from": None}
    return lambda facts: facts.old["roles"].append(other | values)


def yml(*lines: str) -> Change:
    """Old's database.yml has these lines for production."""
    return old(yml=["production:", *lines])


SLOT = {"name": "dw", "active": True, "retained": 5e6}
OURS = {"name": "switchover_forward", "active": True, "retained": 5e6}
BEGUN = {"pid": 77, "user": "ofn", "state": "idle in transaction", "writes": True, "seconds": 31.0}
NO_KEY = {"identity": None, "offer": None}
ROLE_SETTING = {"role": "ofn", "here": False, "name": "statement_timeout"}

# check, kind, what makes it appear, words of it
CASES: list[tuple[str, str, Change, str]] = [
    ("superuser", "blocker", new(superuser=False), "new: the user postgres is no superuser"),
    ("versions", "blocker", setting("new", server_version_num="100023"), "PostgreSQL 15 on old, 10 on new"),
    ("versions", "blocker", setting("new", server_version_num="180000"), "PostgreSQL 15 on old, 18 on new"),
    ("versions", "blocker", setting("new", server_version_num="130016"), "only 13 on new"),
    ("wal-level", "note", setting("old", wal_level="replica"), "by a restart during a hold"),
    ("wal-level", "note", setting("new", wal_level="replica"), "to logical by a restart"),
    ("listen-addresses", "note", setting("old", listen_addresses="localhost"), "localhost only"),
    ("slots-free", "blocker", setting("old", max_replication_slots="0"), "max_replication_slots = 10 on old"),
    ("slots-free", "blocker", old(slots_used=10), "no replication slot is free: 10 of max_replication_slots = 10"),
    ("slots-free", "blocker", new(origins_used=10), "no replication origin is free"),
    ("senders-free", "blocker", old(senders_used=9), "9 of max_wal_senders = 10 in use, 2 more needed"),
    ("workers-free", "blocker", setting("new", max_logical_replication_workers="0"), "no logical replication worker"),
    ("workers-free", "blocker", old(workers_used=7), "too few worker processes"),
    ("slots", "warning", old(slots=[SLOT]), "dw is in use and retains 5 MB"),
    ("slots", "warning", old(slots=[SLOT | {"active": False}]), "dw is idle"),
    ("publications", "warning", old(publications=["dw", "switchover"]), "other publications: dw"),
    ("subscriptions", "blocker", new(subscriptions=["stock"]), "new: subscriptions write to this database: stock"),
    ("prepared-transactions", "blocker", old(prepared=["x1"]), "x1"),
    ("long-transactions", "blocker", old(transactions=[BEGUN]), "has been open for 31 s (idle in transaction)"),
    ("clocks", "blocker", lambda facts: facts.between.update(apart=0.2), "0.20 s apart"),
    ("slot-wal", "blocker", old(wal_free=["500000000"]), "0.5 GB free"),
    ("slot-wal", "note", old(slots=[OURS]), "retains 5 MB of WAL; 20.0 GB are free"),
    ("slot-wal", "warning", setting("old", server_version_num="120022"), "before 13 has no limit"),
    ("encoding", "blocker", database("old", encoding="LATIN1"), "LATIN1 on old, UTF8 on new"),
    ("collation", "warning", database("new", collate="C"), "libc en_AU.UTF-8"),
    ("collation", "warning", database("new", provider="i", locale="en-AU"), "icu en-AU"),
    ("collation", "note", old(libc=["glibc 2.31"]), "glibc 2.31 on old, glibc 2.36 on new"),
    ("extensions", "blocker", old(extensions=["plpgsql", "postgis"]), "postgis"),
    ("grants", "blocker", table(readable=False), "ofn may not read carts"),
    ("identity", "note", table(identity=None, offer="public.carts_code"), "carts (carts_code): a unique index"),
    ("identity", "note", table(**NO_KEY, rows=9), "no key: carts: whole rows"),
    ("identity", "warning", table(**NO_KEY, changes=3), "50,000 rows, 3 changes"),
    ("identity", "blocker", table(**NO_KEY, incomparable=["data"]), "(carts.data)"),
    ("unlogged-tables", "blocker", table(unlogged=True), "carts"),
    ("large-objects", "blocker", old(large_objects=3), "3 large objects"),
    ("foreign-tables", "warning", table(kind="f"), "carts"),
    ("triggers", "blocker", old(triggers=[{"name": "t", "table": "orders", "enabled": "A"}]), "ENABLE ALWAYS"),
    ("triggers", "blocker", old(triggers=[{"name": "t", "table": "orders", "enabled": "R"}]), "ENABLE REPLICA"),
    ("event-triggers", "warning", old(event_triggers=["e"]), "event triggers: e"),
    ("row-security", "note", table(row_security=True), "carts"),
    ("generated-columns", "note", table(generated=1), "carts"),
    ("identity-columns", "note", table(identity_columns=1), "carts"),
    ("sequences-unowned", "note", old(sequences=[{"name": "n", "cache": 1, "owned": False}]), "no column: n"),
    ("sequences-cached", "note", old(sequences=[{"name": "n", "cache": 20, "owned": True}]), "CACHE: n"),
    ("materialised-views", "note", table(kind="m"), "carts (10 MB)"),
    ("role-settings", "warning", old(role_settings=[ROLE_SETTING]), "ALTER ROLE ofn sets statement_timeout"),
    ("role-settings", "warning", old(role_settings=[ROLE_SETTING | {"role": None}]), "ALTER DATABASE sets"),
    ("roles", "warning", role(), "reports has access too"),
    ("roles", "warning", role(access=False, sessions=1, **{"from": ["192.0.2.9"]}), "connected now from 192.0.2.9"),
    ("passwords", "warning", role(password="md5"), "md5 passwords of reports"),
    ("pgbouncer", "blocker", new(pgbouncer=["(none)"]), "pgbouncer is not available"),
    ("prepared-statements", "note", lambda f: (new(pgbouncer=["1.18.0-1"])(f), yml("  pool: 5")(f)), "PgBouncer 1.18"),
    ("advisory-locks", "note", yml("  pool: 5", "  prepared_statements: false"), "advisory_locks: false"),
    ("connection-variables", "blocker", yml("  variables:", "    work_mem: 9MB"), "work_mem"),
    ("session-state", "warning", old(statements=None), "without pg_stat_statements"),
    ("session-state", "warning", old(statements=[{"what": "SET search_path", "calls": 1200}]), "1,200 times"),
    ("session-state", "note", old(statements=[{"what": "migrations' advisory lock", "calls": 1}]), "no migration"),
    *(
        ("session-state", "blocker", old(statements=[{"what": what, "calls": 1}]), f"{what} (1 times) breaks")
        for what in pooling.INSTEAD
    ),
    ("queues", "blocker", new(backlog=["64"]), "new's application holds 67 requests: 1.3 s at 50/s"),
    ("queues", "blocker", old(nginx=["worker_connections 150;"]), "old's nginx holds 75 requests"),
    ("queues", "blocker", old(requests=["30000"]), "0.8 s at now's 500/s"),
    ("rack-timeout", "blocker", new(rack_timeout=["RACK_TIMEOUT_SERVICE_TIMEOUT=3"]), "after 3 s"),
    ("rack-timeout", "note", old(rack_timeout=["service_timeout: 15"]), "after 15 s"),
    ("rack-timeout", "note", old(rack_timeout_gem=["yes"]), "unless something else is set"),
]


def test_sound_facts_find_nothing() -> None:
    found = list(compatibility.find(sound()))
    assert [f for f in found if f.kind != "good"] == []
    assert [f.key for f in found] == list(compatibility.KEYS)


@pytest.mark.parametrize(("key", "kind", "change", "words"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)])
def test_a_finding(key: str, kind: str, change: Change, words: str) -> None:
    facts = sound()
    change(facts)
    odd = [f for f in compatibility.find(facts) if f.key == key]
    assert {f.kind for f in odd} == {kind}
    assert words in odd[0].what + odd[0].do
    assert bool(odd[0].do) == (kind != "note")  # what asks for a hand says what to do


def test_every_check_has_a_case() -> None:
    assert set(compatibility.KEYS) - {key for key, *_ in CASES} == {"cost"}


@pytest.mark.parametrize("fact", sorted(SIDE))
def test_a_fact_that_is_missing_is_not_passed(fact: str) -> None:
    """Unknown, never good; but for facts that have a default, and those that may be missing."""
    facts = sound()
    del facts.old[fact], facts.new[fact]
    unknown = [f for f in compatibility.find(facts) if f.kind == "unknown"]
    optional = {"name", "nginx_files", "backlog", "app_workers", "requests", "pgbouncer"}
    assert bool(unknown) == (fact not in optional)
    assert blockers(unknown) == unknown


def test_what_was_set_on_new_by_its_own_names_is_no_finding() -> None:
    facts = sound()
    facts.old["role_settings"] = [ROLE_SETTING, {"role": None, "here": True, "name": "work_mem"}]
    facts.new["role_settings"] = [ROLE_SETTING | {"role": "ofn_user"}, {"role": None, "here": True, "name": "work_mem"}]
    assert {f.kind for f in compatibility.find(facts) if f.key == "role-settings"} == {"good"}


def test_the_move_s_own_things_are_no_findings() -> None:
    facts = sound()
    facts.old.update(publications=["switchover_forward"], subscriptions=["switchover_back"])
    role(name="switchover")(facts)
    assert blockers(compatibility.find(facts)) == []
    assert {f.kind for f in compatibility.find(facts)} == {"good"}


def test_md5_passwords_work_where_new_takes_md5() -> None:
    facts = sound()
    role(password="md5")(facts)
    facts.new["methods"] = ["md5"]
    assert {f.kind for f in compatibility.find(facts) if f.key == "passwords"} == {"good"}


def test_sizes_times_and_queues() -> None:
    facts = sound()
    said = capacity.costs(facts)
    assert "300 MB, 1 tables, 50,000 rows: copied in about 10 s" in said
    assert "visitors wait about 28 ms" in said
    assert "7.7 s at 50/s, 38 s at today's 10.0/s" in said
    assert [q.holds for q in capacity.request_queues(facts)] == [384, 384, 1027]


def test_the_longest_hold_is_what_the_first_full_queue_takes() -> None:
    facts = sound()
    seconds, queue = capacity.longest_hold(facts)
    assert seconds == 384 / 50 and queue == capacity.RequestQueue("old's nginx", 384)
    facts.new["backlog"], facts.old["requests"] = ["64"], ["6000"]
    seconds, queue = capacity.longest_hold(facts)
    assert queue.where == "new's application" and seconds == queue.holds / 100


def test_queues_without_the_running_application() -> None:
    """Its configuration tells, and the kernel's limit counts."""
    facts = sound()
    del facts.new["backlog"], facts.new["app_workers"]
    facts.new.update(app_configuration=["worker_processes 4", "backlog: 2048"], somaxconn=["128"])
    assert capacity.request_queues(facts)[-1].holds == 132


def test_a_database_yml_with_erb_and_defaults() -> None:
    facts = sound()
    text = "default: &default\n  prepared_statements: false\nproduction:\n  <<: *default\n  pool: erb"
    facts.old["yml"] = text.splitlines()
    facts.new["pgbouncer"] = ["1.18.0-1"]
    assert {f.kind for f in compatibility.find(facts) if f.key == "prepared-statements"} == {"good"}


def test_what_the_script_printed() -> None:
    out = 'sql\t{"prepared": []}\nnginx\tworker_processes auto;\nnginx\t\tworker_connections 9;\nnoise\n'
    assert gathered.parse(out) == {"prepared": [], "nginx": ["worker_processes auto;", "\tworker_connections 9;"]}


def test_the_questions_change_nothing_and_wait_for_nothing() -> None:
    first = gathered.QUESTIONS.split("SELECT")[0]
    assert "default_transaction_read_only = on" in first
    assert "statement_timeout" in first and "lock_timeout" in first
    assert not re.search(r"^(INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT)\b", gathered.QUESTIONS, re.MULTILINE)


def test_the_page_lists_every_check() -> None:
    page = (ROOT / "docs/check.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    servers = ["reached", *preflight.EACH, *preflight.BOTH, "can-replicate"]
    assert listed == [*servers, *compatibility.KEYS, *aftercare.CHECKS]
