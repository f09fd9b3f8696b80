"""Switch delayed jobs: the old worker ends its job and stops, the new one starts."""

from __future__ import annotations

from ..move import Move
from ..quote import sh
from ..resources import Absent, Seen, Worker
from ..step import Wanted, step
from . import common


@step
def uploads(move: Move) -> Wanted:
    """new: has what visitors uploaded since, so that its worker finds their images."""
    return common.uploads(move, deleting=True)


@step
def monit_off(move: Move) -> Wanted:
    """old: monit no longer watches the worker."""
    watch = move.old.watch
    return Absent(move.old, watch.worker, then="monit reload >/dev/null 2>&1") if watch.worker else None


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
    log = sh(move.new.in_app(move.new.worker.log))
    within = move.settings.job_within
    return Seen(move.new, f"grep -q COMPLETED {log}", "no job in the worker's log yet", within=within)
