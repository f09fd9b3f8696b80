"""The ledger: the answers that visitors got, written by their own process the moment it arrived.

JSON lines, appended and flushed one by one, so that a crash of anything else loses none of them. Two sorts:
answers (they have a `kind`) and events (they have an `event`: start, lag, upload started, end). Times are
unix seconds, durations are milliseconds.
"""

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any


class RequestOutcome(StrEnum):
    """How a request ended for the visitor who made it."""

    OK = "ok"  # the answer that was hoped for, with the content that was hoped for
    PAGE = "page"  # the maintenance page: 503 with Retry-After
    FAILED = "failed"  # any other answer that is not 2xx or 3xx
    WRONG = "wrong"  # 2xx or 3xx, but not what was asked for (another site's page, another upload's bytes)
    TIMEOUT = "timeout"  # no whole answer in time
    RESET = "reset"  # refused, reset or closed before the whole answer was there


@dataclass(slots=True, frozen=True)
class Response:
    """One request of a visitor, as the visitor felt it.

    `at` is when it was sent, `late_ms` how much later that was than planned (the visitors' own lateness).
    `order`, `upload` with `sha256`, `session` and `slow_job` say what a visitor may rely on from now on: they
    are promises only where the outcome is `ok`, `acknowledged` tells.
    """

    kind: str
    at: float
    ms: float
    outcome: RequestOutcome
    status: int | None = None
    by: str | None = None  # X-Served-By: the host name of the server whose application answered
    to: str | None = None  # the address that the visitor came to
    late_ms: float = 0.0
    fresh: bool = False  # on a new connection, not on a kept one
    reopened: bool = False  # made again on a new connection, as a browser does
    order: str | None = None
    product: int | None = None
    quantity: int | None = None
    upload: str | None = None
    sha256: str | None = None
    session: str | None = None
    slow_job: str | None = None
    note: str | None = None

    @property
    def ended(self) -> float:
        """When the answer was complete, or given up (unix seconds)."""
        return self.at + self.ms / 1000

    @property
    def acknowledged(self) -> bool:
        """True when the visitor may rely on it."""
        return self.outcome is RequestOutcome.OK

    def line(self) -> str:
        """The answer as one line of JSON, what is empty left out."""
        facts = {key: value for key, value in asdict(self).items() if value not in (None, False)}
        return json.dumps(facts | {"at": round(self.at, 4), "ms": round(self.ms, 2)}, ensure_ascii=False)


@dataclass(slots=True)
class Book:
    """A ledger read back: answers in the order in which they arrived, and events."""

    answers: list[Response] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def acknowledged(self, kind: str) -> list[Response]:
        """The answers of a kind that the visitors may rely on."""
        return [answer for answer in self.answers if answer.kind == kind and answer.acknowledged]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The events of a name."""
        return [record for record in self.events if record["event"] == event]

    def longest_without(self, kind: str, start: float, end: float) -> float:
        """The longest time (s) between two moments in which no answer of a kind came that its visitor may rely on."""
        came = sorted(answer.ended for answer in self.acknowledged(kind) if start < answer.ended < end)
        return max(later - at for at, later in pairwise([start, *came, end]))

    def own_lag(self, start: float = -math.inf, end: float = math.inf) -> float:
        """The longest time (ms) that the visitors' own program kept itself waiting between two moments."""
        lags = [lag["max_ms"] for lag in self.named("lag") if start <= lag["at"] and lag["since"] <= end]
        return float(max(lags, default=0.0))


class Ledger(AbstractContextManager["Ledger"]):
    """The open ledger, for the one process that writes it. Appends, and flushes every line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def answer(self, answer: Response) -> None:
        """Writes an answer down."""
        self._file.write(answer.line() + "\n")

    def event(self, event: str, **facts: object) -> None:
        """Writes down something that is no answer."""
        self._file.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(path: Path) -> Book:
    """Reads a ledger, also one that is being written: without a last line that is not whole yet, or cut by a crash.

    Raises ValueError for other broken lines.
    """
    book = Book()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            facts = json.loads(line)
            if "event" in facts:
                book.events.append(facts)
            else:
                book.answers.append(Response(**facts | {"outcome": RequestOutcome(facts["outcome"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"line {number} of the ledger is not one of ours: {line[:80]!r}") from error
    return book


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all values do not exceed (nearest rank); 0 when there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
