"""Packages of the system."""

from __future__ import annotations

from dataclasses import dataclass

from ..desired import Resource
from ..hosts import Host
from ..journal import Change
from ..programs import programs


@dataclass(frozen=True)
class Packages(Resource):
    """The packages *names* (words of sh) are installed on *server*.

    Undone, what came goes, and with it a *configuration* (a directory) that was not there before; an update of a
    package that was there stays. *installed* (sh) succeeds where they are there, by whatever way they came.
    """

    server: Host
    names: str
    configuration: str
    installed: str = ""

    def change(self) -> Change | None:
        """Their installation; None where they are there."""
        status = f"dpkg-query -W -f '${{db:Status-Status}}\\n' {self.names} 2>/dev/null"
        all_there = f'[ "$({status} | grep -cx installed)" = {len(self.names.split())} ]'
        if self.server.look(self.installed or all_there, check=False).status == 0:
            return None
        shown = f"apt-get install {self.names}"
        apply = f"sh after/packages install {self.configuration} {self.names}"
        return Change(shown, apply, "sh after/packages remove", files=programs("packages"))
