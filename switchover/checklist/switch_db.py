"""Switch databases: by a copy under the maintenance page; or, where new's follows, by holding visitors for a moment.

Visitors: requests wait for a moment (some 40 ms) and none fails; with `strategy: copy` they see the maintenance page.
Undo: the same way back, under the page or by a hold; everything written since is on old then. Loses nothing.
"""

from __future__ import annotations

from functools import partial

from .. import output
from ..database import fence as fencing
from ..database import pgbouncer, proof, replication, replication_status
from ..database import switch as switching
from ..desired import Desired, Nothing, Precondition, Resource
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..programs import programs
from ..quote import ident, sh, sql
from ..render import render
from ..resources import Absent, Command, File, Service, succeeds
from ..resources.command import again
from ..resources.file import FileState, before, read
from ..resources.postgres import PSQL
from ..step import step, step_by

COPY = ("copy-back", *replication.COPY, *proof.PROGRAMS)


@step_by("replicate")
def can_switch(move: Move) -> Desired:
    """new: its database has all that old's has, and the same tables; the disks can keep what will be kept."""
    if move.journal.active("switch-db.switch"):
        return None
    return Precondition(lambda: replication_status.missing(move, disks=True), within=move.settings.switch.max_drain)


@step_by("replicate")
def pool_role(move: Move) -> Desired:
    """new: its PostgreSQL has the role that PgBouncer logs in with."""
    return pgbouncer.role(move, move.new)


@step_by("replicate")
def program(move: Move) -> Desired:
    """new: the program of the switch is there, with its recovery after a crash."""
    return switching.program(move)


@step_by("replicate")
def gates(move: Move) -> Desired:
    """new: every gate of the switch is open: the way back, disks, clocks, connections, transactions, lag."""
    if move.journal.active("switch-db.switch") or not move.journal.active("switch-db.program"):
        return None
    return Precondition(lambda: switching.gates(move, "new"), within=move.settings.switch.max_drain)


@step
def stop_worker(move: Move) -> Desired:
    """new: the worker has finished its present job and stopped."""
    if not replication_status.is_replicated(move):
        _refuse_what_follows(move)
    return move.new.worker.stopped(record_only=True)


def _refuse_what_follows(move: Move) -> None:
    """Raises Problem where new's database follows old's, or shall: copying is not for that."""
    if move.journal.active("replicate"):
        raise Problem(
            "new's database follows old's, and copying would be in its way",
            "switch-db",
            "First: inv undo replicate. Then say in the settings: strategy: copy",
        )


@step_by("replicate")
def switch(move: Move) -> Desired:
    """new: PgBouncer points to its own database, queries held for a moment; old's is fenced and follows."""
    new = move.new
    return [
        # Undone last: what is kept of the other database's types goes.
        Command(new, ":", new.app.reload(), shown="(undone: the application restarts)", part="restart"),
        switching.switch(move),
    ]


@step_by("replicate")
def restart_app(move: Move) -> Desired:
    """new: the application was restarted, each process when it had ended its request: types are others there."""
    return move.new.app.reloaded()


@step_by("copy")
def monit_off(move: Move) -> Desired:
    """new: monit no longer watches the application, which it would start again meanwhile."""
    return move.new.monitor.forgets_application(record_only=True)


@step_by("copy")
def boot_off(move: Move) -> Desired:
    """new: a reboot meanwhile does not start the application, which would come with old's database and keep to that."""
    return [move.new.app.boots(False, record_only=True), move.new.worker.boots(False, record_only=True)]


@step_by("copy")
def fence(move: Move) -> Desired:
    """old: the application's role cannot log in any more, and its sessions have ended."""
    return fencing.fence(move)


@step_by("copy")
def page_on(move: Move) -> Desired:
    """new: visitors see the maintenance page (503, with the time to come again)."""
    page = move.settings.maintenance
    content = render(
        "templates/maintenance.html.j2", domain=move.settings.domain, texts=page.texts, retry_after=page.retry_after
    )
    return File(move.new, move.new.web.page, content, "root:root", "644", record_only=True)


@step_by("copy")
def stop_app(move: Move) -> Desired:
    """new: the application has finished its requests and stopped."""
    return move.new.app.stopped(record_only=True)


