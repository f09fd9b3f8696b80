"""`scripts/server/uploads` brings a directory, says how far it is, and puts back what it had; here without rsync."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "scripts" / "server" / "uploads"


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """The directory of a change in the journal."""
    (tmp_path / "entry" / "before").mkdir(parents=True)
    return tmp_path / "entry"


def run(entry: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", PROGRAM, *map(str, words)], cwd=entry, capture_output=True, text=True)


def bring(entry: Path, script: str) -> subprocess.CompletedProcess[str]:
    """As if *script* were what rsync does."""
    return run(entry, "bring", "sh", "-c", script)


def test_it_says_how_far_it_is(entry: Path) -> None:
    said = r"printf ' 0 0%%\r 1,234,567  50%%  1MB/s\r sent some\n 2,469,134 100%% 1MB/s\n'"
    done = bring(entry, said)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["progress 1234567 2469134 bytes", "progress 2469134 2469134 bytes"]


@pytest.mark.parametrize(("status", "desired"), [(0, 0), (24, 0), (23, 3), (12, 3)])
def test_files_that_vanish_meanwhile_are_no_failure(entry: Path, status: int, desired: int) -> None:
    (entry / "status").write_text("0\n")  # of an earlier run
    done = bring(entry, f"echo it broke >&2; echo more >&2; exit {status}")
    assert (done.returncode, done.stderr) == (desired, "rsync: it broke\n" if desired else "")


def test_a_list_that_was_cut_off_is_made_anew(entry: Path, tmp_path: Path) -> None:
    (entry / "before/list.new").write_text("./a\n")
    (tmp_path / "b").touch()
    assert run(entry, "list", tmp_path / "nowhere").returncode == 0
    assert (entry / "before/list").read_text() == ""
    (entry / "before/list").unlink()
    assert run(entry, "list", tmp_path).returncode == 0
    assert "./b" in (entry / "before/list").read_text().splitlines()


def test_what_came_goes_and_what_was_replaced_is_put_back(entry: Path, tmp_path: Path) -> None:
    target = tmp_path / "it's here"
    (target / "a b").mkdir(parents=True)
    (target / "a b" / "old").write_text("as it was")
    assert run(entry, "list", target).returncode == 0
    (entry / "before/files/a b").mkdir(parents=True)
    (target / "a b" / "old").rename(entry / "before/files/a b/old")
    (target / "new" / "deep").mkdir(parents=True)
    for name in ("a b/old", "a b/more", "new/deep/x"):
        (target / name).write_text("brought")
    (target / "link").symlink_to("a b")
    assert run(entry, "list", target).returncode == 0  # by a second run: what was there before stays known
    for _ in range(2):  # safe to repeat
        assert run(entry, "back", target).returncode == 0
        assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["a b", "a b/old"]
        assert (target / "a b" / "old").read_text() == "as it was"


def test_where_there_was_nothing_there_is_nothing(entry: Path, tmp_path: Path) -> None:
    assert run(entry, "list", tmp_path / "none").returncode == 0
    assert run(entry, "back", tmp_path / "none").returncode == 0
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "brought").touch()
    assert run(entry, "back", tmp_path / "none").returncode == 0
    assert list((tmp_path / "none").iterdir()) == []


def test_it_says_how_it_is_called(entry: Path) -> None:
    assert run(entry).returncode == 3
