"""No firewall of which this tool knows: it is left alone."""

from __future__ import annotations

from typing import Any, Literal

from ...desired import Nothing
from ...findings import Found, note
from ...hosts import Host
from .. import firewall


class Settings(firewall.Settings):
    """None, or one that this tool leaves alone: what new has to reach on old is opened by you (`relay`, ssh)."""

    kind: Literal["none"] = "none"
    """It is left alone."""

    def on(self, server: Host) -> NoFirewall:
        """The firewall of *server*."""
        return NoFirewall(server, self)


class NoFirewall(firewall.Firewall[Settings]):
    """It is left alone; a port that is for new alone lets in nobody else by itself, where the kernel can."""

    def _nothing(self, *_: Any, **__: Any) -> Nothing:
        role = self.server.role
        return Nothing(f"{role}'s firewall is left alone, as {role}.firewall.kind is none")

    on = lets_in = _nothing
    rules = ""

    def check(self) -> Found:
        """It stays as it is."""
        yield note("its firewall is left alone: what the other server has to reach there (ssh, `relay`) you open")
