"""No worker: nothing runs jobs, or the application does it by itself."""

from ...render import render
from .. import worker
from ..kinds import Action, nothing


class Settings(worker.Settings):
    """There is no worker."""


class NoWorker(worker.Worker[Settings]):
    """It never exists."""

    there = False
    runs = works = "false"
    did_a_job = a_job = ""
    running = stopped = boots = seen_working = nothing("{role} has no worker, as {role}.worker.kind is none")

    def starting(self) -> Action:
        """Nothing starts."""
        return Action(":", "")

    stopping = starting

    def restart(self) -> str:
        """sh: nothing is restarted."""
        return ":"

    def on_deploy(self) -> str:
        """sh for a deploy hook: nothing is restarted."""
        return render("hooks/worker-none.sh.j2").decode()
