"""What the visitors felt, second by second: the numbers behind the report's charts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.report.result import SLOW_ON_PURPOSE, Rehearsal, Span
from lab.visitors.ledger import RequestOutcome, percentile


@dataclass(slots=True, frozen=True)
class Timeline:
    """One number a second, from the first request on; an answer belongs to the second in which it arrived."""

    counts: dict[str, Sequence[int]]  # of answers: good, page, failed; of orders, by their database: old, new
    usual: Sequence[float | None]  # ms, the median; None in a second without an answer
    longest: Sequence[float | None]  # ms
    marks: Sequence[Span]  # the sections, in order; their times count from the first request

    @property
    def seconds(self) -> int:
        return len(self.usual)


def timeline(found: Rehearsal) -> Timeline:
    """The timeline of a rehearsal."""
    answers = found.book.answers
    started = min((answer.at for answer in answers), default=0.0)
    seconds = int(max((answer.ended for answer in answers), default=started) - started) + 1
    failed = {id(answer) for answer in found.failed(answers)}
    counts = {name: [0] * seconds for name in ("good", "page", "failed", "old", "new")}
    times: list[list[float]] = [[] for _ in range(seconds)]
    for answer in answers:
        second = int(answer.ended - started)
        page = "page" if answer.outcome is RequestOutcome.PAGE else "good"
        counts["failed" if id(answer) in failed else page][second] += 1
        if answer.kind not in SLOW_ON_PURPOSE:
            times[second].append(answer.ms)
        if answer.kind == "order" and answer.acknowledged:
            counts[found.database(answer)][second] += 1
    sections = [span for span in found.spans if not span.quiet and span.started - started < seconds]
    return Timeline(
        {**counts},
        [percentile(some, 50) if some else None for some in times],
        [max(some, default=None) for some in times],
        [Span(span.name, span.started - started, span.ended - started) for span in sections],
    )
