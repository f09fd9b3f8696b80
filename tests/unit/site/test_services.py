"""The kinds `service` of application and worker: what `inv check` makes of their units, and their verbs in a hook."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from here import right

from switchover.findings import Severity
from switchover.hosts import Answer
from switchover.journal import FUNCTIONS
from switchover.server import Server
from switchover.settings import check
from switchover.site.worker.service import seconds

APP = {
    "kind": "service",
    "path": "/home/ofn/current",
    "user": "ofn",
    "service": "shop-web",
    "listens": "127.0.0.1:3000",
}
WORKER = {"kind": "service", "service": "shop-worker"}


class Unit(Server):
    """A server whose units are so: properties, as `systemctl show` prints them."""

    shown: dict[str, str]

    def _run(self, script: str, on_line: Any) -> Answer:
        return Answer(next((value for name, value in self.shown.items() if name in script), ""), "", 0)


def server(app: dict[str, Any] | None = None, worker: dict[str, Any] | None = None, **shown: str) -> Unit:
    data = right()
    data["new"] |= {"app": APP | (app or {}), "worker": WORKER | (worker or {})}
    unit = Unit("new", check(data, "move.yaml").new)
    unit.shown = shown
    return unit


@pytest.mark.parametrize(
    ("span", "long"),
    [("1min 30s", 90), ("10min", 600), ("5s", 5), ("1h 1min 1s 500ms", 3661.5), ("infinity", float("inf")), ("", 0)],
)
def test_what_systemd_prints_is_so_many_seconds(span: str, long: float) -> None:
    assert seconds(span) == long


@pytest.mark.parametrize(
    ("shown", "worker", "warned"),
    [
        ("1min 30s\n", {}, True),
        ("1min 30s\n", {"longest_job": 60}, False),
        ("10min\n", {}, False),
        ("infinity\n", {}, False),
        ("1min 30s\n", {"drained": "! pgrep -f 'working'"}, False),
        ("1min 30s\n", {"stop": "bin/stop-when-idle"}, False),
    ],
)
def test_a_job_that_systemd_would_kill_is_reported(shown: str, worker: dict[str, Any], warned: bool) -> None:
    found = list(server(worker=worker, TimeoutStopUSec=shown).worker.check())
    assert [finding.kind for finding in found] == [Severity.WARNING] * warned
    if warned:
        assert "a longer job would run twice" in found[0].what and "TimeoutStopSec=600" in found[0].do


@pytest.mark.parametrize(
    ("can", "app", "warned"), [("no\n", {}, True), ("yes\n", {}, False), ("no\n", {"reload": "bin/reload"}, False)]
)
def test_a_service_that_cannot_reload_is_reported(can: str, app: dict[str, Any], warned: bool) -> None:
    found = list(server(app={"reloaded": "true", **app}, CanReload=can).app.check())
    assert [finding.kind for finding in found] == [Severity.WARNING] * warned


def test_in_a_hook_what_no_verb_says_is_done_by_sudo() -> None:
    """Who deploys is the application's user, whom systemd does not obey."""
    plain, said = server(), server({"reload": "bin/reload"}, {"stop": "bin/stop", "start": "bin/start"})
    assert "'sudo -n systemctl reload-or-restart shop-web'" in plain.app.on_deploy()
    assert "'sudo -n systemctl stop shop-worker'" in plain.worker.on_deploy()
    assert "'sudo -n systemctl start shop-worker'" in plain.worker.on_deploy()
    assert "sudo" not in said.app.on_deploy() + said.worker.on_deploy()
    assert "bin/reload" in said.app.on_deploy() and "bin/start" in said.worker.on_deploy()


def test_a_worker_s_stop_is_not_waited_for_by_systemctl() -> None:
    """So that it shows how long the present job takes; and one that still ends its job counts as running."""
    worker = server().worker
    assert "systemctl stop --no-block shop-worker\n" in worker.stopping().sh
    assert "wait_showing 600 not service_runs shop-worker" in worker.stopping().sh
    assert worker.stopping().shown == "systemctl stop shop-worker"


