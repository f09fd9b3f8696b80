"""delayed_job, started by its script, found by its pid file; its queue is a table of the application's database."""

import json
from typing import Any

from ...hosts import Host
from ...quote import sh
from ...render import render
from ...resources.postgres import PSQL
from ...vocabulary import AnyPath, Seconds
from .. import worker
from ..kinds import Action, Watched

QUEUE = """
SELECT json_build_object('waiting', count(*) FILTER (WHERE locked_at IS NULL AND failed_at IS NULL),
  'running', count(*) FILTER (WHERE locked_at IS NOT NULL AND failed_at IS NULL),
  'failed', count(*) FILTER (WHERE failed_at IS NOT NULL OR attempts > 0),
  'oldest_seconds', coalesce(extract(epoch FROM now() AT TIME ZONE 'UTC' - min(run_at)
    FILTER (WHERE failed_at IS NULL))::int, 0)) FROM delayed_jobs"""


class Settings(worker.Settings):
    """delayed_job: its script, its pid file and its log. Relative paths are below the application's directory."""

    command: AnyPath = "script/delayed_job"
    """The script that starts and stops it."""
    pidfile: AnyPath = "tmp/pids/delayed_job.pid"
    """The file with its process id."""
    log: AnyPath = "log/delayed_job.log"
    """Its log, which shows that a job ran."""
    longest_job: Seconds = 600
    """Seconds to wait for the end of its current job before it stops."""


class DelayedJob(worker.Worker[Settings]):
    """One process.

    `delayed_job stop` kills it after some 20 s, and the job runs again when its lock expires. So it gets a SIGTERM, on
    which it finishes its current job and exits; that may take `worker.longest_job` seconds.
    """

    def __post_init__(self) -> None:
        within = self.app.within
        self.paths = {"worker.command": within(self.settings.command)}
        self.pidfile = within(self.settings.pidfile)
        self.runs = self.works = f"alive {sh(self.pidfile)}"
        self.did_a_job = f"grep -q COMPLETED {sh(within(self.settings.log))}"
        self.a_job = self.app.rails("%q(switchover).delay.length")

    def starting(self) -> Action:
        """Its script starts it, as the application's user."""
        start = self.app.run(f"{sh(self.settings.command)} start")
        script = f"""
{self.runs} || {start} >/dev/null 2>&1 </dev/null
wait_until {worker.STARTS} {self.runs} || refuse "the worker did not start: see its log"
"""
        return Action(script, f"{self.settings.command} start")

    def stopping(self) -> Action:
        """SIGTERM, on which it finishes its current job and exits."""
        longest = self.settings.longest_job
        script = f"\nterminate {sh(self.pidfile)} {longest} || {worker.too_long(longest)}\n"
        return Action(script, "kill -TERM (the worker finishes its current job, then exits)")

    def on_deploy(self) -> str:
        """sh for a deploy hook: SIGTERM, its exit, and a start."""
        return render("hooks/worker-delayed_job.sh.j2", pidfile=self.pidfile, command=self.settings.command).decode()

    def queue(self, server: Host, database: str) -> dict[str, Any]:
        """Its table: jobs `waiting`, `running`, `failed`, and how old the oldest is."""
        answer = server.look(f"{PSQL} -d {sh(database)} -c {sh(QUEUE)}", check=False)
        return dict(json.loads(answer.out)) if answer.status == 0 and answer.out.strip() else {}

    def watched(self) -> Watched:
        """Its pid file, and its script."""
        app = self.app
        command = f"cd {sh(app.path)} && RAILS_ENV={app.environment} {sh(self.settings.command)}"
        start, stop = (f"/bin/su - {app.user} -c {sh(f'{command} {verb}')}" for verb in ("start", "stop"))
        return Watched(f"{app.service}_worker", start, stop, self.pidfile)
