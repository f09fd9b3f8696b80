"""The visitors: so many requests a second to the shop, whatever it answers, and the ledger of its answers.

An open loop: requests start when the clock says so and are never held back by slow answers, so a server that
stalls for two seconds meets every visitor who came in those two seconds. Runs in the visitors' network:

    python -m lab.visitors.scenarios --ledger FILE --rate 50 --ca ca.pem --address 10.77.0.11 --address fd77::11

Ends after --seconds or at SIGTERM: nobody new comes, those waiting get their answers, then every session is
asked for once more. A second signal ends it at once. With --control it reads lines from its standard input
(and ends when that closes, so that it never outlives who started it):

    slow-job 40            enqueue one job that takes 40 s
    big-upload 100 25      upload 100 MB evenly over 25 s
    finish                 like SIGTERM
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import html
import itertools
import json
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lab.visitors.browser import Browser, Reply, Site
from lab.visitors.ledger import Answer, Ledger, Outcome
from lab.world import SHOP

# Of 100 visits. Orders are many, since they are what a move can lose; a login is three requests.
MIX = {
    "home": 13,
    "product": 21,
    "cached": 8,
    "recent": 8,
    "static": 8,
    "plain": 3,
    "order": 20,
    "login": 2,
    "me": 9,
    "upload": 3,
    "read_upload": 5,
}
STATICS = (
    "/404.html",
    "/system/products/1.jpg",
    "/system/products/7.jpg",
    "/system/products/Gr%C3%B6%C3%9Fe%201/all.jpg",
)
FRESH = 0.2  # of the visits come on a new connection
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
KILOBYTES = (20, 200)  # the size of an ordinary upload


@dataclass(slots=True)
class Session:
    """A visitor who is logged in: the name given, and the cookies held."""

    name: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def header(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items())}

    def take(self, reply: Reply) -> None:
        """Keeps the cookies which an answer sets."""
        for line in reply.headers.getall("Set-Cookie", ()):
            key, _, value = line.partition(";")[0].partition("=")
            self.cookies[key.strip()] = value.strip()


class Crowd:
    """All visitors together: what each of them does, and what they remember of the answers."""

    def __init__(
        self,
        browser: Browser,
        ledger: Ledger,
        *,
        rate: float,
        statics: Sequence[str] = STATICS,
        seed: int = 1,
        only: str | None = None,
    ) -> None:
        self.browser = browser
        self.ledger = ledger
        self.rate = rate
        self.mix = MIX if only is None else {only: 1}
        self.stopping = asyncio.Event()
        self.requests = 0
        self._dice = random.Random(seed)
        self._run = f"{int(time.time()):x}"  # makes numbers and names unique from run to run
        self._count = itertools.count(1)
        self._sessions: list[Session] = []
        self._uploads: dict[str, str] = {}
        self._products: dict[int, str] = {1: ""}
        self._statics: dict[str, str] = dict.fromkeys(statics, "")
        self._bytes = os.urandom(KILOBYTES[1] * 1000)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- when they come -------------------------------------------------------------------------------------

    async def visit(self, seconds: float | None = None) -> None:
        """Sends visitors at the fixed rate for `seconds` or until `stopping`; waits for their answers."""
        await self.look_around()
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number, kind in enumerate(self._deck()):
            due = started + number / self.rate
            if seconds is not None and number >= seconds * self.rate:
                break
            if (early := due - loop.time()) > 0:
                await asyncio.wait([self._stopped], timeout=early)
            if self.stopping.is_set():
                break
            scenario: Callable[[float], Coroutine[Any, Any, None]] = getattr(self, kind)
            self.spawn(scenario(due))
        await self.settle()

    async def settle(self) -> None:
        """Waits until everyone who came has an answer, or gave up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Lets a scenario run beside all others."""
        task = asyncio.create_task(scenario)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A mistake in the visitors must not look like a quiet day on the servers.
            self.ledger.event("broken", at=time.time(), why=repr(error))

    @property
    def _stopped(self) -> asyncio.Task[bool]:
        if not hasattr(self, "_stop_task"):
            self._stop_task = asyncio.create_task(self.stopping.wait())
        return self._stop_task

    def _deck(self) -> Sequence[str] | Any:
        """The kinds of visit, endlessly, in exactly the shares of the mix."""
        cards = [kind for kind, share in self.mix.items() for _ in range(share)]
        while True:
            self._dice.shuffle(cards)
            yield from cards

    # --- one request ----------------------------------------------------------------------------------------

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        due: float | None = None,
        right: Callable[[Reply], bool] | None = None,
        fresh: bool | None = None,
        facts: dict[str, Any] | None = None,
        **request: Any,
    ) -> Reply:
        """Asks, judges the content by `right`, and writes the answer down with what it promises (`facts`)."""
        late = 0.0 if due is None else asyncio.get_running_loop().time() - due
        fresh = self._dice.random() < FRESH if fresh is None else fresh
        reply = await self.browser.ask(method, path, fresh=fresh, **request)
        if reply.outcome is Outcome.OK and right is not None and not _is_right(right, reply):
            reply = reply.wrong(f"not what {path} should be: {reply.body[:160].decode(errors='replace')}")
        self.requests += 1
        self.ledger.answer(
            Answer(
                kind=kind,
                at=reply.at,
                ms=reply.ms,
                outcome=reply.outcome,
                status=reply.status,
                by=reply.headers.get("X-Served-By"),
                to=reply.to,
                late_ms=round(late * 1000, 1),
                fresh=reply.fresh,
                reopened=reply.reopened,
                note=reply.note,
                **facts or {},
            )
        )
        return reply

    def _unique(self, what: str) -> str:
        return f"{what}-{self._run}-{next(self._count):06d}"

    # --- what they do ---------------------------------------------------------------------------------------

    async def look_around(self) -> None:
        """Learns the products, with their names, from the first page."""
        reply = await self.ask("home", "GET", "/", right=_is_home)
        page = reply.body.decode(errors="replace") if reply.outcome is Outcome.OK else ""
        products = re.findall(r'href="/products/(\d+)"[^>]*>([^<]*)<', page)
        self._products = {int(number): html.unescape(name).strip() for number, name in products} or {1: ""}

    async def home(self, due: float) -> None:
        await self.ask("home", "GET", "/", due=due, right=_is_home)

    async def product(self, due: float) -> None:
        number, name = self._dice.choice(list(self._products.items()))
        await self.ask(
            "product",
            "GET",
            f"/products/{number}",
            due=due,
            right=lambda reply: _title(reply) == (name or _title(reply)) != "",
        )

    async def cached(self, due: float) -> None:
        await self.ask("cached", "GET", "/cached", due=due, right=lambda reply: bool(reply.body))

    async def recent(self, due: float) -> None:
        await self.ask("recent", "GET", "/orders/recent", due=due, right=lambda reply: bool(reply.body))

    async def static(self, due: float) -> None:
        """A file of the shop's, which must have the same bytes for ever."""
        path = self._dice.choice(list(self._statics))

        def right(reply: Reply) -> bool:
            digest = hashlib.sha256(reply.body).hexdigest()
            self._statics[path] = self._statics[path] or digest
            return self._statics[path] == digest

        await self.ask("static", "GET", path, due=due, right=right)

    async def plain(self, due: float) -> None:
        """Someone types the name without https: the answer is a redirect to it."""
        await self.ask("plain", "GET", "/", due=due, plain=True, right=_is_redirect_to_https)

    async def order(self, due: float) -> None:
        number = self._unique("V")
        product, quantity = self._dice.choice(list(self._products)), self._dice.randint(1, 3)
        form = urlencode({"number": number, "product_id": product, "quantity": quantity})
        await self.ask(
            "order",
            "POST",
            "/orders",
            due=due,
            headers=FORM,
            data=form.encode(),
            right=lambda reply: reply.status == 201 and json.loads(reply.body)["number"] == number,
            facts={"order": number, "product": product, "quantity": quantity},
        )

    async def login(self, due: float) -> None:
        """The form, its CSRF token, the redirect, and the page behind it."""
        session = Session(self._unique("visitor"))
        form = await self.ask("login_form", "GET", "/login", due=due, right=lambda reply: bool(_token(reply)))
        if form.outcome is not Outcome.OK:
            return
        session.take(form)
        fields = urlencode({"authenticity_token": _token(form), "name": session.name})
        reply = await self.ask(
            "login",
            "POST",
            "/login",
            headers=FORM | session.header,
            data=fields.encode(),
            right=lambda reply: reply.status == 302 and reply.headers["Location"].endswith("/me"),
            facts={"session": session.name},
        )
        if reply.outcome is Outcome.OK:
            session.take(reply)
            self._sessions.append(session)
            await self.check(session)

    async def me(self, due: float) -> None:
        """Someone who logged in at any time before: the session must still be known."""
        if not self._sessions:
            return await self.product(due)
        return await self.check(self._dice.choice(self._sessions), due)

    async def check(self, session: Session, due: float | None = None) -> None:
        """Asks who one is."""
        reply = await self.ask(
            "me",
            "GET",
            "/me",
            due=due,
            headers=session.header,
            right=lambda reply: json.loads(reply.body)["name"] == session.name,
            facts={"session": session.name},
        )
        if reply.outcome is Outcome.OK:
            session.take(reply)

    async def upload(self, due: float) -> None:
        name = self._unique("upload") + ".bin"
        size = self._dice.randint(*KILOBYTES) * 1000
        content = name.encode() + self._bytes[: size - len(name)]
        digest = hashlib.sha256(content).hexdigest()
        head, tail, headers = _multipart(name, len(content))
        reply = await self.ask(
            "upload",
            "POST",
            "/uploads",
            due=due,
            headers=headers,
            data=head + content + tail,
            right=lambda reply: reply.status == 201 and json.loads(reply.body)["sha256"] == digest,
            facts={"upload": name, "sha256": digest},
        )
        if reply.outcome is Outcome.OK:
            self._uploads[name] = digest

    async def read_upload(self, due: float) -> None:
        """Reads back what was acknowledged at any time before."""
        if not self._uploads:
            return await self.home(due)
        name = self._dice.choice(list(self._uploads))
        await self.ask(
            "read_upload",
            "GET",
            f"/system/uploads/{name}",
            due=due,
            right=lambda reply: hashlib.sha256(reply.body).hexdigest() == self._uploads[name],
        )
        return None

    # --- on demand ------------------------------------------------------------------------------------------

    async def slow_job(self, seconds: int) -> None:
        """Enqueues one job that takes `seconds`."""
        facts: dict[str, str] = {}

        def right(reply: Reply) -> bool:
            facts["slow_job"] = json.loads(reply.body)["number"]  # as its run will be recorded
            return reply.status == 201

        form = urlencode({"seconds": seconds}).encode()
        await self.ask("slow_job", "POST", "/slow_jobs", headers=FORM, data=form, right=right, facts=facts)

    async def big_upload(self, megabytes: int, seconds: float) -> None:
        """Sends one upload evenly over `seconds`; the ledger has its start and when its last byte left."""
        name = self._unique("big") + ".bin"
        piece = 250_000
        pieces = megabytes * 1_000_000 // piece
        digest = hashlib.sha256()
        head, tail, headers = _multipart(name, pieces * piece)
        noise = os.urandom(piece - 8)

        async def body() -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            started = loop.time()
            self.ledger.event("big_upload_started", at=time.time(), upload=name, megabytes=megabytes)
            yield head
            for number in range(pieces):
                await asyncio.sleep(started + seconds * number / pieces - loop.time())
                part = number.to_bytes(8) + noise  # numbered, so that pieces swapped or lost show
                digest.update(part)
                yield part
            yield tail
            self.ledger.event("big_upload_sent", at=time.time(), upload=name)

        facts = {"upload": name, "sha256": ""}

        def right(reply: Reply) -> bool:
            facts["sha256"] = digest.hexdigest()
            return reply.status == 201 and json.loads(reply.body)["sha256"] == digest.hexdigest()

        await self.ask(
            "big_upload",
            "POST",
            "/uploads",
            fresh=True,
            headers=headers,
            data=body(),
            right=right,
            facts=facts,
            timeout=3 * seconds + self.browser.site.timeout,
        )

    async def check_sessions(self) -> None:
        """Asks for every session once more, at the usual rate."""
        for session in list(self._sessions):
            self.spawn(self.check(session))
            await asyncio.sleep(1 / self.rate)
        await self.settle()


