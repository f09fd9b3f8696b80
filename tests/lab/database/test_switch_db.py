"""`switch-db` of a database that follows: to new and back while somebody orders. And its bad days: whoever dies, stops
or stands in the way, visitors are on old or on new, nothing is lost, and the same command, or undo, goes on from there.

Most are played by the program of the switch alone, as a unit of its own like that of `inv switch-db`; at a sample of
the points where it can die, or at all of them: `.venv/bin/pytest -m '' tests/lab/database/test_switch_db.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from by_hand import Operator, cut, fails, inv, one_line, works
from switching import (
    BEFORE,
    DROP_IN,
    HELD,
    NEW,
    OLD,
    POINTS,
    SECTIONS,
    WAY,
    at,
    carried_over,
    enters,
    leads_to,
    ordering,
    told,
)

from lab.machine.server import BOOT, LabServer, until
from lab.reached import reached
from lab.servers import Lab

PROGRAM = "/usr/local/sbin/switchover-switch"
OTHER = {"old": "new", "new": "old"}

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    settings = {"switch": {"max_drain": 5, "max_hold": 2}, "pgbouncer": {"pool": 4}}
    with reached(*SECTIONS, ci=False, settings=settings) as running:
        yield running


def server(lab: Lab, role: str) -> LabServer:
    """`old` or `new`."""
    return lab.old if role == "old" else lab.new


def leads(lab: Lab, role: str) -> None:
    """The application is with that database, and with no other; soon, where PgBouncer has just lost its connections."""
    ask = f"psql -XAtq '{WAY} sslmode=disable' -c 'SELECT 1'"
    until(lambda: lab.new.exec(ask, check=False).returncode == 0, 10, "the application gets no answer", pause=0.2)
    assert (leads_to(lab), enters(lab, role), enters(lab, OTHER[role])) == (role, True, False)


@contextmanager
def session(host: LabServer, database: str, sql: str) -> Iterator[None]:
    """Somebody's session, with something under way for as long as the block runs."""
    host.write("/tmp/session", f'(echo "{sql};"; exec sleep 1000) | runuser -u postgres -- psql -Xq {database}\n')
    host.exec("setsid sh /tmp/session >/dev/null 2>&1 </dev/null &")
    there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND state = 'idle in transaction'"
    until(lambda: host.psql(there) == "1", 5, "the session does not begin")
    try:
        yield
    finally:
        host.exec(f"pkill -x -f 'sleep 1000'; pkill -f 'psql -Xq {database}$'", check=False)


