"""Where this machine gets Debian packages from, so that the lab gets them from there too.

Read from apt's own configuration. A machine that is not Debian, or names no Debian archive, leaves the choice
to mmdebstrap, which knows Debian's public one.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

RELEASE = "buster|bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing"


@dataclass(frozen=True)
class Source:
    """An archive's address and a suite, as a line of `sources.list` has them."""

    uri: str
    suite: str

    def named(self, suffix: str) -> bool:
        """Whether the suite is named like a release of Debian with this *suffix* (a pattern)."""
        return re.fullmatch(f"({RELEASE}){suffix}", self.suite) is not None


def sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Every binary source that apt is configured with in *folder*, once, as apt itself reads it; none without apt."""
    if not shutil.which("apt-get"):
        return []
    command = ["apt-get", f"-oDir::Etc={folder}", "indextargets", "--no-release-info"]
    shown = ["--format=$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    done = subprocess.run([*command, *shown], capture_output=True, text=True)
    pairs = [line.split() for line in dict.fromkeys(done.stdout.splitlines())]
    return [Source(uri.rstrip("/"), suite) for uri, suite in pairs]


def lines(codename: str, *, security: bool, known: Iterable[Source] | None = None) -> list[str]:
    """The `deb` lines for the Debian release *codename*; empty when this machine's apt knows no Debian archive."""
    known = list(sources() if known is None else known)
    with_updates = [source.uri for source in known if source.named("-updates")]  # other archives have none
    releases = [s.uri for s in known if s.named("") and urlsplit(s.uri).path.rstrip("/") == "/debian"]
    main = next(iter(with_updates + releases), None)
    if main is None:
        return []
    found = [f"deb {main} {codename} main", f"deb {main} {codename}-updates main"]
    safe = next((source.uri for source in known if source.named("(-security|/updates)")), None)
    if security and safe:
        found.append(f"deb {safe} {codename}-security main")
    return found


def options() -> list[str]:
    """The proxies, certificates and retries that this machine's apt uses, as options of apt."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True)
    desired = re.compile(r"Acquire::(https?|Retries|Check-Valid-Until|Check-Date)\b.*", re.IGNORECASE)
    return [line.rstrip(";") for line in done.stdout.splitlines() if desired.match(line) and not line.endswith(' "";')]
