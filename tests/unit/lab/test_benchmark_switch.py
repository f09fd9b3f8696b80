"""How benchmarks/switch.py reckons: holds, and what visitors felt of them."""

from __future__ import annotations

import pytest

from benchmarks.switch import Done, felt, summary
from lab.judging.switch import SwitchFacts
from lab.visitors.ledger import Book, RequestOutcome, Response
from switchover.errors import Problem


def done(started: float, hold: float | None, **facts: object) -> Done:
    return Done(started, started + 2, SwitchFacts(hold, 1, {"pause": 1.0, "fence": hold or 0}, **facts))  # type: ignore[arg-type]


def answer(at: float, ms: float, outcome: RequestOutcome = RequestOutcome.OK, kind: str = "home") -> Response:
    return Response(kind=kind, at=at, ms=ms, outcome=outcome)


def test_holds() -> None:
    equal = {"tables": 3, "rows": 9, "different": 0}
    found = summary([done(0, hold, proof=equal) for hold in (20.0, 30.0, 90.0)])
    assert (found["runs"], found["median"], found["p95"], found["max"], found["tries"]) == (3, 30, 90, 90, 3)
    assert (found["parts"], found["different"]) == ({"pause": 1, "fence": 30}, 0)
    # What was not compared does not count as equal; one without a hold is no run.
    assert summary([done(0, 20.0)])["different"] == 1
    with pytest.raises(Problem, match="no hold"):
        summary([done(0, None)])


def test_the_longest_request_of_a_switch_against_stretches_without_one() -> None:
    """Each takes 2 s, the second after it belongs to neither, then come three stretches of 2 s."""
    answers = [answer(0.5, 150), answer(10.5, 250), answer(2.5, 9000), answer(21, 100)]
    answers += [answer(3.5, 40), answer(5.5, 60), answer(8, 50), answer(14, 70, RequestOutcome.FAILED)]
    found = felt([done(0, 20.0), done(10, 20.0), done(20, 20.0)], answers[:2] + answers[3:])
    assert found | {"requests": 0} == {
        "longest_ms": 150,
        "quiet_longest_p95_ms": 70,
        "above_ms": 80,
        "stretches": 9,
        "requests": 0,
        "failed": 1,
    }
    # One that begins in the second after a switch and goes on belongs to the stretches that it touches.
    assert felt([done(0, 20.0)], answers)["quiet_longest_p95_ms"] == 9000


def test_how_long_nobody_could_order() -> None:
    book = Book([answer(at, 100, kind="order") for at in (1, 2, 6.5)] + [answer(4, 1, RequestOutcome.PAGE, "order")])
    assert book.longest_without("order", 0, 7) == pytest.approx(4.5)
    assert book.longest_without("order", 6.7, 9) == pytest.approx(2.3)
    assert book.longest_without("me", 0, 3) == 3
