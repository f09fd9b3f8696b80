"""The operator's command killed (SIGKILL) at a point each of some steps, drawn by chance: completed, and undone.

All points take long: `inv lab.kills`. SWITCHOVER_KILLS_SEED repeats a drawing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import crash_points
from lab.report import terminal
from lab.servers import Lab

SAMPLE = int(os.environ.get("SWITCHOVER_KILLS_SAMPLE", "3"))

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, strategy="copy") as running:
        yield running


def test_a_killed_command_is_completed_and_undone(lab: Lab) -> None:
    walk = crash_points.Walk(lab, terminal.console())
    result = walk.all_steps(sample=SAMPLE, seed=int(os.environ["SWITCHOVER_KILLS_SEED"]))
    assert result.wrong == []
    assert result.total["completed"] == result.total["points"] > 0
