"""The report of a rehearsal: what the visitors felt, section by section, and what became of what they were promised.

A request belongs to every section during which it was under way, even for a moment: a request that a section broke may
have begun before it, and one that it held may end after it. So the sections' numbers can add up to a little more than
the total, in which each request counts once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.judging.allowed import Allowed
from lab.judging.audit import Audit, counted
from lab.judging.inventory import LEFT_OUT, Difference
from lab.judging.observer import NOTHING
from lab.judging.secrets import KEPT_IN
from lab.judging.switch import SwitchFacts
from lab.sections import SWITCH, SWITCH_CRON, SWITCH_DB
from lab.visitors.ledger import Book, RequestOutcome, Response, percentile

# The sections after which orders go to another server's database, and which; they may show the maintenance page.
SWITCHES = {SWITCH_DB: "new", f"undo {SWITCH_DB}": "old"}
PAGE_GRACE = 2.0  # seconds that the page may be there longer than the copy takes
STILL = "after"  # the stretch after the switch in which nobody moves anything
WINDOWS = 0.5  # seconds from one window of it to the next
SLOW_ON_PURPOSE = ("big_upload",)  # their time says nothing about the servers


@dataclass(slots=True, frozen=True)
class Span:
    """A stretch of time with a name: a section, or a step of one. Unix seconds; `exit` is the command's status."""

    name: str
    started: float
    ended: float
    exit: int = 0
    steps: tuple["Span", ...] = ()
    quiet: bool = False  # no section: the traffic before and after
    title: str = ""  # what it does, in a sentence
    promised: str = ""  # what visitors shall feel, in a sentence
    outcome: str = ""  # of a step: what became of it

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    @property
    def copies(self) -> list["Span"]:
        """The steps that copy the database: their names begin with `copy`."""
        return [step for step in self.steps if step.name.split(".")[-1].startswith("copy")]

    def overlaps(self, answer: Response) -> bool:
        return answer.at < self.ended and self.started < answer.ended


