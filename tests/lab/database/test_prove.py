"""`inv prove` on a database that follows: equal while others write, and what was changed behind our back is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from by_hand import Operator, Ran, inv
from switching import SECTIONS

from lab.machine.server import LabServer, until
from lab.reached import reached
from lab.servers import Lab
from lab.world import SHOP
from switchover.database import proof

OLD, NEW = SHOP.site("old"), SHOP.site("new")

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]

# What could come out as another text on the other side: NaN of two kinds, signed zero, units, time zones, no key.
ODD = f"""
SET ROLE {OLD.owner};
CREATE TABLE "odd ""name" ("a b" integer PRIMARY KEY, "Ü" text, f double precision, g real[], n numeric, b bytea,
  i interval, m money, j jsonb, e order_state[], r tstzrange, t timestamptz,
  doubled integer GENERATED ALWAYS AS ("a b" * 2) STORED);
INSERT INTO "odd ""name" VALUES
  (1, 'ä\\"', 'NaN', '{{1.1,-0}}', 'NaN', '\\x00ff', '1 year -3 days', 3.5, '{{"b": 1, "a": [1e3]}}', '{{open}}', NULL,
    now()),
  (2, '', 'inf'::float8 - 'inf'::float8, NULL, 1e-30, '', '-1 sec', -3.5, 'null', '{{}}', '[2018-03-25,)', '-infinity'),
  (3, NULL, '-0', '{{NaN,3.4e38}}', 0.10, NULL, NULL, NULL, NULL, NULL, 'empty', '2018-03-25 02:30:00+02');
CREATE TABLE keyless (a integer, b text);
INSERT INTO keyless SELECT n % 5, 'same' FROM generate_series(1, 100) n;
CREATE TABLE attachments (id bigserial PRIMARY KEY, body bytea);
INSERT INTO attachments (body) SELECT convert_to(repeat(md5(n::text), 500000), 'UTF8') FROM generate_series(1, 3) n;
"""


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with reached(*SECTIONS, ci=False, sql=ODD) as running:
        yield running


def proved(lab: Lab, *words: str) -> tuple[Ran, dict[str, Any]]:
    """`inv prove --json`, and what it printed. Nothing of it is left on either server."""
    ran = inv(lab, "prove", "--json", *words)
    assert sessions(lab) == 0
    assert ran.out, ran.err
    return ran, json.loads(ran.out)


def sessions(lab: Lab) -> int:
    """How many sessions of a proof there are on both servers, its snapshots too."""
    ours = "application_name ~ '^switchover prove' OR query ~ 'pg_export_snapshot' AND pid <> pg_backend_pid()"
    return sum(int(host.psql(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")) for host in lab.servers)


def keys(found: dict[str, Any]) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """The keys that differ, by table."""
    named = {one["table"]: [(k["on"], k["key"]) for k in one["keys"]] for one in found["tables"] if one["keys"]}
    assert [one["table"] for one in found["tables"] if not one["equal"]] == sorted(named)
    return named


@contextmanager
def writing(old: LabServer) -> Iterator[None]:
    """Somebody writes on old past PgBouncer, some hundred transactions a second."""
    done = threading.Event()
    insert = (
        "INSERT INTO audits (event, subject, created_at) VALUES ('seen', 'x', now());\nUPDATE stock SET quantity = 1;\n"
    )

    def write() -> None:
        while not done.is_set():
            old.psql(f"SET ROLE {OLD.owner};\n" + insert * 20, OLD.database)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_every_row_is_equal_while_others_write(lab: Lab) -> None:
    with writing(lab.old):
        ran, found = proved(lab, "--jobs", "2")
    assert ran.status == 0, ran.err
    tables = {one["table"]: one for one in found["tables"]}
    assert all(one["equal"] for one in found["tables"] + found["sequences"]) and found["schema"] == []
    assert {'"odd ""name"', "keyless", "attachments", "orders", "orders_tags"} <= tables.keys()
    assert tables["keyless"]["old"] == 100 and found["totals"]["rows"] > 20_000
    assert found["totals"]["different"] == 0


def test_in_a_hold_of_pgbouncer(lab: Lab) -> None:
    """As where so much is written that no pair comes out by itself; PgBouncer goes on afterwards."""
    words = ["pinned", NEW.database, 1, 6432, 20]
    script = f"export UNHELD=0\nmain() {{\n{proof.program(proof.PROGRAMS, words)}\n}}\nmain"
    out = lab.new.exec(script).stdout
    pinned = proof.parse(out).pinned
    assert pinned["held"] == 1 and 0 < pinned["hold_ms"] < 2000
    socket = f"{NEW.app}/tmp/sockets/unicorn.sock"
    assert lab.new.exec(f"curl -sSf -m 5 --unix-socket {socket} http://localhost/orders/recent").stdout
    assert lab.new.exec("systemctl is-active switchover-dead-man.timer", check=False).stdout.strip() == "inactive"
    assert sessions(lab) == 0


def test_what_was_changed_behind_our_back_is_named_to_the_key(lab: Lab) -> None:
    lab.new.psql(
        """
