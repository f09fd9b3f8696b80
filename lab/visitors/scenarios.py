"""What visitors of the shop do, and what they remember of its answers."""

import asyncio
import hashlib
import html
import itertools
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from .browser import Browser, Reply
from .crowd import Crowd, Scenario
from .ledger import Ledger

PICTURES = "/system/products"
STATICS = ("/404.html", f"{PICTURES}/1.jpg", f"{PICTURES}/7.jpg", f"{PICTURES}/Gr%C3%B6%C3%9Fe%201/all.jpg")
KILOBYTES = (20, 200)  # the size of an ordinary upload
PIECE = 250_000  # bytes of a big upload that are sent at a time


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


class ShopVisitors(Crowd):
    """The shop's visitors. *only*: the one kind of visit that all come for."""

    def __init__(self, browser: Browser, ledger: Ledger, *, rate: float, only: str | None = None) -> None:
        super().__init__(browser, ledger, rate, {MIX[only][0]: 1} if only else dict(MIX.values()))
        self._run = f"{int(time.time()):x}"  # makes numbers and names unique from run to run
        self._count = itertools.count(1)
        self._sessions: list[Session] = []
        self._uploads: dict[str, str] = {}
        self._products: dict[int, str] = {1: ""}
        self._statics: dict[str, str] = {}
        self._bytes = os.urandom(KILOBYTES[1] * 1000)

    async def visit(self, seconds: float | None = None) -> None:
        """As `Crowd.visit`; first they learn the products, with their names, from the first page."""
        reply = await self.ask("home", "/", is_home)
        products = re.findall(r'href="/products/(\d+)"[^>]*>([^<]*)<', reply.text)
        self._products = {int(number): html.unescape(name).strip() for number, name in products} or {1: ""}
        await super().visit(seconds)

    def _unique(self, what: str) -> str:
        return f"{what}-{self._run}-{next(self._count):06d}"

    async def home(self, due: float) -> None:
        await self.ask("home", "/", is_home, due=due)

    async def product(self, due: float) -> None:
        number, name = self.dice.choice(list(self._products.items()))

        def right(reply: Reply) -> bool:
            return _title(reply) == (name or _title(reply)) != ""

        await self.ask("product", f"/products/{number}", right, due=due)

    async def cached(self, due: float) -> None:
        await self.ask("cached", "/cached", _has_content, due=due)

    async def recent(self, due: float) -> None:
        await self.ask("recent", "/orders/recent", _has_content, due=due)

    async def static(self, due: float) -> None:
        """A file of the shop's, which must have the same bytes for ever."""
        path = self.dice.choice(STATICS)

        def right(reply: Reply) -> bool:
            digest = _digest(reply.body)
            return self._statics.setdefault(path, digest) == digest

        await self.ask("static", path, right, due=due)

    async def plain(self, due: float) -> None:
        """Someone types the name without https: the answer is a redirect to it."""
        await self.ask("plain", "/", _redirects((301, 302, 307, 308), "https://.*"), due=due, plain=True)

    async def order(self, due: float) -> None:
        number = self._unique("V")
        product, quantity = self.dice.choice(list(self._products)), self.dice.randint(1, 3)
        form = {"number": number, "product_id": product, "quantity": quantity}
        facts = {"order": number, "product": product, "quantity": quantity}
        await self.ask("order", "/orders", _made("number", number), due=due, form=form, facts=facts)

    async def login(self, due: float) -> None:
        """The form, its CSRF token, the redirect, and the page behind it."""
        session = Session(self._unique("visitor"))
        page = await self.ask("login_form", "/login", lambda reply: bool(_token(reply)), due=due)
        if not page.answer.acknowledged:
            return
        session.take(page)
        form, facts = {"authenticity_token": _token(page), "name": session.name}, {"session": session.name}
        is_right = _redirects((302,), ".*/me")
        reply = await self.ask("login", "/login", is_right, form=form, headers=session.header, facts=facts)
        if reply.answer.acknowledged:
            session.take(reply)
            self._sessions.append(session)
            await self.check(session)

    async def me(self, due: float) -> None:
        """Someone who logged in at any time before: the session must still be known."""
        if not self._sessions:
            return await self.product(due)
        return await self.check(self.dice.choice(self._sessions), due)

    async def check(self, session: Session, due: float | None = None) -> None:
        """Asks for the page that only somebody who is logged in can see."""

        def is_known(reply: Reply) -> bool:
            return bool(json.loads(reply.body)["name"] == session.name)

        reply = await self.ask("me", "/me", is_known, due=due, headers=session.header, facts={"session": session.name})
        if reply.answer.acknowledged:
            session.take(reply)

    async def upload(self, due: float) -> None:
        name = self._unique("upload") + ".bin"
        size = self.dice.randint(*KILOBYTES) * 1000
        content = name.encode() + self._bytes[: size - len(name)]
        digest = _digest(content)
        head, tail, headers = _multipart(name, len(content))
        facts, data = {"upload": name, "sha256": digest}, head + content + tail
        right = _made("sha256", digest)
        reply = await self.ask("upload", "/uploads", right, due=due, headers=headers, data=data, facts=facts)
        if reply.answer.acknowledged:
            self._uploads[name] = digest

    async def read_upload(self, due: float) -> None:
        """Reads back what was acknowledged at any time before."""
        if not self._uploads:
            return await self.home(due)
        name, digest = self.dice.choice(list(self._uploads.items()))
        path = f"/system/uploads/{name}"
        await self.ask("read_upload", path, lambda reply: _digest(reply.body) == digest, due=due)
        return None

    # --- on demand ------------------------------------------------------------------------------------------

    async def slow_job(self, seconds: int) -> None:
        """Enqueues one job that takes `seconds`."""
        facts: dict[str, str] = {}

        def right(reply: Reply) -> bool:
            facts["slow_job"] = json.loads(reply.body)["number"]  # as its run will be recorded
            return reply.status == 201

        await self.ask("slow_job", "/slow_jobs", right, form={"seconds": seconds}, facts=facts)

    async def big_upload(self, megabytes: int, seconds: float) -> None:
        """Sends one upload evenly over `seconds`; the ledger has its start and when its last byte left."""
        name = self._unique("big") + ".bin"
        pieces = megabytes * 1_000_000 // PIECE
        digest = hashlib.sha256()
        head, tail, headers = _multipart(name, pieces * PIECE)
        noise = os.urandom(PIECE - 8)

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
            return _made("sha256", facts["sha256"])(reply)

        sent: dict[str, Any] = {"headers": headers, "data": body(), "timeout": 3 * seconds + self.browser.site.timeout}
        await self.ask("big_upload", "/uploads", right, fresh=True, facts=facts, **sent)

    async def check_sessions(self) -> None:
        """Asks for every session once more, at the usual rate."""
        for session in list(self._sessions):
            self.spawn(self.check(session))
            await asyncio.sleep(1 / self.rate)
        await self.settle()


