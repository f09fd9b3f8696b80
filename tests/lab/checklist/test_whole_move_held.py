"""One whole move and its undo with a database that follows: nobody is turned away, and the report has the figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.judging.shellcheck import faults, recorded_scripts
from lab.rehearsal import Plan, run_move
from lab.servers import Lab

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5) as running:
        yield running


def test_a_whole_move_and_its_undo_without_any_page(lab: Lab, tmp_path: Path) -> None:
    """Every section, then the undo of every section in reverse: nobody sees an error, and all is as it was."""
    plan = Plan(tmp_path, rate=20, with_undo=True, slow_job=2, big_upload=(5, 3))
    found = run_move(lab, plan)
    assert found.problems == []
    recorded = recorded_scripts(lab.hosts)
    assert len(recorded) > 200 and {"old", "new", "ci"} == {name.partition("/")[0] for name in recorded}
    assert faults(recorded) == ""
    assert found.looked_at > 1000
    data = found.as_json()
    assert data["traffic"]["page"] == 0
    assert data["deploys"] == {"refused": 2, "by_ci": 1}
    assert set(data["cron"]["by_host"]) == {"prod1.shop.test", "prod2.shop.test"}
    assert all(data["orders"]["by_database"].values())
    # The first is made during the move and gone after its undo; the last is nobody's but the operator's.
    assert {
        "new's password of the move",
        "old's password in database.yml",
        "old's secret_key_base in secrets.yml",
        "old's secret_access_key in s3.yml",
        "the operator's key operator",
    } <= set(data["secrets"]["names"])
    switch = data["switch"]
    assert (switch["strategy"], switch["proof"]["different"]) == ("replicate", 0)
    assert switch["proof"]["tables"] > 10 and switch["proof"]["rows"] > 20_000
    assert switch["tries"] >= 1 and 0 < switch["hold_ms"] < 5000
    assert 0 < switch["restart_hold_ms"] < 20_000
    # By the orders themselves, asked past the program of the switch.
    assert switch["longest_ms"] > 0 and switch["quiet_longest_p95_ms"] > 0
    assert switch["gap_between_commits_ms"] > 0
    assert data["dns"] | dict.fromkeys(("visitors_by_old", "visitors_by_new", "last_by_old_s"), 0) == {
        "old_ttl": 20,
        "new_ttl": 5,
        "visitors_by_old": 0,
        "visitors_by_new": 0,
        "last_by_old_s": 0,
    }
    assert data["dns"]["visitors_by_old"] > data["dns"]["visitors_by_new"] > 0
    names = [span.name for span in found.spans if not span.quiet]
    assert names[0] == "check"
    assert names[-1] == "undo dns-prepare"
    assert {f"undo {name}" for name in ("replicate", "switch-db")} <= set(names)
