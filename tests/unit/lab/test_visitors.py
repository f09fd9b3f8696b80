"""The visitors against a little shop on this machine, whole and broken in every way a server can be."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.visitors import browser
from lab.visitors import ledger as ledgers
from lab.visitors.browser import Browser, Target
from lab.visitors.ledger import Ledger, RequestOutcome
from lab.visitors.scenarios import ShopVisitors

Middleware = Callable[[web.Request, Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem and server.pem (for shop.test and 127.0.0.1)."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("shop.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(public)
    (folder / "server.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        + public
    )
    return folder


class LittleShop:
    """Answers like the lab's shop, in memory. `trouble` may answer in its place."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.trouble: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        self.seen: list[str] = []

    def app(self) -> web.Application:
        @web.middleware
        async def before(request: web.Request, handler: Callable) -> web.StreamResponse:
            self.seen.append(f"{request.method} {request.path}")
            if self.trouble and (answer := await self.trouble(request)) is not None:
                return answer
            answer = await handler(request)
            answer.headers["X-Served-By"] = "prod1"
            return answer

        app = web.Application(middlewares=[before], client_max_size=10**9)
        app.add_routes(
            [
                web.get("/", self.home),
                web.get("/products/{id}", self.product),
                web.get("/cached", self.page),
                web.get("/orders/recent", self.page),
                web.get("/404.html", self.page),
                web.get("/system/products/{name:.*}", self.page),
                web.post("/orders", self.order),
                web.get("/login", self.form),
                web.post("/login", self.login),
                web.get("/me", self.me),
                web.post("/uploads", self.upload),
                web.get("/system/uploads/{name}", self.read),
                web.post("/slow_jobs", self.slow),
            ]
        )
        return app

    async def home(self, request: web.Request) -> web.Response:
        if request.scheme == "http":
            return web.Response(status=301, headers={"Location": "https://shop.test/"})
        return html('<title>Shop</title><a href="/products/3">Leek &amp; Kale</a><a href="/products/4">Figs</a>')

    async def product(self, request: web.Request) -> web.Response:
        return html(f"<title>{ {'3': 'Leek &amp; Kale', '4': 'Figs'}[request.match_info['id']] }</title>")

    async def page(self, _: web.Request) -> web.Response:
        return html("<title>A page</title>")

    async def order(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        if form["number"] in self.orders:
            return web.json_response({}, status=409)
        self.orders[form["number"]] = form
        return web.json_response({"number": form["number"], "id": 1}, status=201)

    async def form(self, _: web.Request) -> web.Response:
        answer = html('<input type="hidden" name="authenticity_token" value="a&amp;b" autocomplete="off" />')
        answer.headers["Set-Cookie"] = "_shop_session=empty; path=/; HttpOnly"
        return answer

    async def login(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["authenticity_token"] != "a&b" or request.cookies.get("_shop_session") != "empty":
            return web.Response(status=422)
        cookie = f"_shop_session={form['name']}; path=/"
        return web.Response(status=302, headers={"Location": "/me", "Set-Cookie": cookie})

    async def me(self, request: web.Request) -> web.Response:
        name = request.cookies.get("_shop_session")
        return web.json_response({"name": name}) if name else web.Response(status=401)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        content = form["file"].file.read()
        self.uploads[form["name"]] = content
        answer = {"name": form["name"], "sha256": hashlib.sha256(content).hexdigest()}
        return web.json_response(answer, status=201)

    async def read(self, request: web.Request) -> web.Response:
        return web.Response(body=self.uploads[request.match_info["name"]])

    async def slow(self, request: web.Request) -> web.Response:
        return web.json_response({"number": f"slow-{(await request.post())['seconds']}"}, status=201)


def html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


@contextlib.asynccontextmanager
async def opened(shop: LittleShop, certificate: Path, timeout: float = 30) -> AsyncIterator[Target]:
    """The shop, served on free ports until the end."""
    runner = web.AppRunner(shop.app(), shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate / "server.pem")
    for context in (tls, None):
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    https, http = (address[1] for address in runner.addresses)
    try:
        yield Target("shop.test", ("127.0.0.1",), certificate / "ca.pem", timeout, https, http)
    finally:
        await runner.cleanup()


def visit(shop: LittleShop, certificate: Path, tmp_path: Path, *, rate: float, seconds: float, timeout=30.0, only=None):
    """Some visitors; returns their ledger."""

    async def all_of_it() -> None:
        async with opened(shop, certificate, timeout) as site, Browser(site) as browser:
            with Ledger(tmp_path / "ledger") as ledger:
                crowd = ShopVisitors(browser, ledger, rate=rate, only=only)
                await crowd.visit(seconds)
                await crowd.check_sessions()

    asyncio.run(all_of_it())
    return ledgers.read(tmp_path / "ledger")


def test_a_healthy_shop_has_only_good_answers(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()
    book = visit(shop, certificate, tmp_path, rate=100, seconds=3)
    assert [answer for answer in book.answers if answer.outcome is not RequestOutcome.OK] == []
    assert not book.named("broken")
    kinds = {answer.kind for answer in book.answers}
    assert {"home", "product", "plain", "order", "login", "me", "upload", "read_upload"} <= kinds
    assert {answer.order for answer in book.acknowledged("order")} == set(shop.orders)
    assert len(shop.orders) == 60  # a fifth of 300, exactly
    for answer in book.acknowledged("upload"):
        assert answer.sha256 == hashlib.sha256(shop.uploads[answer.upload]).hexdigest()
    assert {answer.by for answer in book.answers} == {"prod1"}
    fresh = sum(answer.fresh for answer in book.answers) / len(book.answers)
    assert 0.1 < fresh < 0.3


def test_all_may_come_for_the_same(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()
    book = visit(shop, certificate, tmp_path, rate=50, seconds=1, only="order")
    assert len(book.acknowledged("order")) == len(shop.orders) == 50


def test_slow_answers_hold_nobody_back(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()
    waiting = together = 0

    async def slow(_: web.Request) -> None:
        nonlocal waiting, together
        if len(shop.seen) > 1:
            waiting += 1
            together = max(together, waiting)
            await asyncio.sleep(1)
            waiting -= 1

    shop.trouble = slow
    book = visit(shop, certificate, tmp_path, rate=50, seconds=2)
    first = [answer for answer in book.answers[1:] if answer.kind != "login" and not answer.session]
    assert len(first) > 80
    assert together > 25
    assert all(answer.ms > 990 for answer in first)


@pytest.mark.parametrize(
    ("trouble", "outcome", "status"),
    [
        (lambda: web.Response(status=503, headers={"Retry-After": "300"}), RequestOutcome.PAGE, 503),
        (lambda: web.Response(status=503), RequestOutcome.FAILED, 503),
        (lambda: web.Response(status=500, headers={"Retry-After": "300"}), RequestOutcome.FAILED, 500),
        (lambda: web.Response(status=409), RequestOutcome.FAILED, 409),
        (lambda: html("<title>Welcome to nginx!</title>"), RequestOutcome.WRONG, 200),
    ],
)
def test_every_bad_answer_is_written_down(trouble, outcome, status, certificate, tmp_path: Path) -> None:
    shop = LittleShop()

    async def always(request: web.Request) -> web.Response | None:
        return trouble() if request.path in ("/orders", "/products/3") else None

    shop.trouble = always
    book = visit(shop, certificate, tmp_path, rate=100, seconds=1)
    orders = [answer for answer in book.answers if answer.kind == "order"]
    assert orders
    assert {(answer.outcome, answer.status) for answer in orders} == {(outcome, status)}
    assert book.acknowledged("order") == []


def test_who_gets_no_answer_gives_up(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()

    async def hang(request: web.Request) -> None:
        if request.path == "/orders":
            await asyncio.sleep(5)

    shop.trouble = hang
    book = visit(shop, certificate, tmp_path, rate=50, seconds=1, timeout=0.5)
    orders = [answer for answer in book.answers if answer.kind == "order"]
    assert {answer.outcome for answer in orders} == {RequestOutcome.TIMEOUT}
    assert all(answer.ms > 490 for answer in orders)


def ask_twice(shop: LittleShop, certificate: Path, method: str, path: str, **request):
    """Two requests after each other, which normally share a connection; returns the second reply."""

    async def both():
        async with opened(shop, certificate) as site, Browser(site) as browser:
            first = await browser.ask("GET", "/")
            assert first.answer.outcome is RequestOutcome.OK
            return await browser.ask(method, path, **request)

    return asyncio.run(both())


def closing(shop: LittleShop, times: int) -> None:
    """The shop closes the next connections, as many as `times`, without a byte in answer to a request."""
    left = [times]

    async def close(request: web.Request) -> web.Response | None:
        if len(shop.seen) > 1 and left[0]:
            left[0] -= 1
            request.transport.abort()
        return None

    shop.trouble = close


def test_a_get_on_a_kept_connection_is_asked_once_more(certificate: Path) -> None:
    shop = LittleShop()
    closing(shop, 1)
    reply = ask_twice(shop, certificate, "GET", "/cached")
    assert (reply.answer.outcome, reply.answer.reopened) == (RequestOutcome.OK, True)
    assert shop.seen == ["GET /", "GET /cached", "GET /cached"]


def test_but_only_once(certificate: Path) -> None:
    shop = LittleShop()
    closing(shop, 2)
    reply = ask_twice(shop, certificate, "GET", "/cached")
    assert reply.answer.outcome is RequestOutcome.RESET
    assert shop.seen == ["GET /", "GET /cached", "GET /cached"]


def test_not_on_a_new_connection(certificate: Path) -> None:
    shop = LittleShop()
    closing(shop, 1)
    reply = ask_twice(shop, certificate, "GET", "/cached", fresh=True)
    assert (reply.answer.outcome, reply.answer.reopened) == (RequestOutcome.RESET, False)
    assert shop.seen == ["GET /", "GET /cached"]


def test_a_post_that_may_have_been_taken_never(certificate: Path) -> None:
    shop = LittleShop()
    closing(shop, 1)
    reply = ask_twice(shop, certificate, "POST", "/orders", data=b"number=1")
    assert reply.answer.outcome is RequestOutcome.RESET
    assert shop.seen == ["GET /", "POST /orders"]


async def number(data: bytes) -> AsyncIterator[bytes]:
    yield data


def refuses(transport: asyncio.Transport) -> None:
    """The connection takes nothing any more: the kernel answers EPIPE."""
    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)


def closes(transport: asyncio.Transport) -> None:
    """What was sent by the server has been read to its end: aiohttp writes nothing any more."""
    transport.close()


@pytest.mark.parametrize("ended", [refuses, closes])
@pytest.mark.parametrize("data", [b"number=1", number(b"number=1")], ids=["bytes", "a stream"])
def test_a_post_that_could_not_be_sent_is_made_once_more_unless_it_is_a_stream(
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes | AsyncIterator[bytes],
    ended: Callable[[asyncio.Transport], None],
) -> None:
    """Its kept connection takes nothing any more when it is used again."""

    async def used_again(session, context, params) -> None:
        context.trace_request_ctx.it = True
        for protocol in session.connector._acquired:
            ended(protocol.transport)

    monkeypatch.setattr(browser, "_note_reuse", used_again)
    shop = LittleShop()
    reply = ask_twice(shop, certificate, "POST", "/orders", data=data)
    again = isinstance(data, bytes)
    assert reply.answer.reopened == again and (reply.answer.outcome is RequestOutcome.RESET) != again
    assert shop.seen == ["GET /"] + ["POST /orders"] * again


def test_an_answer_cut_short_is_a_failure(certificate: Path) -> None:
    shop = LittleShop()

    async def cut(request: web.Request) -> web.StreamResponse | None:
        if request.path != "/cached":
            return None
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"<title>")
        request.transport.abort()
        return answer

    shop.trouble = cut
    assert ask_twice(shop, certificate, "GET", "/cached").answer.outcome is RequestOutcome.RESET


def test_a_certificate_of_another_authority_is_refused(certificate: Path, tmp_path: Path) -> None:
    async def ask():
        async with opened(LittleShop(), certificate) as site:
            other = Target("other.test", site.addresses, site.ca, https_port=site.https_port)
            async with Browser(other) as browser:
                return await browser.ask("GET", "/")

    reply = asyncio.run(ask())
    assert reply.answer.outcome is RequestOutcome.RESET
    assert "Certificate" in reply.answer.note


def test_nobody_listens(certificate: Path) -> None:
    async def ask():
        site = Target("shop.test", ("127.0.0.1",), certificate / "ca.pem", https_port=1)
        async with Browser(site) as browser:
            return await browser.ask("GET", "/")

    assert asyncio.run(ask()).answer.outcome is RequestOutcome.RESET


def test_a_lost_session_shows(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()

    async def forget(request: web.Request) -> web.Response | None:
        return web.Response(status=401) if request.path == "/me" else None

    shop.trouble = forget
    book = visit(shop, certificate, tmp_path, rate=100, seconds=1)
    lost = [answer for answer in book.answers if answer.kind == "me"]
    assert lost
    assert all(answer.session and answer.outcome is RequestOutcome.FAILED for answer in lost)


def test_an_upload_with_other_bytes_shows(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()

    async def garble(request: web.Request) -> web.Response | None:
        return web.Response(body=b"other") if request.path.startswith("/system/") else None

    shop.trouble = garble
    book = visit(shop, certificate, tmp_path, rate=100, seconds=1.5)
    read = [answer for answer in book.answers if answer.kind == "read_upload"]
    assert read
    assert {answer.outcome for answer in read} == {RequestOutcome.WRONG}


def test_the_program_obeys_and_ends_with_who_started_it(certificate: Path, tmp_path: Path) -> None:
    """As a process of its own: a slow job and a big upload on demand, and the end when its input closes."""
    shop = LittleShop()
    path = tmp_path / "ledger"

    async def comes(event: str) -> None:
        async with asyncio.timeout(60):
            while not (path.exists() and ledgers.read(path).named(event)):
                await asyncio.sleep(0.05)

    async def program() -> int:
        async with opened(shop, certificate) as site:
            visitors = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lab.visitors", "--ledger", path, "--rate", "20", "--ca", site.ca),
                *("--address", "127.0.0.1", "--https-port", str(site.https_port)),
                *("--http-port", str(site.http_port)),
                stdin=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[3],
            )
            await comes("start")
            visitors.stdin.write(b"slow-job 40\nbig-upload 5 1\n")
            await comes("big_upload_started")
            await comes("lag")
            visitors.stdin.close()
            return await asyncio.wait_for(visitors.wait(), 10)

    assert asyncio.run(program()) == 0
    book = ledgers.read(path)
    assert [answer.slow_job for answer in book.acknowledged("slow_job")] == ["slow-40"]
    [big] = book.acknowledged("big_upload")
    assert hashlib.sha256(shop.uploads[big.upload]).hexdigest() == big.sha256
    assert len(shop.uploads[big.upload]) == 5_000_000
    assert big.ms > 900
    [started] = book.named("big_upload_started")
    assert started["at"] >= big.at - 0.01
    [end] = book.named("end")
    assert end["requests"] == len(book.answers)
    assert book.named("lag")


def test_those_waiting_get_their_answers_when_nobody_new_comes(certificate: Path, tmp_path: Path) -> None:
    shop = LittleShop()
    path = tmp_path / "ledger"

    async def slow(request: web.Request) -> None:
        if len(shop.seen) > 1:
            await asyncio.sleep(0.7)

    shop.trouble = slow

    async def program() -> int:
        async with opened(shop, certificate) as site:
            visitors = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lab.visitors", "--ledger", path, "--rate", "20", "--ca", site.ca),
                *("--address", "127.0.0.1", "--https-port", str(site.https_port)),
                *("--http-port", str(site.http_port)),
                stdin=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[3],
            )
            while len(shop.seen) < 10:
                await asyncio.sleep(0.05)
            visitors.stdin.close()
            return await asyncio.wait_for(visitors.wait(), 10)

    assert asyncio.run(program()) == 0
    book = ledgers.read(path)
    assert len(book.answers) >= 10
    assert {answer.outcome for answer in book.answers} == {RequestOutcome.OK}


def test_the_lateness_of_the_visitors_themselves_is_measured(tmp_path: Path) -> None:
    from lab.visitors.crowd import record_own_lag

    async def busy() -> None:
        with Ledger(tmp_path / "ledger") as ledger:
            watch = asyncio.create_task(record_own_lag(ledger))
            await asyncio.sleep(0.1)
            time.sleep(0.3)
            await asyncio.sleep(1.2)
            watch.cancel()

    asyncio.run(busy())
    assert ledgers.read(tmp_path / "ledger").own_lag() > 250


def test_a_ledger_cut_short_by_a_crash_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path) as ledger:
        ledger.event("start", at=1.0)
    path.write_text(path.read_text() + '{"kind":"order","at":1')
    assert ledgers.read(path).events == [{"event": "start", "at": 1.0}]
    path.write_text(json.dumps({"kind": "order", "nonsense": 1}) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        ledgers.read(path)


def test_percentile() -> None:
    values = [float(value) for value in range(1, 101)]
    assert ledgers.percentile(values, 50) == 50
    assert ledgers.percentile(values, 99) == 99
    assert ledgers.percentile([7.0], 99) == 7
    assert ledgers.percentile([], 50) == 0