def _is_right(right: Callable[[Reply], bool], reply: Reply) -> bool:
    try:
        return right(reply)
    except (ValueError, KeyError, TypeError):  # no JSON, or without the field
        return False


def _is_home(reply: Reply) -> bool:
    return _title(reply) == "Shop"


def _title(reply: Reply) -> str:
    found = re.search(r"<title>(.*?)</title>", reply.body.decode(errors="replace"), re.DOTALL)
    return html.unescape(found[1]).strip() if found else ""


def _is_redirect_to_https(reply: Reply) -> bool:
    return reply.status in (301, 302, 307, 308) and reply.headers["Location"].startswith("https://")


def _token(reply: Reply) -> str:
    """The CSRF token of a form, or nothing."""
    for tag in re.findall(r"<input[^>]*>", reply.body.decode(errors="replace")):
        if 'name="authenticity_token"' in tag and (value := re.search(r'value="([^"]+)"', tag)):
            return html.unescape(value[1])
    return ""


def _multipart(name: str, size: int) -> tuple[bytes, bytes, dict[str, str]]:
    """What stands before and behind the bytes of an upload, and its headers, the length included."""
    edge = "switchover-visitors-edge"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{edge}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={edge}",
        "Content-Length": str(len(head) + size + len(tail)),
    }
    return head, tail, headers


