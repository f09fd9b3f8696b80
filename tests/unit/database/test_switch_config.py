"""What the program of the switch is told: how long visitors may be held."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from switchover.database import capacity, host, switch
from switchover.move import Move


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
