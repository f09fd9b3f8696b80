"""The code's version, as git says it or a command of the settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from recorded_server import Made

from switchover.errors import Problem
from switchover.findings import Severity

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]


def checkout(folder: Path) -> str:
    """A commit in *folder*; its id."""
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout
    return head.strip()


def test_a_checkout_s_version_is_its_commit(server: Made, tmp_path: Path) -> None:
    old = server()
    commit = checkout(tmp_path / "app")
    assert old.code.version() == commit
    (here,) = old.code.compared(commit)
    assert (here.kind, here.what) == (Severity.GOOD, f"the code is at {commit[:12]} on old")
    (there,) = old.code.compared("f" * 40)
    assert there.what == f"the code is at ffffffffffff on old; new has {commit[:12]} now"


def test_what_is_no_checkout_is_named(server: Made) -> None:
    old = server({"git": ("git-none.txt", 128)})
    with pytest.raises(Problem, match="app is not a git checkout") as raised:
        old.code.version()
    assert raised.value.where == str(old) and "revision" in raised.value.do


# --- code that something else brings --------------------------------------------------------------------------------


def application(folder: Path, **files: str) -> None:
    """Files of an application, its own and others."""
    for name, text in {"app/a b.rb": "1", "db/migrate/1_x.rb": "2", "Gemfile.lock": "3", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


NONE = {"kind": "none"}


@pytest.mark.parametrize(
    ("files", "same"),
    [
        ({}, True),
        ({"log/production.log": "x", "tmp/pids/x.pid": "1", "public/system/x.png": "x"}, True),
        ({"app/a b.rb": "4"}, False),
        ({"lib/new.rb": ""}, False),
        ({"Gemfile.lock": "4"}, False),
    ],
)
def test_it_is_the_same_where_the_application_s_own_files_are(
    server: Made, tmp_path: Path, files: dict[str, str], same: bool
) -> None:
    old = server(code=NONE)
    application(tmp_path / "app")
    before = old.code.version()
    application(tmp_path / "app", **files)
    assert (old.code.version() == before) == same
    assert [f.kind for f in old.code.compared(before)] == [Severity.WARNING] * (not same)


def test_a_directory_without_an_application_has_no_version(server: Made) -> None:
    """Two of them would be alike."""
    with pytest.raises(Problem, match="version of the code is not known"):
        server(code=NONE).code.version()


@pytest.mark.parametrize(
    ("command", "version"),
    [
        ("cat REVISION", "4f1c"),
        ("echo $RAILS_ENV", "production"),
        ("cat NONE", None),
        (":", None),
        ("echo x; false", None),
    ],
)
def test_a_command_of_the_settings_prints_it(server: Made, tmp_path: Path, command: str, version: str | None) -> None:
    old = server(code=NONE | {"version": command})
    (tmp_path / "app/REVISION").write_text("4f1c\n")
    if version:
        assert old.code.version() == version
        return
    with pytest.raises(Problem, match="version of the code is not known") as raised:
        old.code.version()
    assert raised.value.do == "Fix old.code.version in the settings"


def test_another_version_on_new_is_a_problem_that_says_both(server: Made) -> None:
    new = server(role="new", code=NONE | {"version": "echo b"})
    assert new.code.is_at("b", new.code).missing() is None  # type: ignore[union-attr]
    with pytest.raises(Problem, match=r"another version of the code than old \(b, not a\)"):
        new.code.is_at("a", new.code).missing()  # type: ignore[union-attr]