async def watch_own_lateness(ledger: Ledger) -> None:
    """Writes down each second how late this program itself was: a busy machine is no slow server."""
    loop = asyncio.get_running_loop()
    while True:
        since, worst, used = time.time(), 0.0, _cpu_seconds()
        for _ in range(50):
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            worst = max(worst, loop.time() - due)
        now = time.time()
        ledger.event(
            "lag",
            since=round(since, 3),
            at=round(now, 3),
            max_ms=round(worst * 1000, 1),
            cpu=round((_cpu_seconds() - used) / (now - since), 3),
        )


def _cpu_seconds() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


async def obey(crowd: Crowd) -> None:
    """Reads control lines until standard input closes: then who started the visitors is gone, they end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        match line.split():
            case ["slow-job", seconds]:
                crowd.spawn(crowd.slow_job(int(seconds)))
            case ["big-upload", megabytes, seconds]:
                crowd.spawn(crowd.big_upload(int(megabytes), float(seconds)))
            case ["finish"]:
                crowd.stopping.set()
            case []:
                pass
            case _:
                crowd.ledger.event("not_understood", at=time.time(), line=line.strip())
    crowd.stopping.set()


async def opening(browser: Browser, stopping: asyncio.Event, seconds: float) -> bool:
    """Waits until the shop's first page is there, `seconds` at most. None of that is in the ledger."""
    until = time.monotonic() + seconds
    while not stopping.is_set():
        reply = await browser.ask("GET", "/", fresh=True)
        if reply.outcome is Outcome.OK and _is_home(reply):
            return True
        if time.monotonic() > until:
            print(f"The shop did not open: {reply.status or ''} {reply.note or reply.body[:200]!r}", file=sys.stderr)
            break
        await asyncio.sleep(0.2)
    return False


