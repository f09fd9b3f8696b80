"""Mail that waits on a server to go out. What old has taken, old sends, as long as it is on: new never gets it too."""

from __future__ import annotations

from .hosts import Host
from .programs import program

FUNCTIONS = program("mail.sh").decode()  # sh, for looks and recorded scripts


def queued(server: Host) -> tuple[int, str]:
    """How many mails wait on *server*, and what the first of them was answered."""
    number, _, why = server.look(f"{FUNCTIONS}\nqueued; why_queued").out.strip().partition("\n")
    return int(number), why
