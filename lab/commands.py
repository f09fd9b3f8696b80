"""The `inv` commands, run as a user would: each a process of its own.

On a terminal they get one too, so that progress bars are bars; elsewhere they print plain lines into a pipe. Either way
each line is kept with the time at which it was printed, to be read by people. The outcome of each step, and how long it
took, is in their events (docs/events.md).
"""

import contextlib
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
from .sections import CHECK
from .texts import last_line

ROOT = Path(__file__).parent.parent
INV = Path(sys.executable).with_name("inv")
PATIENCE = 3.0  # seconds that an interrupted command has to end by itself; its servers are thrown away


@dataclass(slots=True, frozen=True)
class ListedSection:
    """A section of the checklist as `inv --list` has it: name, the names of its steps, what it does."""

    name: str
    steps: tuple[str, ...] = ()
    title: str = ""


def sections(settings: Path) -> list[ListedSection]:
    """The sections in the checklist's order. Raises Problem when `inv` cannot list them."""
    namespace = json.loads(must(settings, "--list", "--list-format", "json").stdout)
    found = [ListedSection(CHECK, title=task["help"]) for task in namespace["tasks"] if task["name"] == CHECK]
    for section in namespace["collections"]:
        if section["default"]:  # a command of its own, as `inv lab` and `inv settings` are not
            name, tasks = section["name"], [task["name"] for task in section["tasks"]]
            # The whole section is one of its tasks too.
            found.append(ListedSection(name, tuple(f"{name}.{t}" for t in tasks if t != name), section["help"]))
    return found


def inv(settings: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `inv -f SETTINGS WORDS…` to its end, and gives its output; *environment*: variables beside our own."""
    given: dict[str, Any] = {"env": os.environ | environment, "stdin": subprocess.DEVNULL}
    command: list[str | Path] = [INV, "-f", settings, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, **given)


def must(settings: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The same, which must end well. Raises Problem when it does not."""
    command = inv(settings, *words)
    if command.returncode != 0:
        reason = last_line(command.stderr, command.stdout)
        raise Problem(f"`inv {' '.join(words)}` failed: {reason}", "lab", f"Run it by hand: inv -f {settings}")
    return command


def run(settings: Path, *words: str, section: ListedSection, log: Path, event_file: Path) -> Span:
    """Runs `inv -f SETTINGS WORDS…` and shows its output. Gives its span of time, with those of the section's steps.

    Its home is `operator/` beside the settings, so that all files it leaves there can be searched; *log* gets each line
    with its time, *event_file* its events. When this process is interrupted meanwhile, the command is too, and has some
    seconds to end by itself.
    """
    started = time.time()
    begin = event_file.stat().st_size if event_file.exists() else 0
    output = _Output()
    home = settings.parent / "operator"
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "TMPDIR": str(home), events.VARIABLE: str(event_file.absolute())}
    # A session of its own: Ctrl-C reaches it through us, once.
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output.end, "stderr": output.end}
    given |= {"cwd": ROOT, "env": os.environ | environment, "start_new_session": True}
    command = subprocess.Popen([INV, "-f", settings, *words], **given)
    with log.open("a") as file:
        file.write(f"$ inv {' '.join(words)}\n")
        try:
            for at, line in output.lines():
                file.write(f"{at - started:6.2f} {line}\n")
            status = command.wait()
        except BaseException:
            _interrupt(command)
            raise
        finally:
            file.write("\n")
    return _span(section, started, status, events.read(event_file, begin))


def _span(section: ListedSection, started: float, status: int, emitted: Sequence[dict[str, Any]]) -> Span:
    """The span of a command that has ended, by its events; a step that is none of this move's has none."""
    ended = [event for event in emitted if event["event"] == "step" and event["outcome"] != "nothing"]
    steps = tuple(Span(e["step"], e["at"] - e["seconds"], e["at"], outcome=e["outcome"]) for e in ended)
    promised = next((event["visitors"] for event in emitted if event["event"] == "section-begun"), "")
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
        """Shows all output until the command has ended; gives each whole line with its time, without colours."""
        os.close(self.end)
        rest = b""
        try:
            while some := self._read():
                sys.stdout.buffer.write(some)
                sys.stdout.flush()
                *whole, rest = (rest + some).split(b"\n")
                for line in whole:
                    yield time.time(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", line.decode(errors="replace"))
        finally:
            os.close(self._ours)

    def _read(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            return b""


def _interrupt(command: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, 5)):
        if command.poll() is None:
            os.killpg(command.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(seconds)
