"""The servers' own checks: what they make of what the servers answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from here import right

from switchover import preflight
from switchover.database import replication_status
from switchover.errors import Problem, Unreached
from switchover.findings import Finding, to_do
from switchover.hosts import Answer
from switchover.journal import Journal
from switchover.move import Move
from switchover.server import Server
from switchover.settings import Settings, check
from switchover.site.certificate import copied

# By what stands in a script: what a sound server answers. The first that is found counts.
SOUND = {
    "echo runs": "",
    "id -u": "0\n",
    "/move": "",
    "entry.json": "",
    "command -v": "",
    "[ -e ": "",
    "systemctl cat": "",
    "rev-parse --git-dir": "",
    "rev-parse HEAD": "1" * 40 + "\n",
    "SHOW ssl": "on\n",
    "df -Pk /var/lib": "9000000\n",
    "ufw status": "Status: active\nDefault: deny (incoming), allow (outgoing)\n",
    "nginx -t": "syntax is ok\n",
    "server_version_num": "150004\n",
    "pg_database_size": "300000000\n",
    "du -sbc": "5000000\n",
    "data_directory": "9000000\n",
}


class Told(Server):
    """A server that answers from a table."""

    answers: dict[str, str | Exception]
    status = 0
    failing = "nginx -t 2>&1"

    def _run(self, script: str, on_line: Callable[[str], None] | None) -> Answer:
        answer = next(answer for words, answer in self.answers.items() if words in script)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer, "", self.status if self.failing in script else 0)


class Site(Move):
    """A move between two of them."""

    old: Told
    new: Told


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(settings)
    for role in ("old", "new"):
        server = Told(role, getattr(settings, role))
        owner = f"{server.database.owner}\n"
        server.answers = {"machine-id": f"{role}\n", "date +": "1000\n", "r.rolname": owner, **SOUND}
        setattr(site, role, server)
    settings = settings.model_copy(update={"certificate": copied.Settings()})
    site.settings = settings
    monkeypatch.setattr(replication_status, "look", lambda move: None)
    site.ci = None
    site.journal = Journal(site.journal.identity, site.servers)
    return site


def found(site: Site) -> list[Finding]:
    return list(preflight.find(site))


def in_the_way(site: Site) -> list[Finding]:
    """But for what is said of the fixture's settings, which name no file of the monitor's."""
    return [finding for finding in to_do(found(site)) if finding.key != "worker-after-a-boot"]


def test_sound_servers_have_nothing_in_the_way(site: Site) -> None:
    findings = found(site)
    assert [finding.key for finding in to_do(findings)] == ["worker-after-a-boot"]  # the settings name no file for it
    assert preflight.both_reached(findings)
    keys = [(finding.server, finding.key) for finding in findings if finding.key != "database"]
    each = [key for key in preflight.EACH if key != "database"]
    assert keys == [
        *[(role, "reached") for role in ("old", "new")],
        *[(role, key) for role in ("old", "new") for key in each],
        *[("", key) for key in preflight.BOTH],
    ]
    assert {f.key for f in findings if f.kind == "note"} == {"firewall", "certificate", "replication"}
    assert "old: the programs needed are installed" in [f.what for f in findings]


CASES = [
    ("new", "command -v", "rsync\n", "tools", "new: lacks rsync"),
    ("old", "[ -e ", "old.app.path\n", "paths", "does not exist"),
    ("new", "systemctl cat", "new.app.service\nnew.app.user\n", "services", "new: no service "),
    ("old", "r.rolname", "", "database", "old: no database "),
    ("new", "r.rolname", "anna\n", "database", " belongs to anna"),
    ("old", "SHOW ssl", "off\n", "database", "old: PostgreSQL does not have TLS"),
    ("new", "df -Pk /var/lib", "9000\n", "space", "new: 0.0 GB free for the journal"),
    ("old", "ufw status", "Status: active\nDefault: allow (incoming)\n", "firewall", "lets everybody reach every port"),
    ("new", "machine-id", "old\n", "two-machines", "old and new are the same machine"),
    ("new", "echo runs", "runs\n", "jobs", "new's worker runs already"),
    ("new", "date +", "1060\n", "clocks", "the clocks are "),
    ("new", "server_version_num", "130004\n", "versions", "PostgreSQL 15 on old, 13 on new"),
    ("new", "data_directory", "9000\n", "copy-fits", "fit on new (0.0 GB free)"),
]


@pytest.mark.parametrize(("role", "words", "answer", "key", "what"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_what_is_in_the_way(site: Site, role: str, words: str, answer: str, key: str, what: str) -> None:
    getattr(site, role).answers[words] = answer
    odd = in_the_way(site)
    assert {(finding.key, finding.kind) for finding in odd} == {(key, "blocker")}
    assert what in odd[0].what and odd[0].do


def test_a_configuration_of_nginx_that_is_refused(site: Site) -> None:
    site.new.status, site.new.answers["nginx -t"] = 1, "nonsense on line 1\nfailed\n"
    assert [f.what for f in in_the_way(site)] == ["new: nginx refuses its configuration (nonsense on line 1)"]


def test_an_application_of_old_need_not_be_reloaded(site: Site) -> None:
    """It only stops; new's answers anew in the midst of visitors."""
    app = {"kind": "service", "path": "/a", "user": "u", "service": "web", "listens": "127.0.0.1:3000"}
    found = {}
    for role in ("old", "new"):
        data = right()
        data[role]["app"] = app
        server = Told(role, getattr(check(data, "move.yaml"), role))
        server.answers = {"CanReload": "no\n", "": ""}
        found[role] = [finding.what for finding in preflight.verbs(server, site)]
    assert found["old"] == []
    assert any("cannot reload" in what for what in found["new"])