@contextmanager
def dies(lab: Lab, part: str) -> Iterator[None]:
    """The program of a command's switch is killed after a part of it, or stopped (*part*:SIGSTOP)."""
    lab.new.write(DROP_IN, f"[Service]\nEnvironment=SWITCHOVER_DIE_AFTER={part}\n")
    try:
        yield
    finally:
        lab.new.exec(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")


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


@at("heartbeat", "commit", "follow:SIGSTOP", points=(*POINTS, "follow:SIGSTOP"))
def test_the_program_of_a_command_killed(lab: Lab, part: str) -> None:
    """By SIGKILL after each part: visitors go on with old before the commit, with new after it; so does the move.

    Stopped after the hold, when no dead man comes, it is ended by the command that follows it.
    """
    with ordering(lab):
        with dies(lab, part):
            ran = inv(lab, "switch-db")
        if part in BEFORE:
            assert ran.status == 1 and len(ran.err.splitlines()) == 1, ran.out + ran.err
            assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("old", True, False)
            works(lab, "switch-db")
        else:
            assert ran.status == 0, ran.out + ran.err
        assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("new", False, True)
    works(lab, "undo", "--yes", "switch-db")
    assert (leads_to(lab), enters(lab, "old"), enters(lab, "new")) == ("old", True, False)


# --- what stands in the way ----------------------------------------------------------------------------------------


def test_a_transaction_left_open_is_named(lab: Lab) -> None:
    order = "BEGIN; INSERT INTO orders (number, total, created_at) VALUES ('open', 1, now())"
    with session(lab.old, OLD.database, order):
        line = fails(lab, "switch-db")
    assert "SW06: a transaction is open on old: postgres (pid " in line and "psql), " in line
    leads(lab, "old")


def test_a_lag_that_does_not_shrink_is_reported(lab: Lab) -> None:
    with session(lab.new, NEW.database, "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE"):
        lab.old.psql("INSERT INTO orders (number, total, created_at) VALUES ('late', 1, now())", OLD.database)
        line = fails(lab, "switch-db")
    assert "switch-db." in line and "behind" in line
    leads(lab, "old")


def test_a_clock_that_is_off_is_refused(lab: Lab) -> None:
    """The servers of the lab share the kernel's clock: the role of the move finds another one in its path."""
    role = f"ALTER ROLE switchover IN DATABASE {OLD.database}"
    clock = "SELECT pg_catalog.clock_timestamp() + interval '1 minute'"
    lab.old.psql(
        f"CREATE SCHEMA late; GRANT USAGE ON SCHEMA late TO switchover; {role} SET search_path = late, pg_catalog;"
        f"CREATE FUNCTION late.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ {clock} $$",
        OLD.database,
    )
    line = fails(lab, "switch-db.gates")
    assert "SW03: old's clock is 60.0 s ahead of new's. Set both right" in line
    lab.old.psql(f"{role} RESET search_path; DROP SCHEMA late CASCADE", OLD.database)
    works(lab, "switch-db.gates")


def test_the_network_of_the_operator_is_cut_and_a_second_one_comes(lab: Lab) -> None:
    """The second one is kept out; the switch goes on by itself, and then by the same command."""
    with ordering(lab):
        with dies(lab, "release:SIGSTOP"):  # so that it is under way for sure
            first = Operator(lab).start("switch-db")
            stopped(lab)
            assert "has been at work here since" in fails(lab, "undo", "--yes", "switch-db")
            cut(lab.new)
            out, err = first.communicate()
        assert "the connection was lost (" in one_line(first.returncode, out, err)
        goes_on(lab)
        works(lab, "switch-db")
        leads(lab, "new")


def test_who_writes_past_the_fence_is_reported_and_what_would_be_lost_is_refused(lab: Lab) -> None:
    lab.old.psql("INSERT INTO products (id, name, price) VALUES (777777, 'past the fence', 1)", OLD.database)
    lab.old.psql("UPDATE products SET name = 'too' WHERE id = 3", OLD.database)
    found = "old has what new lacks, written past the fence: insert products id=777777, update products id=3"
    lab.old.exec("systemctl start switchover-way-back.service")
    assert found in works(lab, "status").out and found in works(lab, "watch", "--json").out
    # And the slot by which they are found keeps nothing for long.
    kept = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) FROM pg_replication_slots"
    assert int(lab.old.psql(f"{kept} WHERE slot_name = 'switchover'")) < 100_000
    undone = inv(lab, "undo", "--yes", "switch-db")
    line = one_line(undone.status, undone.out, undone.err)
    assert found in undone.out and "at the moment of the switch: 1 differ: products" in undone.out
    assert "all of it is undone, but" in line
    leads(lab, "old")
    line = fails(lab, "switch-db.can-switch", "switch-db.pool-role", "switch-db.program", "switch-db.gates")
    assert f"SW04: {found}. Carry it over, then there: DELETE FROM switchover_own.late_writes" in line
    lab.old.psql("DELETE FROM products WHERE id = 777777", OLD.database)
    lab.old.psql("UPDATE products SET name = name || '.' WHERE id = 3", OLD.database)
    carried_over(lab, "old")
    works(lab, "switch-db.gates")


# --- who dies in the hold -------------------------------------------------------------------------------------------


def starts(lab: Lab, towards: str, die: str = "") -> None:
    """The program of the switch begins, as a unit like that of `inv switch-db`."""
    unit = "-p TimeoutStopSec=infinity --unit=switchover-switch"
    lab.new.exec(
        f"systemd-run --quiet --collect {unit} -p ExecStopPost='{PROGRAM} recover' --setenv=SWITCHOVER_DIE_AFTER={die} "
        f"sh -c '{PROGRAM} to {towards} >/tmp/said 2>/tmp/errors'"
    )


