"""What the lab knows of a switch: from what its program printed, and from when the orders were committed."""

from __future__ import annotations

import json

import pytest

from lab.judging.switch import SwitchFacts, around, parse

SAID = """\
{"event": "ready", "towards": "new", "sequences": 11}
{"event": "switched", "towards": "new", "hold_ms": 21.4, "tries": 2, "parts": {"pause": 1.5, "fence": 4.2}}
progress 3 15 tables
proof {"tables": [{"table": "public.orders", "old": 500, "new": 500, "equal": true, "why": ""}, \
{"table": "public.tags", "old": 3, "new": 4, "equal": false, "why": ""}], \
"sequences": [{"sequence": "orders_id_seq", "old": 510, "new": 500, "equal": false}], "seconds": 0.8}
{"event": "proved", "equal": false}
"""
INTERRUPTED = '{"event": "interrupted", "why": "x", "right": "new", "hold_ms": 90.1, "tries": 1}\n'


def test_what_its_program_said() -> None:
    found = parse(SAID)
    assert (found.hold_ms, found.tries, found.parts) == (21.4, 2, {"pause": 1.5, "fence": 4.2})
    assert found.proof == {"tables": 2, "rows": 504, "different": 1}


def test_one_that_was_interrupted_after_its_commit_has_a_hold_and_no_proof() -> None:
    found = parse(INTERRUPTED)
    assert (found.hold_ms, found.tries, found.parts, found.proof) == (90.1, 1, {}, None)
    assert parse("").as_json() == dict.fromkeys(SwitchFacts().as_json())


@pytest.mark.parametrize(
    ("old", "new", "gap"),
    [
        ([1.0, 3.0, 2.0], [3.25, 4.0], 250.0),
        ([3.0], [2.0, 3.5], 500.0),  # what came alone in a copy is no order of new's
        ([], [1.0], None),
        ([1.0], [], None),
        ([1.0], [0.5], None),
    ],
)
def test_the_time_between_two_orders(old: list[float], new: list[float], gap: float | None) -> None:
    last, first = around(old, new)
    found = SwitchFacts(last_on_old=last, first_on_new=first).as_json()
    assert found["gap_between_commits_ms"] == gap
    assert json.loads(json.dumps(found)) == found
