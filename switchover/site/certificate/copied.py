"""Old's certificate, as copied to new: somebody else renews it there, before it ends."""

from __future__ import annotations

from typing import Any, Literal

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

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        return Nothing("old's certificate stays, as certificate.kind is copied")

    installed = challenge_passes = ordered = trusted = renewed = shown = seen = renews = stays = _nothing

    def check(self) -> Found:
        """No authority is asked."""
        yield note("old's certificate is copied: no authority is asked for one")
