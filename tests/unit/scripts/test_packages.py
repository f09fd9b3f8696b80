"""scripts/server/packages, without apt-get: what came is written down before it comes, and goes again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "scripts/server/packages"
APT = r"""#!/bin/sh
printf '%s\n' "$*" >>"$ASKED"
case $* in
  '-s '*) printf 'Inst certbot (2.1 Debian:12 [all])\nInst openssl [3.0.1] (3.0.2 Debian:12)\nConf certbot\n' ;;
  *) [ ! -e "$FAILS" ] || { echo "Reading lists"; echo "E: no such package"; exit 100; } ;;
esac
"""


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A journal's entry; beside it an apt-get that notes what it is asked."""
    (tmp_path / "entry" / "before").mkdir(parents=True)
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(APT)
    apt.chmod(0o755)
    return tmp_path / "entry"


def run(entry: Path, *words: str) -> subprocess.CompletedProcess[str]:
    top = entry.parent
    paths = {"PATH": f"{top}/bin:{os.environ['PATH']}", "ASKED": f"{top}/asked", "FAILS": f"{top}/fails"}
    command = ["sh", PROGRAM, *words]
    return subprocess.run(command, cwd=entry, env=os.environ | paths, capture_output=True, text=True, timeout=20)


def asked(entry: Path) -> list[str]:
    """What apt-get was asked for, without its options."""
    lines = (entry.parent / "asked").read_text().splitlines()
    return [" ".join(word for word in line.split() if word[0] != "-" and "=" not in word) for line in lines]


@pytest.mark.parametrize(("was_there", "how"), [(False, "purge"), (True, "remove")])
def test_what_came_goes_and_its_configuration_unless_it_was_there(entry: Path, was_there: bool, how: str) -> None:
    configuration = entry.parent / "letsencrypt"
    if was_there:
        configuration.mkdir()
    assert run(entry, "install", str(configuration), "certbot").returncode == 0
    configuration.mkdir(exist_ok=True)
    assert run(entry, "remove").returncode == 0
    # openssl was there, and was only updated.
    assert asked(entry) == ["install certbot", "install certbot", f"{how} certbot"]


def test_a_second_try_keeps_what_the_first_one_wrote_down(entry: Path) -> None:
    configuration, fails = entry.parent / "letsencrypt", entry.parent / "fails"
    fails.touch()
    tried = run(entry, "install", str(configuration), "certbot")
    assert (tried.returncode, tried.stderr) == (3, "apt-get install certbot: E: no such package\n")
    configuration.mkdir()  # half of it came
    fails.unlink()
    assert run(entry, "install", str(configuration), "certbot").returncode == 0
    assert (entry / "before/packages").read_text() == "certbot\n" and not (entry / "before/had-configuration").exists()


def test_nothing_goes_where_nothing_came(entry: Path) -> None:
    assert run(entry, "remove").returncode == 0
    assert not (entry.parent / "asked").exists()
