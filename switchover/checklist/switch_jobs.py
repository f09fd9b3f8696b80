"""Switch delayed jobs: the old worker ends its job and stops, the new one starts.

Visitors: they notice nothing; jobs, mail among them, wait until the new worker has started.
Undo: the new worker ends its job and stops, the old one starts. Takes as long as that job, loses nothing.
"""

from __future__ import annotations

from ..desired import Wanted
from ..move import Move
from ..quote import sh
from ..resources import Absent, Command, Worker
from ..resources.command import as_user
from ..resources.uploads import synchronised
from ..step import step
from . import common


@step
def uploads(move: Move) -> Wanted:
    """new: has what visitors uploaded since, so that its worker finds their images."""
    return synchronised(move, deleting=True)


@step
def monit_off(move: Move) -> Wanted:
    """old: monit no longer watches the worker."""
    watch = move.old.watch
    return Absent(move.old, watch.worker, then=common.MONIT_RELOAD) if watch.worker else None


@step
def stop_old(move: Move) -> Wanted:
    """old: the worker has finished its present job and stopped."""
    return Worker(move.old, running=False)


@step
def start_new(move: Move) -> Wanted:
    """new: the worker runs."""
    return Worker(move.new, running=True)


@step
def log_shows_a_job(move: Move) -> Wanted:
    """new: the worker's log shows a job that ran."""
    app, within = move.new.app, move.settings.job_within
    seen = f"grep -q COMPLETED {sh(move.new.in_app(move.new.worker.log))}"
    runner = "r=bin/rails; [ -x $r ] || r='bundle exec rails'; $r runner"
    harmless = as_user(app.user, app.path, f"{runner} {sh('%q(switchover).delay.length')}", app.environment)
    # Where visitors bring no job for a while, one that does nothing is put into the queue.
    run = f"""
waited=0
until {seen}; do
  [ "$waited" -ne 10 ] || {harmless} >/dev/null
  [ "$waited" -lt {within} ] || refuse "no job in the worker's log after {within} s: is it running? See its log"
  echo "progress $waited {within} seconds"; sleep 1; waited=$(( waited + 1 ))
done
"""
    return Command(move.new, run, check=seen, shown="waits for a job; after 10 s one that does nothing is queued")
