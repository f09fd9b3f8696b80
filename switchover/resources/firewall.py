"""A rule of ufw that lets one server reach one port."""

from __future__ import annotations

from dataclasses import dataclass

from ..desired import Resource
from ..hosts import Server
from ..journal import Change
from ..quote import sh


@dataclass(frozen=True)
class Rule(Resource):
    """*server*'s firewall lets *sources* (addresses) reach TCP *port*, and adds nobody else."""

    server: Server
    sources: tuple[str, ...]
    port: int

    @property
    def part(self) -> str:
        """The port that it opens."""
        return f"port {self.port}"

    def change(self) -> Change | None:
        """The missing rules."""
        return self.plan(self.server.look("LC_ALL=C ufw show added").out)

    def plan(self, added: str) -> Change | None:
        """What must change, given what `ufw show added` printed."""
        lines = added.splitlines()
        missing = [s for s in self.sources if not any(line.startswith(f"ufw {self._rule(s)}") for line in lines)]
        if not missing:
            return None
        comment = sh("switchover: the move")
        apply = [f"ufw {self._rule(s)} comment {comment} >/dev/null" for s in missing]
        undo = [f"ufw delete {self._rule(s)} >/dev/null" for s in missing]
        shown = "\n".join(f"ufw {self._rule(s)}" for s in missing)
        return Change(shown, "\n".join(apply), "\n".join(undo))

    def _rule(self, source: str) -> str:
        return f"allow from {sh(source)} to any port {self.port} proto tcp"
