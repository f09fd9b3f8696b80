"""Old's certificate, as copied to new: somebody else renews it there, before it ends."""

from ...findings import Found, note
from .. import certificate
from ..kinds import nothing


class Settings(certificate.Settings):
    """Old's certificate stays, as copied to new, and somebody else renews it."""


class Copied(certificate.Certificate[Settings]):
    """There is nothing to do."""

    installed = challenge_passes = ordered = trusted = renewed = shown = seen = renews = stays = nothing(
        "old's certificate stays, as certificate.kind is copied"
    )

    def check(self) -> Found:
        """No authority is asked."""
        yield note("old's certificate is copied: none is ordered")
