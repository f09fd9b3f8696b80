"""ufw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

from ...desired import Precondition, Resource
from ...errors import Problem
from ...findings import Found, blocker, good, note
from ...hosts import Host
from ...journal import Change
from ...programs import programs
from ...quote import sh
from ...resources.command import Command
from ...vocabulary import Form
from .. import firewall

BACK = "switchover-firewall-back"  # the unit that turns it off again unless a login succeeds
FILES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules", "/etc/ufw/ufw.conf", "/etc/default/ufw")


class Settings(firewall.Settings):
    """ufw: where it is off, `prepare-old` turns it on, with ssh's ports and `allow`."""

    allow: tuple[Annotated[str, Form(r"[0-9]{1,5}(/(tcp|udp))?", "a port like 443/tcp")], ...] = ("80/tcp", "443/tcp")
    """The ports that stay open for everybody, besides ssh's: list every other one that is used."""


class Ufw(firewall.Firewall[Settings]):
    """ufw on one server. Only old's is turned on: new has the firewall that it was installed with."""

    tools = ("ufw",)
    rules = "! command -v ufw >/dev/null || LC_ALL=C ufw show added | sed -n 's/^ufw /ufw /p'"

    def on(self) -> list[Resource | Precondition]:
        """It is on, with ssh allowed first; it turns off within a minute unless a second login succeeds."""
        server, allow, shown = self.server, self.settings.allow, "the firewall stays on"
        restore = "\n".join(f"install_file before/{file.rpartition('/')[2]} {file}" for file in FILES)
        run = f"sh after/firewall-on {BACK} {' '.join(sh(port) for port in allow)}"
        undo, check = f"ufw --force disable >/dev/null\n{restore}", "ufw status | grep -q '^Status: active'"
        command = f"ufw allow {' '.join(['(ssh)', *allow])}; ufw enable"
        on = Command(server, run, undo, check, command, FILES, programs("firewall-on"), part="on")
        ended = f"! systemctl is-active -q {BACK}.timer"
        stays = Command(server, f"systemctl stop {BACK}.timer", check=ended, shown=shown, part="stays on")
        return [on, Precondition(self._second_login, within=20), stays]

    def _second_login(self) -> str | None:
        if self.server.look(f"systemctl is-active -q {BACK}.timer", check=False).status != 0:
            return None  # it stays on already
        try:
            with closing(self.server.again()) as second:
                second.look("true")
        except Problem as problem:
            return f"{problem.what}; the firewall turns off again within a minute"
        return None

    def lets_in(self, sources: Sequence[str], port: int) -> Rule:
        """A rule for each of the *sources*."""
        return Rule(self.server, tuple(sources), port)

    def check(self) -> Found:
        """It is on, or will be, and its default is to refuse."""
        if self.server.role != "old":
            yield note("its firewall stays as it is")
            return
        status = self.server.look("ufw status verbose", check=False).out
        active = "Status: active" in status
        state = "is on" if active else "is off: `prepare-old` turns it on, with ssh allowed first"
        yield good(f"the firewall (ufw) {state}")
        if active and not re.search(r"^Default: (deny|reject) \(incoming\)", status, re.M):
            yield blocker("the firewall lets everybody reach every port", "Run: ufw default deny incoming")


@dataclass(frozen=True)
class Rule(Resource):
    """*server*'s firewall lets *sources* (addresses) reach TCP *port*."""

    server: Host
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
        rules = [f"allow from {sh(source)} to any port {self.port} proto tcp" for source in self.sources]
        missing = [rule for rule in rules if not any(line.startswith(f"ufw {rule}") for line in lines)]
        if not missing:
            return None
        shown = "\n".join(f"ufw {rule}" for rule in missing)
        apply = "\n".join(f"ufw {rule} comment 'switchover: the move' >/dev/null" for rule in missing)
        return Change(shown, apply, "\n".join(f"ufw delete {rule} >/dev/null" for rule in missing))
