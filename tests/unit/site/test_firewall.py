"""ufw, by what it prints."""

from __future__ import annotations

import pytest
from recorded_server import Made

from switchover.findings import Finding, Severity
from switchover.site.firewall.ufw import Rule

ADDED = {"ufw show added": "ufw-show-added.txt"}
OLD = "the firewall (ufw) is "


def rules(server: Made, file: str) -> list[str]:
    on = server({"ufw show added": file})
    return on.look(on.firewall.rules).out.splitlines()


def test_each_rule_is_a_line(server: Made) -> None:
    found = rules(server, "ufw-show-added.txt")
    assert found[0] == "ufw allow 22/tcp" and found[-3] == "ufw limit OpenSSH" and len(found) == 8


def test_no_rule_is_no_line(server: Made) -> None:
    assert rules(server, "ufw-show-added-none.txt") == []


@pytest.mark.parametrize(
    ("status", "good", "blocks"),
    [
        ("inactive", "off: `prepare-old` turns it on, with ssh allowed first", False),
        ("deny", "on", False),
        ("reject", "on", False),
        ("allow", "on", True),
    ],
)
def test_what_its_state_means_for_the_move(server: Made, status: str, good: str, blocks: bool) -> None:
    first, *others = server({"ufw status verbose": f"ufw-status-{status}.txt"}).firewall.check()
    assert first == Finding(Severity.GOOD, OLD + good)
    do = "Run: ufw default deny incoming"
    assert others == [Finding(Severity.BLOCKER, "the firewall lets everybody reach every port", do)] * blocks


def test_new_s_is_not_judged(server: Made) -> None:
    (note,) = server({"ufw status verbose": "ufw-status-allow.txt"}, "new").firewall.check()
    assert note.kind == Severity.NOTE


@pytest.mark.parametrize(
    ("sources", "port", "missing"),
    [
        (["10.77.0.12", "2001:db8::12"], 5433, []),
        (["10.77.0.12", "10.77.0.1"], 5433, ["10.77.0.1"]),
        (["10.77.0.12"], 5434, ["10.77.0.12"]),
        (["10.77.0.12"], 543, ["10.77.0.12"]),
        (["198.51.100.7"], 5433, ["198.51.100.7"]),
    ],
)
def test_a_rule_that_is_there_is_not_added(server: Made, sources: list[str], port: int, missing: list[str]) -> None:
    rule = server(ADDED).firewall.lets_in(sources, port)
    assert isinstance(rule, Rule)
    change = rule.change()
    desired = [f"ufw allow from {source} to any port {port} proto tcp" for source in missing]
    assert (change.diff.splitlines() if change else []) == desired
    if change:
        assert all(line.endswith("comment 'switchover: the move' >/dev/null") for line in change.apply.splitlines())
        assert change.undo.splitlines() == [line.replace("ufw ", "ufw delete ") + " >/dev/null" for line in desired]
