"""scripts/server/hold.sh, without PgBouncer: when queries may be held, what is tried, and what is let go again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HOLD = Path(__file__).parents[3] / "scripts/server/hold.sh"
OLD = "database|user|cl_active|cl_waiting|sv_active|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode"
NEW = (
    "database|user|cl_active|cl_waiting|cl_active_cancel_req|cl_waiting_cancel_req|sv_active|sv_active_cancel|"
    "sv_being_canceled|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode|load_balance_hosts"
)
CONSOLE = "pgbouncer|pgbouncer|1|0|0|0|0|0|0|0|0|statement"


def run(script: str, *, console: str = "", timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """*script* after hold.sh, whose console says *console*."""
    text = f"port=6432 database=shop; . {HOLD}\nconsole() {{ cat <<'END'\n{console}\nEND\n}}\n{script}"
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=timeout)


def pool(header: str, **values: int) -> str:
    """A line of SHOW POOLS."""
    given = {"database": "shop", "user": "switchover_app", **values}
    return "|".join(str(given.get(name, 0)) for name in header.split("|"))


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
def test_queries_are_held_only_with_full_pools_and_no_login(header: str, values: dict[str, int], good: bool) -> None:
    said = f"{header}\n{pool(header, **values)}\n{CONSOLE}"
    assert (run("pools_full 20", console=said).returncode == 0) is good


def test_a_console_that_does_not_answer_is_no_full_pool() -> None:
    assert run("pools_full 20", console="psql: error: no such socket").returncode == 1


def test_a_hold_that_comes_too_late_says_why() -> None:
    tried = "pools_full() { return 0; }; pause_within() { return 1; }; dead_man() { :; }; sleep() { :; }; hold 20 200 1"
    assert "a query ran longer than 200 ms in each of" in run(tried).stderr
    assert "does not have all its 20 connections" in run("pools_full() { return 1; }; hold 20 200 1").stderr


def test_the_dead_man_is_set_before_each_try() -> None:
    script = """
n=0; pools_full() { :; }; sleep() { :; }; dead_man() { echo "dead man $1"; }
pause_within() { n=$((n + 1)); echo "try $n"; [ "$n" = 2 ]; }
hold 20 200 5 15 && echo held
"""
    assert run(script).stdout.splitlines() == ["dead man 15", "try 1", "dead man 15", "try 2", "held"]


def test_resuming_what_is_not_paused_is_no_error() -> None:
    said = "echo 'ERROR:  pooler is not paused/suspended'"
    assert run("console() { " + said + "; return 1; }; resume").returncode == 0
    assert run("console() { echo gone; return 2; }; resume").returncode == 1


def test_a_session_answers_until_it_ends(tmp_path: Path) -> None:
    """In psql's stead a program that prints what it reads."""
    script = r"""
cat >"$0" <<'END'
while read -r line; do case $line in \\echo*) echo "${line#* }" ;; die) exit 1 ;; *) echo "said $line" ;; esac; done
END
sessions_open; trap sessions_end EXIT
session one sh "$0"
ask one hello; ask one again
ask one die || echo ended
tell one late || echo "nobody reads"
"""
    text = f"port=1 database=d; . {HOLD}\n{script}"
    done = subprocess.run(["sh", "-c", text, tmp_path / "fake"], capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines() == ["said hello", "said again", "ended", "nobody reads"]