def ends(lab: Lab) -> str:
    """It has ended, and its recovery too; says which database that left right."""
    gone = "! systemctl is-active -q switchover-switch && ! systemctl is-active -q switchover-dead-man.service"
    over = f"{gone} && ! pgrep -f '^[^ ]*python3 {PROGRAM} (to|recover)'"
    until(lambda: lab.new.exec(over, check=False).returncode == 0, 40, "the program does not end", pause=0.1)
    lab.new.exec(f"{PROGRAM} recover")
    return lab.new.exec(f"{PROGRAM} primary").stdout.strip()


def switched(lab: Lab, towards: str) -> None:
    """The program without anybody in its way."""
    for _ in range(5):  # after a bad day PgBouncer opens its connections one by one
        starts(lab, towards)
        if ends(lab) == towards:
            break
    leads(lab, towards)


def stopped(lab: Lab) -> None:
    """The program stands still where it was told to."""
    look = f"grep -q '^State:.T' /proc/$(pgrep -f '^[^ ]*python3 {PROGRAM} to')/status"
    until(lambda: lab.new.exec(look, check=False).returncode == 0, 60, "the program does not stop")


def goes_on(lab: Lab) -> None:
    lab.new.exec(f"pkill -CONT -f '^[^ ]*python3 {PROGRAM} to'", check=False)


@pytest.mark.parametrize("towards", ["new", "old"])
@at("heartbeat", "commit")
def test_the_program_stopped_in_the_hold(lab: Lab, towards: str, part: str) -> None:
    """The dead man ends it, and recovers what it left; after the hold nobody waits, and the next command does that."""
    switched(lab, OTHER[towards])
    with ordering(lab):
        starts(lab, towards, f"{part}:SIGSTOP")
        stopped(lab)
        if part not in HELD:
            leads(lab, towards)
            lab.new.exec(f"{PROGRAM} recover")
        right = ends(lab)
        assert right == (OTHER[towards] if part in BEFORE else towards)
        leads(lab, right)


@at("pause", "fence", "heartbeat", "commit", "resume", "release")
def test_the_program_killed_on_the_way_back(lab: Lab, part: str) -> None:
    killed(lab, part, "old")


@at()
def test_the_program_killed(lab: Lab, part: str) -> None:
    killed(lab, part, "new")


def killed(lab: Lab, part: str, towards: str) -> None:
    switched(lab, OTHER[towards])
    with ordering(lab):
        starts(lab, towards, part)
        right = ends(lab)
        assert right == (OTHER[towards] if part in BEFORE else towards)
        leads(lab, right)


def test_five_writers_past_pgbouncer_and_a_busy_sequence(lab: Lab) -> None:
    """Each row that they were told of is on new; no number of the sequence comes twice, or less than before."""
    switched(lab, "old")
    lab.old.exec("rm -f /tmp/past.*")
    writer = """
n=0
while [ ! -e /tmp/past.end ] && [ $n -lt 2000 ]; do
  n=$(( n + 1 )); echo "INSERT INTO orders (number, total, created_at) VALUES ('p-$1-$n', 1, now()) RETURNING number;"
  sleep 0.005
done | psql -XAtq DATABASE >/tmp/past.$1 2>/dev/null
""".replace("DATABASE", OLD.database)
    lab.old.write("/tmp/past", writer)
    for n in range(5):
        lab.old.exec(f"setsid runuser -u {OLD.user} -- sh /tmp/past {n} </dev/null >/dev/null 2>&1 &")
    ask = "while [ ! -e /tmp/numbers.end ]; do echo \"SELECT nextval('products_id_seq');\"; done"
    numbers = f"rm -f /tmp/numbers.end; {ask} | timeout 120 psql -XAtq '{WAY} sslmode=disable'"
    lab.new.exec(f"setsid sh -c {shlex.quote(numbers)} >/tmp/numbers 2>/tmp/numbers.errors </dev/null &")
    many: Callable[[], int] = lambda: int(lab.new.exec("wc -l </tmp/numbers").stdout)  # noqa: E731
    until(lambda: many() > 500, 60, "the sequence is not used")
    switched(lab, "new")
    begun = many()
    until(lambda: many() > begun + 500, 60, "the sequence is not used after the switch")
    lab.old.exec("touch /tmp/past.end")
    lab.new.exec("touch /tmp/numbers.end")
    asks = "pgrep -f '^timeout 120 psql'"
    until(lambda: lab.new.exec(asks, check=False).returncode != 0, 30, "the numbers do not end", pause=0.1)
    assert lab.new.exec("cat /tmp/numbers.errors").stdout == ""
    used = [int(line) for line in lab.new.exec("cat /tmp/numbers").stdout.split()]
    assert len(used) > begun + 500 and used == sorted(set(used))
    told = lab.old.exec("cat /tmp/past.[0-4]").stdout.split()
    assert len({one.rpartition("-")[0] for one in told}) == 5
    there = lab.new.psql("SELECT number FROM orders WHERE number LIKE 'p-%'", NEW.database).split()
    assert set(told) <= set(there) and len(set(there)) == len(there)


