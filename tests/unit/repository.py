"""The files of this repository, for tests that read them as text."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files() -> list[str]:
    """All files of this repository, those too that are new."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    return [file for file in out.decode().split("\0") if (ROOT / file).is_file()]


@cache
def programs(language: str) -> frozenset[str]:
    """The files in a *language* (`python` or `shell`), as scripts/lint finds them."""
    out = subprocess.run([ROOT / "scripts/lint", "--list"], capture_output=True, check=True, text=True).stdout
    pairs = [line.split(" ", 1) for line in out.splitlines()]
    return frozenset(file for kind, file in pairs if kind == language)
