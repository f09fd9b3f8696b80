"""No firewall that this tool knows: it is left alone."""

from ...findings import Found, note
from .. import firewall
from ..kinds import nothing


class Settings(firewall.Settings):
    """None, or one that this tool leaves alone: you open the ports that new has to reach on old (ssh, `relay`)."""


class NoFirewall(firewall.Firewall[Settings]):
    """It is left alone. The ports of the move still accept only the other server, where the kernel can do that."""

    on = lets_in = nothing("{role}'s firewall is left alone, as {role}.firewall.kind is none")
    rules = ""

    def check(self) -> Found:
        """It stays as it is."""
        yield note("its firewall is left alone: open the ports that the other server has to reach (ssh, `relay`)")
