"""Secrets where none may be: every way in which one may be written is found, and told by its name alone."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.judging.secrets import KEPT_IN, SecretScanner, forms, in_file

PASSWORD = "apples' & pears: 7"
LINE = "QyNTUxOQAAACBPq1xvJmRyJ0lCN3g2m1nQd0vJmZ0cD7uEJm3b2u1q2wAAAJgX2n8zF9p"
KEY = f"-----BEGIN PRIVATE KEY-----\n{LINE}\n-----END PRIVATE KEY-----\n"


class Server:
    """A server with some files that hold secrets, and a journal."""

    pid = 1

    def __init__(self, held: dict[str, str], journal: bytes = b"") -> None:
        self.held, self.journal = held, journal  # path with mode -> its text

    def exec(self, cmd: str, input: bytes | None = None, check: bool = True) -> SimpleNamespace:
        assert input and PASSWORD.encode() in input.splitlines(), "secrets are given by standard input"
        return SimpleNamespace(stdout="".join(f"{path}\n" for path in self.held))

    def psql(self, sql: str) -> str:
        return ""

    def exec_bytes(self, cmd: str, input: bytes | None = None, check: bool = True) -> SimpleNamespace:
        if "journalctl" in cmd:
            return SimpleNamespace(stdout=self.journal)
        [text] = [text for path, text in self.held.items() if cmd.endswith(path.partition(" ")[2])]
        return SimpleNamespace(stdout=text.encode())


def watch(**servers: Server) -> SecretScanner:
    made = SecretScanner(servers)
    made.add("the password of old", PASSWORD)
    return made


@pytest.mark.parametrize(
    "text",
    [
        f"psql password={PASSWORD}",
        "PGPASSWORD='apples'\"'\"' & pears: 7' psql",
        "ALTER ROLE x PASSWORD 'apples'' & pears: 7'",
        "postgres://x:apples%27%20%26%20pears%3A%207@old/db",
        "postgres://x:apples%27+%26+pears%3A+7@old/db",
        "old:5432:db:x:apples' & pears\\: 7",
        *(base64.b64encode(b"x" * n + PASSWORD.encode() + b"y" * n).decode() for n in range(3)),
    ],
)
def test_however_it_is_written(text: str) -> None:
    assert watch().within(text.encode()) == ["the password of old"]
    assert PASSWORD not in str(watch().found())


def test_what_is_too_short_is_not_looked_for() -> None:
    assert forms("abc") == frozenset()


def test_nothing_else_is_found() -> None:
    assert watch().within(b"apples and pears: 7, and the key of prod1") == []


@pytest.mark.parametrize(
    ("path", "text", "secrets"),
    [
        ("/x/database.yml", f'production:\n  password: "{PASSWORD}"\n  host: localhost\n', [PASSWORD]),
        ("/x/secrets.yml", "production: {secret_key_base: 0123456789}", ["0123456789"]),
        ("/x/s3.yml", "production: {bucket: b, secret_access_key: b9d1f0c2}", ["b9d1f0c2"]),
        ("/etc/switchover/pgpass", "# move\nold:5433:db\\:1:switchover:a\\:b\\\\c\n", ["a:b\\c"]),
        ("/root/.ssh/id", KEY, [LINE]),
        ("/root/.ssh/id.pub", "ssh-ed25519 AAAA me", []),
        ("/x/empty.yml", "", []),
    ],
)
def test_secrets_are_learnt_from_the_files_that_hold_them(path: str, text: str, secrets: list[str]) -> None:
    assert [secret for _, secret in in_file(path, text)] == secrets


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_of_an_ssh_key_all_but_its_public_half(tmp_path: Path, kind: str) -> None:
    """An OpenSSH key's file holds the public half too, twice."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()).decode()
    public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode()
    lines = [line for _, line in in_file("/root/.ssh/id", text)]
    assert len(lines) >= 2
    assert not any(line in public for line in lines)


def test_files_that_may_hold_secrets_and_files_that_may_not() -> None:
    old = Server(
        {
            "-rw------- /home/a/apps/a/shared/config/database.yml": PASSWORD,
            "-rw------- /var/lib/switchover/shop.test/003-x/before/database.yml": PASSWORD,
            "-rw------- /var/lib/switchover/shop.test/003-x/entry.json": PASSWORD,
            "-rw------- /root/.bash_history": PASSWORD,
            "-rw-r--r-- /etc/switchover/pgpass": PASSWORD,
        },
        journal=b"sudo: COMMAND=/bin/sh -c PGPASSWORD='apples'\"'\"' & pears: 7'",
    )
    assert watch(old=old).found() == [
        "the password of old: in /var/lib/switchover/shop.test/003-x/entry.json of old",
        "the password of old: in /root/.bash_history of old",
        "/etc/switchover/pgpass of old holds a secret and everybody there may read it (-rw-r--r--)",
        "the password of old: in the journal of old",
    ]


def test_the_operators_disk_without_what_the_lab_put_there(tmp_path: Path) -> None:
    for name in ("ssh/key", "report/report.json", "home/.cache/x", "console.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PASSWORD if name != "report/report.json" else "{}")
    found = watch().found([tmp_path / "report", tmp_path / "home", tmp_path / "console.log"])
    assert found == [
        f"the password of old: in {tmp_path}/{name} of the operator's machine"
        for name in ("home/.cache/x", "console.log")
    ]


def test_process_lists() -> None:
    """Commands that this program started, and what those started: command lines and environments."""
    seen = watch()
    sleep = "import time; time.sleep(60)"
    commands = [
        subprocess.Popen([sys.executable, "-c", sleep, PASSWORD], env={}),
        subprocess.Popen([sys.executable, "-c", sleep], env={"PGPASSWORD": PASSWORD}),
        subprocess.Popen(["sh", "-c", f"sh -c 'sleep 60; : {LINE}'; :"], start_new_session=True),
    ]
    seen.add("a key", LINE)
    try:
        until = time.monotonic() + 10
        while len(seen.found()) < 4 and time.monotonic() < until:
            seen.scan()
    finally:
        os.killpg(commands[-1].pid, signal.SIGKILL)
        for command in commands:
            command.kill()
            command.wait()
    found = seen.found()
    where = "of a process on the operator's machine"
    assert f"the password of old: in the command line {where}: {sys.executable} -c {sleep} [...]" in found
    assert f"the password of old: in the environment {where}: {sys.executable} -c {sleep}" in found
    assert f"a key: in the command line {where}: sh -c sleep 60; : [...]" in found  # the one that the other started
    assert PASSWORD not in str(found)


def test_every_exception_has_its_reason() -> None:
    assert all(kept.what and kept.why for kept in KEPT_IN)
