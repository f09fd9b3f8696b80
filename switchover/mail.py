"""Mail that waits on a server to go out. What old has taken, old sends, as long as it is on: new never gets it too."""

from __future__ import annotations

from .hosts import Server

# sh: Postfix and Exim. Mail that somebody put on hold counts as well: switched off, it would be lost with the server.
FUNCTIONS = r"""
queued() { # how many mails wait here
  if command -v postqueue >/dev/null; then
    q=$(postconf -h queue_directory)
    find "$q/maildrop" "$q/incoming" "$q/active" "$q/deferred" "$q/hold" -type f 2>/dev/null | wc -l
  elif command -v exim4 >/dev/null; then exim4 -bpc
  else echo 0; fi
}
no_mail() { [ "$(queued)" -eq 0 ]; }
why_queued() { # what the first of them was answered
  ! command -v postqueue >/dev/null ||
    postqueue -p 2>/dev/null | sed -n 's/^ *(\(.*\)) *$/\1/p' | head -n 1 | cut -c 1-160
}
try_mail_again() {
  if command -v postqueue >/dev/null; then postqueue -f 2>/dev/null || :
  elif command -v exim4 >/dev/null; then exim4 -qf
  fi
}
"""


def queued(server: Server) -> tuple[int, str]:
    """How many mails wait on *server*, and what the first of them was answered."""
    number, _, why = server.look(f"{FUNCTIONS}\nqueued; why_queued").out.strip().partition("\n")
    return int(number), why
