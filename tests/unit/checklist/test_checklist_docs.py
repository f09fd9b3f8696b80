"""docs/checklist.md and the tasks that exist say the same."""

from __future__ import annotations

import re
from pathlib import Path

from switchover import checklist

ROOT = Path(__file__).parents[3]
ROWS = [
    [cell.strip() for cell in line.strip()[1:-1].split("|")]
    for line in (ROOT / "docs/checklist.md").read_text().splitlines()
    if line.startswith("|") and not set(line) <= set("|- ")
]


def test_every_step_has_a_line_and_every_line_a_step() -> None:
    named = {name for row in ROWS for name in re.findall(r"`inv ([a-z.-]+)`", row[1] if len(row) > 1 else "")}
    assert named == {one.line for one in checklist.steps()}


def test_every_line_says_how_it_is_undone() -> None:
    lines = [row for row in ROWS if row[0] != "line"]
    assert len(lines) > 50
    assert [row for row in lines if len(row) < 3 or not row[2]] == []
