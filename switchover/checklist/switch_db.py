"""Switch databases: by a copy under the maintenance page; or, where new's follows, by holding visitors for a moment.

Visitors: requests wait for a moment (some 40 ms) and none fails; with `strategy: copy` they see the maintenance page.
Undo: the same way back, under the page or by a hold; everything written since is on old then. Loses nothing.
"""

from __future__ import annotations

from typing import Any

from .. import say
from ..database import following
from ..database import switch as switching
from ..database.proof import parse
from ..desired import Wanted
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..programs import programs
from ..quote import ident, sh, sql
from ..render import render
from ..resources import Absent, Command, Compared, File, Seen, Service, Worker
from ..resources.file import Found, read
from ..resources.postgres import PSQL
from ..step import step, step_by
from . import common

PROGRAMS = ("copy-database", "fill.sh", "prove", "prove.sql", "database.sh")


@step_by("replicate")
def can_switch(move: Move) -> Wanted:
    """new: its database has all that old's has, and the same tables; the disks can keep what will be kept."""
    if move.journal.active("switch-db.switch"):
        return None
    return Compared(lambda: following.missing(move, disks=True), within=move.settings.switch.max_drain)


@step_by("replicate")
def pool_role(move: Move) -> Wanted:
    """new: its PostgreSQL has the role that PgBouncer logs in with."""
    return common.pool_role(move, move.new)


@step_by("replicate")
def program(move: Move) -> Wanted:
    """new: the program of the switch is there, with its recovery after a crash."""
    new = move.new
    ini = {server.role: f"{common.HOME}/pgbouncer.{server.role}.ini" for server in move.servers}
    known = switching.config(move, common.POOL_ROLE, common.PGPASS, ini)
    unit = render("templates/switch-recover.service.j2", program=switching.PROGRAM)
    own = programs("switch-database")["switch-database"]
    reload = "systemctl daemon-reload"
    forget = f"rm -f {sh(switching.state(move))}"
    wanted: list[Any] = [Command(new, forget, forget, shown=f"{forget} (an earlier switch is not remembered)")]
    wanted += [
        File(new, ini[server.role], common.pgbouncer_ini(move, server), "root:root", "644") for server in move.servers
    ]
    wanted += [
        File(new, switching.PROGRAM, own, "root:root", "755"),
        File(new, switching.CONFIG, known, "root:root", "644"),
        File(new, f"/etc/systemd/system/{switching.RECOVERY}", unit, "root:root", "644", then=reload),
        Service(new, switching.RECOVERY, at_boot=True),
    ]
    # Its own database is open to nobody yet; another one of that PostgreSQL tells whether PgBouncer will get in.
    way = f"host=127.0.0.1 port={new.database.port} dbname=postgres user={common.POOL_ROLE} connect_timeout=5 "
    way += "sslmode=disable passfile="
    here = f"127[.]0[.]0[.]1:{move.settings.pgbouncer.port}:\\*:{common.POOL_ROLE}:"
    logs_in = f"""
umask 077; passfile=$(mktemp)
sed -n {sh(f"s/^{here}/*:*:*:{common.POOL_ROLE}:/p")} {common.PGPASS} >"$passfile"
psql -XAtq {sh(way)}"$passfile" -c 'SELECT 1' >/dev/null; s=$?; rm -f "$passfile"; exit $s
"""
    wanted.append(Seen(new, logs_in, "the application's role cannot log in to new's PostgreSQL", within=5))
    return wanted


@step_by("replicate")
def gates(move: Move) -> Wanted:
    """new: every gate of the switch is open: the way back, disks, clocks, connections, transactions, lag."""
    if move.journal.active("switch-db.switch") or not move.journal.active("switch-db.program"):
        return None
    return Compared(lambda: switching.gates(move, "new"), within=move.settings.switch.max_drain)


@step
def stop_worker(move: Move) -> Wanted:
    """new: the worker has finished its present job and stopped."""
    if not common.follows(move):
        _refuse_what_follows(move)
    return Worker(move.new, running=False, record_only=True)


def _refuse_what_follows(move: Move) -> None:
    """Raises Problem where new's database follows old's, or shall: copying is not for that."""
    if move.journal.active("replicate"):
        raise Problem(
            "new's database follows old's, and copying would be in its way",
            "switch-db",
            "First: inv undo replicate. Then say in the settings: strategy: copy",
        )


@step_by("replicate")
def switch(move: Move) -> Wanted:
    """new: visitors are led to its own database, held for a moment; old's is fenced and follows."""
    new = move.new
    shown = f"PgBouncer: {move.old.database.name} on old -> {new.database.name} on new (scripts/server/switch-database)"
    return [
        # Undone last: what is kept of the other database's types goes.
        Command(new, ":", common.graceful_restart(move), shown="(undone: the application restarts)", part="restart"),
        Command(
            new,
            switching.run("new"),
            switching.run("old"),
            shown=shown,
            files=programs(*PROGRAMS[2:]),
            part="hold",
        ),
    ]


@step_by("replicate")
def restart_app(move: Move) -> Wanted:
    """new: the application was restarted, each process when it had ended its request: types are others there."""
    return Command(move.new, common.graceful_restart(move), shown=f"kill -USR2 ({move.new.app.service})")


@step_by("copy")
def monit_off(move: Move) -> Wanted:
    """new: monit no longer watches the application, which it would start again meanwhile."""
    return (
        Absent(move.new, move.new.watch.app, then=common.MONIT_RELOAD, record_only=True) if move.new.watch.app else None
    )


@step_by("copy")
def boot_off(move: Move) -> Wanted:
    """new: a reboot meanwhile does not start the application, which would come with old's database and keep to that."""
    return Service(move.new, move.new.app.service, at_boot=False, record_only=True)


