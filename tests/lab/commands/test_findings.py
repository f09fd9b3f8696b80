"""Each finding about the database is made to appear on real servers, and to vanish again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from by_hand import inv, thorough

from lab.servers import Lab
from lab.world import SHOP
from switchover.database import compatibility, host, requirements
from switchover.move import Move
from switchover.settings import load

pytestmark = pytest.mark.usefixtures("lab_name")

OLD, NEW = SHOP.site("old"), SHOP.site("new")
DATABASES = {"old": OLD.database, "new": NEW.database}
YML = f"{OLD.shared}/config/database.yml"
TIMEOUT = f"{NEW.app}/config/initializers/timeout.rb"
FAKES = "/usr/local/sbin"  # before all else in a look's PATH

Observed = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False) as running:
        yield running


@pytest.fixture(scope="module")
def move(lab: Lab) -> Iterator[Move]:
    move = Move(load(lab.settings))
    yield move
    for server in move.servers:
        server.close()


def look(move: Move) -> Observed:
    """What is found now, by key, and neither good nor changing by itself."""
    seen: Observed = {}
    for one in compatibility.find(host.gather(move)):
        seen.setdefault(one.key, [])
        if one.kind != "good":
            seen[one.key].append((one.kind, one.what))
    return seen


@pytest.fixture(scope="module")
def before(move: Move) -> Observed:
    return look(move)


@dataclass(frozen=True)
class Case:
    """*make* and *undo* are SQL for the application's database on *server*, or sh where they begin with `$ `."""

    key: str
    kind: str
    words: str
    make: str
    undo: str
    server: str = "old"

    def run(self, lab: Lab, text: str) -> None:
        server = getattr(lab, self.server)
        if text.startswith("$ "):
            server.exec(text[2:])
        else:
            server.psql(text, db=DATABASES[self.server])


def fake(program: str, script: str) -> tuple[str, str]:
    """How to put *script* in a program's place, and to take it away."""
    text = script.replace("'", "'\\''")
    return f"$ printf '#!/bin/sh\\n%s\\n' '{text}' >{FAKES}/{program}; chmod 755 {FAKES}/{program}", (
        f"$ rm {FAKES}/{program}"
    )


def table(columns: str, after: str = "", kind: str = "TABLE") -> tuple[str, str]:
    """How to make the application's table carts, and to drop it."""
    owned = f"ALTER TABLE carts OWNER TO {OLD.owner};"
    return f"CREATE {kind} carts ({columns}); {owned} {after}", "DROP TABLE carts"


def added(line: str) -> tuple[str, str]:
    """How to add a line to old's database.yml, and to take it away."""
    return f"$ cp -p {YML} {YML}.was; echo '{line}' >>{YML}", f"$ mv {YML}.was {YML}"


