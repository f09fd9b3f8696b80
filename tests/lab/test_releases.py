"""A move that a release of before has begun: this one changes nothing of it, and says which release to check out; that
one undoes it, and so does `sh` on the server. The code of before comes out of the repository's own history.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from by_hand import INV, JOURNAL, ROOT, differences, fails, looks, recorded, steady

from lab.judging.inventory import Inventory
from lab.servers import Lab
from switchover.opening import FIRST

Release = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="copy") as running:
        yield running


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, Inventory]:
    return steady(lab)


@pytest.fixture(scope="module")
def first_release(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """`inv` of the release whose journals have format 1."""
    home = tmp_path_factory.mktemp("first")
    archive = subprocess.run(["git", "archive", FIRST[1]], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", home], input=archive, check=True)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        line = [INV, "-f", lab.settings, *words]
        return subprocess.run(line, cwd=home, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    return run


def test_what_it_began_is_refused_and_nothing_is_touched(
    lab: Lab, before: dict[str, Inventory], first_release: Release
) -> None:
    assert before
    begun = first_release("prepare-old")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    meanwhile = looks(lab)
    for words in (
        ["status"],
        ["prepare-old"],
        ["--dry", "prepare-new"],
        ["prepare-new.code"],
        ["move", "--yes"],
        ["undo", "--yes"],
        ["retire-old", "--yes"],
        ["unlock", "--yes"],
        ["watch", "--json"],
        ["plan"],
        ["render"],
    ):
        line = fails(lab, *words)
        assert f"the journal {JOURNAL} was begun by release {FIRST[0]} (format 1)" in line, words
        assert line.endswith(
            f"Nothing was changed. Finish or undo this move with that release: git checkout {FIRST[1]}"
        )
    assert differences(lab, meanwhile, within=8, but=("process ",)) == []


def test_sh_undoes_it_on_the_server(lab: Lab) -> None:
    last = recorded(lab)[-1]
    assert last.step == "prepare-old.pushes-refused"
    lab.old.exec(f"sh {JOURNAL}/{last.name}/undo")
    assert recorded(lab)[-1].state == "undone"
    assert lab.old.exec("ls /home/*/apps/*/current/.git/hooks/pre-receive", check=False).returncode != 0


def test_its_own_release_undoes_the_rest(lab: Lab, before: dict[str, Inventory], first_release: Release) -> None:
    undone = first_release("undo", "--yes", "prepare-old")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert {entry.state for entry in recorded(lab)} == {"undone"}
    assert differences(lab, before, journal=False, within=12, but=("process ",)) == []
