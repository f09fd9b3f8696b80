"""DNS questions as a server asks them: by that server's own resolver, through its ssh connection.

So the operator's network does not matter, nor an /etc/hosts that was edited for the move.
"""

import ipaddress
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any

from ..hosts import Host

Ask = Callable[[str, str], tuple[str, ...]]  # a name and a type: the records' data as text, without final dots

# systemd's own resolver answers from /etc/hosts too; the servers behind it do not.
SERVERS = r"""
f=/run/systemd/resolve/resolv.conf; [ -s $f ] || f=/etc/resolv.conf
sed -n 's/^nameserver[[:space:]]*\([^[:space:]]*\).*/\1/p' $f
"""

PATIENCE = 6.0  # seconds for a name server


class Unanswered(Exception):
    """No name server answers a question."""


def by(host: Host) -> Ask:
    """Asks *host*'s name servers, each question once. Raises Unanswered where none answers."""
    answer = answers(host)

    def ask(name: str, kind: str) -> tuple[str, ...]:
        records = of_type(answer(name, kind), kind)
        if kind == "TXT":
            return tuple(b"".join(record.strings).decode(errors="replace") for record in records)
        return tuple(record.to_text().removesuffix(".") for record in records)

    return ask


def answers(host: Host) -> Callable[[str, str], Any]:
    """The same, with whole answers (dnspython's Message)."""

    @cache
    def servers() -> list[str]:
        return host.look(SERVERS).out.split() or ["127.0.0.1"]

    @cache
    def ask(name: str, kind: str) -> Any:
        why = f"{host.role}'s name servers do not answer"
        for server in list(servers()):
            try:
                with closing(host.dial(server, 53, PATIENCE)) as line:
                    return question(line, name, kind)
            except OSError:
                servers().remove(server)  # its timeout is waited for once
            except Unanswered as problem:
                why = str(problem)
        raise Unanswered(f"{name} {kind}: {why}")

    return ask


def of_type(answer: Any, kind: str) -> list[Any]:
    """The records of type *kind* in an answer."""
    from dns import rdatatype

    return [record for records in answer.answer if records.rdtype == rdatatype.from_text(kind) for record in records]


def reverse(address: str) -> str:
    """The name whose PTR record is that of *address*."""
    return ipaddress.ip_address(address).reverse_pointer


def question(line: Any, name: str, kind: str) -> Any:
    """A name server's answer (dnspython's Message), by the TCP connection *line*. Raises Unanswered, OSError."""
    from dns import message, rcode
    from dns.exception import DNSException

    try:
        answer = exchange(line, message.make_query(name, kind))
    except DNSException as error:
        raise Unanswered(type(error).__name__) from None
    if answer.rcode() not in (rcode.NOERROR, rcode.NXDOMAIN):
        raise Unanswered(rcode.to_text(answer.rcode()))
    return answer


def exchange(line: Any, message: Any) -> Any:
    """A name server's answer to a message. Raises Unanswered, OSError, and dnspython's DNSException."""
    from dns import query

    try:
        return query.tcp(message, "", sock=line)
    except EOFError:
        raise Unanswered("the connection was closed") from None
