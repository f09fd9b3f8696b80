"""What must be so before the move continues, as a script on a server sees it."""

from ..desired import Precondition
from ..hosts import Host
from ..journal import FUNCTIONS


def succeeds(server: Host, script: str, otherwise: str, within: float = 0) -> Precondition:
    """*script* (sh, as root on *server*) succeeds within *within* seconds; *otherwise* says what is missing."""

    def missing() -> str | None:
        answer = server.look(f"{FUNCTIONS}\n{script}", check=False)
        if answer.status == 0:
            return None
        reason = f" ({answer.last_error})" if answer.err.strip() or answer.out.strip() else ""
        return f"{otherwise}{reason}"

    return Precondition(missing, within)
