"""A crontab that goes from old to new: its paths become new's."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_server import RECORDED, Made, Recorded

from switchover.desired import Nothing
from switchover.errors import Problem
from switchover.resources.command import Command
from switchover.resources.file import File
from switchover.site.schedule import crontab

PATHS = {"/home/ofn/current": "/srv/shop", "rails@example.org": "ops@example.org"}


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where crontabs lie."""
    path = tmp_path / "spool"
    path.mkdir()
    monkeypatch.setattr(crontab, "SPOOL", str(path))
    return path


def installed(new: Recorded, old: Recorded, kept: str = "") -> File:
    made = new.schedule.installed(old.schedule, kept, PATHS)
    assert isinstance(made, File)
    return made


def test_old_s_crontab_is_adapted(server: Made, spool: Path) -> None:
    (spool / "ofn").write_bytes((RECORDED / "crontab.txt").read_bytes())
    file = installed(server(role="new"), server())
    assert (file.path, file.owner, file.mode) == (f"{spool}/ofn", "ofn:crontab", "600")
    lines, before = file.content.decode().splitlines(), (RECORDED / "crontab.txt").read_text().splitlines()
    assert lines[1] == "MAILTO=ops@example.org"
    assert lines[2].count("/srv/shop") == 2 and "/home/ofn" not in lines[2]
    assert (lines[0], lines[3]) == (before[0], before[3])


def test_a_cleared_one_is_read_from_where_it_is_kept(server: Made, spool: Path, tmp_path: Path) -> None:
    kept = tmp_path / "before"
    kept.mkdir()
    (kept / "anna").write_text("kept /home/ofn/current\n")
    old = server(schedule={"kind": "crontab", "user": "anna"})
    file = installed(server(role="new"), old, str(kept))
    assert file.content == b"kept /srv/shop\n" and file.path == f"{spool}/ofn"


def test_old_has_none(server: Made, spool: Path) -> None:
    new, old = server(role="new"), server()
    with pytest.raises(Problem, match="ofn has no crontab") as raised:
        installed(new, old)
    assert raised.value.where == str(old) and "old.schedule.kind: none" in raised.value.do


@pytest.mark.parametrize("kind", ["none", "worker"])
def test_there_is_none_to_be_copied(server: Made, spool: Path, kind: str) -> None:
    new, old = server(role="new"), server(schedule={"kind": kind})
    made = new.schedule.installed(old.schedule, "", PATHS)
    assert isinstance(made, Nothing) and made.why.startswith("old has no crontab to copy")


def test_a_command_of_the_settings_installs_it(server: Made, spool: Path) -> None:
    """Whatever old has: then it is not read."""
    new = server(role="new", schedule={"install": "bundle exec whenever -i"})
    made = new.schedule.installed(server(schedule={"kind": "none"}).schedule, "", PATHS)
    assert isinstance(made, Command) and made.shown == "bundle exec whenever -i"
    assert new.schedule.on_deploy == "bundle exec whenever -i"
    assert made.change() is not None
    (spool / "ofn").write_text("# nothing yet\n")
    assert made.change() is not None
    (spool / "ofn").write_text("0 * * * * x\n")
    assert made.change() is None