@step_by("copy")
def fence(move: Move) -> Wanted:
    """old: the application's role cannot log in any more, and its sessions have ended."""
    # PgBouncer's role too, where there is one.
    names = f"({sql(move.old.database.owner)}, {sql(common.POOL_ROLE)})"
    alter = f"SELECT format('ALTER ROLE %I {{}}', rolname) FROM pg_roles WHERE rolname IN {names} \\gexec"
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN {names};"
    login = f"SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname IN {names}"
    check = f'[ "$({PSQL} -c {sh(login)})" = f ]'
    run = f"printf '%s\\n' {sh(alter.format('NOLOGIN'))} {sh(end)} | {PSQL} >/dev/null"
    undo = f"printf '%s\\n' {sh(alter.format('LOGIN'))} | {PSQL} >/dev/null"
    shown = f"ALTER ROLE {ident(move.old.database.owner)} NOLOGIN; its sessions are ended"
    return Command(move.old, run, undo, check, shown=shown)


@step_by("copy")
def page_on(move: Move) -> Wanted:
    """new: visitors see the maintenance page (503, with the time to come again)."""
    page = move.settings.maintenance
    content = render(
        "templates/maintenance.html.j2", domain=move.settings.domain, texts=page.texts, retry_after=page.retry_after
    )
    return File(move.new, f"{common.HOME}/{common.PAGE}", content, "root:root", "644", record_only=True)


@step_by("copy")
def stop_app(move: Move) -> Wanted:
    """new: the application has finished its requests and stopped."""
    new = move.new
    return Service(new, new.app.service, running=False, pidfile=new.in_app(new.app.pidfile), record_only=True)


@step_by("copy")
def database_yml(move: Move) -> Wanted:
    """new: database.yml is as it was before the move: new's own database."""
    new = move.new
    path = new.in_app(new.database.config)
    found = common.before(move, move.new, "prepare-new.database-yml", path)
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
def copy(move: Move) -> Wanted:
    """new: its own database has everything that old's has."""
    new, old = move.new, move.old
    name, owner = sh(new.database.name), sh(new.database.owner)
    run = f"""
sh after/copy-database here {name} {owner}
sh after/prove still {name} 2
sh after/copy-database open {name}
"""
    undo = f"""
if [ -e "done" ] && [ ! -e copied-back ]; then
  # Visitors have written here since: what they wrote goes to old before this database is put away.
  sh after/copy-database back {name} {sh(old.database.owner)} "$entry/before/foreign-keys"
  sh after/prove still {name} 2
  mark copied-back
fi
sh after/copy-database restore {name}
"""
    shown = f"{old.name}:{old.database.name} -> {new.database.name} (what is there is kept: …_before_move)"
    return Command(new, run, undo, shown=shown, files=programs(*PROGRAMS))


@step_by("copy")
def start_app(move: Move) -> Wanted:
    """new: the application runs, with its own database."""
    new = move.new
    wanted = Service(new, new.app.service, running=True, pidfile=new.in_app(new.app.pidfile))
    return common.again(move, "switch-db.stop-app", wanted, f"systemctl start {new.app.service}")


@step_by("copy")
def page_off(move: Move) -> Wanted:
    """new: the application answers and the maintenance page is gone."""
    wanted = Absent(move.new, f"{common.HOME}/{common.PAGE}")
    return common.again(move, "switch-db.page-on", wanted, f"rm {wanted.path}")


@step_by("copy")
def boot_on(move: Move) -> Wanted:
    """new: the application starts at boot again."""
    name = move.new.app.service
    return common.again(move, "switch-db.boot-off", Service(move.new, name, at_boot=True), f"systemctl enable {name}")


@step_by("copy")
def monit_on(move: Move) -> Wanted:
    """new: monit watches the application again."""
    path = move.new.watch.app
    if not path:
        return None
    off = "switch-db.monit-off"
    found = read(move.new, path) if off in move.would_change else common.before(move, move.new, off, path)
    if found is None or found.content is None:
        return None
    wanted = File(move.new, path, found.content, found.owner, found.mode, then=common.MONIT_RELOAD)
    absent = wanted.plan(Found(None))
    return common.again(move, off, wanted, absent.diff if absent else "")


@step
def old_is_quiet(move: Move) -> Wanted:
    """old: nobody is connected to the old database any more."""
    query = common.strangers(move)
    script = f'[ "$({PSQL} -c {sh(query)})" = 0 ]'
    return Seen(move.old, script, "somebody is still connected to the old database", within=30)


@step
def start_worker(move: Move) -> Wanted:
    """new: the worker runs."""
    return common.again(
        move, "switch-db.stop-worker", Worker(move.new, running=True), f"{move.new.worker.command} start"
    )


@step_by("replicate")
def proved(move: Move) -> Wanted:
    """new: every row is as it was on old at the moment of the switch."""
    entry = move.journal.latest("switch-db.switch", "new:hold")
    if entry is None:
        return None

    def difference() -> str | None:
        said = move.new.look(f"cd {sh(move.journal.path(entry))} && cat said && tail -n 1 errors >&2", check=False)
        proof = parse(said.out)
        if not proof.tables:  # the program died after the commit, or the rows could not be read
            say.outcome(Outcome.NOTE, "that moment was not proved; `inv prove` compares now", said.err.strip())
        if proof.different:
            names = ", ".join(proof.different[:5])
            raise Problem(
                f"{len(proof.different)} differed at the moment of the switch: {names}",
                str(move.new),
                "docs/proof.md says how to find out more; inv undo switch-db leads visitors back",
            )
        return None

    return Compared(difference)
