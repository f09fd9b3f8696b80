"""Workers: how long their queue is, by what is printed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from recorded_server import Made

from switchover.journal import FUNCTIONS

PSQL = "psql -XAtq -v ON_ERROR_STOP=1 -d ofn_production -c"


def test_a_table_of_jobs_is_counted(server: Made) -> None:
    old = server({PSQL: "psql-delayed-jobs.txt"})
    assert old.worker.queue(old, old.database.name) == {"waiting": 3, "running": 1, "failed": 2, "oldest_seconds": 41}


def test_the_queue_is_that_of_the_database_in_use(server: Made) -> None:
    old, new = server(), server({PSQL: "psql-delayed-jobs.txt"}, "new")
    assert old.worker.queue(new, "ofn_production")["waiting"] == 3


def test_without_the_table_nobody_can_tell(server: Made) -> None:
    old = server({PSQL: ("psql-delayed-jobs-none.txt", 1)})
    assert old.worker.queue(old, old.database.name) == {}


@pytest.mark.parametrize(
    ("verb", "queue"),
    [
        ("echo 7", {"waiting": 7}),
        ("printf 0", {"waiting": 0}),
        ("echo ' 12 '", {"waiting": 12}),
        ("cat lengths | grep -c job", {"waiting": 2}),
        ("echo RAILS_ENV=$RAILS_ENV >env; echo 1", {"waiting": 1}),
        ("echo seven", {}),
        ("echo -1", {}),
        (":", {}),
        ("echo 7; false", {}),  # a program that fails half-way prints what is not so
        (None, {}),
    ],
)
def test_the_length_that_a_verb_prints(server: Made, verb: str | None, queue: dict[str, Any], tmp_path: Any) -> None:
    old = server(worker={"kind": "service", "service": "sidekiq", "queue_length": verb})
    (tmp_path / "app/lengths").write_text("job 1\njob 2\n")
    assert old.worker.queue(old, old.database.name) == queue
    if (tmp_path / "app/env").exists():
        assert (tmp_path / "app/env").read_text() == "RAILS_ENV=production\n"


def test_without_a_worker_there_is_no_queue(server: Made) -> None:
    old = server(worker={"kind": "none"})
    assert old.worker.queue(old, old.database.name) == {}


@pytest.mark.parametrize(("deaf", "status"), [("", 0), ("trap '' TERM; ", 3)], ids=["ends", "does not"])
def test_its_process_is_ended_and_waited_for(server: Made, tmp_path: Path, deaf: str, status: int) -> None:
    """By the functions that a server has: it is gone, or the stop is refused when its job takes too long."""
    worker = server(worker={"kind": "delayed_job", "longest_job": 1}).worker
    process = subprocess.Popen(["sh", "-c", f"{deaf}echo; exec sleep 60"], stdout=subprocess.PIPE)
    Thread(target=process.wait, daemon=True).start()  # as init does, so that nothing of it stays
    try:
        assert process.stdout and process.stdout.readline() == b"\n"
        pidfile = Path(worker.pidfile)
        pidfile.parent.mkdir(parents=True, exist_ok=True)
        pidfile.write_text(f"{process.pid}\n")
        script = f"set -eu\n{FUNCTIONS}\n{worker.stopping().sh}"
        stopped = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, cwd=tmp_path)
        assert stopped.returncode == status and ("still running after 1 s" in stopped.stderr) == bool(deaf)
        assert Path(f"/proc/{process.pid}").exists() == bool(deaf)
    finally:
        process.kill()
