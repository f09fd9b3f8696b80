"""A lab leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import thorough

from lab import place
from lab.machine import clean
from lab.servers import Lab
from lab.world import SHOP
from switchover.errors import Problem

pytestmark = pytest.mark.usefixtures("lab_name")
ROOT = Path(__file__).parents[3]
# What runs in a shell's background ignores Ctrl-C, and so would its children.
OWNER = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); from lab.servers import Lab\n"
OWNER += "with Lab(plain=True):\n    print('up', flush=True); time.sleep(600)"


def traces() -> set[str]:
    """Everything by which a lab could show on this machine: namespaces, mounts, groups, processes."""
    name = place.place().prefix
    found = {f"netns {p.name}" for p in Path("/run/netns").glob(f"{name}-*")}
    found |= {line for line in Path("/proc/mounts").read_text().splitlines() if name in line}
    found |= {str(p) for p in Path("/sys/fs/cgroup").glob("*") if p.name == name}
    found |= {str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{name}")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"run-{os.environ['SWITCHOVER_LAB_NAME']}/" in words or f"{name}-" in words:
            found.add(words)
    return found


@pytest.fixture
def owner(lab_name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with a lab of this name that is up."""
    assert traces() == set()
    process = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert "up\n" in iter(process.stdout.readline, "")  # what is prepared for it first, it says before
        assert len(traces()) > 5
        for role in SHOP.hosts:
            assert f"netns {place.place().netns(role)}" in traces()
        yield process
    finally:
        process.kill()
        process.wait()
        clean.sweep()


@pytest.mark.parametrize("number", [thorough(signal.SIGINT), signal.SIGTERM, thorough(signal.SIGHUP)])
def test_nothing_is_left_after_a_signal(owner: subprocess.Popen[str], number: signal.Signals) -> None:
    owner.send_signal(number)
    assert owner.wait(20) != 0
    assert traces() == set() and clean.left() == []


def test_a_lab_whose_owner_was_killed_is_swept(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert any(word.startswith("netns") for word in traces()) and clean.left() != []
    clean.sweep()
    assert traces() == set() and clean.left() == []


@pytest.mark.thorough
def test_the_next_start_sweeps_too(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    with Lab(plain=True) as lab:
        assert lab.old.exec("hostname").stdout == "prod1.shop.test\n"
    assert traces() == set()


def test_a_lab_in_use_is_left_alone_but_by_down(owner: subprocess.Popen[str]) -> None:
    for attempt in (clean.sweep, Lab(plain=True).up):
        with pytest.raises(Problem, match=rf"lab: it is in use by process {owner.pid} .*inv lab.down") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert owner.poll() is None and Lab.running().old.exec("true").returncode == 0
    subprocess.run([sys.executable, "-m", "invoke", "lab.down"], cwd=ROOT, check=True)
    assert traces() == set()


@pytest.mark.thorough
def test_nothing_is_left_when_the_block_raises_or_a_server_does_not_boot(lab_name: str) -> None:
    with pytest.raises(ZeroDivisionError), Lab(plain=True):
        _ = 1 / 0
    assert traces() == set()
    with pytest.raises(Problem, match=r"failed at boot: broken\.service"), Lab(plain=True) as lab:
        lab.old.exec("printf '[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n'"
                     " >/etc/systemd/system/broken.service; systemctl enable broken")  # fmt: skip
        lab.old.reboot()
    assert traces() == set()


def test_one_that_is_kept_outlives_its_owner_until_down(lab_name: str) -> None:
    invoke = [sys.executable, "-m", "invoke"]
    subprocess.run([*invoke, "lab.up", "--plain"], cwd=ROOT, check=True)
    try:
        with pytest.raises(Problem, match="it is up already, and kept"):
            clean.sweep()
        shown = subprocess.run([*invoke, "lab.ssh", "new", "--command", "hostname"], cwd=ROOT, capture_output=True)
        assert shown.stdout == b"prod2.shop.test\n"
    finally:
        subprocess.run([*invoke, "lab.down"], cwd=ROOT, check=True)
    assert traces() == set()
