"""The report: to which section a request belongs, what counts as a failure, and what the terminal shows."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from lab.judging.audit import Audit
from lab.judging.inventory import Difference
from lab.judging.switch import SwitchFacts
from lab.report.result import Rehearsal, Span
from lab.report.terminal import show
from lab.visitors.ledger import Book, RequestOutcome, Response

SPANS = [
    Span("before", 0, 10, quiet=True),
    Span("switch-app", 10, 20, steps=(Span("switch-app.proxy", 10, 12),)),
    Span("switch-db", 20, 40, steps=(Span("switch-db.page-on", 20, 21), Span("switch-db.copy", 21, 31))),
    Span("after", 40, 50, quiet=True),
]
END = [{"event": "end"}]


def answer(
    at: float, seconds: float = 0.1, outcome: RequestOutcome = RequestOutcome.OK, kind: str = "home", **facts
) -> Response:
    return Response(kind=kind, at=at, ms=seconds * 1000, outcome=outcome, **facts)


def page(at: float, seconds: float = 0.1) -> Response:
    return answer(at, seconds, RequestOutcome.PAGE, status=503)


def rehearsal(*answers: Response, **facts) -> Rehearsal:
    return Rehearsal(Book(list(answers), facts.pop("events", END)), facts.pop("spans", SPANS), Audit(), **facts)


def test_a_good_rehearsal() -> None:
    found = rehearsal(answer(1), answer(11, 0.5), answer(45))
    data = found.as_json()
    assert (data["ok"], data["problems"]) == (True, [])
    assert [section["name"] for section in data["sections"]] == ["switch-app", "switch-db"]
    assert data["sections"][0] | {"steps": None} == {
        "name": "switch-app",
        "title": "",
        "promised": "",
        "started": 10,
        "seconds": 10,
        "exit": 0,
        "requests": 1,
        "failed": 0,
        "page": 0,
        "p50_ms": 500.0,
        "p99_ms": 500.0,
        "longest_ms": 500.0,
        "page_seconds": 0,
        "page_longer_than_copy_seconds": 0,
        "page_after_copy_seconds": 0,
        "visitors_own_lag_ms": 0,
        "steps": None,
    }
    assert data["traffic"]["requests"] == 3
    assert json.loads(json.dumps(data)) == data


def test_report_has_what_was_promised() -> None:
    data = rehearsal(answer(1)).as_json()
    assert {"os", "postgresql"} >= set(data["servers"].get("old", {}))
    for key, fields in {
        "traffic": {"requests", "failed", "rate", "p50_ms", "p99_ms", "longest_ms"},
        "orders": {"acknowledged", "lost", "duplicated"},
        "uploads": {"acknowledged", "lost"},
        "jobs": {"expected", "never_ran", "ran_twice"},
        "cron": {"expected", "missed", "ran_twice"},
        "sessions": {"checked", "lost"},
        "undo": {"compared", "different"},
        "switch": {"strategy", "hold_ms", "tries", "quiet_longest_p95_ms", "longest_ms", "restart_hold_ms", "proof"},
    }.items():
        assert fields <= set(data[key]), key
    assert {"name", "seconds", "requests", "failed", "longest_ms"} <= set(data["sections"][0])


def test_a_request_belongs_to_every_section_it_touches_and_counts_once_in_all() -> None:
    found = rehearsal(answer(9.5, 11), answer(30))
    assert [section["requests"] for section in found.as_json()["sections"]] == [1, 2]
    assert found.as_json()["traffic"]["requests"] == 2


@pytest.mark.parametrize(
    "bad",
    [
        answer(11, outcome=RequestOutcome.FAILED, status=502),
        answer(11, 30, RequestOutcome.TIMEOUT),
        answer(11, outcome=RequestOutcome.RESET, note="ServerDisconnectedError"),
        answer(11, outcome=RequestOutcome.WRONG, status=200, note="not what / should be"),
        page(11),  # the page outside of its section
        answer(25, outcome=RequestOutcome.FAILED, status=503),  # inside, but without Retry-After
        answer(25, outcome=RequestOutcome.FAILED, status=500),
    ],
)
def test_what_counts_as_failed(bad: Response) -> None:
    found = rehearsal(answer(1), bad)
    assert found.as_json()["traffic"]["failed"] == 1
    assert len(found.problems) == 1
    assert found.problems[0].startswith("1 request(s) failed: home ")


def test_the_page_is_no_failure_where_it_may_be() -> None:
    found = rehearsal(page(21), page(30.5))
    section = found.as_json()["sections"][1]
    assert (section["failed"], section["page"], section["page_seconds"]) == (0, 2, 9.6)
    assert found.problems == []


def test_the_page_of_a_request_that_began_before_its_section() -> None:
    assert rehearsal(page(19.9, 0.3)).as_json()["traffic"]["failed"] == 0


def test_the_page_may_not_outlast_the_copy() -> None:
    assert rehearsal(page(20.5), page(32.3)).problems == []  # 11.9 s, and a copy of 10 s
    [problem] = rehearsal(page(20.5), page(32.9)).problems
    shown = "the maintenance page was shown for 12.5 s in switch-db"
    assert problem == f"{shown}, 2.5 s longer than the copy (2.0 s of that after it)"


def test_orders_by_the_database_they_went_to() -> None:
    """By when the copy was done, there and back; while it is under way nobody can order."""
    back = Span("undo switch-db", 60, 80, steps=(Span("switch-db.copy", 65, 70),))
    orders = [answer(at, kind="order", order=f"V-{at}") for at in (1, 20, 32, 55, 75)]
    found = rehearsal(*orders, answer(33, kind="order", outcome=RequestOutcome.RESET), spans=[*SPANS, back])
    assert found.switches == [(31, "new"), (70, "old")]
    assert found.as_json()["orders"]["by_database"] == {"old": 3, "new": 2}
    failed = rehearsal(*orders, spans=[SPANS[0], replace(SPANS[2], exit=1)])
    assert failed.as_json()["orders"]["by_database"] == {"old": 5, "new": 0}


FOLLOWED = [
    Span("switch-db", 20, 30, steps=(Span("switch-db.can-switch", 20, 22), Span("switch-db.switch", 22, 24))),
    Span("after", 40, 45, quiet=True),
]


def test_orders_by_the_database_that_committed_them() -> None:
    orders = [answer(at, kind="order", order=f"V-{at}") for at in (21, 22.5, 23.5, 32)]
    found = rehearsal(*orders, spans=FOLLOWED, switch=SwitchFacts(last_on_old=22.55, first_on_new=23.4))
    assert found.switches == [(23.4, "new")]
    assert found.as_json()["orders"]["by_database"] == {"old": 2, "new": 2}


def test_the_switch_against_windows_as_long_without_one() -> None:
    """Two seconds of switching; of the seven windows in the five seconds afterwards the longest but few counts."""
    felt = [answer(21, 9), answer(23.9, 0.2), answer(25, 7), answer(40.2, 0.05), answer(44.95, 0.08)]
    known = SwitchFacts(21.0, 1, {}, 640.0, {"tables": 2, "rows": 9, "different": 0}, 100.0, 100.25)
    data = rehearsal(answer(22, 0.1), *felt[1:], spans=FOLLOWED, switch=known, strategy="replicate").as_json()
    assert data["switch"] == {
        "strategy": "replicate",
        "hold_ms": 21.0,
        "tries": 1,
        "quiet_longest_p95_ms": 80.0,
        "longest_ms": 200.0,
        "restart_hold_ms": 640.0,
        "proof": {"tables": 2, "rows": 9, "different": 0},
        "gap_between_commits_ms": 250.0,
    }
    assert rehearsal(*felt, spans=FOLLOWED).as_json()["switch"]["longest_ms"] == 9000.0


def test_a_switch_by_copy_or_none_has_no_hold() -> None:
    data = rehearsal(page(25, 3), answer(46), strategy="copy").as_json()["switch"]
    # All of the section counts, since no step of it is the switch; no stretch afterwards is as long.
    assert (data["longest_ms"], data["quiet_longest_p95_ms"], data["hold_ms"], data["proof"]) == (
        3000,
        None,
        None,
        None,
    )
    none = rehearsal(answer(1), spans=SPANS[:2], strategy="copy").as_json()["switch"]
    assert none == dict.fromkeys(data) | {"strategy": "copy"}


def test_cron_counts_once_a_section_takes_care_of_it() -> None:
    found = rehearsal(answer(1))
    found.audit.cron.twice = {"12:00": "UTC"}
    assert found.problems == []
    found.spans = [*SPANS, Span("switch-cron", 50, 51)]
    assert found.problems == ["1 cron run(s) ran twice: 12:00 (UTC)"]


def test_a_section_that_failed_and_visitors_who_did_not_end() -> None:
    spans = [SPANS[0], replace(SPANS[1], exit=1)]
    assert rehearsal(answer(1), spans=spans, events=[]).problems == [
        "`switch-app` ended with status 1 after 10 s",
        "the visitors did not come to their end",
    ]


def test_a_mistake_in_the_visitors_is_no_quiet_day() -> None:
    found = rehearsal(answer(1), events=[*END, {"event": "broken", "why": "KeyError('x')"}])
    assert found.problems == ["the visitors themselves broke: KeyError('x')"]


def test_the_big_upload_takes_its_time_but_may_not_fail() -> None:
    big = answer(11, 25, kind="big_upload", upload="big.bin", by="prod1.shop.test")
    data = rehearsal(answer(12), big).as_json()
    assert data["traffic"]["longest_ms"] == 100
    assert data["on_purpose"] == [
        {
            "kind": "big_upload",
            "name": "big.bin",
            "seconds": 25.0,
            "outcome": "ok",
            "by": "prod1.shop.test",
            "ran_on": [],
            "sections": ["switch-app", "switch-db"],
        }
    ]
    assert rehearsal(replace(big, outcome=RequestOutcome.RESET)).as_json()["traffic"]["failed"] == 1


def test_differences_after_the_undo_fail_it() -> None:
    found = rehearsal(answer(1), looked_at=100, differences=[Difference("old", "file /etc/x", None, "f")])
    assert found.as_json()["undo"]["different"] == 1
    assert found.problems == ["1 thing(s) are not as they were before the move: old: file /etc/x"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_every_section_and_the_judgement_last(width: int) -> None:
    def printed(found: Rehearsal) -> str:
        out = io.StringIO()
        show(
            found,
            Console(file=out, width=width, highlight=False, force_terminal=True, color_system=None),
            saved="Report: reports/report.json",
        )
        return out.getvalue()

    retired = [*SPANS, Span("retire-old", 60, 69)]
    good = printed(rehearsal(answer(1), page(21), looked_at=100, spans=retired))
    for part in ("switch-app", "switch-db", "(before)", "orders", "sessions", "logs: both applications"):
        assert part in good
    assert "retire-old 9.0 s 0" in " ".join(good.split())  # nobody came: no times
    assert good.index("✓ 2 requests, none failed.") > good.index("Left out of the comparison")
    assert "✓ The maintenance page was up for 0.1 s (switch-db)." in " ".join(good.split())
    known = SwitchFacts(21.4, 1, proof={"tables": 15, "rows": 1234, "different": 0})
    switched = " ".join(printed(rehearsal(answer(1), switch=known)).split())
    assert "in a hold of 21 ms; 1,234 rows of 15 tables were equal" in switched
    bad = printed(rehearsal(answer(11, outcome=RequestOutcome.FAILED, status=502)))
    assert "✗ This rehearsal failed." in bad
    assert "switch-app (502)" in " ".join(bad.split())
    assert all(len(line) <= width for line in good.splitlines() if "report.json" not in line)
