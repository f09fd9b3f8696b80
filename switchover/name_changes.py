"""Changes of the site's names, made from here by whoever may: a dynamic update, a provider's API, or people by hand.

What is written to the name system and what then is seen in it are different things: a change is made where it is not
made yet, and then every authoritative server is waited for. So it may be cut short anywhere, and be made again.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import asking, say
from .asking import Unanswered
from .errors import Problem
from .names import Addresses, Look, from_json, one, plain
from .outside import NothingDone, NotYet
from .quote import sh

if TYPE_CHECKING:
    from .move import Move

Changes = Sequence[tuple[Addresses, Addresses]]  # what there is, what there shall be
EVERY = 1.0  # seconds between two looks
REFUSALS = {"PeerBadKey": "it knows no such key", "PeerBadSignature": "the key's secret is another there",
            "PeerBadTime": "its clock and this machine's differ too much"}  # fmt: skip


class Writer(Protocol):
    """Who changes records."""

    def present(self, name: str, kind: str) -> Addresses:
        """What there is."""

    def write(self, changes: Changes) -> None:
        """Makes the changes; raises Problem where it may not. No name is without its addresses meanwhile."""


def carry_out(move: Move, facts: Mapping[str, Any], on_line: Callable[[str], None], *, back: bool = False) -> None:
    """Makes the change that a journal has the *facts* of, or takes it *back*; returns when every server says so.

    Raises NotYet where that takes too long; NothingDone where what there is cannot be known, or somebody has changed it
    since; Problem where the change cannot be made.
    """
    if move.dry:
        raise NothingDone("a change was tried under --dry", "names", "Please report this: it is a fault of ours")
    was, wanted = from_json(facts["before"]), from_json(facts["after"])
    if back:
        was, wanted = wanted, was
    try:
        writer = _writer(move)
        changes = [change for change in _there(writer, was, wanted) if not change[0].same(change[1])]
    except Problem as problem:
        raise NothingDone(problem.what, problem.where, problem.do) from None
    if changes:
        writer.write(changes)
    _wait(move, wanted, on_line)


def _there(
    writer: Writer, was: Sequence[Addresses], wanted: Sequence[Addresses]
) -> Iterator[tuple[Addresses, Addresses]]:
    """What there is and shall be. Raises Problem where that is neither what was nor what is wanted."""
    for before, want in zip(was, wanted, strict=True):
        now = writer.present(*want.key)
        if not {*now.data} <= {*before.data, *want.data}:
            what = f"{now}, which is neither what it was nor what it shall be"
            raise Problem(what, "names", f"Mend that by hand: {'; '.join(want.lines) or f'no {want.kind}'}")
        yield now, want


def shown(changes: Changes) -> str:
    """The records that go and come, as a diff."""
    lines = []
    for before, after in changes:
        lines += [f"-{line}" for line in before.lines if line not in after.lines]
        lines += [f"+{line}" for line in after.lines if line not in before.lines]
    return "\n".join(lines)


def undoing(facts: Mapping[str, Any]) -> str:
    """What goes and comes when it is taken back."""
    return shown(list(zip(from_json(facts["after"]), from_json(facts["before"]), strict=True)))


def _wait(move: Move, wanted: Sequence[Addresses], on_line: Callable[[str], None]) -> None:
    within, started = move.settings.dns.within, time.monotonic()
    while (missing := move.names.look().missing(wanted)) is not None:
        waited = time.monotonic() - started
        if waited > within:
            do = "Run the same command again when it does; or take it back: inv undo"
            raise NotYet(f"not every name server says so yet: {missing}", f"waited {within} s", do)
        on_line(f"doing {missing}")
        on_line(f"progress {waited:.0f} {within} seconds")
        time.sleep(EVERY)


def _writer(move: Move) -> Writer:
    kinds: dict[str, Callable[[Move], Writer]] = {"update": Update, "lexicon": Lexicon, "by-hand": ByHand}
    return kinds[move.settings.dns.kind](move)


class ByHand:
    """People, who are told what to change."""

    def __init__(self, move: Move) -> None:
        self._found = {found.key: found for found in move.names.look().found}

    def present(self, name: str, kind: str) -> Addresses:
        """What there is, as a name server says."""
        return self._found.get((name, kind), Addresses(name, kind))

    def write(self, changes: Changes) -> None:
        """Prints it."""
        say.note("Change these records where you manage the name (- goes, + comes); it is looked for meanwhile:")
        say.diff(shown(changes))


class Update:
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
                answer = message.from_wire(asking.exchange(line, wire), keyring=made.keyring, request_mac=made.mac)
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
                    return socket.create_connection((address, 53), asking.PATIENCE)
                return getattr(self._move, host).dial(address, 53, asking.PATIENCE)
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


class Lexicon:
    """A provider's API, by dns-lexicon. Its credentials come from its own places: LEXICON_… and lexicon.yml."""

    def __init__(self, move: Move) -> None:
        self._move, self._provider = move, str(move.settings.dns.provider)
        # It guesses the zone by a list of public suffixes, looked for in the net; ours is known.
        logging.getLogger("tldextract").setLevel(logging.CRITICAL)

    def present(self, name: str, kind: str) -> Addresses:
        """What the provider has."""
        found = self._do(name, lambda api: _of(api, name, kind))
        ttl = next((int(one["ttl"]) for one in found if str(one.get("ttl") or "").isdigit()), 0)
        return Addresses(name, kind, ttl, tuple(sorted(plain(one["content"]) for one in found)))

    def write(self, changes: Changes) -> None:
        """Has it make them, one record after the other; what comes first."""
        for before, after in changes:
            self._do(after.name, lambda api: self._records(api, before, after), after.ttl)  # noqa: B023

    def _records(self, api: Any, before: Addresses, after: Addresses) -> None:
        name, kind = after.key
        for datum in after.data:
            if datum not in before.data:
                api.create_record(kind, name, datum)
        for found in _of(api, name, kind):
            if plain(found["content"]) not in after.data:
                api.delete_record(found["id"], kind, name, found["content"])
            elif str(found.get("ttl")) != str(after.ttl):
                api.update_record(found["id"], kind, name, found["content"])
        left = {str(found["ttl"]) for found in _of(api, name, kind) if found.get("ttl") is not None}
        if left - {str(after.ttl)}:
            # Taken away and made anew it would have it; but then visitors could find no address for a moment.
            do = f"Set it there by hand to {after.ttl}, and run this again"
            raise Problem(f"leaves the TTL of {name} {kind} at {', '.join(sorted(left))}", self._provider, do)

    def _do(self, name: str, work: Callable[[Any], Any], ttl: int | None = None) -> Any:
        try:
            from lexicon.client import Client
            from lexicon.config import ConfigResolver, DictConfigSource
        except ImportError:
            do = "pip install dns-lexicon, or write dns: {kind: by-hand}"
            raise Problem("dns-lexicon is not installed", "dns.kind: lexicon", do) from None
        zone = next(zone for zone, names in self._move.names.zones.items() if name in names)
        given = {"provider_name": self._provider, "domain": zone, "ttl": ttl}
        resolver: Any = ConfigResolver
        config = resolver().with_dict({k: v for k, v in given.items() if v is not None})
        try:
            client = Client(config.with_env().with_config_dir(str(Path.cwd())))
            client.config.add_config_source(DictConfigSource({"domain": zone}), 0)  # no guess of its own
            with client as api:
                return work(api)
        except Problem:
            raise
        except Exception as error:  # whatever the provider's module raises
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            do = "See its credentials in the environment (LEXICON_…) or in lexicon.yml"
            raise Problem(f"did not do it: {said[:200]}", self._provider, do) from None


def _of(api: Any, name: str, kind: str) -> list[dict[str, Any]]:
    """A provider's records of one name: for that of the zone itself some modules give those of all names."""
    found = api.list_records(kind, name)
    return [one for one in found if str(one.get("name", "")).rstrip(".").removeprefix("@.").lower() == name.lower()]
