"""Old's certificate, as copied to new: somebody else renews it there, before it ends."""

from __future__ import annotations

from typing import Literal

from ...desired import Nothing
from ...findings import Found, note
from .. import certificate


class Settings(certificate.Settings):
    """Old's certificate stays, as copied to new, and somebody else renews it."""

    kind: Literal["copied"] = "copied"
    """None is ordered."""

    def on(self, place: certificate.Place) -> Copied:
        """The certificate that goes there."""
        return Copied(place, self)


class Copied(certificate.Certificate[Settings]):
    """There is nothing to do about it."""

    def installed(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing("old's certificate stays, as copied (certificate.kind: copied)")

    def challenge_passes(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def ordered(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def trusted(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def renewed(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def shown(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def seen(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def renews(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def stays(self) -> Nothing:
        """Nothing is wanted."""
        return self.installed()

    def check(self) -> Found:
        """No authority is asked."""
        yield note("old's certificate is copied: no authority is asked for one")
