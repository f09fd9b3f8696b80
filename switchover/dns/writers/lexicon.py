"""A provider's API, by dns-lexicon, which knows some hundred of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import Problem
from ..needs import Move
from ..records import Addresses, plain
from . import Changes


class Kind:
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
