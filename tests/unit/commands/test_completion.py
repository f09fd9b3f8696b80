"""`inv` completes its commands in bash, zsh and fish, with the scripts that it prints."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb"}


@pytest.fixture
def script(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / f"inv.{shell}"
    with file.open("wb") as out:
        subprocess.run([BIN / "inv", "--print-completion-script", shell], cwd=ROOT, stdout=out, check=True)
    return file


@pytest.mark.parametrize("script", ["bash", "zsh"], indirect=True)
def test_a_tab_completes_a_section(script: Path) -> None:
    shell = script.suffix.removeprefix(".")
    # Both load their completion before the first line is typed.
    said = typed(SHELLS[shell], [f"source {script}\n", "PS1=ready\n", "inv switch-j\t"], until="obs")
    assert "switch-jobs" in said.replace("\a", "")


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_a_section(script: Path) -> None:
    # Invoke's script names the long command alone; docs/commands.md has this line too.
    asked = f"source {script}; complete --command inv --wraps invoke; complete -C 'inv switch-j'"
    done = subprocess.run(["fish", "-N", "-c", asked], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert "switch-jobs" in done.stdout.split(), done.stderr


def typed(command: list[str], words: list[str], until: str) -> str:
    """What a shell shows at a terminal when *words* are typed, read until *until* comes or half a minute is over."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(command[0], command, ENVIRONMENT)
    said = ""
    try:
        for word in words:
            said = ""
            os.write(terminal, word.encode())
            end = time.monotonic() + (30 if word is words[-1] else 1)
            while time.monotonic() < end and until not in said:
                if select.select([terminal], [], [], 0.1)[0]:
                    said += os.read(terminal, 65536).decode(errors="replace")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return said
