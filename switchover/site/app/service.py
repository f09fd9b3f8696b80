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


class Settings(app.Settings):
    """Any service that answers visitors: its verbs are sh, run in the application's directory by root, or in a deploy
    hook by the application's user."""

    kind: Literal["service"] = "service"
    """The program is what its service starts."""
    listens: Annotated[str, Form(r"[A-Za-z0-9_./\[\]:-]+", "a socket's path or a port, like 127.0.0.1:3000")]
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
        return self.settings.reload or f"systemctl reload-or-restart {sh(self.service)}"

    @property
    def _reloaded(self) -> str:
        return self.settings.reloaded or self.runs

    @property
    def main_process(self) -> str:
        """sh: its service's."""
        return f"systemctl show -p MainPID --value {sh(self.service)} | grep -vx 0"

    @property
    def facts(self) -> str:
        """sh: its `backlog`. How many processes it has nobody knows: one at least."""
        return f"{app.backlog(self.listens)} | say backlog"

    def reload(self) -> str:
        """sh: the settings' verb; nothing where it does not run."""
        return f"""
if {self.runs}; then
  {self.verb(self._reload)} || refuse {sh(self.service)}" does not reload"
  wait_until {app.RELOADS} {self.verb(self._reloaded)} || refuse {sh(self.service)}" does not run: see its log"
fi
"""

    @property
    def reload_shown(self) -> str:
        """The settings' verb."""
        return self._reload

    def on_deploy(self) -> str:
        """sh for a deploy hook: the settings' verbs, by the application's user."""
        reload = self.settings.reload or f"sudo -n {self._reload}"
        return render("hooks/app-service.sh.j2", reload=reload, reloaded=self._reloaded).decode()

    def check(self) -> Found:
        """Its unit can reload it, where no verb of the settings does."""
        can = self.server.look(f"systemctl show -p CanReload --value {sh(self.service)}", check=False).out.strip()
        if can == "no" and not self.settings.reload:
            do = f"Give its unit an ExecReload, or say {self.server.role}.app.reload"
            yield warning(f"{self.service} cannot reload: restarted, it ends visitors' requests", do)

    def watched(self) -> Watched:
        """Its service."""
        systemctl = "/bin/systemctl"  # where older systems have it, and newer ones too
        runs = f"{systemctl} is-active -q {self.service}"
        return Watched(self.service, f"{systemctl} start {self.service}", f"{systemctl} stop {self.service}", runs=runs)