@at("sessions", "commit", points=HELD)
def test_pgbouncer_killed_in_the_hold(lab: Lab, part: str) -> None:
    switched(lab, "old")
    with ordering(lab, errors=True):
        starts(lab, "new", f"{part}:SIGSTOP")
        stopped(lab)
        lab.new.exec("systemctl kill -s KILL pgbouncer")
        goes_on(lab)
        right = ends(lab)
        leads(lab, right)


@pytest.mark.parametrize("role", ["old", "new"])
@at("sessions", "commit")
def test_postgresql_killed_in_the_hold(lab: Lab, role: str, part: str) -> None:
    """It comes back some seconds later, as after its machine's power was cut."""
    switched(lab, "old")
    host = server(lab, role)
    with ordering(lab, errors=True):
        starts(lab, "new", f"{part}:SIGSTOP")
        stopped(lab)
        main = host.exec("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d ' ' -f 1").stdout.strip()
        again = f"systemctl reset-failed {main}; until systemctl restart {main}; do sleep 0.5; done"
        host.exec(f"pkill -KILL -o -x postgres; setsid sh -c 'sleep 2; {again}' >/dev/null 2>&1 </dev/null &")
        goes_on(lab)
        right = ends(lab)
        until(lambda: host.exec(f"systemctl is-active -q {main}", check=False).returncode == 0, 20, "it stays away")
        # Old is needed until both pins are there, new for the commit.
        assert right == ("old" if part in BEFORE[: -2 if role == "old" else None] else "new")
        leads(lab, right)


@at("heartbeat", "commit")
def test_new_loses_its_power_in_the_hold(lab: Lab, part: str) -> None:
    """It recovers the switch before PgBouncer starts again."""
    switched(lab, "old")
    with ordering(lab, errors=True):
        starts(lab, "new", f"{part}:SIGSTOP")
        stopped(lab)
        before = lab.new.pid
        lab.new.exec("systemctl reboot -ff", check=False)
        until(lambda: not Path(f"/proc/{before}").exists(), BOOT, "new does not go down")
        lab.new.wait_ready()
        right = ends(lab)
        assert right == ("old" if part in BEFORE else "new")
        leads(lab, right)


def test_after_all_of_it_the_move_continues(lab: Lab) -> None:
    switched(lab, "old")  # where the journal has it
    works(lab, "switch-db")
    leads(lab, "new")
    undone = works(lab, "undo", "--yes", "switch-db").out
    assert " rows equal" in undone
    leads(lab, "old")


# --- the end --------------------------------------------------------------------------------------------------------


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
        left = "ls -d /usr/local/*/switchover* /etc/systemd/system/*switchover* /etc/systemd/system/*/switchover*"
        assert server.exec(f"{left} 2>/dev/null", check=False).stdout == ""
        assert server.psql("SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'") == "-1"
    told_apart = "SELECT count(*) FROM pg_class WHERE relreplident IN ('f', 'i')"
    assert lab.new.psql(told_apart, NEW.database) == "0"
    assert enters(lab, "new") and not enters(lab, "old")
    assert lab.new.psql("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'ofn_user'") == "t"
