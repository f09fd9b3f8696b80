"""This machine in the servers' place, and settings that are right.

Scripts for a server really run, with `sh`, as the present user: only the way there (ssh, sudo) is left out, and each
server's journal lies in a directory of the test.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from switchover import hosts, server
from switchover.move import Move
from switchover.section import SECTIONS
from switchover.step import Step, step

SERVER = {
    "ssh": "ofn@prod1.example.org",
    "address": ["192.0.2.11", "2001:db8::11"],
    "app": {"path": "/home/ofn/current", "user": "ofn", "service": "unicorn_ofn"},
    "database": {"name": "ofn_production", "owner": "ofn"},
    "web": {"site": "/etc/nginx/sites-available/ofn"},
    "certificate": {"fullchain": "/etc/ssl/ofn.pem", "key": "/etc/ssl/ofn.key"},
}


def right() -> dict[str, Any]:
    """Settings without a fault, as YAML gives them; the caller's own."""
    old, new = copy.deepcopy(SERVER), copy.deepcopy(SERVER)
    new |= {"ssh": "prod2.example.org", "address": ["192.0.2.12"]}
    return {"domains": ["shop.example.org"], "old": old, "new": new}


BASE = "/proc/self/fd/9"  # each server's own directory, under one name for both
ENTER = ["sh", "-c", 'exec 9<"$1"; shift; exec "$@"', "enter"]


class Here(server.Server):
    """This machine in the place of a server. *root*: its directory, where its journal lies too."""

    root: Path

    def _run(self, script: str, on_line: Callable[[str], None] | None) -> hosts.Answer:
        done = self.run("sh", "-s", input=hosts.as_read(script).encode())
        for line in done.stdout.decode().splitlines() if on_line else ():
            on_line(line)
        return hosts.Answer(done.stdout.decode(), done.stderr.decode(), done.returncode)

    def run(self, *words: str | Path, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A command on this server."""
        return subprocess.run([*ENTER, self.root, *words], input=input, capture_output=True, cwd="/")


def of(body: Callable[[Move], Any], section: str = "switch-app", name: str = "a-step") -> Step:
    """A step of *section*, as a checklist's module would have it."""
    body.__doc__ = body.__doc__ or "old: something is true."
    one = step(body)
    one.heading, one._name = SECTIONS[section], name
    return one
