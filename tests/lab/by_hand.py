"""What the tests of the lab share: the operator who runs `inv`, visitors by hand, looks at all servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.judging import inventory
from lab.judging.inventory import Inventory
from lab.machine.server import LabServer
from lab.servers import Lab
from switchover import events

ROOT = Path(__file__).parents[2]
INV = Path(sys.executable).with_name("inv")
JOURNAL = "/var/lib/switchover/shop.test"
UNCHANGED = {"already", "seen", "nothing"}  # outcomes of steps that changed nothing

thorough = partial(pytest.param, marks=pytest.mark.thorough)  # of a test's parameters, one for --all


@dataclass(frozen=True)
class Ran:
    """What a command printed, how it ended, how long it took, and its events."""

    status: int
    out: str
    err: str
    seconds: float
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[str, str]:
        """What became of each step, in order."""
        return {event["step"]: event["outcome"] for event in self.events if event["event"] == "step"}


@dataclass(frozen=True)
class Operator:
    """Whoever moves the site: in a checkout, with its settings, by a command line that begins `inv`'s (*through*)."""

    lab: Lab
    settings: Path | None = None
    through: tuple[str, ...] = ()
    checkout: Path = ROOT

    def line(self, *words: str) -> list[str]:
        """The command line of `inv WORDS`. The move.yaml that lies in the checkout is found without being named."""
        settings = self.settings or self.lab.settings
        named = [] if settings == self.checkout / "move.yaml" else ["-f", str(settings)]
        return [*self.through, str(INV), *named, *words]

    def run(self, *words: str) -> Ran:
        """`inv WORDS`, a process of its own."""
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            event_file = Path(folder) / "events.jsonl"
            given: dict[str, Any] = {
                "env": os.environ | {events.VARIABLE: str(event_file)},
                "stdin": subprocess.DEVNULL,
            }
            done = subprocess.run(self.line(*words), cwd=self.checkout, capture_output=True, text=True, **given)
            return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - start, events.read(event_file))

    def works(self, *words: str) -> Ran:
        """`inv`, which must end well."""
        ran = self.run(*words)
        assert ran.status == 0, ran.out + ran.err
        return ran

    def fails(self, *words: str) -> str:
        """`inv`, which must end with one line: that line."""
        ran = self.run(*words)
        return one_line(ran.status, ran.out, ran.err)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`inv`, which goes on while the test does something else."""
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(self.line(*words), cwd=self.checkout, text=True, **given)


def inv(lab: Lab, *words: str, settings: Path | None = None) -> Ran:
    """`inv -f SETTINGS WORDS` by the lab's operator."""
    return Operator(lab, settings).run(*words)


def works(lab: Lab, *words: str, settings: Path | None = None) -> Ran:
    """The same, which must end well."""
    return Operator(lab, settings).works(*words)


def fails(lab: Lab, *words: str, settings: Path | None = None) -> str:
    """The same, which must end with one line: that line."""
    return Operator(lab, settings).fails(*words)


def sections(lab: Lab) -> list[str]:
    """The sections of a move by `copy`, in the checklist's order, as `inv --list` has them."""
    listed = json.loads(inv(lab, "--list", "--list-format", "json").out)
    return [
        section["name"] for section in listed["collections"] if section["default"] and section["name"] != "replicate"
    ]


@dataclass(frozen=True)
class Recorded:
    """An entry of a journal, as it lies on its server."""

    server: LabServer
    name: str
    step: str
    part: str
    diff: str
    state: str


def recorded(lab: Lab) -> list[Recorded]:
    """All entries of all journals, oldest first."""
    found = []
    for server in lab.hosts:
        shown = server.exec(
            f"cd {JOURNAL} 2>/dev/null || exit 0; for e in [0-9]*; do [ -e $e/entry.json ] || continue; "
            "[ -e $e/done ] && s=done || s=recorded; "
            '[ ! -e $e/undone ] || s=undone; printf "%s\\t%s\\t" $e $s; cat $e/entry.json; done'
        ).stdout
        for line in shown.splitlines():
            name, state, text = line.split("\t", 2)
            facts = json.loads(text)
            found.append(Recorded(server, name, facts["step"], facts["part"], facts["diff"], state))
    return sorted(found, key=lambda entry: entry.name)


