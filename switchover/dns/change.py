"""Records of the name system, as a step wants them: they are on no server; new's journal has what was done to them."""

from __future__ import annotations

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
    """Every authoritative server says what *desired* makes of what they say. *ends_undo*: it is not taken back."""

    move: Move
    desired: Callable[[Look], Iterable[Addresses]]
    ends_undo: str = ""

    @property
    def server(self) -> Host:
        """Where it is written down."""
        return self.move.new

    def change(self) -> Change | None:
        """The records that go and come; None where every server has them already."""
        look = self.move.names.look()
        for server, why in look.silent.items():
            raise Problem(f"does not answer ({why})", server, "Every name server must, else nobody knows what it says")
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
        zones = self.move.names.zones
        servers = [
            {"name": name, "addresses": addresses, "names": zones[zone]}
            for zone in zones
            for name, addresses in self.move.names.servers(zone).items()
        ]
        files = {
            PROGRAM: program(PROGRAM),
            "before.json": json.dumps({"servers": servers, "records": facts["before"]}).encode(),
        }
        return Change(diff, ":", _undo(before), files=files, outside=facts)


def _undo(before: list[Addresses]) -> str:
    """sh that cannot change the records, since nobody's credentials are on a server: it sees whether they are back."""
    lines = [line for one in before for line in one.lines or [f"no {one.kind} of {one.name}"]]
    said = sh(f"put these records back where you manage the name, then run this again: {'; '.join(lines)}")
    return f'said=$(python3 after/{PROGRAM} after/before.json 2>&1) || refuse {said}" (now $said)"'
