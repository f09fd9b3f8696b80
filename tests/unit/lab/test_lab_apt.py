"""Where the lab's packages come from: apt's own configuration, in both its forms."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.machine import apt

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [signed-by=/a/key arch=amd64] http://mirror.example/debian bookworm main contrib
deb-src [signed-by=/a/key] http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-updates main
deb http://mirror.example/security bookworm-security main
deb https://other.example/apt stable-thing main
"""
DEB822 = """\
Types: deb deb-src
# which snapshot
URIs: http://one.example/debian
  http://two.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /a/key

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://safe.example/debian
Suites: trixie-security
Components: main
"""
reads_files = pytest.mark.skipif(not shutil.which("apt-get"), reason="a machine without apt has no such files")


@reads_files
def test_both_forms_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian sid main\n")
    (tmp_path / "sources.list.d/b.sources").write_text(
        "Types: deb\nURIs: http://b.example\nSuites: sid\nComponents: main\n"
    )
    (tmp_path / "sources.list.d/c.list.save").write_text("deb http://c.example/debian sid main\n")
    assert [s.uri for s in apt.sources(tmp_path)] == ["http://a.example/debian", "http://b.example"]


@reads_files
def test_lines_for_another_release_come_from_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    known = apt.sources(tmp_path)
    assert apt.Source("https://other.example/apt", "stable-thing") in known and len(known) == 4
    assert apt.lines("bullseye", security=False, known=known) == [
        "deb http://mirror.example/debian bullseye main",
        "deb http://mirror.example/debian bullseye-updates main",
    ]
    assert apt.lines("trixie", security=True, known=known)[2:] == [
        "deb http://mirror.example/security trixie-security main"
    ]


@reads_files
def test_the_new_form_with_continued_lines_comments_and_stanzas_switched_off(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    known = apt.sources(tmp_path)
    assert {s.uri for s in known} == {
        "http://one.example/debian",
        "http://two.example/debian",
        "http://safe.example/debian",
    }
    assert apt.lines("trixie", security=True, known=known) == [
        "deb http://one.example/debian trixie main",
        "deb http://one.example/debian trixie-updates main",
        "deb http://safe.example/debian trixie-security main",
    ]


@pytest.mark.parametrize(
    "source",
    [
        apt.Source("http://u.example/ubuntu", "noble"),
        apt.Source("http://u.example/ubuntu", "noble-updates"),
        apt.Source("http://pg.example/debian", "bookworm-pgdg"),
        apt.Source("http://docker.example/linux/debian", "bookworm"),
        apt.Source("http://php.example/php", "bookworm"),
    ],
)
def test_what_is_not_debians_leaves_the_choice_to_mmdebstrap(source: apt.Source) -> None:
    assert apt.lines("bookworm", security=True, known=[source]) == []


def test_a_debian_without_updates_is_known_by_its_path_and_an_old_security_suite_by_its_name() -> None:
    known = [apt.Source("http://php.example/php", "buster"), apt.Source("http://m.example/debian/", "buster"),
             apt.Source("http://s.example", "buster/updates")]  # fmt: skip
    assert apt.lines("trixie", security=True, known=known) == [
        "deb http://m.example/debian/ trixie main",
        "deb http://m.example/debian/ trixie-updates main",
        "deb http://s.example trixie-security main",
    ]
