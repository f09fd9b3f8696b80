"""`inv check`: what is shown of what was found, what programs get, and whether it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from switchover.commands import check as module
from switchover.errors import Problem
from switchover.findings import Finding, Severity, blocker, good, note, warning
from switchover.preflight import BOTH, EACH

COST = replace(good("300 MB, about 10 s"), key="cost")


class Site:
    """Two servers and what is found about them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.strategy = "replicate"
        self.servers: list[Finding] = [good("all is well")]
        self.unreached: tuple[str, ...] = ()
        self.database: list[Finding] | Exception = [COST]
        self.week: list[Finding] | Exception = [good("mail goes out")]
        monkeypatch.setattr("switchover.move.of", lambda context: SimpleNamespace(settings=self))
        monkeypatch.setattr(module.preflight, "find", lambda move: self._servers())
        monkeypatch.setattr(module.host, "gather", lambda move: self._facts(self.database))
        monkeypatch.setattr(module.aftercare, "gather", lambda move: self._facts(self.week))
        for checks, name in ((module.compatibility, "database"), (module.aftercare.CHECKS, "aftercare")):
            monkeypatch.setattr(checks, "find", lambda facts, group=name: (replace(f, group=group) for f in facts))

    def _servers(self) -> Iterator[Finding]:
        for role in ("old", "new"):
            found = blocker(f"{role}: no", "Try ssh") if role in self.unreached else good(f"{role}: reached")
            yield replace(found, key="reached", group="servers", server=role)
        yield from (replace(finding, group="servers") for finding in self.servers)

    @staticmethod
    def _facts(found: list[Finding] | Exception) -> list[Finding]:
        if isinstance(found, Exception):
            raise found
        return found

    def check(self, **options: Any) -> tuple[list[str], str]:
        """The lines that it prints, and the one that it fails with."""
        failed = ""
        try:
            module.check.body(None, **options)
        except Problem as problem:
            failed = str(problem)
        return self.capsys.readouterr().out.splitlines(), failed


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(monkeypatch, capsys)


def test_where_all_is_good_each_group_has_its_line(site: Site) -> None:
    lines, failed = site.check()
    assert failed == "" and lines[1:] == [
        "  ✓ old: reached",
        "  ✓ new: reached",
        "  ✓ all is well",
        "  ✓ database: can replicate: 300 MB, about 10 s",
        "  ✓ the week after: nothing to do",
    ]


def test_a_blocker_of_the_servers_fails_and_so_does_what_nobody_knows(site: Site) -> None:
    site.servers = [
        blocker("it is full", "Free some"),
        Finding(Severity.UNKNOWN, "the clocks agree (no)", "Look"),
        note("quiet"),
    ]
    lines, failed = site.check()
    assert failed == "2 blockers. Fix every line marked ✗, then run `inv check` again."
    assert lines[3:5] == ["  ✗ it is full  (Free some)", "  ✗ could not be checked: the clocks agree (no)  (Look)"]
    assert "quiet" not in "".join(lines)


def test_a_blocker_of_the_database_leaves_only_copy_and_is_no_failure(site: Site) -> None:
    site.database = [
        blocker("2 large objects", "vacuumlo"),
        warning("a role", "Tell them"),
        note("a sequence"),
        good("x"),
        COST,
    ]
    lines, failed = site.check()
    assert failed == "" and lines[4:7] == [
        "  · database: only `copy` is possible with the blocker below (1). Fix it, or set `strategy: copy`"
        "  (300 MB, about 10 s)",
        "  ·   blocker: 2 large objects  (vacuumlo)",
        "  ·   a role  (Tell them)",
    ]
    assert not {"  ·   a sequence", "  ✓   x"} & {*lines}
    assert {"  ·   a sequence", "  ✓   x"} <= {*site.check(everything=True)[0]}
    site.strategy = "copy"
    assert "Fix it  (300" in site.check()[0][4]


def test_the_week_after_never_fails(site: Site) -> None:
    site.week = [warning("new's address has no name", "Set PTR"), Finding(Severity.UNKNOWN, "SPF (silence)", "Look")]
    lines, failed = site.check()
    assert failed == "" and lines[5:] == [
        "  · the week after: 2 things to look at",
        "  ·   new's address has no name  (Set PTR)",
        "  ·   could not be checked: SPF (silence)  (Look)",
    ]


def test_where_facts_cannot_be_gathered_it_is_not_passed(site: Site) -> None:
    site.database, site.week = Problem("no answer", "old (o)", "Start PostgreSQL"), ValueError("odd")
    lines, failed = site.check()
    assert failed.startswith("1 blocker. ")
    assert lines[4:] == [
        "  ✗ could not be checked: whether new's database can replicate old's (old (o): no answer)  (Start PostgreSQL)",
        "  · the week after: 1 thing to look at",
        "  ·   could not be checked: the week after (odd)  (Look at it yourself, or run `inv check` again)",
    ]


def test_of_servers_that_are_not_reached_nothing_else_is_said(site: Site) -> None:
    site.unreached = ("new",)
    lines, failed = site.check()
    assert failed.startswith("1 blocker. ") and not any("database" in line or "week" in line for line in lines)
    report = json.loads("\n".join(site.check(json=True)[0]))
    assert report["strategy"] == "copy" and {f["group"] for f in report["findings"]} == {"servers"}


def test_programs_get_every_finding_in_one_shape(site: Site) -> None:
    site.week = [replace(warning("no name", "Set PTR"), key="reverse-dns")]
    report = json.loads("\n".join(site.check(json=True)[0]))
    assert report["strategy"] == "replicate"
    assert [{*finding} - {"server"} for finding in report["findings"]] == [{"group", "key", "kind", "what", "do"}] * 5
    assert [finding.get("server") for finding in report["findings"]] == ["old", "new", None, None, None]
    assert report["findings"][-1] == {
        "kind": "warning",
        "what": "no name",
        "do": "Set PTR",
        "key": "reverse-dns",
        "group": "aftercare",
    }
    site.database = [blocker("2 large objects", "vacuumlo"), COST]
    assert json.loads("\n".join(site.check(json=True)[0]))["strategy"] == "copy"


def test_a_key_of_the_servers_is_there_once() -> None:
    keys = ["reached", *EACH, *BOTH, "can-replicate"]
    assert len(keys) == len({*keys})
