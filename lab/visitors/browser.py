"""One request, as a visitor's browser would make it and as the visitor would feel it.

Everything that can go wrong becomes a RequestOutcome, nothing is raised. Connections are kept as browsers keep
them, and what a browser does by itself about a connection that the server closed is done here, nothing else.
"""

import asyncio
import errno
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from dns import asyncresolver
from dns.exception import DNSException
from dns.resolver import Cache, NoAnswer
from multidict import CIMultiDict, CIMultiDictProxy

from .ledger import RequestOutcome, Response

NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


RESOLVERS = 4  # visitors' providers, of which each has a cache of its own


@dataclass(slots=True, frozen=True)
class Target:
    """The site as its visitors know it: a name, and whom they ask for its addresses; or its addresses, for ever."""

    domain: str
    addresses: tuple[str, ...]
    ca: Path  # the only authority whose certificates are accepted
    timeout: float = 30.0  # seconds until a visitor gives up
    https_port: int = 443
    http_port: int = 80
    name_servers: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Reply:
    """An answer as the ledger has it, and what came with it. `status` is None when nothing whole came."""

    answer: Response
    headers: CIMultiDictProxy[str] = field(default_factory=lambda: NO_HEADERS)
    body: bytes = b""

    @property
    def status(self) -> int | None:
        return self.answer.status

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def judge(status: int, retry_after: bool) -> RequestOutcome:
    """Sorts a status: only a 503 that says when to come back is the maintenance page."""
    if 200 <= status < 400:
        return RequestOutcome.OK
    return RequestOutcome.PAGE if status == 503 and retry_after else RequestOutcome.FAILED


class _Addresses(AbstractResolver):
    """Knows one name. New connections take turns at its addresses, as different visitors do.

    Who asks name servers remembers their answers for as long as their TTL says, and no longer.
    """

    def __init__(self, site: Target) -> None:
        self._domain = site.domain
        self._known = cycle(site.addresses)
        self._turns = cycle(range(2 * RESOLVERS))
        self._resolvers = [_resolver(site.name_servers) for _ in range(RESOLVERS)] if site.name_servers else []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host != self._domain:
            raise OSError(f"visitors know {self._domain} only, not {host}")
        address = await self._asked() if self._resolvers else next(self._known)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)]

    async def _asked(self) -> str:
        """What one of the resolvers says: an IPv4 address, or an IPv6 one where there is one."""
        turn = next(self._turns)
        resolver = self._resolvers[turn % RESOLVERS]
        for kind in ("A", "AAAA") if turn < RESOLVERS else ("AAAA", "A"):
            try:
                found: list[str] = [record.address for record in await resolver.resolve(f"{self._domain}.", kind)]
            except NoAnswer:
                continue
            except DNSException as error:
                raise OSError(f"{self._domain} is not found: {type(error).__name__}") from None
            return random.choice(found)
        raise OSError(f"{self._domain} has no address")

    async def close(self) -> None:
        pass


def _resolver(servers: Sequence[str]) -> asyncresolver.Resolver:
    """One that asks these servers, in an order of its own."""
    made = asyncresolver.Resolver(configure=False)
    made.nameservers = random.sample(servers, len(servers))
    made.cache = Cache()
    return made


class _Response(aiohttp.ClientResponse):
    """Remembers where it came from: when it has been read its connection is another's."""

    to: str | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        peer = connection.transport and connection.transport.get_extra_info("peername")
        self.to = peer[0] if peer else None
        return await super().start(connection)


