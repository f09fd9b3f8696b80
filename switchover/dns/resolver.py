"""What the name system says, asked the way a server asks: by that server's own resolver, through its ssh connection.

So the operator's network does not matter, nor an /etc/hosts that somebody filled for the time of the move.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any

from ..hosts import Host

Ask = Callable[[str, str], tuple[str, ...]]  # a name and a type: the records' data as text, without final dots

# systemd's own resolver answers from /etc/hosts too; those that it asks do not.
SERVERS = r"""
f=/run/systemd/resolve/resolv.conf; [ -s $f ] || f=/etc/resolv.conf
sed -n 's/^nameserver[[:space:]]*\([^[:space:]]*\).*/\1/p' $f
"""


PATIENCE = 6.0  # seconds for a name server


class Unanswered(Exception):
    """No name server answers such a question."""


def by(host: Host) -> Ask:
    """Asks *host*'s name servers, each question once. Raises Unanswered where none answers."""
    answer = answers(host)

    def ask(name: str, kind: str) -> tuple[str, ...]:
        from dns import rdatatype

        desired = rdatatype.from_text(kind)
        records = [data for found in answer(name, kind).answer if found.rdtype == desired for data in found]
        if kind == "TXT":
            return tuple(b"".join(data.strings).decode(errors="replace") for data in records)
        return tuple(data.to_text().removesuffix(".") for data in records)

    return ask


def answers(host: Host) -> Callable[[str, str], Any]:
    """The same, with whole answers (dnspython's Message)."""
    servers: list[str] = []
    gone: set[str] = set()

    @cache
    def ask(name: str, kind: str) -> Any:
        if not servers:
            servers.extend(host.look(SERVERS).out.split() or ["127.0.0.1"])
        why = f"{host.role}'s name servers do not answer"
        for server in [one for one in servers if one not in gone]:
            try:
                with closing(host.dial(server, 53, PATIENCE)) as line:
                    return question(line, name, kind)
            except OSError:
                gone.add(server)  # nobody waits for it once more
            except Unanswered as problem:
                why = str(problem)
        raise Unanswered(f"{name} {kind}: {why}")

    return ask


def reverse(address: str) -> str:
    """The name under which an address's own name stands."""
    return ipaddress.ip_address(address).reverse_pointer


def question(line: Any, name: str, kind: str) -> Any:
    """The answer (dnspython's Message) that comes by a connection to a name server. Raises Unanswered, OSError."""
    from dns import message, rcode
    from dns.exception import DNSException

    try:
        answer = message.from_wire(exchange(line, message.make_query(name, kind).to_wire()))
    except DNSException as error:
        raise Unanswered(type(error).__name__) from None
    if answer.rcode() not in (rcode.NOERROR, rcode.NXDOMAIN):
        raise Unanswered(rcode.to_text(answer.rcode()))
    return answer


def exchange(line: Any, wire: bytes) -> bytes:
    """What a name server answers to a message, by TCP."""
    line.sendall(struct.pack("!H", len(wire)) + wire)
    (length,) = struct.unpack("!H", _whole(line, 2))
    return _whole(line, length)


def _whole(line: Any, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = line.recv(length - len(data))
        if not more:
            raise Unanswered("the connection was closed")
        data += more
    return data
