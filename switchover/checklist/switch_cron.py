"""Switch cron jobs: they stop on old, and run on new from the next minute on.

Visitors: they notice nothing.
Undo: the crontabs are as they were. Takes seconds, loses nothing.
"""

from ..desired import Desired
from ..move import Move
from ..step import step


@step
def cleared(move: Move) -> Desired:
    """old: the crontab is empty."""
    return move.old.schedule.cleared()


@step
def installed(move: Move) -> Desired:
    """new: the crontab is installed."""
    entry = move.journal.latest("switch-cron.cleared")
    kept = f"{move.journal.path(entry)}/before" if entry else ""
    return move.new.schedule.installed(move.old.schedule, kept, move.paths)


@step
def deploy_hook(move: Move) -> Desired:
    """new: from now on the deploy hook installs the crontab."""
    return move.new.deploys.accepted(move.notice(), cron=True)