class Browser:
    """Asks a site, on kept connections or on new ones. An async context manager."""

    def __init__(self, site: Target) -> None:
        self.site = site

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self.site.ca))
        addresses = _Addresses(self.site)

        def session(**connections: Any) -> aiohttp.ClientSession:
            # Without a limit, for an open loop: nobody queues behind another visitor.
            connector = aiohttp.TCPConnector(limit=0, resolver=addresses, use_dns_cache=False, ssl=tls, **connections)
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            # Every visitor brings its own cookies, and `ask` has its own timeout.
            given: dict[str, Any] = {"headers": {"User-Agent": "switchover-visitors"}, "response_class": _Response}
            given |= {"cookie_jar": aiohttp.DummyCookieJar(), "trace_configs": [trace]}
            no_limit = aiohttp.ClientTimeout(total=None, sock_connect=None)
            opened = aiohttp.ClientSession(connector=connector, timeout=no_limit, **given)
            # aiohttp repeats a GET by itself whatever connection it broke on, and tells nobody: see `ask`.
            opened._retry_connection = False
            return opened

        self._kept = session(keepalive_timeout=30)
        self._once = session(force_close=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kept.close()
        await self._once.close()

    async def ask(
        self, method: str, path: str, *, fresh: bool = False, plain: bool = False, timeout: float | None = None,
        headers: dict[str, str] | None = None, data: bytes | AsyncIterator[bytes] | None = None,
    ) -> Reply:  # fmt: skip
        """Makes one request: on a connection of its own if `fresh`, by http if `plain`. Follows no redirect.

        A GET whose kept connection the server closed before it sent a byte is asked once more on a new
        connection, since every browser does so and its user sees nothing (RFC 9110, 9.2.2); the time
        counts from the first attempt and the reply says `reopened`. So is a POST that could not be sent to
        its end, because the server cannot have acted on it. Nothing else is repeated: no other POST,
        because the server may have acted on it, no stream, which cannot begin again, and nothing on a new
        connection, because there the user does see an error.
        """
        site = self.site
        port = site.http_port if plain else site.https_port
        usual = port == (80 if plain else 443)
        url = f"{'http' if plain else 'https'}://{site.domain}{'' if usual else f':{port}'}{path}"
        sent: dict[str, Any] = {"headers": headers, "data": data, "allow_redirects": False}
        at, started = time.time(), time.perf_counter()
        reopened = False

        def answer(outcome: RequestOutcome, note: str | None = None) -> Response:
            ms = (time.perf_counter() - started) * 1000
            return Response("", at, ms, outcome, fresh=fresh, reopened=reopened, note=note)

        try:
            async with asyncio.timeout(timeout or site.timeout):
                if not fresh:
                    # A browser looks whether a kept connection was closed meanwhile before it takes it. Two
                    # turns of the loop do the same: what has arrived is read, what is closed leaves the pool.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                while True:
                    reused = SimpleNamespace(it=False)
                    session = self._once if fresh or reopened else self._kept
                    try:
                        async with session.request(method, url, **sent, trace_request_ctx=reused) as response:
                            body = await response.read()
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                        refused = isinstance(error, aiohttp.ClientConnectorError)
                        unsent = isinstance(data, bytes) and _could_not_be_sent(error)
                        if (method != "GET" and not unsent) or reopened or not reused.it or refused:
                            raise
                        reopened = True
                        continue
                    outcome = judge(response.status, "Retry-After" in response.headers)
                    note = None if outcome is RequestOutcome.OK else body[:200].decode(errors="replace")
                    whole = answer(outcome, note)
                    to, by = cast(_Response, response).to, response.headers.get("X-Served-By")
                    return Reply(replace(whole, status=response.status, to=to, by=by), response.headers, body)
        except TimeoutError:
            return Reply(answer(RequestOutcome.TIMEOUT, f"no answer in {timeout or site.timeout:g} s"))
        except (aiohttp.ClientError, OSError) as error:
            return Reply(answer(RequestOutcome.RESET, f"{type(error).__name__}: {error}"[:200]))


def _could_not_be_sent(error: aiohttp.ClientError) -> bool:
    """True where the kernel (EPIPE) or aiohttp, which knows that the server closed it, took no more to send."""
    closing = isinstance(error.__cause__, aiohttp.ClientConnectionResetError)
    return closing or (isinstance(error, OSError) and error.errno == errno.EPIPE)


async def _note_reuse(_: object, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.it = True
