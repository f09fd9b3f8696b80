"""Pages of the site, asked at one of the servers by the site's own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hosts import Server
from .quote import sh

if TYPE_CHECKING:
    from .move import Move

ANSWERS = "/.well-known/switchover/server"  # a page by which each server says who it is
CHALLENGE = "/.well-known/acme-challenge/switchover"  # the same, where a certificate's authority asks


def host(server: Server) -> str:
    """*server*'s main address as it stands in a URL."""
    address = server.settings.main_address
    return f"[{address}]" if ":" in address else address


def ask(domain: str, address: str, path: str, more: str = "") -> str:
    """sh: asks *address* for *path* of the site *domain*, the certificate checked."""
    url = sh(f"https://{domain}{path}")
    at = f"[{address}]" if ":" in address else address
    return f"curl -sS -m 20 --resolve {sh(f'{domain}:443:{at}')} {url} {more}"


def comes_to_new(move: Move) -> bool:
    """Whether visitors who ask old are answered by new already: somebody may have switched by hand."""
    answer = ask(move.settings.domain, move.old.settings.main_address, ANSWERS, "-f")
    return move.old.look(answer, check=False).out.strip() == "new"
