"""A server whose programs print what was recorded of real ones (`recorded/`); its sh really runs, here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from switchover import hosts
from switchover.server import Server

RECORDED = Path(__file__).parent / "recorded"
AS_ANOTHER = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'  # `runuser -u anna -- …`, as who tests


class Recorded(Server):
    """*programs*: the directory of those that print what was recorded."""

    programs: Path

    def _run(self, script: str, on_line: Callable[[str], None] | None) -> hosts.Answer:
        text = hosts.as_read(script).replace("PATH=", f"PATH={self.programs}:", 1)
        done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True)
        return hosts.Answer(done.stdout, done.stderr, done.returncode)


Prints = dict[str, str | tuple[str, int]]
Made = Callable[..., Recorded]
