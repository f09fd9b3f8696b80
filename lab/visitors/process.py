"""The visitors' process: begun and ended by whoever wants visitors, on this machine, in the visitors' network."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from switchover.errors import Problem

from ..machine import network
from ..servers import Lab
from ..texts import last_line
from . import ledger

ROOT = Path(__file__).parents[2]


class Visitors:
    """The visitors of the lab's site. A context manager: leaving it ends them, finished or not.

    *path*: of their ledger; *rate*: visits a second; *only*: the one kind of visit that all come for.
    """

    def __init__(self, lab: Lab, path: Path, rate: float, only: str | None = None) -> None:
        self.path, self.log = path, path.with_name("visitors.log")
        servers, addresses = lab.name_servers, lab.old.addresses  # where nobody knows names, old's addresses
        where = [f"--name-server={server}" for server in servers] or [f"--address={address}" for address in addresses]
        self._command = [
            *(*network.entry(lab.netns_visitors), sys.executable, "-m", "lab.visitors", "--patience=60"),
            *(f"--ledger={path}", f"--rate={rate}", f"--ca={lab.ca}", f"--domain={lab.world.domain}", *where),
            *([f"--only={only}"] if only else []),
        ]

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for whoever began them, who ends them.
            given: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": ROOT, "start_new_session": True}
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, **given)
        assert self._process.stdin
        self._input = self._process.stdin
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask_for(self, line: str) -> None:
        """Sends them a control line. Raises Problem when they are gone."""
        try:
            self._input.write(f"{line}\n".encode())
            self._input.flush()
        except OSError:
            raise self._gone() from None

    def book(self) -> ledger.Book:
        """The ledger as it is now."""
        return ledger.read(self.path) if self.path.exists() else ledger.Book()

    def wait_for(self, event: str, seconds: float) -> None:
        """Waits until the ledger has an event. Raises Problem when it has none in time or the visitors are gone."""
        until = time.monotonic() + seconds
        while not self.book().named(event):
            if self._process.poll() is not None:
                raise self._gone()
            if time.monotonic() > until:
                raise Problem(f"no `{event}` within {seconds:.0f} s", "visitors", f"Read {self.log}")
            time.sleep(0.1)

    def finish(self, seconds: float = 90) -> None:
        """Nobody new comes; everybody has an answer when this returns. Raises Problem when that takes too long."""
        if self._process.poll() is not None:
            raise self._gone()
        self._input.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Problem(f"they did not end within {seconds:.0f} s", "visitors", f"Read {self.log}") from None

    def _gone(self) -> Problem:
        output = last_line(self.log.read_text(errors="replace"))
        return Problem(f"they ended with status {self._process.poll()}: {output}", "visitors", f"Read {self.log}")
