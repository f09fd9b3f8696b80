"""The `inv` commands, run as a user would: as a process of their own, their output shown as it comes.

On a terminal they get one too, so that progress bars are bars; elsewhere they print plain lines into a pipe. Either way
each line is kept with the time at which it came, to be read by people. What became of each step, and how long it took,
their events tell (docs/events.md).
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchover import events
from switchover.errors import Problem

from .report.result import Span

ROOT = Path(__file__).parent.parent
INV = Path(sys.executable).with_name("inv")
CHECK = "check"  # the first section, a task without steps
PATIENCE = 3.0  # seconds that an interrupted command has to end by itself; its servers are thrown away


@dataclass(slots=True, frozen=True)
class Section:
    """A section of the checklist as `inv --list` tells it: name, the names of its steps, what it does."""

    name: str
    steps: tuple[str, ...] = ()
    title: str = ""


def sections(settings: Path) -> list[Section]:
    """The sections in the checklist's order. Raises Problem when `inv` cannot list them."""
    listed = subprocess.run([INV, "-f", settings, "--list", "--list-format", "json"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        raise Problem(f"`inv --list` failed: {listed.stderr.decode(errors='replace').strip()[-200:]}", "rehearsal")
    namespace = json.loads(listed.stdout)
    checks = [Section(CHECK, title=task["help"]) for task in namespace["tasks"] if task["name"] == CHECK]
    return checks + [
        Section(
            found["name"],
            # The whole section is one of its tasks too.
            tuple(f"{found['name']}.{task['name']}" for task in found["tasks"] if task["name"] != found["name"]),
            found["help"],
        )
        for found in namespace["collections"]
        if found["default"]  # a command of its own, as `inv lab` and `inv settings` are not
    ]


def run(settings: Path, *words: str, section: Section, log: Path, told: Path) -> Span:
    """Runs `inv -f SETTINGS WORDS…` and shows its output. Gives its span of time, with those of the section's steps.

    Its home is `operator/` beside the settings, so that all it leaves there can be looked at; *log* gets each line with
    its time, *told* its events. When this process is interrupted meanwhile, the command is too, and has some seconds to
    put things in order.
    """
    started = time.time()
    begin = told.stat().st_size if told.exists() else 0
    output = _Output()
    home = settings.parent / "operator"
    home.mkdir(exist_ok=True)
    command = subprocess.Popen(
        [INV, "-f", settings, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output.end,
        stderr=output.end,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(home), events.VARIABLE: str(told.absolute())},
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )
    shown = [f"$ inv {' '.join(words)}"]
    try:
        for at, line in output.lines():
            shown.append(f"{at - started:6.2f} {line}")
        status = command.wait()
    except BaseException:
        _interrupt(command)
        raise
    finally:
        with log.open("a") as file:
            file.write("\n".join(shown) + "\n\n")
    return _span(section, started, status, events.read(told, begin))


def _span(section: Section, started: float, status: int, told: Sequence[dict[str, Any]]) -> Span:
    """The span of a command that has ended, by its events; a step that is none of this move's has none."""
    steps = tuple(
        Span(event["step"], event["at"] - event["seconds"], event["at"], outcome=event["outcome"])
        for event in told
        if event["event"] == "step" and event["outcome"] != "nothing"
    )
    promised = next((event["visitors"] for event in told if event["event"] == "section-begun"), "")
    return Span(section.name, started, time.time(), status, steps, title=section.title, promised=promised)


class _Output:
    """Where a command writes: a terminal like ours, or a pipe. `end` is the command's end of it."""

    def __init__(self) -> None:
        if sys.stdout.isatty():
            self._ours, self.end = pty.openpty()
            size = os.get_terminal_size(sys.stdout.fileno())
            fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
        else:
            self._ours, self.end = os.pipe()

    def lines(self) -> Iterator[tuple[float, str]]:
        """Shows all that comes, until the command has ended; gives each whole line with its time, without colours."""
        os.close(self.end)
        rest = b""
        try:
            while some := self._read():
                sys.stdout.buffer.write(some)
                sys.stdout.flush()
                *whole, rest = (rest + some).split(b"\n")
                for line in whole:
                    yield time.time(), _plain(line)
        finally:
            os.close(self._ours)

    def _read(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            return b""


def _plain(line: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", line.decode(errors="replace"))


def _interrupt(command: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, 5)):
        if command.poll() is None:
            os.killpg(command.pid, number)
            try:
                command.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
