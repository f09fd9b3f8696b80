"""DNS records, as a step wants them. They are on neither server; new's journal records their changes."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..desired import Resource
from ..errors import Problem
from ..hosts import Host
from ..journal import Change
from ..programs import program
from ..quote import sh
from . import writers
from .needs import Move
from .records import Addresses, Look, as_json

PROGRAM = "names-are"
KIND = "dns"


@dataclass(frozen=True)
class Records(Resource):
    """Every authoritative server has what *desired* makes of what they have now. *ends_undo*: sh for a final change."""

    move: Move
    desired: Callable[[Look], Iterable[Addresses]]
    ends_undo: str = ""

    @property
    def server(self) -> Host:
        """The server whose journal records it."""
        return self.move.new

    def change(self) -> Change | None:
        """The records to delete and to add; None where every server has them already."""
        look = self.move.names.look()
        for server, why in look.silent.items():
            raise Problem(f"does not answer ({why})", server, "Fix it, or remove it from the zone")
        desired = list(self.desired(look))
        differing = {now.key: now for _, now in reversed(list(look.differences(desired)))}
        after = [want for want in desired if want.key in differing]
        if not after:
            return None
        before = [differing[want.key] for want in after]
        diff = writers.shown(list(zip(before, after, strict=True)))
        facts = {"kind": KIND, "before": as_json(before), "after": as_json(after)}
        if self.ends_undo:
            return Change(diff, ":", self.ends_undo, outside=facts)
        servers = []
        for zone, names in self.move.names.zones.items():
            its = self.move.names.servers(zone)
            servers += [{"name": name, "addresses": addresses, "names": names} for name, addresses in its.items()]
        asked = json.dumps({"servers": servers, "records": facts["before"]}).encode()
        files = {PROGRAM: program(PROGRAM), "before.json": asked}
        return Change(diff, ":", _undo(before), files=files, outside=facts)


def _undo(before: list[Addresses]) -> str:
    """sh that checks whether the records are back: it cannot change them, as the credentials are on neither server."""
    lines = [line for record in before for line in record.lines or [f"no {record.kind} of {record.name}"]]
    reason = sh(f"put these records back at your DNS provider, then run this again: {'; '.join(lines)}")
    return f'now=$(python3 after/{PROGRAM} after/before.json 2>&1) || refuse {reason}" (now: $now)"'
