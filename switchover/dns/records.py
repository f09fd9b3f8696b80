"""The site's DNS records, as each of its authoritative name servers has them.

They are asked from new, through its ssh connection, as in `resolver`; new's own resolver finds them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import Problem
from ..hosts import Host
from . import resolver
from .resolver import Unanswered

KINDS = ("A", "AAAA")
Key = tuple[str, str]  # a name and a kind


@dataclass(frozen=True)
class Addresses:
    """All addresses of a *kind* (A or AAAA) that a name has; *ttl*: the seconds for which resolvers may cache them."""

    name: str
    kind: str
    ttl: int = 0
    data: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """The name and the kind."""
        return self.name, self.kind

    @property
    def lines(self) -> list[str]:
        """The records, as in a zone file."""
        return [f"{self.name}. {self.ttl} IN {self.kind} {address}" for address in self.data]

    def same(self, other: Addresses) -> bool:
        """Whether resolvers get the same answer."""
        return set(self.data) == set(other.data) and (not self.data or self.ttl == other.ttl)

    def __str__(self) -> str:
        value = f"{', '.join(self.data)} (TTL {self.ttl})" if self.data else "not there"
        return f"{self.name} {self.kind} is {value}"


def as_json(records: Iterable[Addresses]) -> list[Any]:
    """As a journal keeps them."""
    return [[record.name, record.kind, record.ttl, list(record.data)] for record in records]


def from_json(data: Iterable[Any]) -> list[Addresses]:
    """Those that a journal kept."""
    return [Addresses(name, kind, ttl, tuple(addresses)) for name, kind, ttl, addresses in data]


@dataclass(frozen=True)
class Look:
    """What the servers answer. *answers*: by server; *silent*: by server, why; *aliases*: by CNAME, its target."""

    answers: dict[str, dict[Key, Addresses]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> list[Addresses]:
        """What there is, by the first server that answers for it."""
        records = (record for answer in reversed(self.answers.values()) for record in answer.values())
        return list({record.key: record for record in records}.values())

    def differences(self, desired: Iterable[Addresses]) -> Iterator[tuple[str, Addresses]]:
        """Servers that do not answer what is *desired*, with what they answer."""
        for want in desired:
            for server, answer in self.answers.items():
                if (now := answer.get(want.key)) and not now.same(want):
                    yield server, now

    def missing(self, desired: Iterable[Addresses]) -> str | None:
        """What not every server answers yet, in a few words; None when all do."""
        for server, why in self.silent.items():
            return f"{server} does not answer ({why})"
        for server, now in self.differences(desired):
            return f"{server}: {now}"
        return None


class Names:
    """The *domains*, looked up from *host*; *zone*: theirs, where DNS does not show it."""

    def __init__(self, host: Host, domains: Sequence[str], zone: str | None) -> None:
        self._host, self._domains, self._given = host, domains, zone

    def look(self) -> Look:
        """What each authoritative server answers now. Raises Problem where they cannot be found."""
        look = Look()
        for zone, names in self.zones.items():
            for server, addresses in self.servers(zone).items():
                self._ask(look, server, addresses, names)
        return look

    @cached_property
    def zones(self) -> dict[str, list[str]]:
        """The zones that the site's names are in, with those names."""
        zones: dict[str, list[str]] = {}
        for name in self._domains:
            zones.setdefault(self._find_zone(name), []).append(name)
        return zones

    def zone_of(self, name: str) -> str:
        """The zone that *name*, one of the site's, is in."""
        return next(zone for zone, names in self.zones.items() if name in names)

    def servers(self, zone: str) -> dict[str, list[str]]:
        """The zone's authoritative servers by name, with their addresses."""
        names = [record.target.to_text() for record in self._records(zone, "NS")]
        if not names:
            raise Problem(f"{zone} has no name servers", str(self._host), "Fix dns.zone in the settings")
        return {name.rstrip("."): self.addresses(name) for name in sorted(names)}

    def primary(self, zone: str) -> tuple[str, list[str]]:
        """The primary server, which takes changes, by the zone's SOA record; with its addresses."""
        name = next((record.mname.to_text() for record in self._records(zone, "SOA")), zone)
        return name.rstrip("."), self.addresses(name)

    def addresses(self, name: str) -> list[str]:
        """A name server's addresses; IPv4 first, which more networks can reach."""
        return [record.address for kind in KINDS for record in self._records(name, kind)]

    def _records(self, name: str, kind: str) -> list[Any]:
        return resolver.of_type(self._resolve(name, kind), kind)

    def _find_zone(self, name: str) -> str:
        given, labels = self._given, name.split(".")
        if given and f".{name}".endswith(f".{given}"):
            return given
        for place in range(len(labels)):
            zone = ".".join(labels[place:])
            if self._resolve(zone, "SOA").get_rrset("ANSWER", zone, "IN", "SOA"):
                return zone
        do = "Fix `domains:`; to leave DNS alone set `dns: {kind: none}`"
        raise Problem(f"{name} does not resolve", str(self._host), do)

    def _resolve(self, name: str, kind: str) -> Any:
        try:
            return self._answers(name, kind)
        except Unanswered as why:
            do = "Check /etc/resolv.conf there; or set `dns: {kind: none}`, and change the records yourself"
            raise Problem(f"cannot look up names: {why}", str(self._host), do) from None

    @cached_property
    def _answers(self) -> Any:
        return resolver.answers(self._host)

    def _ask(self, look: Look, server: str, addresses: list[str], names: list[str]) -> None:
        """Asks a server of a zone, at the first of its addresses that answers; it may be one of other zones too."""
        why = "it has no address"
        for address in addresses:
            try:
                with closing(self._host.dial(address, 53, resolver.PATIENCE)) as line:
                    answers = {(name, kind): ask_server(line, look, name, kind) for name in names for kind in KINDS}
                look.answers.setdefault(server, {}).update({key: record for key, record in answers.items() if record})
                return
            except (Unanswered, OSError) as error:
                why = str(error) or type(error).__name__
        look.silent[server] = why


def plain(address: object) -> str:
    """An address in its usual form, so that two can be compared."""
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return str(address)


def ask_server(line: Any, look: Look, name: str, kind: str) -> Addresses | None:
    """What a server answers, by the connection *line*; None where the name is an alias, which is put into *look*."""
    from dns import flags

    answer = resolver.question(line, name, kind)
    if not answer.flags & flags.AA:
        raise Unanswered(f"it is not authoritative for {name}")
    if alias := answer.get_rrset("ANSWER", name, "IN", "CNAME"):
        look.aliases[name] = alias[0].target.to_text().rstrip(".")
        return None
    if records := answer.get_rrset("ANSWER", name, "IN", kind):
        return Addresses(name, kind, records.ttl, tuple(sorted(plain(record.address) for record in records)))
    return Addresses(name, kind)
