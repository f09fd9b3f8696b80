"""The site's names: what every authoritative server of theirs says, each asked by itself.

They are asked from new, through its ssh connection, as `resolver` does; who they are new's resolver says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
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
    """All addresses of a kind that a name has; *ttl*: seconds for which resolvers may remember them."""

    name: str
    kind: str
    ttl: int = 0
    data: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """What they are about."""
        return self.name, self.kind

    @property
    def lines(self) -> list[str]:
        """The records, as a zone's file has them."""
        return [f"{self.name}. {self.ttl} IN {self.kind} {one}" for one in self.data]

    def same(self, other: Addresses) -> bool:
        """Whether visitors are told the same."""
        return set(self.data) == set(other.data) and (not self.data or self.ttl == other.ttl)

    def __str__(self) -> str:
        said = f"{', '.join(self.data)} (TTL {self.ttl})" if self.data else "not there"
        return f"{self.name} {self.kind} is {said}"


def as_json(several: Iterable[Addresses]) -> list[Any]:
    """As a journal keeps them."""
    return [[one.name, one.kind, one.ttl, list(one.data)] for one in several]


def from_json(data: Iterable[Any]) -> list[Addresses]:
    """Those that a journal kept."""
    return [Addresses(name, kind, ttl, tuple(found)) for name, kind, ttl, found in data]


@dataclass(frozen=True)
class Look:
    """What the servers said. *said*: by server; *silent*: by server, why; *aliases*: by name, for whom it stands."""

    said: dict[str, dict[Key, Addresses]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> list[Addresses]:
        """What there is, as the first server has it that was asked for it."""
        found: dict[Key, Addresses] = {}
        for said in self.said.values():
            for key, one in said.items():
                found.setdefault(key, one)
        return list(found.values())

    def differences(self, desired: Iterable[Addresses]) -> Iterator[tuple[str, Addresses]]:
        """Servers that say something else than *desired*, with what they say."""
        for want in desired:
            for server, said in self.said.items():
                if (now := said.get(want.key)) and not now.same(want):
                    yield server, now

    def missing(self, desired: Iterable[Addresses]) -> str | None:
        """Why not every server says what is wanted, in a few words."""
        for server, why in self.silent.items():
            return f"{server} does not answer ({why})"
        for server, now in self.differences(desired):
            return f"{server}: {now}"
        return None


class Names:
    """The *domains*, asked for from *host*; *zone*: theirs, where it is not found by asking."""

    def __init__(self, host: Host, domains: Sequence[str], zone: str | None) -> None:
        self._host, self._domains, self._given = host, domains, zone
        self._found: dict[str, dict[str, list[str]]] = {}

    def look(self) -> Look:
        """What each authoritative server says now. Raises Problem where nobody knows who they are."""
        look = Look()
        for zone, names in self.zones.items():
            for server, addresses in self.servers(zone).items():
                try:
                    self._ask(look, server, addresses, names)
                except (Unanswered, OSError) as why:
                    look.silent[server] = str(why) or type(why).__name__
        return look

    @cached_property
    def zones(self) -> dict[str, list[str]]:
        """The zones that the site's names are in, with those names."""
        zones: dict[str, list[str]] = {}
        for name in self._domains:
            zones.setdefault(self._zone(name), []).append(name)
        return zones

    def servers(self, zone: str) -> dict[str, list[str]]:
        """The zone's authoritative servers by name, with their addresses."""
        if zone not in self._found:
            from dns import rdatatype

            answer = self._resolve(zone, "NS")
            names = [d.target.to_text() for s in answer.answer if s.rdtype == rdatatype.NS for d in s]
            self._found[zone] = {name.rstrip("."): self.addresses(name) for name in sorted(names)}
            if not names:
                raise Problem(f"{zone} has no name servers", str(self._host), "See dns.zone in the settings")
        return self._found[zone]

    def primary(self, zone: str) -> tuple[str, list[str]]:
        """The server that the zone itself names as the one that takes changes."""
        from dns import rdatatype

        found = [s for s in self._resolve(zone, "SOA").answer if s.rdtype == rdatatype.SOA]
        name = found[0][0].mname.to_text() if found else zone
        return name.rstrip("."), self.addresses(name)

    def addresses(self, name: str) -> list[str]:
        """A name server's addresses, those by which it is rather reached first."""
        from dns import rdatatype

        kinds = (rdatatype.A, rdatatype.AAAA)
        return [
            d.address for kind in kinds for s in self._resolve(name, kind.name).answer if s.rdtype == kind for d in s
        ]

    def _zone(self, name: str) -> str:
        from dns import rdatatype
        from dns.name import from_text

        given, labels = self._given, name.split(".")
        if given and f".{name}".endswith(f".{given}"):
            return given
        for place in range(len(labels)):
            zone = ".".join(labels[place:])
            at = from_text(zone)
            if any(s.rdtype == rdatatype.SOA and s.name == at for s in self._resolve(zone, "SOA").answer):
                return zone
        do = "Mend domains in the settings; where the names are nobody's business write there dns: {kind: none}"
        raise Problem(f"nobody knows {name}", str(self._host), do)

    def _resolve(self, name: str, kind: str) -> Any:
        try:
            return self._answers(name, kind)
        except Unanswered as why:
            do = "See resolv.conf there; or write dns: {kind: none}, and change the records without this"
            raise Problem(f"cannot ask for names: {why}", str(self._host), do) from None

    @cached_property
    def _answers(self) -> Any:
        return resolver.answers(self._host)

    def _ask(self, look: Look, server: str, addresses: list[str], names: list[str]) -> None:
        """Asks one server, at the first of its addresses that answers."""
        why: Exception = Unanswered("it has no address")
        for address in addresses:
            try:
                with closing(self._host.dial(address, 53, resolver.PATIENCE)) as line:
                    said = {(name, kind): one(line, look, name, kind) for name in names for kind in KINDS}
            except (Unanswered, OSError) as error:
                why = error
                continue
            look.said[server] = {key: found for key, found in said.items() if found}
            return
        raise why


def plain(address: object) -> str:
    """An address as everybody here writes it."""
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return str(address)


def one(line: Any, look: Look, name: str, kind: str) -> Addresses | None:
    """What a server says to one question; None where the name is an alias, which *look* then has."""
    from dns import flags, rdatatype
    from dns.name import from_text

    answer = resolver.question(line, name, kind)
    if not answer.flags & flags.AA:
        raise Unanswered(f"it does not know {name} by itself")
    at, found = from_text(name), Addresses(name, kind)
    for records in answer.answer:
        if records.name == at and records.rdtype == rdatatype.CNAME:
            look.aliases[name] = records[0].target.to_text().rstrip(".")
            return None
        if records.name == at and records.rdtype == rdatatype.from_text(kind):
            found = replace(found, ttl=records.ttl, data=tuple(sorted(plain(data.address) for data in records)))
    return found
