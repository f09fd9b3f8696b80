"""`replicate`, while somebody writes on old, and its bad days: a column and a table made by hand, the network cut,
databases that restart, a full disk, an operator who dies. Each is told in one line, and ends well.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from by_hand import JOURNAL, UNCHANGED, Operator, differences, fails, full_database_disk, inv, steady, works

from lab.machine import network
from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]

# One who orders, changes a table without a key, and takes an order back; each line that it prints is an error.
WRITER = r"""
n=0
while [ ! -e /tmp/writer-ends ]; do
  n=$(( n + 1 ))
  echo "BEGIN; INSERT INTO orders (number, total, created_at) VALUES ('w-$$-$n', 1.25, now());"
  echo "UPDATE orders SET total = total + 1 WHERE number = 'w-$$-$(( n - 3 ))';"
  echo "DELETE FROM orders WHERE number = 'w-$$-$(( n - 9 ))';"
  echo "UPDATE orders_tags SET tag_id = 1 + tag_id % 3 WHERE order_id = 1 + $n % 5000; COMMIT;"
  sleep 0.02
done | runuser -u postgres -- psql -Xq DATABASE 2>&1
"""


# Of types that travel as text, and of such as travel in their binary form; a table that inherits; keys so large that
# their indexes are made beside others.
KINDS = """
SET ROLE openfoodweb;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN percent AS integer CHECK (VALUE <= 100);
CREATE TABLE kinds (id bigserial PRIMARY KEY, mood mood, moods mood[], share percent, words tsvector, many integer[]);
CREATE TABLE plain (id bigserial PRIMARY KEY, mood mood, a numeric, b float8, c timestamptz, d text[], e jsonb, f bytea,
  g interval, h uuid, i inet, j boolean, k date);
CREATE TABLE branch () INHERITS (plain);
INSERT INTO kinds (mood, moods, share, words, many)
  SELECT 'sad', '{glad,NULL}', n, to_tsvector('a b ' || n), ARRAY[n, NULL] FROM generate_series(1, 50) n;
