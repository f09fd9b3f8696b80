"""Any worker that is a service: its verbs are settings."""

import re
from typing import Any

from ...findings import Found, warning
from ...hosts import Host
from ...quote import sh
from ...render import render
from ...resources.service import Service
from ...vocabulary import Line, Name, Seconds
from .. import worker
from ..kinds import Action

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}  # as systemd calls them


class Settings(worker.Settings):
    """Any service that runs jobs. Its verbs are sh, run by the application's user in its directory (with sudo where
    they need root); the default of each is systemctl's, run by root.
    """

    service: Name
    """Its service, as for `systemctl`."""
    quiet: Line | None = None
    """Makes it take no new job, while the current one continues; without it `stop` alone has to do that."""
    drained: Line | None = None
    """Succeeds when no job is running; called after `quiet`, before `stop`."""
    stop: Line | None = None
    """Stops it; `systemctl stop SERVICE` (in a deploy hook with sudo) if it is left out, which finishes the current job
    first where its unit says so."""
    start: Line | None = None
    """Starts it; `systemctl start SERVICE` (in a deploy hook with sudo) if it is left out."""
    did_a_job: Line | None = None
    """Succeeds when a job has run (`grep -q done log/worker.log`); without it nothing checks that."""
    a_job: Line | None = None
    """Queues a job that does nothing, for when visitors queue none."""
    queue_length: Line | None = None
    """Prints how many jobs wait, for `inv watch`."""
    longest_job: Seconds = 600
    """Seconds to wait for the end of its current job before it stops."""


class ServiceWorker(worker.Worker[Settings]):
    """A worker that systemd starts, also at boot, and restarts: it needs no monitor."""

    def __post_init__(self) -> None:
        self.services = {"worker.service": self.settings.service}
        self.runs = f"service_runs {sh(self.settings.service)}"  # or is still finishing its current job
        self.works = f"systemctl is-active -q {sh(self.settings.service)}"  # and is not stopping
        self.did_a_job, self.a_job = self._verb(self.settings.did_a_job), self._verb(self.settings.a_job)

    def _verb(self, verb: str | None, otherwise: str = "") -> str:
        """sh: a verb of the settings, as the application's user; *otherwise* where they do not say it."""
        return self.app.run(verb) if verb else otherwise

    def starting(self) -> Action:
        """`start`. One that is still finishing its current job is not active: systemd starts it after that.

        One that is quiet (the file `quiet`), and whose stop then took too long, still runs: it restarts after that job.
        """
        service = sh(self.settings.service)
        again = f"{{ systemctl restart --no-block {service}; rm -f quiet; }}"
        start = self._verb(self.settings.start, f"systemctl start {service}")
        script = f"""
[ ! -e quiet ] || ! {self.works} || {again}
{self.works} || {start}
wait_until {worker.STARTS} {self.works} || refuse "the worker did not start: see its log"
"""
        return Action(script, self.settings.start or f"systemctl start {self.settings.service}")

    def stopping(self) -> Action:
        """`quiet`, `drained` within `longest_job` seconds, `stop`."""
        longest, quiet, drained = self.settings.longest_job, self.settings.quiet, self.settings.drained
        service = self.settings.service
        failed = "refuse 'worker.quiet failed: the worker still takes new jobs'"
        # systemctl does not wait for it, so that the wait below shows its progress.
        stop = self._verb(self.settings.stop, f"systemctl stop --no-block {sh(service)}")
        lines = [
            f"touch quiet; {self.app.run(quiet)} || {failed}" if quiet else "",
            f"wait_showing {longest} {self.app.run(drained)} || {worker.too_long(longest)}" if drained else "",
            stop,
            f"wait_showing {longest} not {self.runs} || {worker.too_long(longest)}",
            "rm -f quiet" if quiet else "",  # after a finished stop there is nothing to undo
        ]
        script = "\n  ".join([f"if {self.runs}; then", *filter(None, lines)])
        shown = [quiet, drained and f"(until) {drained}", self.settings.stop or f"systemctl stop {service}"]
        return Action(f"{script}\nfi", "\n".join(filter(None, shown)))

    def on_deploy(self) -> str:
        """sh for a deploy hook: the settings' verbs, as the application's user."""
        settings, service = self.settings, sh(self.settings.service)
        start = settings.start or f"sudo -n systemctl start {service}"
        stop = settings.stop or f"sudo -n systemctl stop {service}"
        values = {"quiet": settings.quiet, "drained": settings.drained, "start": start, "stop": stop}
        return render("hooks/worker-service.sh.j2", runs=self.works, **values).decode()

    def queue(self, server: Host, database: str) -> dict[str, Any]:
        """What `queue_length` prints."""
        if not self.settings.queue_length:
            return {}
        answer = self.server.look(self.app.run(self.settings.queue_length), check=False)
        return {"waiting": int(answer.out)} if answer.status == 0 and answer.out.strip().isdigit() else {}

    def boots(self, on: bool, *, record_only: bool = False) -> Service:
        """Its service starts at boot, or does not."""
        return Service(self.server, self.settings.service, at_boot=on, record_only=record_only)

    def check(self) -> Found:
        """systemd does not kill its service while its current job may still run."""
        name, role, longest = self.settings.service, self.server.role, self.settings.longest_job
        killed = self.server.look(f"systemctl show -p TimeoutStopUSec --value {sh(name)}", check=False).out.strip()
        if seconds(killed) < longest and not (self.settings.drained or self.settings.stop):
            what = f"systemd kills {name} {killed} after a stop: a longer job would run twice"
            do = f"Set TimeoutStopSec={longest} in its unit, or {role}.worker.longest_job (or quiet and drained)"
            yield warning(what, do)


def seconds(span: str) -> float:
    """The seconds of a time span that `systemctl show` prints: `1min 30s`, or `infinity`."""
    if span == "infinity":
        return float("inf")
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]+)", span))