CREATE_TRIGGER = """CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noisy AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE orders ENABLE {} TRIGGER noisy"""
DROP_TRIGGER = "DROP TRIGGER noisy ON orders; DROP FUNCTION nothing()"
LOSE_SUPERUSER = "CREATE ROLE rescue SUPERUSER; GRANT rescue TO postgres; ALTER ROLE postgres NOSUPERUSER"
REGAIN = "SET ROLE rescue; ALTER ROLE postgres SUPERUSER; RESET ROLE; DROP ROLE rescue"
SUBSCRIBE = "CREATE SUBSCRIPTION stock CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)"
UNSUBSCRIBE = "ALTER SUBSCRIPTION stock SET (slot_name = NONE); DROP SUBSCRIPTION stock"
CONTROL = "/usr/share/postgresql/15/extension/hstore.control"
MD5 = "SET password_encryption = 'md5'; CREATE ROLE reports LOGIN PASSWORD 'Pears'; GRANT SELECT ON orders TO reports"
NO_REPORTS = "REVOKE ALL ON orders FROM reports; DROP ROLE reports"
EVENT = """CREATE FUNCTION quiet() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER quiet ON ddl_command_end EXECUTE FUNCTION quiet()"""
FOREIGN = """CREATE FOREIGN DATA WRAPPER away; CREATE SERVER away FOREIGN DATA WRAPPER away;
CREATE FOREIGN TABLE far (id int) SERVER away; GRANT SELECT ON far TO openfoodweb"""
BEGIN = (
    "$ runuser -u postgres -- psql -qc \"BEGIN; SELECT txid_current(); SELECT pg_sleep(60), 'long'\" >/dev/null 2>&1 & "
    "sleep 1.3"
)
END = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE query LIKE '%''long''%' AND pid <> pg_backend_pid()"""
FEW = "$ sed -i 's/worker_connections 768/worker_connections 100/' /etc/nginx/nginx.conf"
MANY = "$ sed -i 's/worker_connections 100/worker_connections 768/' /etc/nginx/nginx.conf"

CASES = [
    Case("superuser", "blocker", "no superuser", LOSE_SUPERUSER, REGAIN),
    Case(
        "slots",
        "warning",
        "dw is idle",
        "SELECT pg_create_physical_replication_slot('dw', true)",
        "SELECT pg_drop_replication_slot('dw')",
    ),
    Case(
        "publications", "warning", "publications: dw", "CREATE PUBLICATION dw FOR TABLE orders", "DROP PUBLICATION dw"
    ),
    Case("subscriptions", "blocker", "stock", SUBSCRIBE, UNSUBSCRIBE, "new"),
    Case("long-transactions", "blocker", "a transaction of postgres", BEGIN, END),
    Case(
        "clocks",
        "blocker",
        "the clocks are 5.",  # whatever a busy machine makes of the quarter
        *fake("date", "exec /bin/date -d '+5.25 seconds' \"$@\""),
        server="new",
    ),
    Case("slot-wal", "blocker", "0.1 GB free", *fake("df", "printf 'x\\nx 0 0 100000\\n'")),
    Case(
        "extensions",
        "blocker",
        "hstore",
        "CREATE EXTENSION hstore",
        "DROP EXTENSION hstore",
    ),
    Case("grants", "blocker", "may not read mine", "CREATE TABLE mine (id int PRIMARY KEY)", "DROP TABLE mine"),
    Case("identity", "note", "carts (carts_code_key)", *table("code text NOT NULL UNIQUE, more text")),
    Case("identity", "note", "carts, orders_tags: whole rows", *table("code text UNIQUE")),
    Case("identity", "note", "carts, orders_tags: whole rows", *table("id int PRIMARY KEY DEFERRABLE")),
    Case("identity", "blocker", "carts.data", *table("id int, data json")),
    Case("unlogged-tables", "blocker", "carts", *table("id int PRIMARY KEY", kind="UNLOGGED TABLE")),
    Case("large-objects", "blocker", "1 large objects", "SELECT lo_create(4711)", "SELECT lo_unlink(4711)"),
    Case("foreign-tables", "warning", "far", FOREIGN, "DROP FOREIGN DATA WRAPPER away CASCADE"),
    Case("triggers", "blocker", "noisy of orders is ENABLE ALWAYS", CREATE_TRIGGER.format("ALWAYS"), DROP_TRIGGER),
    Case("triggers", "blocker", "noisy of orders is ENABLE REPLICA", CREATE_TRIGGER.format("REPLICA"), DROP_TRIGGER),
    Case("event-triggers", "warning", "quiet", EVENT, "DROP EVENT TRIGGER quiet; DROP FUNCTION quiet()"),
    Case("row-security", "note", "carts", *table("id int PRIMARY KEY", "ALTER TABLE carts ENABLE ROW LEVEL SECURITY")),
    Case("generated-columns", "note", "carts", *table("id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 2) STORED")),
    Case("identity-columns", "note", "carts", *table("id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY")),
    Case("sequences-unowned", "note", "invoices", "CREATE SEQUENCE invoices", "DROP SEQUENCE invoices"),
    Case(
        "sequences-cached",
        "note",
        "CACHE: tags_id_seq",
        "ALTER SEQUENCE tags_id_seq CACHE 10",
        "ALTER SEQUENCE tags_id_seq CACHE 1",
    ),
    Case(
        "materialised-views",
        "note",
        "counted",
        "CREATE MATERIALIZED VIEW counted AS SELECT 1; GRANT SELECT ON counted TO openfoodweb",
        "DROP MATERIALIZED VIEW counted",
    ),
    Case(
        "role-settings",
        "warning",
        "ALTER ROLE openfoodweb sets lock_timeout",
        "ALTER ROLE openfoodweb SET lock_timeout = '1min'",
        "ALTER ROLE openfoodweb RESET lock_timeout",
    ),
    Case(
        "role-settings",
        "warning",
        "ALTER DATABASE sets work_mem",
        f"ALTER DATABASE {OLD.database} SET work_mem = '9MB'",
        f"ALTER DATABASE {OLD.database} RESET work_mem",
    ),
    Case("roles", "warning", "reports has access too", MD5, NO_REPORTS),
    Case("passwords", "warning", "md5 passwords of reports", MD5, NO_REPORTS),
    Case(
        "pgbouncer",
        "blocker",
        "pgbouncer is not available",
        *(
            f"$ {a[2:]}; {b[2:]}"
            for a, b in zip(fake("dpkg-query", "exit 1"), fake("apt-cache", "exit 1"), strict=True)
        ),
        server="new",
    ),
    Case("connection-variables", "blocker", "work_mem", *added("  variables: {work_mem: 9MB}")),
    Case("queues", "blocker", "old's nginx holds 50 requests", FEW, MANY),
    Case(
        "rack-timeout",
        "blocker",
        "after 3 s",
        f"$ echo 'Rack::Timeout.service_timeout = 3' >{TIMEOUT}",
        f"$ rm {TIMEOUT}",
        "new",
    ),
]


# One for each way in which something is found out: as superuser and not, in the catalogue, by a session, in files.
ALWAYS = ("superuser", "subscriptions", "long-transactions", "clocks", "grants", "triggers", "connection-variables")


@pytest.mark.parametrize(
    "case",
    [(pytest.param if c.key in ALWAYS else thorough)(c, id=f"{c.key}-{n}") for n, c in enumerate(CASES)],
)
def test_appears_and_vanishes(
    lab: Lab, move: Move, before: Observed, case: Case, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(requirements, "LONG", 1.0)
    if case.key == "extensions":  # Debian 12 has all that Debian 11 had
        lab.new.exec(f"mv {CONTROL} {CONTROL}.away")
        request.addfinalizer(lambda: lab.new.exec(f"mv {CONTROL}.away {CONTROL}"))
    assert not any(case.words in what for _, what in before[case.key])
    try:
        case.run(lab, case.make)
        during = look(move)
    finally:
        case.run(lab, case.undo)
    assert [kind for kind, what in during[case.key] if case.words in what] == [case.kind]
    assert look(move)[case.key] == before[case.key]


@pytest.mark.thorough
def test_notes_of_rails_vanish(lab: Lab, move: Move, before: Observed) -> None:
    """Here they are there from the beginning: PgBouncer 1.18, and a database.yml as it comes."""
    make, undo = added("  prepared_statements: false\n  advisory_locks: false")
    case = Case("prepared-statements", "note", "", make, undo)
    assert "PgBouncer 1.18" in before["prepared-statements"][0][1] and before["advisory-locks"]
    try:
        case.run(lab, make)
        during = look(move)
    finally:
        case.run(lab, undo)
    assert during["prepared-statements"] == during["advisory-locks"] == []
    after = look(move)
    assert after["prepared-statements"] == before["prepared-statements"]
    assert after["advisory-locks"] == before["advisory-locks"]


@pytest.mark.parametrize(
    ("key", "kind", "words", "how"),
    [
        ("encoding", "blocker", "UTF8 on old, LATIN1 on new", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"),
        ("collation", "warning", "libc C (LC_CTYPE C) on new", "LC_COLLATE 'C' LC_CTYPE 'C'"),
    ],
)
def test_a_database_made_otherwise(
    lab: Lab, move: Move, before: Observed, key: str, kind: str, words: str, how: str
) -> None:
    lab.new.psql(f"CREATE DATABASE other TEMPLATE template0 {how}")
    database = move.new.database
    try:
        move.new.database = database.model_copy(update={"name": "other"})
        during = look(move)
    finally:
        move.new.database = database
        lab.new.psql("DROP DATABASE other")
    assert [k for k, what in during[key] if words in what] == [kind]
    assert not any(words in what for _, what in before[key])


def restart(server: Any, change: str) -> None:
    """Changes PostgreSQL's configuration and restarts it."""
    server.psql(change)
    server.exec("systemctl restart postgresql")


