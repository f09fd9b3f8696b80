"""The visitors together: so many a second, whatever the site answers, and the ledger of its answers.

An open loop: requests start when the clock says so and are never held back by slow answers, so a server that
stalls for two seconds meets every visitor who came in those two seconds.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from .browser import Browser, Reply
from .ledger import Ledger, RequestOutcome

FRESH = 0.2  # of the visits come on a new connection
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

Scenario = Callable[[Any, float], Coroutine[Any, Any, None]]  # of a crowd, when it is due


class Crowd:
    """Visitors who come at a fixed rate, each for one of *mix*: scenarios, with how many of all visits each is."""

    def __init__(self, browser: Browser, ledger: Ledger, rate: float, mix: dict[Scenario, int]) -> None:
        self.browser, self.ledger, self.rate, self.mix = browser, ledger, rate, mix
        self.stopping = asyncio.Event()
        self.requests = 0
        self.dice = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def visit(self, seconds: float | None = None) -> None:
        """Sends visitors at the fixed rate for `seconds` or until `stopping`; waits for their answers."""
        loop = asyncio.get_running_loop()
        started, stopped = loop.time(), asyncio.create_task(self.stopping.wait())
        for number, scenario in enumerate(self._deck()):
            due = started + number / self.rate
            if seconds is not None and number >= seconds * self.rate:
                break
            if (early := due - loop.time()) > 0:
                await asyncio.wait([stopped], timeout=early)
            if self.stopping.is_set():
                break
            self.spawn(scenario(self, due))
        stopped.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Waits until everyone who came has an answer, or gave up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, visit: Coroutine[Any, Any, None]) -> None:
        """Lets a visit run beside all others."""
        task = asyncio.create_task(visit)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A mistake in the visitors must not look like a quiet day on the servers.
            self.ledger.event("broken", at=time.time(), why=repr(error))

    def _deck(self) -> Iterator[Scenario]:
        """The visits, endlessly, in exactly the shares of the mix."""
        cards = [scenario for scenario, share in self.mix.items() for _ in range(share)]
        while True:
            self.dice.shuffle(cards)
            yield from cards

    async def ask(
        self, kind: str, path: str, right: Callable[[Reply], bool], *, due: float | None = None,
        form: Mapping[str, object] | None = None, fresh: bool | None = None, facts: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None, **request: Any,
    ) -> Reply:  # fmt: skip
        """Asks, judges the content by `right`, and writes the answer down with what it promises (`facts`).

        It is a POST where there is a *form* or `data`.
        """
        late = 0.0 if due is None else asyncio.get_running_loop().time() - due
        fresh = self.dice.random() < FRESH if fresh is None else fresh
        if form is not None:
            headers, request["data"] = FORM | (headers or {}), urlencode(form).encode()
        method = "POST" if "data" in request else "GET"
        reply = await self.browser.ask(method, path, fresh=fresh, headers=headers, **request)
        is_right = not reply.answer.acknowledged or _is_right(right, reply)  # which may add to the facts
        answer = replace(reply.answer, kind=kind, late_ms=round(late * 1000, 1), **facts or {})
        if not is_right:
            note = f"not what {path} should be: {reply.text[:160]}"
            answer = replace(answer, outcome=RequestOutcome.WRONG, note=note)
        self.requests += 1
        self.ledger.answer(answer)
        return replace(reply, answer=answer)


def _is_right(right: Callable[[Reply], bool], reply: Reply) -> bool:
    try:
        return right(reply)
    except (ValueError, KeyError, TypeError):  # no JSON, or without the field
        return False


async def record_own_lag(ledger: Ledger) -> None:
    """Writes down each second how late this program itself was: a busy machine is no slow server."""
    loop = asyncio.get_running_loop()
    while True:
        since, worst = time.time(), 0.0
        for _ in range(50):
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            worst = max(worst, loop.time() - due)
        ledger.event("lag", since=round(since, 3), at=round(time.time(), 3), max_ms=round(worst * 1000, 1))
