"""`switch-db` of a database that follows: to new and back while somebody writes, and its program killed in the hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from by_hand import fails, inv, one_line, works
from switching import BEFORE, DROP_IN, POINTS, SECTIONS, at, carried_over, enters, leads_to, ordering, told

from lab.provision import SITES
from lab.servers import Lab

OLD, NEW = SITES["old"], SITES["new"]

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="replicate") as running:
        works(running, *SECTIONS)
        yield running


def test_there_and_back_and_there_while_somebody_orders(lab: Lab) -> None:
    with ordering(lab):
        works(lab, "switch-db")
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("new", False, True)
        undone = works(lab, "undo", "--yes", "switch-db").out
        assert " rows equal" in undone and "ms behind; held for " in undone
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


@at("marker", "commit", "follow:SIGSTOP", points=(*POINTS, "follow:SIGSTOP"))
def test_the_program_killed_in_the_hold(lab: Lab, part: str) -> None:
    """By SIGKILL after each part: visitors go on with old before the commit, with new after it; so does the move.

    Stopped after the hold, when no watchdog looks, it is ended by the command that follows it.
    """
    with ordering(lab):
        lab.new.write(DROP_IN, f"[Service]\nEnvironment=SWITCHOVER_DIE_AFTER={part}\n")
        ran = inv(lab, "switch-db")
        lab.new.exec(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
        if part in BEFORE:
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
    ran = inv(lab, "switch-db")
    line = one_line(ran.status, ran.out, ran.err)
    assert "new has what old lacks, written past the fence: update products id=1" in ran.out
    assert "differed at the moment of the switch: products." in line and "inv undo switch-db" in line
    assert leads_to(lab) == "new"
    worker = f"{NEW.app}/tmp/pids/delayed_job.pid"
    assert lab.new.exec(f"kill -0 $(cat {worker}) && echo runs", check=False).stdout == "runs\n"
    # It would be lost with the way back.
    line = fails(lab, "undo", "--yes", "switch-db")
    assert "new has what old lacks, written past the fence: update products id=1. Carry it over" in line
    carried_over(lab, "new")
    assert "all of it is undone, but" in fails(lab, "undo", "--yes", "switch-db")  # products still differs


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