@pytest.mark.parametrize(
    ("state", "runs"),
    [
        *(("active", True), ("reloading", True), ("activating", True), ("deactivating", True)),
        *(("inactive", False), ("failed", False), ("unknown", False), ("", False)),
    ],
)
def test_a_service_runs_until_it_has_ended_what_it_has_under_way(tmp_path: Path, state: str, runs: bool) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {state}\n[ '{state}' = active ]\n")
    (tmp_path / "systemctl").chmod(0o755)
    script = f"set -eu\nPATH={tmp_path}:$PATH\n{FUNCTIONS}\nif service_runs shop-worker; then echo runs; fi"
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout == ("runs\n" if runs else "")


@pytest.mark.parametrize("quieted", [True, False])
def test_a_worker_that_was_asked_to_take_no_new_job_takes_jobs_again_when_that_goes_back(
    tmp_path: Path, quieted: bool
) -> None:
    """Its present job ran for too long, so the step failed, and is put back: the worker runs, and works."""
    log = tmp_path / "log"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$*" >>{log}\n[ "$1" != is-active ] || echo active\n')
    (tmp_path / "systemctl").chmod(0o755)
    quiet = {"quiet": "true", "drained": "false", "longest_job": 1} if quieted else {}
    worker = server(worker=quiet).worker
    worker.app.run = lambda command: f"sh -c '{command}'"  # type: ignore[method-assign]
    stop, start = (
        f"set -eu\nPATH={tmp_path}:$PATH\n{FUNCTIONS}\n{action.sh}" for action in (worker.stopping(), worker.starting())
    )
    if quieted:
        stopped = subprocess.run(["sh", "-s"], input=stop, capture_output=True, text=True, cwd=tmp_path)
        assert stopped.returncode == 3 and "still running after 1 s" in stopped.stderr
    subprocess.run(["sh", "-s"], input=start, check=True, text=True, cwd=tmp_path)
    assert ("restart --no-block shop-worker" in log.read_text()) == quieted
    # Repeated, as after a connection that broke, it leaves a worker alone that works again.
    subprocess.run(["sh", "-s"], input=start, check=True, text=True, cwd=tmp_path)
    assert log.read_text().count("restart --no-block shop-worker") == quieted


def test_a_worker_that_has_stopped_is_not_taken_for_one_that_was_only_told_to(tmp_path: Path) -> None:
    """Its stop came to its end: when it starts, and that is repeated, no restart ends the job that it has by then."""
    log, up = tmp_path / "log", tmp_path / "up"
    systemctl = f"""#!/bin/sh
echo "$*" >>{log}
case $1 in
stop) rm -f {up} ;;
start) touch {up} ;;
*) [ -e {up} ] && echo active || {{ echo inactive; exit 3; }} ;;
esac
"""
    (tmp_path / "systemctl").write_text(systemctl)
    (tmp_path / "systemctl").chmod(0o755)
    up.touch()
    worker = server(worker={"quiet": "true", "drained": "true", "longest_job": 5}).worker
    worker.app.run = lambda command: f"sh -c '{command}'"  # type: ignore[method-assign]
    for action in (worker.stopping(), worker.starting(), worker.starting()):
        text = f"set -eu\nPATH={tmp_path}:$PATH\n{FUNCTIONS}\n{action.sh}"
        subprocess.run(["sh", "-s"], input=text, check=True, text=True, cwd=tmp_path)
    verbs = [line.split()[0] for line in log.read_text().splitlines()]
    assert verbs.count("stop") == verbs.count("start") == 1 and "restart" not in verbs


def test_that_nothing_tells_when_it_has_reloaded_is_reported() -> None:
    assert [
        "nothing shows when shop-web has reloaded" in finding.what for finding in server(CanReload="yes\n").app.check()
    ] == [True]
    assert list(server(app={"reloaded": "true"}, CanReload="yes\n").app.check()) == []
