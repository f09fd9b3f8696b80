"""Which release this is: what a journal keeps of the tool that opened a move."""

import subprocess
from functools import cache
from pathlib import Path

from . import __version__


@cache
def commit() -> str:
    """What `git checkout` takes to come back to it: the commit of this checkout, else the release's tag."""
    home = Path(__file__).parents[1]
    git = ["git", "-C", str(home), "rev-parse", "--short=12", "HEAD"]
    try:
        (home / ".git").lstat()  # else git would tell of a repository that this one was unpacked into
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"
