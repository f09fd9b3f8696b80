"""You: the changes are shown, and you make them at your provider."""

from ... import output
from ..needs import Move
from ..records import Addresses
from . import Changes, shown


class Kind:
    """Shows the operator what to change."""

    def __init__(self, move: Move) -> None:
        self._found = {record.key: record for record in move.names.look().found}

    def present(self, name: str, kind: str) -> Addresses:
        """What there is, by the first name server."""
        return self._found.get((name, kind), Addresses(name, kind))

    def write(self, changes: Changes) -> None:
        """Prints them."""
        output.note(
            "Change these records at your DNS provider (- delete, + add); this waits until every name server has them:"
        )
        output.diff(shown(changes))
