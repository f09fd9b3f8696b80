"""One whole move and its undo with a database that follows: nobody is turned away, and the report has the figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.rehearsal import Plan, run_move
from lab.servers import Lab

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False) as running:
        yield running


def test_a_whole_move_and_its_undo_without_any_page(lab: Lab, tmp_path: Path) -> None:
    plan = Plan(tmp_path, rate=20, with_undo=True, slow_job=2, big_upload=(5, 3))
    found = run_move(lab, plan)
    assert found.problems == []
    assert found.looked_at > 1000
    data = found.as_json()
    assert data["traffic"]["page"] == 0
    assert all(data["orders"]["by_database"].values())
    switch = data["switch"]
    assert (switch["strategy"], switch["proof"]["different"]) == ("replicate", 0)
    assert switch["proof"]["tables"] > 10 and switch["proof"]["rows"] > 20_000
    assert switch["tries"] >= 1 and 0 < switch["hold_ms"] < 5000
    assert 0 < switch["restart_hold_ms"] < 20_000
    # By the orders themselves, asked past the program of the switch.
    assert switch["longest_ms"] > 0 and switch["quiet_longest_p95_ms"] > 0
    assert switch["gap_between_commits_ms"] > 0
    # Nobody knows names in a lab without the CI host: there is nothing to do, nor to undo, about them.
    assert data["dns"] == {
        "old_ttl": None,
        "new_ttl": None,
        "visitors_by_old": data["traffic"]["requests"],
        "visitors_by_new": 0,
        "last_by_old_s": None,
    }
    assert not {f"undo {name}" for name in ("dns-prepare", "switch-dns")} & {span.name for span in found.spans}
    assert {f"undo {name}" for name in ("replicate", "switch-db")} <= {span.name for span in found.spans}
