"""A DNS provider's API, through dns-lexicon, which supports some hundred of them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import Problem
from ..needs import Move
from ..records import Addresses, plain
from . import Changes


class Kind:
    """A provider's API, through dns-lexicon, which finds the credentials itself: LEXICON_… or lexicon.yml."""

    def __init__(self, move: Move) -> None:
        self._move, self._provider = move, str(move.settings.dns.provider)
        # It looks for a list of public suffixes online, to guess the zone; we know the zone.
        logging.getLogger("tldextract").setLevel(logging.CRITICAL)

    def present(self, name: str, kind: str) -> Addresses:
        """What the provider has."""
        records = self._do(name, lambda api: _of(api, name, kind))
        ttl = next((int(record["ttl"]) for record in records if str(record.get("ttl") or "").isdigit()), 0)
        return Addresses(name, kind, ttl, tuple(sorted(plain(record["content"]) for record in records)))

    def write(self, changes: Changes) -> None:
        """Makes them, record by record: new addresses are added before old ones are deleted."""
        for before, after in changes:
            self._do(after.name, lambda api: self._records(api, before, after), after.ttl)  # noqa: B023

    def _records(self, api: Any, before: Addresses, after: Addresses) -> None:
        name, kind = after.key
        for address in after.data:
            if address not in before.data:
                api.create_record(kind, name, address)
        for record in _of(api, name, kind):
            if plain(record["content"]) not in after.data:
                api.delete_record(record["id"], kind, name, record["content"])
            elif str(record.get("ttl")) != str(after.ttl):
                api.update_record(record["id"], kind, name, record["content"])
        left = {str(record["ttl"]) for record in _of(api, name, kind) if record.get("ttl") is not None}
        if left - {str(after.ttl)}:
            # Deleted and created again it would change; but then the name has no address for a moment.
            do = f"Set it there by hand to {after.ttl}, and run this again"
            what = f"did not change the TTL of {name} {kind}: it is {', '.join(sorted(left))}"
            raise Problem(what, self._provider, do)

    def _do(self, name: str, work: Callable[[Any], Any], ttl: int | None = None) -> Any:
        try:
            from lexicon.client import Client
            from lexicon.config import ConfigResolver, DictConfigSource
        except ImportError:
            do = "Run `pip install dns-lexicon`, or set `dns: {kind: by-hand}`"
            raise Problem("dns-lexicon is not installed", "dns.kind: lexicon", do) from None
        zone = self._move.names.zone_of(name)
        resolver: Any = ConfigResolver
        config = resolver().with_dict({"provider_name": self._provider, "domain": zone, "ttl": ttl})
        try:
            client = Client(config.with_env().with_config_dir(str(Path.cwd())))
            client.config.add_config_source(DictConfigSource({"domain": zone}), 0)  # instead of its guess
            with client as api:
                return work(api)
        except Problem:
            raise
        except Exception as error:  # whatever the provider's module raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            do = "Check its credentials in the environment (LEXICON_…) or in lexicon.yml"
            raise Problem(f"its API failed: {reason[:200]}", self._provider, do) from None


def _of(api: Any, name: str, kind: str) -> list[dict[str, Any]]:
    """A provider's records of one name; for the zone's own name, some of lexicon's modules list those of all names."""
    records = api.list_records(kind, name)
    return [r for r in records if str(r.get("name", "")).rstrip(".").removeprefix("@.").lower() == name.lower()]