@pytest.fixture(scope="module")
def changed(lab: Lab, move: Move, before: Observed) -> Iterator[tuple[Observed, Observed]]:
    """What is found with other settings, one restart each: small on new, and large enough for all on old; and after."""
    small = {
        "wal_level": "logical",
        "listen_addresses": "*",
        "max_replication_slots": 0,
        "max_wal_senders": 1,
        "max_logical_replication_workers": 0,
        "max_worker_processes": 1,
        "max_prepared_transactions": 3,
    }
    prepare = "BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'halfway'"
    restart(lab.new, "".join(f"ALTER SYSTEM SET {name} = '{value}';" for name, value in small.items()))
    lab.new.psql(prepare)
    during = look(move)
    lab.new.psql("ROLLBACK PREPARED 'halfway'")
    restart(lab.new, "ALTER SYSTEM RESET ALL")
    yield during, look(move)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("slots-free", "blocker", "new: no replication slot is free"),
        ("senders-free", "blocker", "new: too few WAL senders"),
        ("workers-free", "blocker", "new: no logical replication worker"),
        ("workers-free", "blocker", "new: too few worker processes"),
        ("prepared-transactions", "blocker", "halfway"),
    ],
)
def test_small_settings_appear_and_vanish(
    changed: tuple[Observed, Observed], before: Observed, key: str, kind: str, words: str
) -> None:
    during, after = changed
    assert [k for k, what in during[key] if words in what] == [kind]
    assert after[key] == before[key]


