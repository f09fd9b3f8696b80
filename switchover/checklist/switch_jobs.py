"""Switch delayed jobs: the old worker finishes its job and stops, the new one starts.

Visitors: they notice nothing; jobs (mail too) wait until the new worker has started.
Undo: the new worker finishes its job and stops, the old one starts. Takes as long as that job, loses nothing.
"""

from ..desired import Desired
from ..http import answered_by_new
from ..move import Move
from ..step import step


@step
def uploads(move: Move) -> Desired:
    """new: has what visitors have uploaded since, so that its worker finds their images."""
    return move.uploads(deleting=not answered_by_new(move.old, move.settings.domain))


@step
def monit_off(move: Move) -> Desired:
    """old: monit no longer watches the worker."""
    return move.old.monitor.forgets_worker()


@step
def stop_old(move: Move) -> Desired:
    """old: the worker has finished its current job and stopped."""
    return [move.old.worker.boots(False), move.old.worker.stopped()]


@step
def start_new(move: Move) -> Desired:
    """new: the worker runs."""
    return [move.new.worker.running(), move.new.worker.boots(True)]


@step
def log_shows_a_job(move: Move) -> Desired:
    """new: the worker's log shows a finished job."""
    return move.new.worker.seen_working(move.settings.job_within)