SET session_replication_role = replica;
UPDATE "odd ""name" SET f = 0.0 WHERE "a b" = 3;
UPDATE blobs SET body = body || ' ' WHERE id = 999;
DELETE FROM orders WHERE id IN (17, 18);
INSERT INTO tags (id, name) VALUES (99, 'by hand');
DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless WHERE a = 3 LIMIT 1);
""",
        NEW.database,
    )
    ran, found = proved(lab)
    assert ran.status == 1 and len(ran.err.splitlines()) == 1 and "5 differ: " in ran.err
    named = keys(found)
    assert named['"odd ""name"'] == [("both", {"a b": "3"})]
    assert named["blobs"] == [("both", {"id": "999"})]
    assert sorted(named["orders"], key=str) == [("old", {"id": "17"}), ("old", {"id": "18"})]
    assert named["tags"] == [("new", {"id": "99"})]
    assert named["keyless"] == [("old", {"row": "(3,same)"})]
    shown = inv(lab, "prove")
    assert "✗ blobs: id 999 is not the same on both" in shown.out and "✗ orders: id 17 is on old alone" in shown.out
    lab.new.psql(
        f"""
SET session_replication_role = replica;
UPDATE "odd ""name" SET f = '-0' WHERE "a b" = 3;
UPDATE blobs SET body = rtrim(body, ' ') WHERE id = 999;
INSERT INTO orders (id, number, state, total, created_at) VALUES
  {lab.old.psql("SELECT string_agg(format('(%s, %L, %L, %L, %L)', id, number, state, total, created_at), ', ') "
    "FROM orders WHERE id IN (17, 18)", OLD.database)};
DELETE FROM tags WHERE id = 99;
INSERT INTO keyless VALUES (3, 'same');
""",
        NEW.database,
    )  # fmt: skip
    ran, found = proved(lab)
    assert ran.status == 0, ran.err


def test_uploads_are_compared_by_checksum(lab: Lab) -> None:
    folder = f"{NEW.app}/public/system/products"
    lab.new.exec(
        f"cd {folder} && mv 7.jpg /root && printf x | dd of=1.jpg bs=1 conv=notrunc status=none && echo >new.jpg"
    )
    ran, found = proved(lab, "--files")
    assert ran.status == 1 and "1 differ: public/system/" in ran.err
    (files,) = found["files"]
    assert files["other"] == ["products/1.jpg"] and files["missing_on_new"] == ["products/7.jpg"]
    assert files["on_new_alone"] == ["products/new.jpg"]


def test_the_schema_is_compared(lab: Lab) -> None:
    lab.new.psql("CREATE INDEX by_hand ON audits (event)", NEW.database)
    ran, found = proved(lab)
    assert ran.status == 1 and any("by_hand" in line and "not on old" in line for line in found["schema"])
    lab.new.psql("DROP INDEX by_hand", NEW.database)


# Takes a lock when the pair of snapshots is there and the first reader begins, on a table that is read at the end.
LOCK = """
SET application_name = 'locks';
DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name ~ '^switchover prove .*rows') LOOP
    PERFORM pg_sleep(0.001), pg_stat_clear_snapshot();
  END LOOP;
  LOCK TABLE products;
  PERFORM pg_sleep(60);
END $$;
"""


def test_one_that_is_killed_leaves_nothing(lab: Lab) -> None:
    psql = f"runuser -u postgres -- psql -d {OLD.database}"
    holder = threading.Thread(target=lambda: lab.old.exec(psql, LOCK, check=False))
    holder.start()
    command = Operator(lab).start("prove")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    until(lambda: lab.old.psql(f"{waits} AND application_name ~ '^switchover prove'") == "1", 30, "it does not wait")
    command.kill()
    command.communicate()
    until(lambda: sessions(lab) == 0, 10, "its sessions stay")
    until(lambda: lab.new.exec("pgrep -f '[p]rove pinned'", check=False).stdout == "", 5, "its program stays")
    lab.old.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'locks'")
    holder.join()
    ran, _ = proved(lab)  # its lock was taken over
    assert ran.status == 0, ran.err


def test_a_program_that_is_killed_leaves_nothing(lab: Lab) -> None:
    """SIGKILL on new itself, while it waits for the row on its way."""
    with writing(lab.old):
        command = Operator(lab).start("prove")
        until(lambda: sessions(lab) > 0, 30, "it does not begin")
        lab.new.exec("pkill -KILL -f '/[p]rove pinned'")
        _, err = command.communicate()
        assert command.returncode == 1 and "could not be compared" in err
        until(lambda: sessions(lab) == 0, 10, "its sessions stay")
