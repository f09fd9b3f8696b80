"""What the program of the switch is told: how long visitors may be held."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from switchover.database import capacity, host, switch
from switchover.move import Move

ROOT = Path(__file__).parents[3]
SQL = ROOT / "switchover/database/switch.sql"


@pytest.mark.parametrize(
    ("takes", "holds", "because"),
    [
        (7.7, 5, ""),
        (3.21, 3.2, "held for 3.2 s at most, not 5: old's nginx holds 160 requests"),
    ],
)
def test_nobody_is_held_longer_than_the_queues_take(
    here: Callable[..., Move], monkeypatch: pytest.MonkeyPatch, takes: float, holds: float, because: str
) -> None:
    monkeypatch.setattr(host, "gather", lambda move: None)
    monkeypatch.setattr(capacity, "longest_hold", lambda found: (takes, capacity.RequestQueue("old's nginx", 160)))
    told = json.loads(switch.config(here(), {}))
    assert (told["max_hold"], told["max_hold_because"]) == (holds, because)


def test_what_nobody_could_find_out_shortens_nothing(
    here: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(move: Move) -> None:
        raise host.Unknown("nginx")

    monkeypatch.setattr(host, "gather", unknown)
    assert json.loads(switch.config(here(), {}))["max_hold"] == 5


def test_what_is_asked_of_a_database_is_there() -> None:
    """Programs, templates and looks ask by name; a name that is not in switch.sql would be found on a server alone."""
    made = set(
        re.findall(r"CREATE (?:OR REPLACE FUNCTION|TABLE IF NOT EXISTS) switchover_own[.](\w+)", SQL.read_text())
    )
    asked = set()
    for folder in ("switchover", "templates", "scripts/server"):
        for file in (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"):
            asked |= set(re.findall(r"switchover_own[.](\w+)", file.read_text()))
    assert len(made) > 25 and asked == made
