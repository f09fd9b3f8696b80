"""The relay between ssh and a server: bytes as they are, both ends' end, and the distance where one is asked for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from lab.machine import relay

RELAY = [sys.executable, "-I", "-S", str(Path(relay.__file__)), "127.0.0.1"]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back, and `end` when it has heard the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                while data := client.recv(65536):
                    client.sendall(data)
                client.sendall(b"end")

        Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("delay", [(), ("0.05",)])
def test_all_bytes_come_and_both_ends_end(echo: int, delay: tuple[str, ...]) -> None:
    said = os.urandom(3_000_000)
    done = subprocess.run([*RELAY, str(echo), *delay], input=said, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == said + b"end"


def test_a_far_server_answers_later_and_no_sooner_the_second_time(echo: int) -> None:
    far = subprocess.Popen([*RELAY, str(echo), "0.15"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert far.stdin and far.stdout
    with far, far.stdin, far.stdout:
        for _ in range(2):
            start = time.monotonic()
            os.write(far.stdin.fileno(), b"ping")
            assert os.read(far.stdout.fileno(), 4) == b"ping"
            assert time.monotonic() - start >= 0.3


def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = subprocess.run([*RELAY, str(port)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr
