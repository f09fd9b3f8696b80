"""One whole move by `copy`, under visitors: few of them, since a busy machine must not decide about it."""

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
    with Lab(seed_mb=5, ci=False, strategy="copy") as running:
        yield running


def test_a_whole_move_with_a_page(lab: Lab, tmp_path: Path) -> None:
    """Every section up to the old server's end: visitors see the page for a while, and no error."""
    plan = Plan(tmp_path, rate=20, slow_job=8, big_upload=(20, 8), page_grace=60)
    found = run_move(lab, plan)
    assert found.problems == []
    recorded = recorded_scripts(lab.hosts)
    assert len(recorded) > 100 and {"old", "new"} == {name.partition("/")[0] for name in recorded}
    assert faults(recorded) == ""
    data = found.as_json()
    assert data["traffic"]["page"] > 0
    assert all(data["orders"]["by_database"].values())
    # No order between the last one on old and the first one on new: about as long as the page was up.
    assert data["switch"] | {"longest_ms": 0, "quiet_longest_p95_ms": None, "gap_between_commits_ms": 0} == {
        "strategy": "copy",
        "hold_ms": None,
        "tries": None,
        "quiet_longest_p95_ms": None,
        "longest_ms": 0,
        "restart_hold_ms": None,
        "proof": None,
        "gap_between_commits_ms": 0,
    }
    [page] = [section["page_seconds"] for section in data["sections"] if section["name"] == "switch-db"]
    assert page - 1 < data["switch"]["gap_between_commits_ms"] / 1000 < page + 10
    # Nobody knows names in a lab without the CI host: there is nothing to do about them.
    assert data["dns"] == {
        "old_ttl": None,
        "new_ttl": None,
        "visitors_by_old": data["traffic"]["requests"],
        "visitors_by_new": 0,
        "last_by_old_s": None,
    }