@dataclass(slots=True)
class Rehearsal:
    """Everything that a rehearsal found out."""

    book: Book
    spans: list[Span]
    audit: Audit
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    looked_at: int = 0  # things compared after the undo; 0: there was none
    differences: list[Difference] = field(default_factory=list)
    left_out: Sequence[Allowed] = LEFT_OUT  # of the comparison
    other_problems: list[str] = field(default_factory=list)
    strategy: str = "replicate"
    switch: SwitchFacts = field(default_factory=SwitchFacts)
    observed: dict[str, dict[str, Any]] = field(default_factory=NOTHING.copy)  # by the observers' names
    page_grace: float = PAGE_GRACE
    secrets_found: list[str] = field(default_factory=list)
    secrets_looked_for: list[str] = field(default_factory=list)
    processes_seen: int = 0

    # --- what the visitors felt -----------------------------------------------------------------------------

    def failed(self, answers: Sequence[Response]) -> list[Response]:
        """Those that a visitor would call an error: all but good answers, and the page where it may be shown."""
        may_show = [span for span in self.spans if span.name in SWITCHES]

        def is_failure(answer: Response) -> bool:
            if answer.outcome is RequestOutcome.PAGE:
                return not any(span.overlaps(answer) for span in may_show)
            return answer.outcome is not RequestOutcome.OK

        return [answer for answer in answers if is_failure(answer)]

    def felt(self, answers: Sequence[Response]) -> dict[str, Any]:
        """The numbers of some requests, times in ms."""
        times = [answer.ms for answer in answers if answer.kind not in SLOW_ON_PURPOSE]
        return {
            "requests": len(answers),
            "failed": len(self.failed(answers)),
            "page": sum(answer.outcome is RequestOutcome.PAGE for answer in answers),
            "p50_ms": round(percentile(times, 50), 1),
            "p99_ms": round(percentile(times, 99), 1),
            "longest_ms": round(max(times, default=0.0), 1),
        }

    def during(self, span: Span) -> list[Response]:
        """The requests that were under way at any moment of a section."""
        return [answer for answer in self.book.answers if span.overlaps(answer)]

    def page(self, span: Span) -> tuple[float, float, float]:
        """For how long (s) the page was seen during a section, by how much that is longer than its copy took, and
        how much of that was after the copy.

        A step is the copy when its name begins with `copy`; without one the whole time of the page counts.
        """
        seen = [answer for answer in self.during(span) if answer.outcome is RequestOutcome.PAGE]
        if not seen:
            return 0.0, 0.0, 0.0
        first, last = min(answer.at for answer in seen), max(answer.ended for answer in seen)
        copies = span.copies
        longer = last - first - sum(step.seconds for step in copies)
        return last - first, longer, last - max((step.ended for step in copies), default=first)

    @property
    def switches(self) -> list[tuple[float, str]]:
        """When which server's database became the one that orders go to. None goes to any while it is copied."""
        done = [span for span in self.spans if span.name in SWITCHES and not span.exit]
        ends = [max((step.ended for step in span.copies), default=span.ended) for span in done]
        first = self.switch.first_on_new  # exactly; the way back is not asked
        return [
            (first if first and span.started < first < span.ended else end, SWITCHES[span.name])
            for span, end in zip(done, ends, strict=True)
        ]

    def database(self, order: Response) -> str:
        """The server whose database an order went to."""
        return next((name for moment, name in reversed(self.switches) if moment <= order.ended), "old")

    @property
    def switching(self) -> Span | None:
        """When the database was switched: the step that does it, or all of a section that has no such step."""
        done = [span for span in self.spans if span.name == SWITCH_DB and not span.exit]
        steps = [step for span in done for step in span.steps if step.name == SWITCH]
        return next(reversed(steps or done), None)

    @property
    def quiet_longest(self) -> float | None:
        """The longest request (ms) in windows as long as the switch, when nothing was moved: the p95 of all of them."""
        switching = self.switching
        if switching is None:
            return None
        windows = []
        for span in self.spans:
            if span.quiet and span.name == STILL and span.seconds >= switching.seconds:
                more = int((span.seconds - switching.seconds) / WINDOWS) + 1
                starts = [span.started + WINDOWS * number for number in range(more)]
                windows += [Span(span.name, at, at + switching.seconds) for at in starts]
        return percentile([self.longest(window) for window in windows], 95) if windows else None

    def longest(self, span: Span) -> float:
        """The longest request (ms) that was under way at any moment of it."""
        return max((answer.ms for answer in self.during(span) if answer.kind not in SLOW_ON_PURPOSE), default=0.0)

    # --- the judgement --------------------------------------------------------------------------------------

    @property
    def problems(self) -> list[str]:
        """Why this rehearsal failed, in words; empty when all is well."""
        ended = [span for span in self.spans if span.exit]
        found = [f"`{span.name}` ended with status {span.exit} after {span.seconds:.0f} s" for span in ended]
        failed = [self._described(answer) for answer in self.failed(self.book.answers)]
        found += counted("request(s) failed", failed)
        for span in self.spans:
            shown, more, after = self.page(span)
            if span.name in SWITCHES and more > self.page_grace:
                page = f"the maintenance page was shown for {shown:.1f} s in {span.name}"
                found.append(f"{page}, {more:.1f} s longer than the copy ({after:.1f} s of that after it)")
        found += self.audit.problems
        if any(span.name == SWITCH_CRON and not span.exit for span in self.spans):
            found += self.audit.cron.problems
        different = [f"{difference.server}: {difference.what}" for difference in self.differences]
        found += counted("thing(s) are not as they were before the move", different)
        found += counted("secret(s) where none may be", self.secrets_found)
        found += [f"the visitors themselves broke: {event['why']}" for event in self.book.named("broken")]
        if not self.book.named("end"):
            found.append("the visitors did not come to their end")
        return found + self.other_problems

    def _described(self, answer: Response) -> str:
        where = next((span for span in self.spans if span.overlaps(answer)), None)
        when = f" {answer.at - where.started:.1f} s into {where.name}" if where else ""
        what = f"{answer.status}" if answer.status else str(answer.outcome)
        if answer.outcome in (RequestOutcome.WRONG, RequestOutcome.RESET):
            what = f"{answer.outcome}: {(answer.note or '')[:90]}"
        return f"{answer.kind}{when} ({what})"

    # --- as data --------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The whole report, as report.json has it."""
        book, answers, problems = self.book, self.book.answers, self.problems
        seconds = max((a.at for a in answers), default=0.0) - min((a.at for a in answers), default=0.0)
        audit = self.audit.as_report()
        databases = [self.database(order) for order in book.acknowledged("order")]
        audit["orders"]["by_database"] = {name: databases.count(name) for name in ("old", "new")}
        return {
            "ok": not problems,
            "problems": problems,
            "strategy": self.strategy,
            "switch": self._switch(),
            "servers": self.servers,
            "traffic": {
                **self.felt(answers),
                "seconds": round(seconds, 1),
                "rate": round(len(answers) / seconds, 1) if seconds else 0.0,
                "on_new_connections": sum(answer.fresh for answer in answers),
                "reopened": sum(answer.reopened for answer in answers),
                "visitors_own_lag_ms": book.own_lag(),
                "kinds": dict(sorted(Counter(answer.kind for answer in answers).items())),
            },
            "started": round(min((span.started for span in self.spans), default=0.0), 1),
            "sections": [self._section(span) for span in self.spans if not span.quiet],
            "quiet": [self._section(span) for span in self.spans if span.quiet],
            **audit,
            **self.observed,
            "secrets_found": self.secrets_found,
            "secrets": {
                "looked_for": len(self.secrets_looked_for),
                "names": self.secrets_looked_for,
                "processes_seen": self.processes_seen,
                "kept_in": [{"what": list(kept.what), "why": kept.why} for kept in KEPT_IN],
            },
            "on_purpose": [self._on_purpose(a) for a in answers if a.slow_job or a.kind == "big_upload"],
            "undo": {
                "compared": self.looked_at,
                "different": len(self.differences),
                "differences": [str(difference) for difference in self.differences],
                "left_out": [{"what": list(rule.what), "why": rule.why} for rule in self.left_out],
            },
        }

    def _switch(self) -> dict[str, Any]:
        switching, quiet = self.switching, self.quiet_longest
        return {
            "strategy": self.strategy,
            "quiet_longest_p95_ms": None if quiet is None else round(quiet, 1),
            "longest_ms": None if switching is None else round(self.longest(switching), 1),
            **self.switch.as_json(),
        }

    def _section(self, span: Span) -> dict[str, Any]:
        shown, more, after = self.page(span)
        return {
            "name": span.name,
            "title": span.title,
            "promised": span.promised,
            "started": round(span.started, 1),
            "seconds": round(span.seconds, 1),
            "exit": span.exit,
            **self.felt(self.during(span)),
            "page_seconds": round(shown, 2),
            "page_longer_than_copy_seconds": round(more, 2),
            "page_after_copy_seconds": round(after, 2),
            "visitors_own_lag_ms": self.book.own_lag(span.started, span.ended),
            "steps": [{"name": s.name, "outcome": s.outcome, "seconds": round(s.seconds, 2)} for s in span.steps],
        }

    def _on_purpose(self, answer: Response) -> dict[str, Any]:
        return {
            "kind": answer.kind,
            "name": answer.slow_job or answer.upload,
            "seconds": round(answer.ms / 1000, 1),
            "outcome": str(answer.outcome),
            "by": answer.by,
            "ran_on": self.audit.jobs_on.get(answer.slow_job or "", []),
            "sections": [span.name for span in self.spans if not span.quiet and span.overlaps(answer)],
        }
