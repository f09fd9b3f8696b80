"""The worker that works off the queue: stopped only after its present job, so that none runs twice."""

from __future__ import annotations

from dataclasses import dataclass

from ..desired import Resource
from ..hosts import Server
from ..journal import FUNCTIONS, Change
from ..quote import sh
from .command import as_user


@dataclass(frozen=True)
class Worker(Resource):
    """The worker on *server* is *running* or not.

    `delayed_job stop` kills after some 20 s and the job then runs again when its lock expires; so the process
    gets a SIGTERM, on which it ends its present job, and is waited for (`worker.longest_job` seconds).
    """

    server: Server
    running: bool
    record_only: bool = False

    def change(self) -> Change | None:
        """Its start or its end; None where it is so already."""
        answer = self.server.look(f"{FUNCTIONS}\nalive {self._pidfile} && echo running || echo stopped")
        if (answer.out.strip() == "running") == self.running:
            return None
        if self.running:
            return Change(f"{self._command} start", self.starting(), self.stopping())
        return Change("kill -TERM (the worker ends its present job, then itself)", self.stopping(), self.starting())

    @property
    def _pidfile(self) -> str:
        return sh(self.server.in_app(self.server.worker.pidfile))

    @property
    def _command(self) -> str:
        return f"{self.server.worker.command}"

    def starting(self) -> str:
        """sh that starts it."""
        app = self.server.app
        start = as_user(app.user, app.path, f"{sh(self._command)} start", app.environment)
        return (
            f"alive {self._pidfile} || {start} >/dev/null 2>&1 </dev/null\n"
            f'wait_until 60 alive {self._pidfile} || refuse "the worker did not start: see its log"'
        )

    def stopping(self) -> str:
        """sh that ends it, after its present job."""
        longest = self.server.worker.longest_job
        return f"""
if alive {self._pidfile}; then
  worker=$(cat {self._pidfile}); kill -TERM "$worker"; waited=0
  while [ -d "/proc/$worker" ]; do
    [ "$waited" -lt {longest * 5} ] || refuse "the worker's present job runs longer than {longest} s"
    sleep 0.2; waited=$(( waited + 1 ))
    [ $(( waited % 10 )) -ne 0 ] || echo "progress $(( waited / 5 )) {longest} seconds"
  done
fi
"""
