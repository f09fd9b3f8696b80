"""The `inv` commands, run as a user would: as a process of their own, their output shown as it comes.

On a terminal they get one too, so that progress bars are bars; elsewhere they print plain lines into a pipe. Either way
each line is kept with the time at which it came: that is how the report knows how long a step took.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from switchover.errors import Problem

from .report import Span

ROOT = Path(__file__).parent.parent
INV = Path(sys.executable).with_name("inv")
CHECK = "check"  # the first section, a task without steps
NOTHING = "(nothing to do here)"  # ends the line of a step that is none of this move's
PATIENCE = 3.0  # seconds that an interrupted command has to end by itself; its servers are thrown away


@dataclass(slots=True, frozen=True)
class Section:
    """A section of the checklist as `inv --list` tells it: name, steps (the line shown -> the name), what it does."""

    name: str
    steps: dict[str, str]
    title: str = ""


def sections(settings: Path) -> list[Section]:
    """The sections in the checklist's order. Raises Problem when `inv` cannot list them."""
    listed = subprocess.run([INV, "-f", settings, "--list", "--list-format", "json"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        raise Problem(f"`inv --list` failed: {listed.stderr.decode(errors='replace').strip()[-200:]}", "rehearsal")
    namespace = json.loads(listed.stdout)
    checks = [Section(CHECK, {}, task["help"]) for task in namespace["tasks"] if task["name"] == CHECK]
    return checks + [
        Section(
            found["name"],
            {_line(task["help"]): f"{found['name']}.{task['name']}" for task in found["tasks"] if task["help"]},
            found["help"],
        )
        for found in namespace["collections"]
        if found["default"]  # a command of its own, as `inv lab` and `inv settings` are not
    ]


def run(settings: Path, *words: str, section: Section, log: Path | None = None) -> Span:
    """Runs `inv -f SETTINGS WORDS…` and shows its output. Gives its span of time, with those of the section's steps.

    Its home is `operator/` beside the settings, so that all it leaves there can be looked at; *log* gets each line with
    its time. When this process is interrupted meanwhile, the command is too, and has some seconds to put things in
    order.
    """
    started = before = time.time()
    found = []
    output = _Output()
    home = settings.parent / "operator"
    home.mkdir(exist_ok=True)
    command = subprocess.Popen(
        [INV, "-f", settings, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output.end,
        stderr=output.end,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(home)},
        start_new_session=True,  # Ctrl-C reaches it through us, once
    )
    told = [f"$ inv {' '.join(words)}"]
    try:
        for at, line in output.lines():
            told.append(f"{at - started:6.2f} {line}")
            if step := _step(line, section.steps):
                if not line.rstrip().endswith(NOTHING):
                    found.append(Span(step, before, at))
                before = at
        status = command.wait()
    except BaseException:
        _interrupt(command)
        raise
    finally:
        if log:
            with log.open("a") as file:
                file.write("\n".join(told) + "\n\n")
    return Span(section.name, started, time.time(), status, tuple(found), title=section.title)


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


def _line(help_text: str) -> str:
    """What a step's help looks like in the line that is printed when it is done."""
    return " ".join(help_text.strip().splitlines()[0].rstrip(".").split())


def _step(line: str, steps: dict[str, str]) -> str | None:
    """The step whose outcome a line tells: a mark, the step's line, and then how long it took."""
    words = " ".join(line.split()[1:])
    matching = [shown for shown in steps if words == shown or words.startswith(shown + " ")]
    return steps[max(matching, key=len)] if matching and line.startswith("  ") else None


def _interrupt(command: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, 5)):
        if command.poll() is None:
            os.killpg(command.pid, number)
            try:
                command.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
