"""Switch cron jobs: they no longer start on old, and start on new from the next minute on.

Visitors: they notice nothing.
Undo: the crontabs are as they were. Takes seconds, loses nothing.
"""

from __future__ import annotations

from ..desired import Wanted
from ..errors import Problem
from ..move import Move
from ..quote import sh
from ..resources import Command, File
from ..resources.command import as_user
from ..resources.file import read
from ..step import step
from . import common

SPOOL = "/var/spool/cron/crontabs"
# Both crontabs change well inside one minute, so that the turn of the minute finds exactly one.
MIDDLE_OF_A_MINUTE = """
second=$(date +%S); second=${second#0}
while [ "$second" -lt 3 ] || [ "$second" -gt 45 ]; do sleep 0.2; second=$(date +%S); second=${second#0}; done
"""


@step
def cleared(move: Move) -> Wanted:
    """old: the crontab is empty."""
    user = move.old.schedule.user or move.old.app.user
    if move.old.schedule.kind != "crontab":
        return None
    path = f"{SPOOL}/{user}"
    undo = f"[ ! -e before/{sh(user)} ] || [ -e {sh(path)} ] || install_file before/{sh(user)} {sh(path)}"
    return Command(
        move.old,
        f"{MIDDLE_OF_A_MINUTE}\nrm -f {sh(path)}",
        undo,
        check=f"[ ! -e {sh(path)} ]",
        shown=f"crontab -r -u {user}, in the middle of a minute",
        keep=(path,),
    )


@step
def installed(move: Move) -> Wanted:
    """new: the crontab is installed."""
    new = move.new
    if new.schedule.kind != "crontab":
        return None
    user = new.schedule.user or new.app.user
    path = f"{SPOOL}/{user}"
    if new.schedule.install is None:
        return File(new, path, _adapted(move), f"{user}:crontab", "600")
    undo = f"""
{MIDDLE_OF_A_MINUTE}
if [ -e before/{sh(user)} ]; then install_file before/{sh(user)} {sh(path)}; else rm -f {sh(path)}; fi
"""
    return Command(
        new,
        as_user(new.app.user, new.app.path, new.schedule.install, new.app.environment) + " >/dev/null",
        undo,
        check=f"grep -q '^[^#]' {sh(path)} 2>/dev/null",
        shown=new.schedule.install,
        keep=(path,),
    )


@step
def deploy_hook(move: Move) -> Wanted:
    """new: the deploy hook installs the crontab from now on."""
    return common.deploy_hook(move, cron=True, migrate=False)


def _adapted(move: Move) -> bytes:
    """old's crontab with new's paths, from the journal when it has been cleared."""
    user = move.old.schedule.user or move.old.app.user
    entry = move.journal.latest("switch-cron.cleared")
    found = read(move.old, f"{move.journal.path(entry)}/before/{user}" if entry else f"{SPOOL}/{user}")
    if found.content is None:
        raise Problem(f"{user} has no crontab", str(move.old), "Say in the settings: old.schedule.kind: none")
    content = found.content
    for before, after in move.paths.items():
        content = content.replace(before.encode(), after.encode())
    return content
