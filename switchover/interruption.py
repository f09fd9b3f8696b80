"""Where a command may be killed, for the tests that do it: a crash, a closed laptop, a power cut.

`SWITCHOVER_KILL_AT=switch-app.proxy/0@after-change` ends the process there, as SIGKILL does: nothing is tidied up.
"""

from __future__ import annotations

import os
import signal

POINTS = ("before-record", "after-record", "after-change", "before-done")


def wanted(line: str, part: int, point: str) -> bool:
    """Whether the process shall end at this *point* of the step *line*'s *part*."""
    return os.environ.get("SWITCHOVER_KILL_AT") == f"{line}/{part}@{point}"


def here(line: str, part: int, point: str) -> None:
    """Ends the process, if it shall end here."""
    if wanted(line, part, point):
        os.kill(os.getpid(), signal.SIGKILL)
