"""Old's certificate, as copied to new: somebody else renews it there, before it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...desired import Nothing
from ...findings import Found, note
from .. import certificate

if TYPE_CHECKING:
    from ...hosts import Server
    from ...move import Move


class Settings(certificate.Settings):
    """Old's certificate stays, as copied to new, and somebody else renews it."""

    kind: Literal["copied"] = "copied"
    """None is ordered."""

    def on(self, server: Server) -> Copied:
        """The certificate of *server*."""
        return Copied(server, self)


class Copied(certificate.Certificate[Settings]):
    """There is nothing to do about it."""

    def installed(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing("old's certificate stays, as copied (certificate.kind: copied)")

    def challenge_passes(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def ordered(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def trusted(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def renewed(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def shown(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def seen(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def renews(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def stays(self, move: Move) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def check(self, move: Move) -> Found:
        """No authority is asked."""
        yield note("old's certificate is copied: no authority is asked for one")
