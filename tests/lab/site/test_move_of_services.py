"""A whole move and its undo where application and worker are services, whose verbs are settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.judging.shellcheck import faults, recorded_scripts
from lab.rehearsal import Plan, run_move
from lab.servers import Lab
from lab.world import SERVICES
from switchover.settings import load

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, world=SERVICES) as running:
        yield running


def test_a_whole_move_of_services_and_its_undo(lab: Lab, tmp_path: Path) -> None:
    """Nobody sees an error, no job is lost or runs twice, a push deploys by sudo, and all is as it was afterwards."""
    settings = load(lab.settings)
    assert {part.kind for role in (settings.old, settings.new) for part in (role.app, role.worker)} == {"service"}
    found = run_move(lab, Plan(tmp_path, rate=20, with_undo=True, slow_job=8, big_upload=(5, 3)))
    assert found.problems == []
    recorded = recorded_scripts(lab.hosts)
    assert len(recorded) > 100 and {"old", "new"} <= {name.partition("/")[0] for name in recorded}
    assert faults(recorded) == ""
    assert found.looked_at > 1000
    data = found.as_json()
    assert data["traffic"]["page"] == 0
    assert data["deploys"] == {"refused": 2, "by_ci": 1}
    assert set(data["jobs"]["by_host"]) == {"prod1.shop.test", "prod2.shop.test"}
    # It was under way when the worker was told to stop, and ended first.
    [slow] = [each for each in data["on_purpose"] if each["kind"] == "slow_job"]
    assert slow["ran_on"] == ["prod1.shop.test"]
    assert set(data["cron"]["by_host"]) == {"prod1.shop.test", "prod2.shop.test"}
    assert data["switch"]["proof"]["different"] == 0
    names = [span.name for span in found.spans if not span.quiet]
    assert (names[0], names[-1]) == ("check", "undo dns-prepare")
