"""scripts/server/hold.py without PgBouncer and systemd: when queries may be held, what is tried, what is let go."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAMS
from conftest import DatabaseError as Error

CONFIG = {"port": 6432, "pool": 20, "database": "shop"}
OLD = "database user cl_active cl_waiting sv_active sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"
NEW = (
    "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel "
    "sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts"
)
BUSY = {"cl_active": 4, "sv_active": 1, "sv_idle": 19}
QUIET = {"cl_active": 4, "sv_idle": 20}


class PgBouncer:
    """What its console answers; *log* has what it was asked, by which session, and what else was done."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.header = NEW
        self.pools: list[dict[str, int]] = [QUIET]
        self.hangs: set[str] = set()  # commands that get no answer
        self.fails: dict[str, str] = {"RESUME": "pooler is not paused/suspended"}
        self.sessions = 0
        self.now = 0.0
        self.size = 20
        self.pipe = os.pipe()
        self.at: Callable[[], None] = lambda: None  # before each look at the pools

    def connect(self, **options: Any) -> Session:
        assert options["async_"] is True  # else its answer would be waited for, however long
        self.sessions += 1
        return Session(self, str(self.sessions))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def asked(self, *words: str) -> list[str]:
        return [line for line in self.log if line.split()[-1] in words or line.split()[0] in words]


class Session:
    """One with the console, or a client's; its own cursor."""

    def __init__(self, bouncer: PgBouncer, name: str) -> None:
        self.bouncer, self.name, self.sql = bouncer, name, ""
        self.description: list[types.SimpleNamespace] = []
        self.closed = False

    def cursor(self) -> Session:
        return self

    def fileno(self) -> int:
        return self.bouncer.pipe[0]

    def close(self) -> None:
        self.closed = True

    def execute(self, sql: str) -> None:
        assert not self.closed
        self.sql = sql
        self.description = []
        if sql == "SHOW POOLS":
            self.bouncer.at()
            self.description = [types.SimpleNamespace(name=name) for name in self.bouncer.header.split()]
        else:
            self.bouncer.log.append(f"{self.name} {sql}")
        if sql.startswith("SET default_pool_size"):
            self.bouncer.size = int(sql.split()[-1])
            self.bouncer.pools = [{**pool, "sv_idle": self.bouncer.size - pool.get("sv_active", 0)}
                                  for pool in self.bouncer.pools]  # fmt: skip

    def fetchall(self) -> list[tuple[object, ...]]:
        pools = [{"database": "pgbouncer", "user": "pgbouncer", "cl_active": 1}]
        pools += [{"database": "shop", "user": "switchover_app", **pool} for pool in self.bouncer.pools]
        return [tuple(pool.get(name, 0) for name in self.bouncer.header.split()) for pool in pools]

    def poll(self) -> int:
        if self.sql in self.bouncer.hangs:
            self.bouncer.now += 0.05
            return 1
        if self.sql in self.bouncer.fails:
            text, self.sql = self.bouncer.fails[self.sql], ""
            raise Error(text)
        return 0