INSERT INTO plain (mood, a, b, c, d, e, f, g, h, i, j, k) VALUES
  ('glad', 'NaN', 'Infinity', 'infinity', '{"ä\\t","\\\\N",NULL}', '{"a": [1, null, "ü"]}', '\\x0001ff',
   '1 mon -3 days 00:00:00.5', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1/64', NULL, '0044-03-15 BC'),
  (NULL, 1.500, -0.1, 'epoch', '{}', 'null', '', NULL, NULL, NULL, true, NULL);
INSERT INTO branch (mood, a) VALUES ('sad', 12345678901234567890.123);
CREATE TABLE "Big one" (id bigint PRIMARY KEY, code bigint, n bigint,
  CONSTRAINT "its code" UNIQUE (code) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT its_n UNIQUE (n));
INSERT INTO "Big one" SELECT n, -n, n * 7 % 450001 FROM generate_series(1, 450000) n;
ALTER TABLE "Big one" CLUSTER ON its_n;
"""
BIG_KEYS = """
SELECT string_agg(format('%s %s %s', i.relname, indisclustered, pg_get_constraintdef(k.oid)), '; ' ORDER BY i.relname)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_constraint k ON k.conindid = i.oid
WHERE indrelid = '"Big one"'::regclass AND pg_relation_size(i.oid) > 8388608
"""


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="replicate") as running:
        for server in running.servers:
            server.psql("ALTER SYSTEM SET wal_level = logical")
            server.exec("systemctl restart postgresql")
        running.old.psql(KINDS, OLD.database)
        ran = inv(running, "prepare-old")
        assert ran.status == 0, ran.err
        running.old.psql("CREATE ROLE report LOGIN PASSWORD 'numbers'; GRANT SELECT ON orders TO report", OLD.database)
        yield running


@contextmanager
def writing(lab: Lab, *, errors: bool = False) -> Iterator[None]:
    """Somebody writes on old meanwhile, without an error (unless *errors* are to be expected)."""
    lab.old.write("/tmp/writer", WRITER.replace("DATABASE", OLD.database))
    lab.old.exec("rm -f /tmp/writer-ends; setsid sh /tmp/writer >/tmp/writer.log </dev/null 2>&1 &")
    try:
        yield
    finally:
        lab.old.exec("touch /tmp/writer-ends; while pgrep -f '^sh /tmp/writer' >/dev/null; do sleep 0.1; done")
    said = lab.old.exec("cat /tmp/writer.log").stdout
    assert errors or said == ""


def equal(lab: Lab) -> bool:
    """Whether new has every row that old has; sequences are carried at the switch."""
    ran = inv(lab, "prove", "--json")
    assert ran.out.startswith("{"), ran.out + ran.err
    tables = json.loads(ran.out)["tables"]
    return len(tables) > 10 and all(table["equal"] for table in tables)


def follows(lab: Lab, within: float = 20) -> None:
    """New catches up within some seconds."""
    until(lambda: inv(lab, "replicate.caught-up").status == 0, within, "new does not catch up", pause=0.2)


def slots(lab: Lab) -> list[str]:
    return [server.psql("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots") for server in lab.servers]


def copying(lab: Lab) -> bool:
    """Whether rows are on their way."""
    return lab.new.psql("SELECT count(*) FROM pg_stat_progress_copy") != "0"


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, dict[str, str]]:
    return steady(lab)


def test_a_look_waits_for_the_database_that_a_copy_makes_anew(lab: Lab) -> None:
    """A copy whose operator has died continues, and the next command looks meanwhile."""
    lab.new.psql(f"ALTER DATABASE {NEW.database} RENAME TO away")
    back = f"runuser -u postgres -- psql -c 'ALTER DATABASE away RENAME TO {NEW.database}'"
    lab.new.exec(f'systemd-run -q --collect --unit=switchover-copy sh -c "sleep 4; {back}; sleep 2"')
    works(lab, "replicate.can-replicate")


def test_it_follows_while_somebody_writes(lab: Lab, before: dict[str, dict[str, str]]) -> None:
    assert before
    with writing(lab):
        assert inv(lab, "--dry", "replicate").status == 0
        works(lab, "replicate")
        shown = json.loads(works(lab, "status", "--json").out)["replication"]
        assert shown["replicates"] and shown["lag"] < 1 and shown["differences"] == []
        assert 0 < shown["old"]["kept"] < shown["old"]["limit"] < shown["old"]["free"]
        assert "new's database: 0." in works(lab, "status").out and "keeps" in works(lab, "watch").out
    follows(lab)
    assert equal(lab)
    assert slots(lab) == ["switchover", "switchover_back"]
    own = "SELECT (SELECT count(*) FROM ONLY plain), (SELECT count(*) FROM branch), "
    own += "(SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM plain p)"
    assert lab.new.psql(own, NEW.database) == lab.old.psql(own, OLD.database)
    assert lab.new.psql(own, NEW.database).startswith("2|1|")
    keys = lab.new.psql(BIG_KEYS, NEW.database)
    assert keys == lab.old.psql(BIG_KEYS, OLD.database)
    assert keys == (
        "Big one_pkey f PRIMARY KEY (id); its code f UNIQUE (code) DEFERRABLE INITIALLY DEFERRED; its_n t UNIQUE (n)"
    )


def test_the_new_database_is_open_to_nobody(lab: Lab) -> None:
    assert lab.new.psql(f"SELECT datconnlimit FROM pg_database WHERE datname = '{NEW.database}'") == "0"
    login = f"PGSERVICEFILE=/dev/null PGPASSWORD=x psql -h localhost -U {NEW.owner} {NEW.database} -c 'SELECT 1' 2>&1"
    assert lab.new.exec(login, check=False).returncode != 0
    roles = "SELECT rolcanlogin, rolreplication FROM pg_roles WHERE rolname IN ('{}', 'switchover') ORDER BY rolname"
    assert lab.new.psql(roles.format(NEW.owner)) == "t|f\nt|t"


def test_somebody_else_s_role_comes_along(lab: Lab) -> None:
    password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'report'"
    assert lab.new.psql(password) == lab.old.psql(password) != ""
    assert lab.new.psql("SELECT has_table_privilege('report', 'orders', 'SELECT')", NEW.database) == "t"


def test_old_keeps_nothing_for_long_and_new_nothing_for_the_way_back(lab: Lab) -> None:
    """What came from old is passed over, once a minute; here at once."""
    behind = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) < 100000 FROM pg_replication_slots"
    lab.new.exec("systemctl start switchover-way-back.service")
    until(lambda: [s.psql(behind) for s in lab.servers] == ["t", "t"], 15, "something is kept")


def test_repeated_it_changes_nothing(lab: Lab) -> None:
    again = works(lab, "replicate")
    assert again.outcomes and set(again.outcomes.values()) <= UNCHANGED


def test_a_column_added_by_hand_is_named(lab: Lab) -> None:
    """Until new has it too; then what was written meanwhile comes."""
    lab.old.psql("ALTER TABLE orders ADD note text", OLD.database)
    lab.old.psql("INSERT INTO orders (number, total, created_at, note) VALUES ('noted', 1, now(), 'x')", OLD.database)
    line = works(lab, "status").out
    assert "the column orders.note (text) is on old and not on new" in line
    assert "orders.note" in inv(lab, "check").out
    lab.new.psql(f"SET ROLE {NEW.owner}; ALTER TABLE orders ADD note text", NEW.database)
    follows(lab)
    assert lab.new.psql("SELECT note FROM orders WHERE number = 'noted'", NEW.database) == "x"


def test_a_table_made_by_hand_is_named_and_stops_nothing(lab: Lab) -> None:
    lab.old.psql("CREATE TABLE somebodys (id int); INSERT INTO somebodys VALUES (1)", OLD.database)
    shown = json.loads(works(lab, "watch", "--json").out)["new"]["replication"]
    assert shown["differences"] == ["the table somebodys is on old and not on new"] and shown["replicates"]
    lab.old.psql("DROP TABLE somebodys", OLD.database)
    follows(lab)


@contextmanager
def unplugged(lab: Lab) -> Iterator[None]:
    """New has no network for the time of it."""
    network.unplug(lab.place, "new")
    try:
        yield
    finally:
        network.plug(lab.place, "new", lab.world.addresses("new"))


def test_the_network_is_cut_for_a_while(lab: Lab) -> None:
    """Nothing comes while old goes on; when it is back, new catches up by itself."""
    received = "SELECT pg_wal_lsn_diff(received_lsn, '0/0') FROM pg_stat_subscription WHERE subname = 'switchover'"
    behind = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) FROM pg_replication_slots"
    ask = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{lab.new.address4}/22'"
    with writing(lab):
        with unplugged(lab):
            assert lab.old.exec(ask, check=False).returncode != 0
            last = lab.new.psql(received)
            until(lambda: int(lab.old.psql(behind)) > 300_000, 60, "old's lag does not grow", pause=0.2)
            assert lab.new.psql(received) == last != ""
        follows(lab, 60)
    follows(lab)
    assert equal(lab)


@pytest.mark.parametrize("role", ["old", "new"])
def test_a_database_restarts(lab: Lab, role: str) -> None:
    server: LabServer = lab.old if role == "old" else lab.new
    with writing(lab, errors=role == "old"):
        server.exec("systemctl restart postgresql")
        follows(lab)
    follows(lab)
    assert equal(lab)


def test_undone_nothing_stays(lab: Lab, before: dict[str, dict[str, str]]) -> None:
    works(lab, "undo", "--yes", "replicate")
    lab.old.psql("ALTER TABLE orders DROP note", OLD.database)
    assert slots(lab) == ["", ""]
    tables = lab.old.psql(
        "SELECT count(*) FROM pg_class WHERE relreplident NOT IN ('d', 'n') AND oid > 16384", OLD.database
    )
    assert tables == "0"
    assert (
        differences(lab, before, journal=False, within=12, but=("process ", "rows of ", "schema of openfoodweb")) == []
    )


def test_a_transaction_that_stays_open_is_waited_for(lab: Lab) -> None:
    """And the operator dies meanwhile: the copy goes on, and the same command looks at it again."""
    works(lab, "replicate.limits", "replicate.own-role", "replicate.relay-back", "replicate.identities")
    works(lab, "replicate.publication", "replicate.database")
    hold = "BEGIN; INSERT INTO tags (name) VALUES ('held'); SELECT pg_sleep(4); ROLLBACK;"
    lab.old.exec(f'setsid runuser -u postgres -- psql -qc "{hold}" {OLD.database} >/dev/null 2>&1 </dev/null &')
    command = Operator(lab).start("replicate.copy")
    active = "SELECT count(*) FROM pg_replication_slots"
    until(lambda: lab.old.psql(active) == "1", 20, "no slot")
    command.send_signal(signal.SIGKILL)
    command.communicate()
    with writing(lab):
        assert works(lab, "replicate").outcomes["replicate.copy"] == "finished"
    follows(lab)
    assert equal(lab)


def test_the_operator_dies_while_rows_are_copied_and_it_is_undone(lab: Lab) -> None:
    works(lab, "undo", "--yes", "replicate.way-back-timer")
    works(lab, "undo", "--yes", "replicate.way-back")
    works(lab, "undo", "--yes", "replicate.subscription")
    works(lab, "undo", "--yes", "replicate.copy")
    assert slots(lab) == ["", ""]
    command = Operator(lab).start("replicate.copy")
    until(lambda: copying(lab), 20, "nothing is copied", pause=0.005)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    works(lab, "undo", "--yes", "replicate")
    assert slots(lab) == ["", ""]
    assert lab.new.psql("SELECT count(*) FROM pg_database WHERE datname LIKE '%before_move'") == "0"


def test_old_s_database_restarts_while_rows_are_copied(lab: Lab) -> None:
    command = Operator(lab).start("replicate")
    until(lambda: copying(lab), 60, "nothing is copied", pause=0.005)
    lab.old.exec("systemctl restart postgresql")
    out, err = command.communicate()
    assert command.returncode == 1 and len(err.splitlines()) == 1, out + err
    assert err.startswith(f"{lab.new}: replicate.copy failed: ") and "The change was undone" in err
    until(lambda: slots(lab) == ["", ""], 10, "a slot stays")


def test_the_disk_of_new_fills_up_while_rows_are_copied(lab: Lab) -> None:
    with full_database_disk(lab.new, 20), writing(lab):
        line = fails(lab, "replicate")
        assert line.startswith(f"{lab.new}: replicate.copy failed: ") and "No space left on device" in line
        assert slots(lab) == ["", ""]
    with writing(lab):
        works(lab, "replicate")
    follows(lab)
    assert equal(lab)


def test_the_journal_has_no_password(lab: Lab) -> None:
    """Nor has PostgreSQL's log, or a subscription that others may read."""
    password = lab.new.exec("cut -d : -f 5 /etc/switchover/pgpass | head -n 1").stdout.strip()
    assert len(password) > 20
    for server in lab.servers:
        grep = f"grep -rlF {password} {JOURNAL}/*/apply {JOURNAL}/*/undo {JOURNAL}/*/entry.json /var/log"
        assert server.exec(f"{grep} 2>/dev/null", check=False).stdout == ""
        assert password not in server.psql("SELECT string_agg(subconninfo, ' ') FROM pg_subscription")


def test_a_limit_ends_it_before_the_disk_of_old_is_full(lab: Lab) -> None:
    """New does not follow for too long: old gives up, says so, and goes on."""
    lab.old.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '48MB'; SELECT pg_reload_conf()")
    lab.new.psql("ALTER SUBSCRIPTION switchover DISABLE", NEW.database)
    assert "does NOT replicate" in works(lab, "watch").out
    much = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000)) FROM generate_series(1, 150)"
    lab.old.psql(f"SELECT count(*) FROM ({much}) AS much; SELECT pg_switch_wal(); CHECKPOINT")
    until(lambda: "inv undo replicate" in fails(lab, "replicate.caught-up"), 10, "nobody says so")
    assert "dropped the changes" in works(lab, "watch").out
    limit = "ALTER SYSTEM SET max_slot_wal_keep_size = '{}'; SELECT pg_reload_conf()"
    changed = "SELECT setting FROM pg_file_settings WHERE name = 'max_slot_wal_keep_size'"
    assert lab.old.psql(changed) == "48MB"
    assert "max_slot_wal_keep_size was set to 48MB since" in fails(lab, "undo", "--yes", "replicate")
    recorded = lab.old.exec(f"cat {JOURNAL}/*replicate.limits/apply").stdout
    ours = re.findall(r"setting put max_slot_wal_keep_size '?(\d+MB)", recorded)
    lab.old.psql(limit.format(ours[-1]))


def test_undone_at_the_end(lab: Lab, before: dict[str, dict[str, str]]) -> None:
    works(lab, "undo", "--yes", "replicate")
    assert slots(lab) == ["", ""]
    assert differences(lab, before, journal=False, within=12, but=("process ", "rows of ")) == []
