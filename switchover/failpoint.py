"""Where a command may be killed, for the tests that do it: a crash, a closed laptop, a power cut.

`SWITCHOVER_KILL_AT=switch-app.proxy/old:/etc/nginx/sites-available/shop@after-change` ends the process there, as
SIGKILL does: nothing is tidied up. Between / and @ stand server and part as the journal has them, or * for any.
"""

import os
import signal

POINTS = ("before-record", "after-record", "after-change", "before-done")
VARIABLE = "SWITCHOVER_KILL_AT"


def spec(line: str, part: str, point: str) -> str:
    """What the variable says for a *point* of the step *line*; *part*: `SERVER:NAME`, or *."""
    return f"{line}/{part}@{point}"


def armed(line: str, part: str, point: str) -> bool:
    """Whether the process shall end at this *point* of the step *line*'s *part*."""
    return os.environ.get(VARIABLE) in (spec(line, part, point), spec(line, "*", point))


def here(line: str, part: str, point: str) -> None:
    """Ends the process, if it shall end here."""
    if armed(line, part, point):
        os.kill(os.getpid(), signal.SIGKILL)