@pytest.fixture
def bouncer(modules: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PgBouncer]:
    fake = PgBouncer()
    monkeypatch.setattr(modules.psycopg2, "connect", fake.connect, raising=False)
    monkeypatch.setattr(modules.hold, "time", types.SimpleNamespace(sleep=fake.sleep, monotonic=fake.monotonic))
    monkeypatch.setattr(modules.hold, "as_user", lambda name: os.fdopen(os.dup(0)))
    select = types.SimpleNamespace(select=lambda *files_and_seconds: ([], [], []) if files_and_seconds[3] <= 0 else [1])
    monkeypatch.setattr(modules.hold, "select", select)
    monkeypatch.setattr(modules.hold, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(
        modules.hold, "systemctl", lambda *words: fake.log.append(f"systemctl {words[0]}") or "inactive\ninactive\n"
    )
    run = types.SimpleNamespace(run=lambda command, **_: fake.log.append(f"armed {command[4].split('=')[1]}"))
    monkeypatch.setattr(modules.hold, "subprocess", run)
    yield fake
    for end in fake.pipe:
        os.close(end)


# --- when PAUSE may be tried ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [OLD, NEW])
@pytest.mark.parametrize(
    ("values", "good"),
    [
        ({"cl_active": 4, "sv_idle": 20}, True),
        ({"cl_active": 4, "sv_idle": 17, "sv_active": 1, "sv_used": 1, "sv_tested": 1}, True),
        ({"cl_active": 4, "sv_idle": 19}, False),
        ({"cl_waiting": 1, "sv_idle": 19, "sv_login": 1}, False),
        ({"cl_active": 4, "sv_idle": 20, "sv_login": 1}, False),
        ({"sv_idle": 3}, True),  # nobody is connected, so PgBouncer does not fill it
    ],
)
def test_queries_are_held_only_with_full_pools_and_no_login(
    modules: types.SimpleNamespace, bouncer: PgBouncer, header: str, values: dict[str, int], good: bool
) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    pooler.size, bouncer.header, bouncer.pools = 20, header, [QUIET, values]
    assert (pooler.missing() is None) is good


def test_a_pool_without_any_connection_is_not_full_whatever_its_size(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    bouncer.pools = [{"cl_active": 4}]
    assert modules.hold.Pooler(CONFIG).missing() == "PgBouncer has 0 connections to the database, and is making more"


def test_the_pool_is_shrunk_to_what_is_used_and_some_more(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    bouncer.pools = [{"cl_active": 9, "cl_waiting": 1, "sv_active": 3, "sv_idle": 17}]
    pooler.shrink_pool()
    assert (pooler.size, bouncer.log) == (6, ["2 SET default_pool_size = 6"])
    bouncer.pools = [{"cl_active": 40, "cl_waiting": 20, "sv_active": 20}]
    pooler.shrink_pool()
    assert pooler.size == 20  # not more than its configuration says


def test_a_shrunk_pool_is_awaited_but_not_for_ever(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    bouncer.pools = [{**QUIET, "sv_login": 1}]
    pooler.shrink_pool()
    assert 3 < bouncer.now < 5


def test_the_configuration_is_read_again_when_nobody_logs_in(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    """RELOAD ends a login that is under way, and fails the query that waits for it."""
    pooler = modules.hold.Pooler(CONFIG)
    pooler.restore_pool()
    assert bouncer.log == []  # it was not shrunk
    pooler.size, bouncer.pools = 5, [{"cl_active": 4, "sv_idle": 4, "sv_login": 1}]

    def logged_in() -> None:
        assert bouncer.log == []
        if bouncer.now > 1:
            bouncer.pools = [{"cl_active": 4, "sv_idle": 5}]

    bouncer.at = logged_in
    pooler.restore_pool()
    assert (bouncer.log, pooler.size) == (["2 RELOAD"], 0) and 1 < bouncer.now < 2


def test_a_login_that_does_not_end_keeps_the_pool_small_for_three_seconds(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    pooler.size, bouncer.pools = 5, [{"cl_active": 4, "sv_login": 1}]
    pooler.restore_pool()
    assert bouncer.log == ["2 RELOAD"] and 3 < bouncer.now < 4


def test_a_moment_without_a_query_is_waited_for(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    bouncer.pools, seen = [BUSY], []

    def at() -> None:
        seen.append(bouncer.now)
        if len(seen) == 5:
            bouncer.pools = [QUIET]

    bouncer.at = at
    pooler.wait_for_idle(0.5)
    assert len(seen) == 5
    bouncer.at, bouncer.pools, begin = lambda: None, [{"cl_waiting": 1, "sv_idle": 20}], bouncer.now
    pooler.wait_for_idle(0.5)
    assert 0.5 < bouncer.now - begin < 0.6


# --- PAUSE and RESUME -----------------------------------------------------------------------------------------------


def test_pause_is_tried_for_a_moment_and_what_was_paused_at_the_last_one_proceeds(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    """By one session; by the other one all is let go, before the first is given up and once more after it."""
    pooler = modules.hold.Pooler(CONFIG)
    first = pooler.first
    bouncer.hangs = {"PAUSE"}
    assert pooler.pause(0.2) is False
    assert bouncer.log == ["1 PAUSE", "2 RESUME", "2 RESUME"] and bouncer.now < 0.4
    assert first.closed and pooler.first.name == "3"
    bouncer.hangs = set()
    assert pooler.pause(0.2) is True
    assert bouncer.log[3:] == ["3 PAUSE"]


def test_resuming_what_is_not_paused_is_no_error(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    pooler.resume()
    assert bouncer.log == ["2 RESUME"]


def test_a_console_that_is_gone_or_hangs_is_opened_anew(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    pooler = modules.hold.Pooler(CONFIG)
    bouncer.fails = {"RESUME": "server closed the connection"}
    with pytest.raises(Error, match="closed"):
        pooler.resume()
    assert bouncer.log == ["2 RESUME", "3 RESUME"]
    bouncer.fails, bouncer.hangs = {}, {"RESUME"}
    with pytest.raises(Error, match="does not answer for 5 s"):
        pooler.resume()
    assert bouncer.log[2:] == ["3 RESUME", "4 RESUME"] and bouncer.now < 12


def test_a_console_that_hangs_does_not_hang_us(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    bouncer.hangs = {""}
    with pytest.raises(Error, match="does not answer for 5 s"):
        modules.hold.Pooler(CONFIG)
    assert 5 < bouncer.now < 6


# --- the hold -------------------------------------------------------------------------------------------------------


def hold(modules: types.SimpleNamespace) -> Any:
    return modules.hold.Hold(CONFIG)


def test_the_dead_man_is_armed_before_each_try(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    holding, tries = hold(modules), []
    bouncer.hangs = {"PAUSE"}

    def ready() -> None:
        tries.append("")
        if len(tries) == 4:
            bouncer.hangs = set()

    end = holding.begin(10, 5, ready)
    done = bouncer.asked("armed", "PAUSE", "RESUME", "SET")
    assert [line.split()[0 if "armed" in line else -1] for line in done] == [
        "armed", "PAUSE", "RESUME", "RESUME", "armed", "PAUSE",
    ]  # fmt: skip
    assert "armed 5" in bouncer.log and bouncer.now < end < bouncer.now + 5
    assert holding.tries == 2 and holding.lost > 0.2


def test_the_gates_are_looked_at_again_when_the_pool_is_small(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    """While it is made small something may have begun."""
    looks = []

    def ready() -> None:
        looks.append(bouncer.size)
        if len(looks) == 2:
            raise modules.refusals.Refused("SW06", "a transaction is open")

    hold(modules).begin(10, 5, ready)
    assert looks == [20, 2, 2, 2]
    done = [line.split()[1] for line in bouncer.asked("RELOAD", "PAUSE")]
    assert done == ["RELOAD", "PAUSE"]  # all connections meanwhile


@pytest.mark.parametrize(
    ("hangs", "pools", "text"),
    [
        ({"PAUSE"}, [QUIET], "SW08: a query ran longer than 200 ms in each of 2 tries, for 1 s; nothing was changed. "),
        (set(), [{"cl_active": 1}], "SW05: PgBouncer has 0 connections to the database, and is making more, for 1 s; "),
    ],
)
def test_a_hold_that_does_not_succeed_within_its_budget_says_why(
    modules: types.SimpleNamespace, bouncer: PgBouncer, hangs: set[str], pools: list[dict[str, int]], text: str
) -> None:
    holding = hold(modules)
    bouncer.hangs, bouncer.pools = hangs, pools
    with pytest.raises(modules.refusals.Refused) as refused:
        holding.begin(1, 5)
    assert str(refused.value).startswith(text)
    held = bouncer.asked("PAUSE", "RESUME", "RELOAD")
    assert not held or (held[-1].endswith("RELOAD") and held[-2].endswith("RESUME"))


def test_an_earlier_hold_s_dead_man_does_not_come_in_the_next_one(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    hold(modules).begin(1, 5)
    assert "systemctl stop" in bouncer.log[: bouncer.log.index("2 SET default_pool_size = 2")]


def test_a_program_that_stood_still_until_its_dead_man_came_holds_nobody(
    modules: types.SimpleNamespace, bouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = hold(modules)

    def stand_still(seconds: float) -> None:
        bouncer.now += 6

    monkeypatch.setattr(holding.pooler, "wait_for_idle", stand_still)
    with pytest.raises(modules.refusals.Refused, match=r"^SW11: this program stood still\. "):
        holding.begin(1, 5)
    assert [line.split()[1] for line in bouncer.asked("PAUSE", "RESUME")] == ["PAUSE", "RESUME"]


def test_a_query_of_the_application_s_waits_among_the_first_and_is_answered(
    modules: types.SimpleNamespace, bouncer: PgBouncer
) -> None:
    holding = hold(modules)
    holding.begin(1, 5)
    assert bouncer.log[-2:] == ["1 PAUSE", "3 SELECT 1"]
    bouncer.now += 2
    assert 2 < holding.resume() < 2.1
    assert bouncer.log[-1] == "2 RESUME"


@pytest.mark.parametrize(
    ("hangs", "fails", "text"),
    [
        ({"SELECT 1"}, {}, "SW15: the application's database: PgBouncer does not answer for 10 s"),
        (
            set(),
            {"SELECT 1": "server login has been failing\n"},
            "SW15: the application's database: server login has been failing",
        ),
    ],
)
def test_a_resume_without_an_answer_is_none(
    modules: types.SimpleNamespace, bouncer: PgBouncer, hangs: set[str], fails: dict[str, str], text: str
) -> None:
    holding = hold(modules)
    holding.begin(1, 5)
    bouncer.hangs, bouncer.fails = hangs, fails
    with pytest.raises(modules.refusals.Refused, match=text):
        holding.resume()


def test_in_the_end_all_proceeds_whatever_was_begun(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    holding = hold(modules)
    holding.begin(1, 5)
    bouncer.log.clear()
    holding.end()
    # Where it is interrupted before the pool is restored, the dead man does that.
    assert bouncer.log == ["2 RESUME", "systemctl is-active", "2 RELOAD", "systemctl stop"]
    holding.end()
    assert bouncer.log[4:] == ["2 RESUME", "systemctl is-active", "systemctl stop"]


# --- the dead man, and the lock -------------------------------------------------------------------------------------


def test_the_dead_man_needs_nothing_of_ours(modules: types.SimpleNamespace) -> None:
    """The program's directory may be gone. The pool is restored, then queries proceed."""
    command = modules.hold.let_go(6432)
    assert command[:4] == ["env", "--chdir=/", "-u", "PGOPTIONS"] and command[-4:] == ["-c", "RELOAD", "-c", "RESUME"]
    assert "psql" in command and not any("/root" in word or ".py" in word for word in command)


@pytest.mark.parametrize(
    ("states", "in_time"),
    [("active\ninactive\n", True), ("inactive\ninactive\n", False), ("active\nactive\n", False)],
)
def test_a_dead_man_that_has_come_is_noticed(
    modules: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, states: str, in_time: bool
) -> None:
    asked = []

    def systemctl(*words: str) -> str:
        asked.append(words)
        return states

    monkeypatch.setattr(modules.hold, "systemctl", systemctl)
    assert modules.hold.DeadMan.is_to_come() is in_time
    modules.hold.DeadMan.disarm()
    assert asked[-1] == ("stop", "switchover-dead-man.timer", "switchover-dead-man.service")
    monkeypatch.setenv("SWITCHOVER_DEAD_MAN", "1")  # this is it: it does not end itself
    modules.hold.DeadMan.disarm()
    assert asked[-1] == ("stop", "switchover-dead-man.timer")


def test_only_one_program_holds(modules: types.SimpleNamespace, bouncer: PgBouncer) -> None:
    with modules.hold.LOCK.open("w") as other, pytest.raises(modules.refusals.Refused) as refused:
        fcntl.flock(other, fcntl.LOCK_EX)
        with modules.hold.alone(10):
            pytest.fail("two hold")
    assert refused.value.code == "SW09" and 10 < bouncer.now < 11
    with modules.hold.alone(), modules.hold.LOCK.open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_program_that_died_has_left_is_let_go_first(
    modules: types.SimpleNamespace, bouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its dead man, who knows how; meanwhile the lock is free for a recovery."""
    states = iter([["active", "inactive"], ["inactive", "activating"], ["inactive", "inactive"]])
    looks = []

    def look() -> list[str]:
        looks.append(bouncer.now)
        return next(states)

    monkeypatch.setattr(modules.hold.DeadMan, "states", look)
    monkeypatch.setattr(
        modules.hold.time, "sleep", lambda seconds: free(modules.hold.LOCK) or bouncer.sleep(seconds), raising=True
    )
    with modules.hold.alone():
        assert len(looks) == 3


def free(lock: Path) -> None:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_lets_a_program_clean_up_once(number: int) -> None:
    script = f"""
import os, sys, types
sys.dont_write_bytecode = True
sys.path.insert(0, {str(PROGRAMS)!r})
for name in ("psycopg2", "psycopg2.extensions"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["psycopg2.extensions"].POLL_OK = sys.modules["psycopg2.extensions"].POLL_READ = 0
import hold
hold.end_on_signals()
try:
    os.kill(os.getpid(), {int(number)})
    print("not reached")
finally:
    os.kill(os.getpid(), {int(number)})
    print("let go", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "let go\n")
