"""The page of the report without a browser: second by second, nothing fetched, nothing taken for HTML."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from lab.judging.audit import Audit
from lab.judging.switch import SwitchFacts
from lab.report.page import page
from lab.report.result import Rehearsal, Span
from lab.report.timeline import timeline
from lab.visitors.ledger import Book, RequestOutcome, Response

SPANS = [
    Span("before", 100, 102, quiet=True),
    Span(
        *("switch-db", 102, 106),
        steps=(Span("switch-db.copy", 103, 105),),
        title="Switch databases <quickly>",
        promised="they <wait>",
    ),
    Span("retire-old", 120, 121),
]


def answer(
    at: float, ms: float = 10, outcome: RequestOutcome = RequestOutcome.OK, kind: str = "home", **facts
) -> Response:
    return Response(kind=kind, at=at, ms=ms, outcome=outcome, **facts)


def rehearsal(*answers: Response, **facts) -> Rehearsal:
    return Rehearsal(Book(list(answers), [{"event": "end"}]), SPANS, Audit(), **facts)


ANSWERS = (
    answer(100, kind="order", order="V-1"),
    answer(100.2, 30),
    answer(100.9, 250),  # arrives in the next second
    answer(103.5, outcome=RequestOutcome.PAGE, status=503),
    answer(103.6, outcome=RequestOutcome.FAILED, status=502),
    answer(105.5, kind="order", order="V-2"),
    answer(105.6, 25_000, kind="big_upload"),
)


def test_second_by_second() -> None:
    line = timeline(rehearsal(*ANSWERS[:6]))
    assert line.seconds == 6
    assert line.counts["good"] == [2, 1, 0, 0, 0, 1]
    assert line.counts["page"] == [0, 0, 0, 1, 0, 0]
    assert line.counts["failed"] == [0, 0, 0, 1, 0, 0]
    assert line.usual[:3] == [10, 250, None]
    assert line.longest[:3] == [30, 250, None]
    assert line.counts["old"] == [1, 0, 0, 0, 0, 0]
    assert line.counts["new"] == [0, 0, 0, 0, 0, 1]
    # Sections only, counted from the first request, and none that came after the last visitor.
    assert [(mark.name, mark.started, mark.ended) for mark in line.marks] == [("switch-db", 2, 6)]


def test_an_upload_that_takes_long_on_purpose_is_no_long_wait() -> None:
    assert max(time or 0 for time in timeline(rehearsal(*ANSWERS)).longest) == 250


class Reader(HTMLParser):
    """Every address that a page names, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "action", "data")]


@pytest.mark.parametrize("answers", [ANSWERS, ANSWERS[:3], ()], ids=["failed", "good", "nobody"])
def test_nothing_is_fetched(answers: tuple[Response, ...]) -> None:
    text = page(rehearsal(*answers))
    read = Reader(text)
    assert "script" not in read.tags
    assert all(address.startswith("data:") for address in read.addresses)
    assert not re.search(r"url\(|@import", text)
    pictures = [address for address in read.addresses if address.startswith("data:image/svg+xml;base64,")]
    assert len(pictures) == (2 if answers else 0)
    for picture in pictures:
        svg = base64.b64decode(picture.partition(",")[2]).decode()
        assert not re.search(r'(href|src)="(?!#)', svg)
        assert "<svg" in svg


def test_texts_stay_texts() -> None:
    text = page(rehearsal(*ANSWERS, other_problems=["<b>bold</b>"], secrets_found=['in "<script>"']))
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<script>" not in text
    assert "Switch databases &lt;quickly&gt;" in text
    assert "Visitors: they &lt;wait&gt;" in text and text.count("Visitors: ") == 1


def test_the_headline_says_how_it_ended() -> None:
    assert "<h1>The move worked.</h1>" in page(rehearsal(*ANSWERS[:3]))
    assert "<h1>The move worked, and so did its undo.</h1>" in page(rehearsal(*ANSWERS[:3], looked_at=5))
    assert "<h1>This rehearsal failed.</h1>" in page(rehearsal(*ANSWERS))


def test_the_switch_has_its_numbers_and_no_empty_ones() -> None:
    copied = " ".join(page(rehearsal(*ANSWERS)).split())
    assert "<h2>The database switch</h2>" in copied and "while the maintenance page was up" in copied
    assert "Held for" not in copied and "None" not in copied
    known = SwitchFacts(21.4, 2, {}, 640.0, {"tables": 15, "rows": 12_345, "different": 0}, 103.0, 103.15)
    held = " ".join(page(rehearsal(*ANSWERS, switch=known)).split())
    for part in ("21 ms <small>in 2 tries", "150 ms <small>the last on old", "of 15 with 12,345 rows", "640 ms"):
        assert part in held, part
    assert "<h2>The database switch</h2>" not in page(Rehearsal(Book([], [{"event": "end"}]), [], Audit()))
