"""People, who are told what to change."""

from __future__ import annotations

from ... import output
from ..needs import Move
from ..records import Addresses
from . import Changes, shown


class Kind:
    """People, who are told what to change."""

    def __init__(self, move: Move) -> None:
        self._found = {found.key: found for found in move.names.look().found}

    def present(self, name: str, kind: str) -> Addresses:
        """What there is, as a name server says."""
        return self._found.get((name, kind), Addresses(name, kind))

    def write(self, changes: Changes) -> None:
        """Prints it."""
        output.note("Change these records where you manage the name (- goes, + comes); it is looked for meanwhile:")
        output.diff(shown(changes))