# Of 100 visits. Orders are many, since they are what a move can lose; a login is three requests.
MIX: dict[str, tuple[Scenario, int]] = {
    "home": (ShopVisitors.home, 13),
    "product": (ShopVisitors.product, 21),
    "cached": (ShopVisitors.cached, 8),
    "recent": (ShopVisitors.recent, 8),
    "static": (ShopVisitors.static, 8),
    "plain": (ShopVisitors.plain, 3),
    "order": (ShopVisitors.order, 20),
    "login": (ShopVisitors.login, 2),
    "me": (ShopVisitors.me, 9),
    "upload": (ShopVisitors.upload, 3),
    "read_upload": (ShopVisitors.read_upload, 5),
}


def is_home(reply: Reply) -> bool:
    """Whether it is the shop's first page."""
    return _title(reply) == "Shop"


def _has_content(reply: Reply) -> bool:
    return bool(reply.body)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _made(key: str, value: str) -> Callable[[Reply], bool]:
    """Tells whether something was made, and the answer has this *value* of it."""
    return lambda reply: reply.status == 201 and json.loads(reply.body)[key] == value


def _title(reply: Reply) -> str:
    title = re.search(r"<title>(.*?)</title>", reply.text, re.DOTALL)
    return html.unescape(title[1]).strip() if title else ""


def _redirects(statuses: tuple[int, ...], to: str) -> Callable[[Reply], bool]:
    return lambda reply: reply.status in statuses and bool(re.fullmatch(to, reply.headers["Location"]))


def _token(reply: Reply) -> str:
    """The CSRF token of a form, or nothing."""
    for tag in re.findall(r"<input[^>]*>", reply.text):
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
    length = str(len(head) + size + len(tail))
    return head, tail, {"Content-Type": f"multipart/form-data; boundary={edge}", "Content-Length": length}
