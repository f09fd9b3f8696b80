"""Any application that is a service: its verbs are settings."""

from typing import Annotated

from ...findings import Found, warning
from ...quote import sh
from ...render import render
from ...vocabulary import Form, Line
from .. import app
from ..kinds import Action, Watched

# host:port, [v6]:port; or a path in which there is a letter, and no '..'
LISTENS = (
    r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|(?!([^/]*/)*\.\.(/|$))[A-Za-z0-9_./-]*[A-Za-z_/][A-Za-z0-9_./-]*"
)


class Settings(app.Settings):
    """Any service that answers requests. Its verbs are sh, run by the application's user in its directory (with sudo
    where they need root); the default of each is systemctl's, run by root.
    """

    listens: Annotated[str, Form(LISTENS, "an address with a port, like 127.0.0.1:3000, or a socket's path")]
    """Where it takes requests: `address:port`, or a socket; a relative path is below the application's directory."""
    reload: Line | None = None
    """Restarts it gracefully: each request under way ends first; `systemctl reload-or-restart SERVICE` (in a deploy
    hook with sudo) if it is left out."""
    reloaded: Line | None = None
    """Succeeds when that restart is done and it answers; `systemctl is-active -q SERVICE` if it is left out."""


class ServiceApplication(app.Application[Settings]):
    """An application that runs where its service is active."""

    def __post_init__(self) -> None:
        super().__post_init__()
        service, where = sh(self.service), self.settings.listens
        self.listens = where if ":" in where else f"unix:{self.within(where)}"
        self.runs = f"systemctl is-active -q {service}"
        # In UTC, as `date` may not know the name of the server's own time zone.
        self.started = f'date +%s -d "$(TZ=UTC systemctl show -p ActiveEnterTimestamp --value {service})"'
        self.main_process = f"systemctl show -p MainPID --value {service} | grep -vx 0"
        self.facts = f"{app.backlog(self.listens)} | say backlog"  # the number of its processes is not known
        self._reload = f"systemctl reload-or-restart {service}"

    def reload(self) -> Action:
        """The settings' verb, as its user, or systemd's, as root; nothing where it does not run."""
        reload = self.run(self.settings.reload) if self.settings.reload else self._reload
        reloaded = self.run(self.settings.reloaded) if self.settings.reloaded else self.runs
        script = f"""
if {self.runs}; then
  {reload} || refuse {sh(self.service)}" does not reload: see its log"
  wait_until {app.RELOADS} {reloaded} || refuse {sh(self.service)}" does not run: see its log"
fi
"""
        return Action(script, self.settings.reload or self._reload)

    def on_deploy(self) -> str:
        """sh for a deploy hook: the settings' verbs, as the application's user."""
        reload = self.settings.reload or f"sudo -n {self._reload}"
        return render("hooks/app-service.sh.j2", reload=reload, reloaded=self.settings.reloaded or self.runs).decode()

    def check(self) -> Found:
        """Its unit or the settings say how to reload it."""
        can = self.server.look(f"systemctl show -p CanReload --value {sh(self.service)}", check=False).out.strip()
        if can == "no" and not self.settings.reload:
            do = f"Give its unit an ExecReload, or set {self.server.role}.app.reload"
            yield warning(f"{self.service} cannot reload, and a restart ends visitors' requests", do)
        if not self.settings.reloaded:
            do = f"Set {self.server.role}.app.reloaded: a command that succeeds when the new code answers"
            yield warning(f"nothing shows when {self.service} has reloaded", do)

    def watched(self) -> Watched:
        """Its service."""
        systemctl = "/bin/systemctl"  # its path on older systems, and on newer ones too
        runs = f"{systemctl} is-active -q {self.service}"
        return Watched(self.service, f"{systemctl} start {self.service}", f"{systemctl} stop {self.service}", runs=runs)
