"""`switch-db` of a database that follows: to new and back while somebody writes, and its program killed in the hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from by_hand import JOURNAL, fails, inv, works

from lab.provision import SITES
from lab.server import until
from lab.servers import Lab

OLD, NEW = SITES["old"], SITES["new"]
SECTIONS = ("prepare-old", "prepare-new", "switch-jobs", "switch-app", "switch-cron", "replicate")

pytestmark = pytest.mark.usefixtures("lab_name")

# Somebody who orders by the application's way, one order a connection; what was acknowledged is in a file.
WRITER = r"""
n=0
while [ ! -e /tmp/writer-ends ]; do
  n=$(( n + 1 ))
  order="INSERT INTO orders (number, total, created_at) VALUES ('s-$$-$n', 1, now()) RETURNING number"
  psql -XAtq "WAY" -c "$order" >>/tmp/acknowledged || echo "order $n"
done 2>&1
"""


WAY = f"host=127.0.0.1 port=6432 dbname={NEW.database} user=switchover_app passfile=/etc/switchover/pgpass"


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="replicate") as running:
        works(running, *SECTIONS)
        yield running


@contextmanager
def ordering(lab: Lab) -> Iterator[None]:
    """Somebody orders meanwhile, and each order that was acknowledged is there in the end, once, on both servers."""
    lab.new.write("/tmp/writer", WRITER.replace("WAY", f"{WAY} sslmode=disable"))
    lab.new.exec("rm -f /tmp/writer-ends /tmp/acknowledged; setsid sh /tmp/writer >/tmp/writer.log </dev/null 2>&1 &")
    yield
    lab.new.exec("touch /tmp/writer-ends; while pgrep -f '^sh /tmp/writer' >/dev/null; do sleep 0.1; done")
    assert lab.new.exec("cat /tmp/writer.log").stdout == ""
    promised = lab.new.exec("cat /tmp/acknowledged").stdout.split()
    assert len(promised) > 5

    def there(psql: Any, database: str) -> bool:
        return sorted(psql("SELECT number FROM orders WHERE number LIKE 's-%'", database).split()) == sorted(promised)

    lab.new.exec("cat /tmp/acknowledged >>/tmp/all-acknowledged")
    promised = lab.new.exec("cat /tmp/all-acknowledged").stdout.split()
    until(lambda: there(lab.new.psql, NEW.database) and there(lab.old.psql, OLD.database), 10, "an order is missing")


def told(lab: Lab) -> list[dict[str, Any]]:
    """What the program of the switch said, each time."""
    lines = lab.new.exec(f"cat {JOURNAL}/*switch-db.switch.1/said").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"event"')]


def leads_to(lab: Lab) -> str:
    """The port of the database that the application's way leads to tells which one it is."""
    version = lab.new.exec(f"psql -XAtq '{WAY} sslmode=disable' -c 'SHOW server_version_num'").stdout
    return "old" if version.startswith("13") else "new"


def enters(lab: Lab, server: str) -> bool:
    """Whether the application's own role gets into the application's database there."""
    site = SITES[server]  # type: ignore[index]
    role = "openfoodweb" if server == "old" else "ofn_user"
    sql = f"SELECT has_database_privilege('{role}', '{site.database}', 'CONNECT') AND datconnlimit <> 0"
    return getattr(lab, server).psql(f"{sql} FROM pg_database WHERE datname = '{site.database}'") == "t"


def test_there_and_back_and_there_while_somebody_orders(lab: Lab) -> None:
    with ordering(lab):
        works(lab, "switch-db")
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("new", False, True)
        works(lab, "undo", "--yes", "switch-db")
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("old", True, False)
        works(lab, "switch-db")
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("new", False, True)
    said = told(lab)
    assert [one["towards"] for one in said if one["event"] == "switched"][-1] == "new"
    assert [one["equal"] for one in said if one["event"] == "proved"][-1] is True
    # Ids go on where they were.
    new_id = "INSERT INTO products (name, price) SELECT 'later', 1 RETURNING id > (SELECT max(id) FROM products)"
    assert lab.new.psql(f"BEGIN; {new_id}; ROLLBACK", NEW.database).splitlines()[-1] == "t"
    works(lab, "undo", "--yes", "switch-db")


DROP_IN = "/etc/systemd/system/switchover-switch.service.d/dies.conf"


@pytest.mark.parametrize("part", ["pause", "fence", "marker", "commit", "resume", "release"])
def test_the_program_killed_in_the_hold(lab: Lab, part: str) -> None:
    """By SIGKILL after each part: visitors go on with old before the commit, with new after it; so does the move."""
    with ordering(lab):
        lab.new.write(DROP_IN, f"[Service]\nEnvironment=SWITCHOVER_DIE_AFTER={part}\n")
        ran = inv(lab, "switch-db")
        lab.new.exec(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
        if part in ("pause", "fence", "marker"):
            assert ran.status == 1 and len(ran.err.splitlines()) == 1, ran.out + ran.err
            assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("old", True, False)
            works(lab, "switch-db")
        else:
            assert ran.status == 0, ran.out + ran.err
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("new", False, True)
    works(lab, "undo", "--yes", "switch-db")
    assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("old", True, False)


def test_what_differed_at_that_moment_is_said_by_table(lab: Lab) -> None:
    """Somebody changed a row on new, behind the back of what follows there; all else goes on."""
    lab.new.psql("UPDATE products SET name = 'behind your back' WHERE id = 1", NEW.database)
    line = fails(lab, "switch-db")
    assert "differed at the moment of the switch: products." in line and "inv undo switch-db" in line
    assert leads_to(lab) == "new"
    worker = f"{NEW.app}/tmp/pids/delayed_job.pid"
    assert lab.new.exec(f"kill -0 $(cat {worker}) && echo runs", check=False).stdout == "runs\n"
    works(lab, "undo", "--yes", "switch-db")


def test_retire_old_leaves_nothing_of_it(lab: Lab) -> None:
    """What was opened for following and switching is closed, on both; visitors' database stays open."""
    name = lab.old.psql("SELECT name FROM products WHERE id = 1", OLD.database)
    lab.new.psql(f"UPDATE products SET name = '{name}' WHERE id = 1", NEW.database)
    works(lab, "switch-db", "finish")
    works(lab, "retire-old", "--yes")
    ours = "SELECT count(*) FROM {} WHERE {} LIKE 'switchover%'"
    for server, site in ((lab.old, OLD), (lab.new, NEW)):
        for catalogue, column in (
            ("pg_roles", "rolname"), ("pg_replication_slots", "slot_name"), ("pg_subscription", "subname"),
            ("pg_publication", "pubname"), ("pg_namespace", "nspname"),
        ):  # fmt: skip
            found = server.psql(ours.format(catalogue, column), site.database)
            assert found == "0", f"{server}: {catalogue}"
        left = "ls -d /usr/local/sbin/switchover* /etc/systemd/system/*switchover* /etc/systemd/system/*/switchover*"
        assert server.exec(f"{left} 2>/dev/null", check=False).stdout == ""
        assert server.psql("SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'") == "-1"
    told_apart = "SELECT count(*) FROM pg_class WHERE relreplident IN ('f', 'i')"
    assert lab.new.psql(told_apart, NEW.database) == "0"
    assert enters(lab, "new") and not enters(lab, "old")
    assert lab.new.psql("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'ofn_user'") == "t"
