"""No firewall of which this tool knows: it is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...desired import Nothing
from ...findings import Found, note
from ...hosts import Host
from .. import firewall


class Settings(firewall.Settings):
    """None, or one that this tool leaves alone: what new has to reach on old is opened by you (`door`, ssh)."""

    kind: Literal["none"] = "none"
    """It is left alone."""

    def on(self, server: Host) -> NoFirewall:
        """The firewall of *server*."""
        return NoFirewall(server, self)


class NoFirewall(firewall.Firewall[Settings]):
    """It is left alone."""

    def on(self) -> Nothing:
        """Nothing is wanted."""
        return Nothing(f"{self.server.role}'s firewall is left alone ({self.server.role}.firewall.kind: none)")

    def lets_in(self, sources: Sequence[str], port: int) -> Nothing:
        """Nothing is wanted: the port itself lets in nobody else, where the kernel can."""
        return self.on()

    def check(self) -> Found:
        """It stays as it is."""
        yield note("its firewall stays as it is")