def test_a_repository_that_is_none_could_not_refuse_a_push(site: Site) -> None:
    site.old.status, site.old.failing = 1, "rev-parse --git-dir"
    [finding] = in_the_way(site)
    assert (finding.key, finding.kind, finding.server) == ("deploys", "blocker", "old")
    assert "is not a git repository" in finding.what and "old.deploys.kind: none" in finding.do


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ({}, {"worker": {"kind": "none"}}, "old has a worker, new has none"),
        ({}, {"worker": {"kind": "none"}, "schedule": {"kind": "worker"}}, "on new the worker runs the schedule"),
        ({"code": {"kind": "none"}}, {}, "old.code and new.code have different kinds (none, git)"),
    ],
)
def test_kinds_that_do_not_fit_each_other(
    data: dict[str, Any], old: dict[str, Any], new: dict[str, Any], what: str
) -> None:
    data["old"] |= old
    data["new"] |= new
    move = Move(check(data, "move.yaml"))
    move.journal._entries = []
    found = [finding.what for check in (preflight.jobs, preflight.code) for finding in _only_what(check, move)]
    assert any(what in said for said in found), found


def _only_what(check: Any, move: Move) -> list[Finding]:
    """What a check finds before it has to look at a server."""
    found = []
    try:
        for finding in check(move):
            found.append(finding)
    except Problem:
        pass
    return found


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("df -Pk /var/lib", "space"),
        ("date +", "clocks"),
        ("server_version_num", "versions"),
        ("pg_database_size", "copy-fits"),
    ],
)
def test_an_answer_that_is_none_is_unknown(site: Site, words: str, key: str) -> None:
    site.old.answers[words] = "command not found"
    odd = in_the_way(site)
    assert [(finding.key, finding.kind) for finding in odd] == [(key, "unknown")]


def test_of_a_server_that_is_not_reached_nothing_else_is_said(site: Site) -> None:
    site.new.answers = {"": Unreached("no ssh connection (refused)", "new (n)", "Try ssh")}
    findings = found(site)
    assert [(f.server, f.key, f.do) for f in to_do(findings)] == [("new", "reached", "Try ssh")]
    assert not preflight.both_reached(findings)
    assert {f.server for f in findings if f.key != "reached"} == {"old"}
    site.new.answers = {"id -u": "1000\n"}
    assert "sudo does not give root (1000)" in to_do(found(site))[0].what
