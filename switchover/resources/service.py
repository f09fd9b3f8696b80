"""A service: whether it runs, and whether it starts at boot."""

from dataclasses import dataclass

from ..desired import Resource
from ..hosts import Host
from ..journal import FUNCTIONS, Change
from ..quote import sh


@dataclass(frozen=True)
class Service(Resource):
    """*name* on *server* is *running* or not, and starts *at_boot* or not (None, for either: as it is).

    *pidfile* tells whether it really runs: systemd believes an init script's service stopped while it serves,
    when a monitor or a deploy restarted it by hand. Stopping waits up to *within* seconds for requests under way.
    """

    server: Host
    name: str
    running: bool | None = None
    at_boot: bool | None = None
    pidfile: str = ""
    within: int = 90
    record_only: bool = False

    @property
    def part(self) -> str:
        """The service's name."""
        return f"service {self.name}"

    def change(self) -> Change | None:
        """What must be started, stopped, enabled or disabled."""
        runs = f"alive {sh(self.pidfile)}" if self.pidfile else f"systemctl is-active -q {sh(self.name)}"
        boots = f"systemctl is-enabled -q {sh(self.name)} 2>/dev/null"
        script = f"{FUNCTIONS}\n{runs} && echo running || echo stopped\n{boots} && echo on || echo off"
        run, boot = self.server.look(script).out.split()
        return self.plan(run == "running", boot == "on")

    def plan(self, running: bool, at_boot: bool) -> Change | None:
        """What must change, given whether it is *running* and starts *at_boot* now."""
        apply, undo, shown = [], [], []
        if self.at_boot is not None and self.at_boot != at_boot:
            verb, back = ("enable", "disable") if self.at_boot else ("disable", "enable")
            apply.append(f"systemctl {verb} {sh(self.name)} >/dev/null 2>&1")
            undo.append(f"systemctl {back} {sh(self.name)} >/dev/null 2>&1")
            shown.append(f"systemctl {verb} {self.name}")
        if self.running is not None and self.running != running:
            apply.append(self._start() if self.running else self._stop())
            undo.insert(0, self._stop() if self.running else self._start())
            shown.append(f"systemctl {'start' if self.running else 'stop'} {self.name}")
        if not apply:
            return None
        return Change("\n".join(shown), "\n".join(apply), "\n".join(undo))

    def _start(self) -> str:
        name = sh(self.name)
        if not self.pidfile:
            return f"systemctl start {name}"
        pid = sh(self.pidfile)
        # systemd may believe that it runs already, so a plain start would do nothing.
        started = f'wait_until {self.within} alive {pid} || refuse {name}" did not start: see its log"'
        return f"alive {pid} || systemctl restart {name}\n{started}"

    def _stop(self) -> str:
        name = sh(self.name)
        if not self.pidfile:
            return f"systemctl stop {name}"
        pid, script = sh(self.pidfile), sh(f"/etc/init.d/{self.name}")
        by_script = f"if alive {pid} && [ -x {script} ]; then SYSTEMCTL_SKIP_REDIRECT=1 {script} stop >/dev/null; fi"
        stopped = f'wait_until {self.within} not alive {pid} || refuse {name}" did not stop within {self.within} s"'
        return f"systemctl stop {name}\n{by_script}\n{stopped}"