async def run(
    site: Site,
    ledger: Ledger,
    *,
    rate: float,
    seconds: float | None,
    control: bool,
    patience: float = 0,
    only: str | None = None,
) -> int:
    """The whole visit, from the first request to the last line of the ledger; 1 when the shop never opened."""
    async with Browser(site) as browser:
        crowd = Crowd(browser, ledger, rate=rate, only=only)
        whole = asyncio.current_task()
        assert whole is not None

        def end() -> None:
            if crowd.stopping.is_set():
                whole.cancel()
            crowd.stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        beside = [asyncio.create_task(obey(crowd))] if control else []
        if patience and not await opening(browser, crowd.stopping, patience):
            return 1
        beside.append(asyncio.create_task(watch_own_lateness(ledger)))
        ledger.event("start", at=time.time(), rate=rate, pid=os.getpid(), domain=site.domain)
        gc.freeze()  # what is loaded by now stays: no pauses for looking at it again
        started, used = time.time(), _cpu_seconds()
        try:
            await crowd.visit(seconds)
            visited = time.time()
            await crowd.check_sessions()
            ledger.event(
                "end",
                at=time.time(),
                visited=visited,
                requests=crowd.requests,
                cpu=round((_cpu_seconds() - used) / (time.time() - started), 3),
            )
        finally:
            for task in beside:
                task.cancel()
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; exit status 0 when it came to its end, 1 without a shop, 130 when it was made to stop at once."""
    parser = argparse.ArgumentParser(prog="lab.visitors.scenarios", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--ledger", type=Path, required=True, help="the file to write answers to")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--address", action="append", default=[], help="an address of the site; repeatable")
    how.add_argument("--name-server", action="append", default=[], help="whom they ask for addresses; repeatable")
    parser.add_argument("--ca", type=Path, required=True, help="the authority of the site's certificate")
    parser.add_argument("--domain", default=SHOP.domain, help=f"the site's name ({SHOP.domain})")
    parser.add_argument("--rate", type=float, default=50, help="visits a second (50)")
    parser.add_argument("--only", choices=MIX, help="all come for this (a mix)")
    parser.add_argument("--seconds", type=float, help="how long (until SIGTERM)")
    parser.add_argument("--timeout", type=float, default=30, help="seconds until a visitor gives up (30)")
    parser.add_argument("--patience", type=float, default=0, help="first wait so many seconds for the shop to open")
    parser.add_argument("--https-port", type=int, default=443)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--control", action="store_true", help="obey lines on standard input, end with it")
    given = parser.parse_args(argv)
    ports = (given.https_port, given.http_port)
    site = Site(given.domain, tuple(given.address), given.ca, given.timeout, *ports, tuple(given.name_server))
    with Ledger(given.ledger) as ledger:
        try:
            return asyncio.run(
                run(
                    site,
                    ledger,
                    rate=given.rate,
                    seconds=given.seconds,
                    control=given.control,
                    patience=given.patience,
                    only=given.only,
                )
            )
        except asyncio.CancelledError:
            return 130


if __name__ == "__main__":
    sys.exit(main())