@pytest.mark.thorough
@pytest.mark.parametrize("key", ["wal-level", "listen-addresses"])
def test_notes_of_new_vanish_with_settings(changed: tuple[Observed, Observed], before: Observed, key: str) -> None:
    during, after = changed
    assert any(what.startswith("new:") for _, what in before[key])
    assert not any(what.startswith("new:") for _, what in during[key])
    assert after[key] == before[key]


STATEMENTS = [
    ("LISTEN", "blocker", "LISTEN orders"),
    ("PREPARE", "blocker", "PREPARE one AS SELECT 1, 'once'; EXECUTE one"),
    ("CREATE TEMPORARY", "blocker", "CREATE TEMP TABLE passing (id int)"),
    ("DECLARE WITH HOLD", "blocker", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
    ("advisory lock", "blocker", "SELECT pg_advisory_lock(1, 2)"),
    ("migrations' advisory lock", "note", "SELECT pg_try_advisory_lock(7315463)"),
    ("SET search_path", "warning", "SET search_path TO public"),
]
HARMLESS = [
    "SET client_min_messages TO 'warning'",
    "SET standard_conforming_strings = on",
    "SET SESSION timezone TO 'UTC'",
    "BEGIN; SET LOCAL work_mem = '9MB'; CREATE TEMP TABLE brief (id int) ON COMMIT DROP; COMMIT",
    "SELECT pg_advisory_xact_lock(3)",
]


@pytest.fixture(scope="module")
def spoken(lab: Lab, move: Move) -> Iterator[tuple[Observed, Observed]]:
    """What is found after the application said all of these, and after they were forgotten."""
    restart(lab.old, "ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements")
    lab.old.psql("CREATE EXTENSION pg_stat_statements SCHEMA public", db=OLD.database)
    said = ";\n".join([f"SET SESSION AUTHORIZATION {OLD.owner}", *(s for *_, s in STATEMENTS), *HARMLESS])
    lab.old.psql(said, db=OLD.database)
    during = look(move)
    lab.old.psql("SELECT pg_stat_statements_reset()", db=OLD.database)
    after = look(move)
    lab.old.psql("DROP EXTENSION pg_stat_statements", db=OLD.database)
    restart(lab.old, "ALTER SYSTEM RESET ALL")
    yield during, after


@pytest.mark.thorough
@pytest.mark.parametrize(("what", "kind", "statement"), STATEMENTS)
def test_session_state_appears_and_vanishes(
    spoken: tuple[Observed, Observed], what: str, kind: str, statement: str
) -> None:
    during, after = spoken
    assert [k for k, said in during["session-state"] if said.startswith(f"old: {what} (")] == [kind]
    assert after["session-state"] == []


@pytest.mark.thorough
def test_what_is_harmless_is_no_finding(spoken: tuple[Observed, Observed], before: Observed) -> None:
    during, _ = spoken
    said = [what for _, what in during["session-state"] if "SET authorization" not in what]  # the test's own
    assert len(said) == len(STATEMENTS), said
    assert "without pg_stat_statements" in before["session-state"][0][1]


def test_the_command(lab: Lab) -> None:
    """One line where nothing is in the way; only `copy` where something is, and it is no failure."""
    ran = inv(lab, "check")
    assert ran.status == 0, ran.out
    assert "✓ database: can replicate: " in ran.out
    lab.old.psql("SELECT lo_create(4711)", db=OLD.database)
    try:
        ran, told = inv(lab, "check"), inv(lab, "check", "--json")
    finally:
        lab.old.psql("SELECT lo_unlink(4711)", db=OLD.database)
    assert ran.status == told.status == 0, ran.out
    assert "with the blocker below (1). Fix it, or set `strategy: copy`" in ran.out
    assert "1 large objects, which do not replicate  (Keep them in bytea" in ran.out
    report = json.loads(told.out)
    assert report["strategy"] == "copy"
    of_database = [f for f in report["findings"] if f["group"] == "database"]
    assert [f["key"] for f in of_database if f["kind"] in ("blocker", "unknown")] == ["large-objects"]
    assert {(f["key"], f.get("server")) for f in report["findings"]} >= {("tools", "old"), ("tools", "new")}
    for site in (OLD, NEW):
        assert site.password not in ran.out + told.out


def test_every_check_is_made_to_appear() -> None:
    """All but the versions, of which a server has one: tests/unit/test_findings_of_facts.py has them."""
    elsewhere = {"versions", "cost", "encoding", "collation", "wal-level", "listen-addresses", "slots-free"}
    elsewhere |= {"senders-free", "workers-free", "prepared-transactions", "prepared-statements", "advisory-locks"}
    assert {c.key for c in CASES} == set(compatibility.KEYS) - elsewhere - {"session-state"}
