"""Prepare new server: the application runs there as on old, with old's database, before any visitor is sent there.

Visitors: they notice nothing: old serves them as before.
Undo: new is as it was installed; uploads made there are copied to old first. Takes seconds, loses nothing.
"""

from ..certificates import fullchain, key
from ..database import application
from ..database import pgbouncer as pool
from ..desired import Desired, Nothing, Precondition, Resource
from ..http import answered_by_new, titles
from ..move import Move
from ..programs import ETC
from ..quote import sh
from ..render import render
from ..resources import Command, File, packages, undone
from ..resources.file import existing, read
from ..step import step, step_by


@step
def code(move: Move) -> Desired:
    """new: the application is at exactly the commit that old runs."""
    app = move.new.app
    # Undone last of the section: by then code and configuration are as they were.
    restart = undone(move.new, app.restart_where_it_runs(), f"systemctl restart {app.service}", part="restart")
    version = move.new.code.desired(move.old.code, move.settings.revision)
    return [restart, move.new.code.is_at(version, move.old.code)]


@step
def carried_files(move: Move) -> Desired:
    """new: has initializers, configuration and secrets from old, adapted."""
    desired = []
    for carried in move.settings.carry:
        source, target = move.old.in_app(carried.source), move.new.in_app(carried.target)
        content, owner, mode = existing(move.old, source, "Fix or remove it under `carry:`")
        for before, after in {**carried.replace, **(move.paths if carried.adapt else {})}.items():
            content = content.replace(before.encode(), after.encode())
        if owner.startswith(f"{move.old.app.user}:"):
            owner = f"{move.new.app.user}:{move.new.app.user}"
        desired.append(File(move.new, target, content, owner, mode, secret=carried.secret))
    return desired


@step
def deploy_hook(move: Move) -> Desired:
    """new: a push deploys, without cron jobs for now, and without migrations."""
    return move.new.deploys.accepted(move.notice(), cron=False)


@step
def logs_rotate(move: Move) -> Desired:
    """new: logrotate accepts the application's configuration and rotates a file."""
    new = move.new
    path = new.in_app("log/logrotate.conf")
    desired: list[Resource] = []
    if path not in [new.in_app(carried.target) for carried in move.settings.carry]:
        ours = move.journal.latest("prepare-new.logs-rotate", f"new:{path}")
        missing = read(new, path).content is None
        others = f"grep -rqsF {sh(new.in_app('log'))} /etc/logrotate.d"
        if missing and not ours and new.look(others, check=False).status == 0:
            return Nothing("a file in new's /etc/logrotate.d names the application's logs")
        if missing or ours:
            content = render("templates/logrotate.conf.j2", path=new.app.path)
            desired.append(File(new, path, content, f"{new.app.user}:{new.app.user}", "644"))
    rotate = "logrotate -s log/logrotate-status log/logrotate.conf"
    proof = "log/switchover-proof.log"
    tried = f"rm -f {proof}*; head -c 2100000 /dev/zero >{proof} && PATH=$PATH:/usr/sbin {rotate}; s=$?"
    run = new.app.run(f"{tried}; [ -e {proof}.1 ] || [ -e {proof}.1.gz ] || s=9; rm -f {proof}*; exit $s")
    status = sh(new.in_app("log/logrotate-status"))
    failed = "log/logrotate.conf does not rotate a file of 2 MB: adapt it (carry in the settings)"
    will_change = "prepare-new.carried-files" in move.would_change
    check = "false" if will_change else f"[ -e {status} ] && [ ! {sh(path)} -nt {status} ]"
    shown = f"{rotate}, tried with a file of 2 MB"
    return [*desired, Command(new, f"{run} || refuse '{failed}'", check=check, shown=shown)]


@step
def uploads(move: Move) -> Desired:
    """new: has what visitors have uploaded so far."""
    return move.uploads(deleting=not answered_by_new(move.old, move.settings.domain), first=True)


@step_by("replicate")
def pool_password(move: Move) -> Desired:
    """new: has a password with which PgBouncer and the application log in, made there."""
    return pool.made_password(move)


@step_by("replicate")
def pool_role(move: Move) -> Desired:
    """old: PostgreSQL has a role for PgBouncer; what it creates belongs to the application's own role."""
    return pool.role(move, move.old)


@step_by("replicate")
def pgbouncer_package(move: Move) -> Desired:
    """new: PgBouncer is installed, and python3-psycopg2 for the programs of the move."""
    return packages(move.new, "pgbouncer python3-psycopg2", "/etc/pgbouncer")


@step_by("copy")
def copy_package(move: Move) -> Desired:
    """new: python3-psycopg2 is installed, for the program that copies the database."""
    return packages(move.new, "python3-psycopg2", ETC)


@step_by("replicate")
def pgbouncer(move: Move) -> Desired:
    """new: PgBouncer points to old's database over TLS, with the certificate checked."""
    return pool.configured(move)


@step_by("replicate")
def pgbouncer_answers(move: Move) -> Desired:
    """new: a query through PgBouncer is answered by old's database."""
    return pool.answers(move)


@step
def database_yml(move: Move) -> Desired:
    """new: database.yml names old's database."""
    return application.uses_old_database(move)


@step
def no_pending_migrations(move: Move) -> Desired:
    """new: the code has no migration that old's database has not had."""
    return Precondition(lambda: application.pending_migrations(move))


@step
def certificate(move: Move) -> Desired:
    """new: has a copy of the production certificate that old uses."""
    old, domain = move.old.certificate, move.settings.domain
    chain, secret = (existing(move.old, path, "Fix `old.certificate`") for path in (old.fullchain, old.key))
    return [File(move.new, fullchain(domain), *chain), File(move.new, key(domain), *secret, secret=True)]


@step
def site(move: Move) -> Desired:
    """new: nginx answers for the production domain."""
    return move.new.web.answers(move.front(move.new))


@step
def restart(move: Move) -> Desired:
    """new: the application is restarted with its new code and configuration."""
    new = move.new
    carried = [new.in_app(carried.target) for carried in move.settings.carry]
    # Its undo is the first one of this section's code step.
    files = [new.in_app(new.database.config), *carried, new.app.path, new.code.changed]
    return new.app.restarted(files, certain=not move.would_change)


@step
def answers(move: Move) -> Desired:
    """new: pages of the production domain have the same status and title as on old."""

    def difference() -> str | None:
        pages, domain = move.settings.pages, move.settings.domain
        old, new = (titles(move.old, domain, server.main_address, pages) for server in move.servers)
        for page, on_old, on_new in zip(pages, old, new, strict=True):
            if on_old != on_new:
                return f"{page}: old answers {on_old}, new answers {on_new}"
        return None

    return Precondition(difference, within=30)
