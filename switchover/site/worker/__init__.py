"""The worker: what runs the jobs of the queue. It stops only after its current job, so that none runs twice."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ...desired import Nothing, Resource
from ...hosts import Host
from ...journal import FUNCTIONS, Change
from ...resources.command import Command
from ..kinds import Action, KindSettings, OfApplication, S, Watched

STARTS = 60  # seconds that a start may take
PATIENCE = 10  # seconds without a job, after which an empty one is queued

DEFAULT = "delayed_job"  # the kind, where the settings name none


class Settings(KindSettings):
    """What runs the jobs of the queue. Relative paths are below the application's directory."""


def too_long(seconds: int) -> str:
    """sh: refuses, as the current job did not end within so many *seconds*."""
    return f"refuse 'the current job is still running after {seconds} s (worker.longest_job)'"


class Worker(OfApplication[S]):
    """What every kind of worker can do. All sh here runs as root, and may use the functions of functions.sh."""

    there = True  # whether there is one at all
    runs: str  # sh: succeeds where it runs
    works: str  # sh: succeeds where it runs and takes jobs
    did_a_job: str  # a command that succeeds where a job is seen to have run; empty where nothing can tell
    a_job: str  # sh: queues a job that does nothing; empty where that cannot be done

    @abstractmethod
    def starting(self) -> Action:
        """Starts it, unless it runs, and waits until it does."""

    @abstractmethod
    def stopping(self) -> Action:
        """It takes no new job, finishes the current one, and exits; refuses where that takes too long."""

    @abstractmethod
    def on_deploy(self) -> str:
        """sh for a deploy hook, run as the application's user: a function `worker` that restarts it where it runs."""

    def queue(self, server: Host, database: str) -> dict[str, Any]:
        """How long the queue is: `waiting`, and what else is known; empty where nothing is. It only looks.

        *server*, *database*: those that the application uses now.
        """
        return {}

    def boots(self, on: bool, *, record_only: bool = False) -> Resource | Nothing:
        """It starts at boot, or does not; Nothing where a monitor has to start it."""
        return Nothing(f"a monitor starts {self.server.role}'s worker at boot, or nothing does")

    def watched(self) -> Watched | None:
        """What a monitor needs to know of it; None where it needs no monitor."""
        return None

    def running(self) -> Resource | Nothing:
        """It runs."""
        return Runs(self.server, self, True)

    def stopped(self, *, record_only: bool = False) -> Resource | Nothing:
        """It has finished its current job and stopped."""
        return Runs(self.server, self, False, record_only)

    def restart(self) -> str:
        """sh: where it runs, it finishes its current job and is started again."""
        return f"if {self.runs}; then\n{self.stopping().sh}\n{self.starting().sh}\nfi"

    def seen_working(self, within: int) -> Command | Nothing:
        """A job was seen to run within so many seconds; where visitors queue none, an empty one is queued."""
        role = self.server.role
        if not self.did_a_job:
            return Nothing(f"no job can be seen to run on {role}, as {role}.worker.did_a_job is not set")
        seen, brings = self.did_a_job, f"{{ {self.a_job} >/dev/null; }}" if self.a_job else ":"
        run = f"""
wait_until {min(PATIENCE, within)} {seen} || {brings}
wait_showing {within} {seen} || refuse "no job ran within {within} s. Is {role}'s worker running? See its log"
"""
        shown = f"waits for a job; after {PATIENCE} s an empty one is queued"
        return Command(self.server, run, check=seen, shown=shown if self.a_job else "waits for a job")


@dataclass(frozen=True)
class Runs(Resource):
    """A *worker* of *server* runs (*desired*), or has finished its current job and stopped."""

    server: Host
    worker: Worker[Any]
    desired: bool
    record_only: bool = False

    def change(self) -> Change | None:
        """Its start or its end; None where it is so already."""
        worker = self.worker
        looks = worker.works if self.desired else worker.runs
        answer = self.server.look(f"{FUNCTIONS}\n{looks} && echo running || echo stopped")
        if (answer.out.strip() == "running") == self.desired:
            return None
        start, stop = worker.starting(), worker.stopping()
        now, undo = (start, stop) if self.desired else (stop, start)
        return Change(now.shown, now.sh, undo.sh)
