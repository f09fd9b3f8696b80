"""Pages of the site, asked at one of the servers by the site's own name."""

from collections.abc import Sequence

from .hosts import Host
from .quote import sh

ANSWERS = "/.well-known/switchover/server"  # a page by which each server says who it is
CHALLENGE = "/.well-known/acme-challenge/switchover"  # the same, where a certificate's authority asks


def host(server: Host) -> str:
    """*server*'s main address as it stands in a URL."""
    address = server.main_address
    return f"[{address}]" if ":" in address else address


def ask(domain: str, address: str, path: str, more: str = "") -> str:
    """sh: asks *address* for *path* of the site *domain*, the certificate checked."""
    url = sh(f"https://{domain}{path}")
    at = f"[{address}]" if ":" in address else address
    return f"curl -sS -m 20 --resolve {sh(f'{domain}:443:{at}')} {url} {more}"


def answered_by_new(old: Host, domain: str) -> bool:
    """Whether visitors who ask *old* for *domain* are answered by new already: somebody may have switched by hand."""
    return old.look(ask(domain, old.main_address, ANSWERS, "-f"), check=False).out.strip() == "new"


def titles(old: Host, domain: str, address: str, pages: Sequence[str]) -> list[str]:
    """Status and title of every page of the site *domain*, asked at *address* from *old*; all pages at once."""
    lines = ["d=$(mktemp -d)"]
    lines += [ask(domain, address, page, f"-w '\\n%{{http_code}}' >$d/{n} 2>&1 &") for n, page in enumerate(pages)]
    lines.append("wait")
    for n in range(len(pages)):
        title = f"tr -d '\\n' <$d/{n} | sed -n 's/.*<title>\\([^<]*\\)<.*/\\1/p'"
        lines.append(f'echo "$(tail -n 1 $d/{n}) $({title})"')
    return old.look("\n".join([*lines, "rm -rf $d"])).out.splitlines()