@step_by("copy")
def database_yml(move: Move) -> Desired:
    """new: database.yml is as it was before the move: new's own database."""
    new = move.new
    path = new.in_app(new.database.config)
    found = before(move.journal, move.new, "prepare-new.database-yml", path)
    if found is None:
        if move.dry:
            return None
        raise Problem("the journal has no database.yml of before", str(new), "Run: inv prepare-new.database-yml")
    # Its own database is open to nobody while it is not filled; on the way back, while database.yml still names it.
    name = ident(new.database.name)
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = {sql(new.database.name)}"
    close = f"ALTER DATABASE {name} CONNECTION LIMIT 0"
    return [
        Command(
            new,
            f"[ -s before/limit ] || {PSQL} -c {sh(limit)} >before/limit\n{PSQL} -c {sh(close)}",
            f'[ ! -s before/limit ] || {PSQL} -c {sh(f"ALTER DATABASE {name} CONNECTION LIMIT ")}"$(cat before/limit)"',
            shown=close,
        ),
        File(new, path, found.content or b"", found.owner, found.mode, secret=True),
    ]


@step_by("copy")
def copy(move: Move) -> Desired:
    """new: its own database has everything that old's has."""
    new, old = move.new, move.old
    name = sh(new.database.name)
    run = f"""
python3 -B after/copy-database here {name} {sh(new.database.owner)}
python3 -B after/prove still {name} 2
python3 -B after/copy-database open {name}
"""
    undo = f"sh after/copy-back {name} {sh(old.database.owner)}"
    shown = f"{old.name}:{old.database.name} -> {new.database.name} (what is there is kept: …_before_move)"
    return Command(new, run, undo, shown=shown, files=programs(*COPY))


@step_by("copy")
def start_app(move: Move) -> Desired:
    """new: the application runs, with its own database."""
    app = move.new.app
    return again("switch-db.stop-app" in move.would_change, app.running(), f"systemctl start {app.service}")


@step_by("copy")
def page_off(move: Move) -> Desired:
    """new: the application answers and the maintenance page is gone."""
    desired = Absent(move.new, move.new.web.page)
    return again("switch-db.page-on" in move.would_change, desired, f"rm {desired.path}")


@step_by("copy")
def boot_on(move: Move) -> Desired:
    """new: the application starts at boot again."""
    ended, parts = "switch-db.boot-off" in move.would_change, (move.new.app.boots(True), move.new.worker.boots(True))
    return [again(ended, part, _begun_anew(part)) for part in parts]


@step_by("copy")
def monit_on(move: Move) -> Desired:
    """new: monit watches the application again."""
    off = "switch-db.monit-off"
    was = partial(read, move.new) if off in move.would_change else move.before(move.new, off)
    desired = move.new.monitor.remembers_application(was)
    if isinstance(desired, Nothing):
        return desired
    return [again(off in move.would_change, part, _begun_anew(part)) for part in desired]


def _begun_anew(part: Resource | Nothing) -> str:
    """What a step shows of it where an earlier one has ended it: the file is absent, the service does not start."""
    change = None
    if isinstance(part, File):
        change = part.plan(FileState(None))
    elif isinstance(part, Service):
        change = part.plan(running=False, at_boot=False)
    return change.diff if change else ""


@step
def old_is_quiet(move: Move) -> Desired:
    """old: nobody is connected to the old database any more."""
    query = fencing.strangers(move)
    script = f'[ "$({PSQL} -c {sh(query)})" = 0 ]'
    return succeeds(move.old, script, "somebody is still connected to the old database", within=30)


@step
def start_worker(move: Move) -> Desired:
    """new: the worker runs."""
    worker = move.new.worker
    return again("switch-db.stop-worker" in move.would_change, worker.running(), worker.starting_shown)


@step_by("replicate")
def proved(move: Move) -> Desired:
    """new: every row is as it was on old at the moment of the switch."""
    entry = move.journal.latest("switch-db.switch", "new:hold")
    if entry is None:
        return None

    def difference() -> str | None:
        answer = move.new.look(f"cd {sh(move.journal.path(entry))} && cat said && tail -n 1 errors >&2", check=False)
        result = proof.parse(answer.out)
        if not result.tables:  # the program died after the commit, or the rows could not be read
            output.outcome(Outcome.NOTE, "that moment was not proved; `inv prove` compares now", answer.err.strip())
        if result.different:
            names = ", ".join(result.different[:5])
            raise Problem(
                f"{len(result.different)} differed at the moment of the switch: {names}",
                str(move.new),
                "docs/proof.md says how to find out more; inv undo switch-db leads visitors back",
            )
        return None

    return Precondition(difference)
