"""Any application that is a service: its verbs are settings."""

from __future__ import annotations

from typing import Annotated, Literal

from ...findings import Found, warning
from ...hosts import Host
from ...quote import sh
from ...render import render
from ...vocabulary import Form, Line
from .. import app
from ..kinds import Watched

# host:port, [v6]:port; or a path in which there is a letter, and no '..'
LISTENS = (
    r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|(?!([^/]*/)*\.\.(/|$))[A-Za-z0-9_./-]*[A-Za-z_/][A-Za-z0-9_./-]*"
)


class Settings(app.Settings):
    """Any service that answers visitors: its verbs are sh, run by the application's user in its directory (what takes
    root: by sudo); one that is left out is systemctl's, by root.
    """

    kind: Literal["service"] = "service"
    """The program is what its service starts."""
    listens: Annotated[str, Form(LISTENS, "an address with a port, like 127.0.0.1:3000, or a socket's path")]
    """Where it takes requests: `address:port`, or a socket; a relative path is below the application's directory."""
    reload: Line | None = None
    """Has it run anew, each request under way ending first; `systemctl reload-or-restart SERVICE` (in a deploy hook by
    sudo) if it is left out."""
    reloaded: Line | None = None
    """Succeeds when that is done and it answers; `systemctl is-active -q SERVICE` if it is left out."""

    def on(self, server: Host) -> ServiceApplication:
        """This application on *server*."""
        return ServiceApplication(server, self)


class ServiceApplication(app.Application[Settings]):
    """An application that systemd knows well: it runs where its service is active."""

    @property
    def listens(self) -> str:
        """Its socket, or its address and port."""
        where = self.settings.listens
        return where if ":" in where else f"unix:{self.within(where)}"

    @property
    def runs(self) -> str:
        """sh: succeeds where its service is active."""
        return f"systemctl is-active -q {sh(self.service)}"

    @property
    def started(self) -> str:
        """sh: since when its service is active, in seconds since 1970."""
        # In the server's own time zone it may have a name that `date` does not know.
        return f'date +%s -d "$(TZ=UTC systemctl show -p ActiveEnterTimestamp --value {sh(self.service)})"'

    @property
    def _reload(self) -> str:
        return f"systemctl reload-or-restart {sh(self.service)}"

    @property
    def main_process(self) -> str:
        """sh: its service's."""
        return f"systemctl show -p MainPID --value {sh(self.service)} | grep -vx 0"

    @property
    def facts(self) -> str:
        """sh: its `backlog`. How many processes it has nobody knows: one at least."""
        return f"{app.backlog(self.listens)} | say backlog"

    def reload(self) -> str:
        """sh: the settings' verb, by its user, or systemd's, by root; nothing where it does not run."""
        reload = self.run(self.settings.reload) if self.settings.reload else self._reload
        reloaded = self.run(self.settings.reloaded) if self.settings.reloaded else self.runs
        return f"""
if {self.runs}; then
  {reload} || refuse {sh(self.service)}" does not reload"
  wait_until {app.RELOADS} {reloaded} || refuse {sh(self.service)}" does not run: see its log"
fi
"""

    @property
    def reload_shown(self) -> str:
        """The settings' verb, or systemd's."""
        return self.settings.reload or self._reload

    def on_deploy(self) -> str:
        """sh for a deploy hook: the settings' verbs, by the application's user."""
        reload = self.settings.reload or f"sudo -n {self._reload}"
        return render("hooks/app-service.sh.j2", reload=reload, reloaded=self.settings.reloaded or self.runs).decode()

    def check(self) -> Found:
        """Its unit can reload it, where no verb of the settings does."""
        can = self.server.look(f"systemctl show -p CanReload --value {sh(self.service)}", check=False).out.strip()
        if can == "no" and not self.settings.reload:
            do = f"Give its unit an ExecReload, or say {self.server.role}.app.reload"
            yield warning(f"{self.service} cannot reload: restarted, it ends visitors' requests", do)
        if not self.settings.reloaded:
            do = f"Say {self.server.role}.app.reloaded: what succeeds when it answers with what is new"
            yield warning(f"nothing tells when {self.service} has reloaded", do)

    def watched(self) -> Watched:
        """Its service."""
        systemctl = "/bin/systemctl"  # where older systems have it, and newer ones too
        runs = f"{systemctl} is-active -q {self.service}"
        return Watched(self.service, f"{systemctl} start {self.service}", f"{systemctl} stop {self.service}", runs=runs)
