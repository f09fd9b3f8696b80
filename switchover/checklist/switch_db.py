"""Switch database: visitors are held for a moment while it changes; with `strategy: copy`, under the maintenance page.

Visitors: requests wait for a moment (some 40 ms) and none fails; with `strategy: copy` they see the maintenance page.
Undo: the same in the other direction; everything written since is on old then. Loses nothing.
"""

from functools import partial

from .. import output
from ..database import application, pgbouncer, proof, replication_status
from ..database import copy as copying
from ..database import fence as fencing
from ..database import switch as switching
from ..desired import Desired, Nothing, Precondition, Resource
from ..errors import Problem
from ..findings import listed
from ..move import Move
from ..outcome import Outcome
from ..quote import sh
from ..render import render
from ..resources import Absent, File, Service, undone
from ..resources.command import again
from ..resources.file import FileState, read
from ..step import step, step_by


@step_by("replicate")
def can_switch(move: Move) -> Desired:
    """new: its database has all that old's has, and the same tables; the disks can hold what will be kept."""
    if move.journal.active("switch-db.switch"):
        return None
    return Precondition(lambda: replication_status.missing(move, disks=True), within=move.settings.switch.max_drain)


@step_by("replicate")
def pool_role(move: Move) -> Desired:
    """new: PostgreSQL has the role that PgBouncer logs in with."""
    return pgbouncer.role(move, move.new)


@step_by("replicate")
def program(move: Move) -> Desired:
    """new: has the program of the switch, and its recovery after a crash."""
    return switching.program(move)


@step_by("replicate")
def gates(move: Move) -> Desired:
    """new: ready to switch: way back, disks, clocks, connections, transactions, replication lag."""
    if move.journal.active("switch-db.switch") or not move.journal.active("switch-db.program"):
        return None
    return Precondition(lambda: switching.gates(move, "new"), within=move.settings.switch.max_drain)


@step
def stop_worker(move: Move) -> Desired:
    """new: the worker has finished its current job and stopped."""
    if not replication_status.is_replicated(move) and move.journal.active("replicate"):
        do = "First: inv undo replicate. Then set `strategy: copy`"
        raise Problem("new's database replicates old's, so it cannot be copied", "switch-db", do)
    return move.new.worker.stopped(record_only=True)


@step_by("replicate")
def switch(move: Move) -> Desired:
    """new: PgBouncer points to new's own database, after a short hold; old's is fenced and replicates new's."""
    new = move.new
    # Undone last: the application forgets the other database's type OIDs.
    restart = undone(new, new.app.reload().sh, "the application restarts", part="restart")
    return [restart, switching.switch(move)]


@step_by("replicate")
def restart_app(move: Move) -> Desired:
    """new: rolling restart of the application (type OIDs differ after the switch)."""
    return move.new.app.reloaded()


@step_by("copy")
def monit_off(move: Move) -> Desired:
    """new: monit no longer watches the application, which it would start again."""
    return move.new.monitor.forgets_application(record_only=True)


@step_by("copy")
def boot_off(move: Move) -> Desired:
    """new: a reboot does not start the application, which would use old's database."""
    return [move.new.app.boots(False, record_only=True), move.new.worker.boots(False, record_only=True)]


@step_by("copy")
def fence(move: Move) -> Desired:
    """old: the application's role can no longer log in, and its sessions have ended."""
    return fencing.fence(move)


@step_by("copy")
def page_on(move: Move) -> Desired:
    """new: visitors see the maintenance page (503, with the time to try again)."""
    page = move.settings.maintenance
    values = {"domain": move.settings.domain, "texts": page.texts, "retry_after": page.retry_after}
    content = render("templates/maintenance.html.j2", **values)
    return File(move.new, move.new.web.page, content, "root:root", "644", record_only=True)


@step_by("copy")
def stop_app(move: Move) -> Desired:
    """new: the application has finished its requests and stopped."""
    return move.new.app.stopped(record_only=True)


@step_by("copy")
def database_yml(move: Move) -> Desired:
    """new: database.yml is as it was before the move: it names new's own database."""
    own = application.uses_own_database(move)
    if own is None:
        if move.dry:
            return None
        raise Problem("the journal has no earlier database.yml the move", str(move.new), f"Run: inv {application.STEP}")
    return [copying.closed(move.new), own]


@step_by("copy")
def copy(move: Move) -> Desired:
    """new: its own database is a complete copy of old's; every row was compared."""
    return copying.whole_copy(move)


@step_by("copy")
def start_app(move: Move) -> Desired:
    """new: the application runs with its own database."""
    app = move.new.app
    return again("switch-db.stop-app" in move.would_change, app.running(), f"systemctl start {app.service}")


@step_by("copy")
def page_off(move: Move) -> Desired:
    """new: the application answers, and the maintenance page is gone."""
    desired = Absent(move.new, move.new.web.page)
    return again("switch-db.page-on" in move.would_change, desired, f"rm {desired.path}")


@step_by("copy")
def boot_on(move: Move) -> Desired:
    """new: the application starts at boot again."""
    ended, parts = "switch-db.boot-off" in move.would_change, (move.new.app.boots(True), move.new.worker.boots(True))
    return [again(ended, part, _begun_again(part)) for part in parts]


@step_by("copy")
def monit_on(move: Move) -> Desired:
    """new: monit watches the application again."""
    off = "switch-db.monit-off"
    before = partial(read, move.new) if off in move.would_change else move.before(move.new, off)
    desired = move.new.monitor.remembers_application(before)
    if isinstance(desired, Nothing):
        return desired
    return [again(off in move.would_change, part, _begun_again(part)) for part in desired]


def _begun_again(part: Resource | Nothing) -> str:
    """What a step shows of it where an earlier one has ended it: the file is absent, the service does not start."""
    change = None
    if isinstance(part, File):
        change = part.plan(FileState(None))
    elif isinstance(part, Service):
        change = part.plan(running=False, at_boot=False)
    return change.diff if change else ""


@step
def old_is_quiet(move: Move) -> Desired:
    """old: nobody is connected to old's database any more."""
    return fencing.nobody_connected(move)


@step
def start_worker(move: Move) -> Desired:
    """new: the worker runs."""
    worker = move.new.worker
    return again("switch-db.stop-worker" in move.would_change, worker.running(), worker.starting().shown)


@step_by("replicate")
def proved(move: Move) -> Desired:
    """new: every row is equal to old's at the moment of the switch."""
    entry = move.journal.latest("switch-db.switch", "new:hold")
    if entry is None:
        return None

    def different() -> None:
        answer = move.new.look(f"cd {sh(move.journal.path(entry))} && cat said && tail -n 1 errors >&2", check=False)
        result = proof.parse(answer.out)
        if not result.tables:  # the program died after the commit, or the rows could not be read
            what = "the moment of the switch was not proved; `inv prove` compares now"
            output.outcome(Outcome.NOTE, what, answer.err.strip())
        if result.different:
            what = f"{len(result.different)} differed at the moment of the switch: {listed(result.different)}"
            do = "docs/proof.md says how to find out more; to go back: inv undo switch-db"
            raise Problem(what, str(move.new), do)

    return Precondition(different)