def looks(lab: Lab) -> dict[str, Inventory]:
    """All that a move could leave changed on every host, the journals too."""

    def one(server: LabServer) -> Inventory:
        seen = inventory.take(server)
        listed = server.exec(
            "find /var/lib/switchover /usr/local -printf '%p %y %m %u:%g %l\\n' 2>/dev/null;"
            "find /var/lib/switchover /usr/local -type f -print0 2>/dev/null | xargs -0r sha256sum",
            check=False,
        ).stdout
        return seen | {f"also {line}": "" for line in listed.splitlines() if "/lock" not in line}

    with ThreadPoolExecutor(2) as pool:
        return dict(zip([server.role for server in lab.hosts], pool.map(one, lab.hosts), strict=True))


def steady(lab: Lab) -> dict[str, Inventory]:
    """A look when nothing starts or ends any more: what has just begun is old enough by then, or has ended."""
    end = time.monotonic() + inventory.YOUNG + 0.5
    while time.monotonic() < end and any(inventory.young(server) for server in lab.hosts):
        time.sleep(0.2)
    return looks(lab)


def differences(
    lab: Lab, before: dict[str, Inventory], *, journal: bool = True, within: float = 0, but: tuple[str, ...] = ()
) -> list[str]:
    """What is different from *before*, in words; looked for again until nothing is or *within* seconds are over.

    *journal*: the journals count. *but*: parts of what may differ.
    """
    end = time.monotonic() + within
    while True:
        now = looks(lab)
        found = [
            str(difference)
            for difference in inventory.differences(before, now, inventory.left_out(lab.world))
            if (journal or "/var/lib/switchover" not in difference.what)
            and not any(part in difference.what for part in but)
        ]
        if not found or time.monotonic() > end:
            return found
        print("still different:", *found[:3])
        time.sleep(1)


def order(lab: Lab, number: str) -> None:
    """A visitor's order, by the site's name."""
    ask = f"curl -sSf -m 30 -o /dev/null -d number={number} -d product_id=7 -d quantity=1 https://shop.test/orders"
    lab.new.exec(ask)


def upload(lab: Lab, name: str) -> None:
    """A visitor's file, by the site's name."""
    lab.new.exec(f"echo {name} | curl -sSf -m 30 -o /dev/null -F name={name} -F file=@- https://shop.test/uploads")


def fetched(lab: Lab, name: str) -> str:
    """The file as visitors get it."""
    return lab.new.exec(f"curl -sSf -m 30 https://shop.test/system/uploads/{name}").stdout.strip()


def cut(host: LabServer) -> None:
    """Ends every connection of the operator on the server, there; what runs in them is left alone.

    Raises Problem when there is none.
    """
    host.exec(f"pkill -KILL -f '^sshd(-session)?: {host.sudo_user}'")


def one_line(status: int, out: str, err: str) -> str:
    """The line that a command which went wrong ends with; there is no other on its error output."""
    assert status == 1, out + err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) == 1, err
    return err.strip()


@contextmanager
def full_database_disk(host: LabServer, megabytes: int) -> Iterator[None]:
    """PostgreSQL's tables are on a disk of their own that has *megabytes* left."""
    base = host.psql("SHOW data_directory") + "/base"
    host.exec(f"""
    set -e; systemctl stop postgresql; mv {base} {base}.kept; mkdir -m 700 {base}
    size=$(( $(du -sm {base}.kept | cut -f 1) + {megabytes} ))
    mount -t tmpfs -o size=${{size}}m switchover-full {base}
    cp -a {base}.kept/. {base}/; chown postgres: {base}; chmod 700 {base}; systemctl start postgresql
    """)
    try:
        yield
    finally:
        host.exec(f"""
        set -e; systemctl stop postgresql; rm -rf {base}.kept; cp -a {base} {base}.kept; umount {base}; rmdir {base}
        mv {base}.kept {base}; systemctl start postgresql
        """)
