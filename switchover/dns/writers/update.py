"""A dynamic update (RFC 2136) of a name server."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from ...errors import Problem
from ...quote import sh
from .. import resolver
from ..needs import Move
from ..records import Addresses, Look, one
from ..resolver import Unanswered
from . import Changes

REFUSALS = {"PeerBadKey": "it knows no such key", "PeerBadSignature": "the key's secret is another there",
            "PeerBadTime": "its clock and this machine's differ too much"}  # fmt: skip


class Kind:
    """A dynamic update (RFC 2136), signed with a key: all changes in a zone at once, or none."""

    def __init__(self, move: Move) -> None:
        self._move, self._settings = move, move.settings.dns

    def present(self, name: str, kind: str) -> Addresses:
        """What the server has that takes the updates."""
        zone = self._zone(name)
        try:
            with closing(self._dial(zone)) as line:
                return one(line, Look(), name, kind) or Addresses(name, kind)
        except Unanswered as why:
            raise Problem(f"does not say what {name} is: {why}", self._server(zone)) from None

    def write(self, changes: Changes) -> None:
        """Sends it."""
        zones: dict[str, list[tuple[Addresses, Addresses]]] = {}
        for before, after in changes:
            zones.setdefault(self._zone(after.name), []).append((before, after))
        name, algorithm, secret = self._key()
        for zone, its in zones.items():
            self._send(zone, its, name, algorithm, secret)

    def _send(self, zone: str, changes: Changes, name: str, algorithm: str, secret: str) -> None:
        from dns import message, rcode, tsigkeyring, update
        from dns.exception import DNSException
        from dns.name import from_text

        made = update.UpdateMessage(from_text(zone))
        for before, after in changes:
            at = from_text(after.name)
            if before.data:  # and nobody was there before us
                for datum in before.data:
                    made.present(at, before.kind, datum)
            else:
                made.absent(at, before.kind)
            made.delete(at, after.kind)
            for datum in after.data:
                made.add(at, after.ttl, after.kind, datum)
        try:
            made.use_tsig(tsigkeyring.from_text({name: secret}), from_text(name), algorithm=algorithm)
            wire = made.to_wire()
        except (ValueError, DNSException):
            raise Problem("the key's secret is not base64", "dns.key_file", "As tsig-keygen writes it") from None
        where, do = self._server(zone), "See dns in the settings, and the server's log"
        try:
            with closing(self._dial(zone)) as line:
                answer = message.from_wire(resolver.exchange(line, wire), keyring=made.keyring, request_mac=made.mac)
        except (Unanswered, DNSException) as why:
            said = REFUSALS.get(type(why).__name__, str(why) or type(why).__name__)
            raise Problem(f"did not take the update: {said} ({name})", where, do) from None
        if answer.rcode() != rcode.NOERROR:
            said = rcode.to_text(answer.rcode())
            said = "somebody else changed it at this moment" if said in ("NXRRSET", "YXRRSET") else said
            raise Problem(f"did not take the update: {said} ({name})", where, do)

    def _zone(self, name: str) -> str:
        return next(zone for zone, names in self._move.names.zones.items() if name in names)

    def _server(self, zone: str) -> str:
        return str(self._settings.server or self._move.names.primary(zone)[0])

    def _dial(self, zone: str) -> Any:
        server, host = self._settings.server, self._settings.through
        addresses = [str(server)] if server else self._move.names.primary(zone)[1]
        why = "it has no address"
        for address in addresses:
            try:
                if host == "here":
                    return socket.create_connection((address, 53), resolver.PATIENCE)
                return getattr(self._move, host).dial(address, 53, resolver.PATIENCE)
            except OSError as error:
                why = str(error)
        raise Problem(f"does not answer ({why})", self._server(zone), "See dns.server and dns.through in the settings")

    def _key(self) -> tuple[str, str, str]:
        """The key's name, algorithm and secret."""
        given, place = self._settings, self._settings.key_on
        host = None if place == "here" else getattr(self._move, place)
        try:
            text = host.look(f"cat {sh(given.key_file)}").out if host else Path(str(given.key_file)).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise Problem(f"the key cannot be read ({why})", str(given.key_file), "See dns.key_file") from None
        found = re.search(r'key\s+"?([^"\s{;]+)"?\s*\{(.*?)\}', text, re.DOTALL)
        if not found:
            if not given.key:
                raise Problem("says no key's name", str(given.key_file), "Say dns.key in the settings")
            return given.key, given.algorithm, "".join(text.split())
        inside = dict(re.findall(r'\b(algorithm|secret)\s+"?([^";\s]+)"?\s*;', found[2]))
        if "secret" not in inside:
            raise Problem("has no secret", str(given.key_file), "As tsig-keygen writes it")
        return found[1], inside.get("algorithm", given.algorithm), inside["secret"]
