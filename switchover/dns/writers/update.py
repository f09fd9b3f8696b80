"""A dynamic update (RFC 2136) of a name server."""

import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from ...errors import Problem
from ...hosts import Host
from ...quote import sh
from .. import resolver
from ..needs import Move
from ..records import Addresses, Look, ask_server
from ..resolver import Unanswered
from . import Changes

REFUSALS = {
    "PeerBadKey": "the server does not know this key",
    "PeerBadSignature": "the server has another secret",
    "PeerBadTime": "its clock and this machine's differ too much",
    **dict.fromkeys(("NXRRSET", "YXRRSET"), "somebody else changed the record just now"),
}


class Kind:
    """A dynamic update (RFC 2136), signed with a key: all changes in a zone at once, or none."""

    def __init__(self, move: Move) -> None:
        self._move, self._settings = move, move.settings.dns

    def present(self, name: str, kind: str) -> Addresses:
        """The records on the server that takes the updates."""
        zone = self._move.names.zone_of(name)
        try:
            with closing(self._dial(zone)) as line:
                return ask_server(line, Look(), name, kind) or Addresses(name, kind)
        except Unanswered as why:
            raise Problem(f"does not answer what {name} is: {why}", self._server(zone)[0]) from None

    def write(self, changes: Changes) -> None:
        """Sends it, an update for each zone."""
        key = self._key()
        for zone, names in self._move.names.zones.items():
            if of_zone := [(before, after) for before, after in changes if after.name in names]:
                self._send(zone, of_zone, *key)

    def _send(self, zone: str, changes: Changes, name: str, algorithm: str, secret: str) -> None:
        from dns import rcode, tsigkeyring, update
        from dns.exception import DNSException

        made = update.UpdateMessage(zone)
        for before, after in changes:
            at = f"{after.name}."
            if before.data:  # the server refuses where somebody has changed them meanwhile
                made.present(at, before.kind, *before.data)
            else:
                made.absent(at, before.kind)
            made.replace(at, after.ttl, after.kind, *after.data)
        try:
            made.use_tsig(tsigkeyring.from_text({name: secret}), name, algorithm=algorithm)
            made.to_wire()
        except (ValueError, DNSException):
            raise Problem("the key's secret is not base64", "dns.key_file", "Make it with tsig-keygen") from None
        try:
            with closing(self._dial(zone)) as line:
                answer, why = rcode.to_text(resolver.exchange(line, made).rcode()), ""
        except (Unanswered, DNSException) as error:
            answer, why = type(error).__name__, str(error)
        if answer != "NOERROR":
            what = f"did not accept the update: {REFUSALS.get(answer, why or answer)} (key {name})"
            raise Problem(what, self._server(zone)[0], "Check `dns:` in the settings, and the server's log")

    def _server(self, zone: str) -> tuple[str, list[str]]:
        """The server that takes the updates, and its addresses."""
        given = str(self._settings.server or "")
        return (given, [given]) if given else self._move.names.primary(zone)

    def _dial(self, zone: str) -> Any:
        (server, addresses), host = self._server(zone), self._host(self._settings.through)
        why = "it has no address"
        for address in addresses:
            try:
                if host is None:
                    return socket.create_connection((address, 53), resolver.PATIENCE)
                return host.dial(address, 53, resolver.PATIENCE)
            except OSError as error:
                why = str(error)
        raise Problem(f"does not answer ({why})", server, "Check dns.server and dns.through in the settings")

    def _host(self, place: str) -> Host | None:
        return {"old": self._move.old, "new": self._move.new, "ci": self._move.ci}.get(place)

    def _key(self) -> tuple[str, str, str]:
        """The key's name, algorithm and secret."""
        given, host = self._settings, self._host(self._settings.key_on)
        try:
            text = host.look(f"cat {sh(given.key_file)}").out if host else Path(str(given.key_file)).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no text"
            raise Problem(f"the key cannot be read ({why})", str(given.key_file), "Fix dns.key_file") from None
        block = re.search(r'key\s+"?([^"\s{;]+)"?\s*\{(.*?)\}', text, re.DOTALL)
        if not block:
            if not given.key:
                raise Problem("has no name of the key", str(given.key_file), "Set dns.key in the settings")
            return given.key, given.algorithm, "".join(text.split())
        inside = dict(re.findall(r'\b(algorithm|secret)\s+"?([^";\s]+)"?\s*;', block[2]))
        if "secret" not in inside:
            raise Problem("has no secret", str(given.key_file), "Make it with tsig-keygen")
        return block[1], inside.get("algorithm", given.algorithm), inside["secret"]
