"""Prepare new server: the application runs there as on old, with old's database, before any visitor comes.

Visitors: they notice nothing: old serves them as before.
Undo: new is as it was installed; uploads made there travel back to old first. Takes seconds, loses nothing.
"""

from __future__ import annotations

import re

from ..certificates import fullchain, key
from ..database import link, replication_status
from ..database import pgbouncer as pool
from ..desired import Desired, Nothing, Precondition, Resource
from ..errors import Problem
from ..http import answered_by_new, ask
from ..move import Move
from ..programs import ETC
from ..quote import pgpass, sh
from ..render import render
from ..resources import Command, File, Service, packages, succeeds
from ..resources.file import read
from ..step import step, step_by

PACKAGES = "pgbouncer python3-psycopg2"  # where the database follows


@step
def code(move: Move) -> Desired:
    """new: the application is at exactly the commit that old runs."""
    app = move.new.app
    return [
        # Undone last of the section: by then code and configuration are as they were.
        Command(
            move.new,
            ":",
            app.restart_where_it_runs(),
            shown=f"(undone: systemctl restart {app.service})",
            part="restart",
        ),
        move.new.code.is_at(move.new.code.desired(move.old.code, move.settings.revision), move.old.code),
    ]


@step
def carried_files(move: Move) -> Desired:
    """new: initializers, configuration and secrets are copied from old and adapted."""
    desired = []
    for carried in move.settings.carry:
        source, target = move.old.in_app(carried.source), move.new.in_app(carried.target)
        found = read(move.old, source)
        if found.content is None:
            raise Problem(f"{source} does not exist", str(move.old), "Mend or remove it under 'carry' in the settings")
        content = found.content
        replace = dict(carried.replace)
        if carried.adapt:
            replace |= move.paths
        for before, after in replace.items():
            content = content.replace(before.encode(), after.encode())
        user = move.new.app.user
        owner = f"{user}:{user}" if found.owner.startswith(f"{move.old.app.user}:") else found.owner
        desired.append(File(move.new, target, content, owner, found.mode, secret=carried.secret))
    return desired


@step
def deploy_hook(move: Move) -> Desired:
    """new: a push deploys; without cron jobs for now, with logrotate, and without migrations."""
    return move.new.deploys.accepted(move.notice(), cron=False)


@step
def logs_rotate(move: Move) -> Desired:
    """new: logrotate takes the application's configuration and rotates a file."""
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
    run = new.app.run(
        f"rm -f {proof}*; head -c 2100000 /dev/zero >{proof} && PATH=$PATH:/usr/sbin {rotate}; s=$?; "
        f"[ -e {proof}.1 ] || [ -e {proof}.1.gz ] || s=9; rm -f {proof}*; exit $s"
    )
    status = sh(new.in_app("log/logrotate-status"))
    proved = f"[ -e {status} ] && [ ! {sh(path)} -nt {status} ]"
    proof_of_it = Command(
        new,
        f"{run} || refuse 'log/logrotate.conf does not rotate a file of 2 MB: adapt it (carry in the settings)'",
        check="false" if "prepare-new.carried-files" in move.would_change else proved,
        shown=f"{rotate}, tried with a file of 2 MB",
    )
    return [*desired, proof_of_it]


@step
def uploads(move: Move) -> Desired:
    """new: has what visitors uploaded so far."""
    return move.uploads(deleting=not answered_by_new(move.old, move.settings.domain), first=True)


@step_by("replicate")
def pool_password(move: Move) -> Desired:
    """new: has a password for the application's way to old's database by PgBouncer, made here."""
    places = (
        f"{pgpass(move.old.main_address)}:{move.settings.relay}",
        f"127.0.0.1:{move.settings.pgbouncer.port}",
    )
    lines = [f"{place}:*:{pool.ROLE}:" for place in places]
    others = f"grep -vF {sh(f':*:{pool.ROLE}:')} {link.PGPASS} >{link.PGPASS}.new || :"
    put = f"mv {link.PGPASS}.new {link.PGPASS}"
    make = f"""
umask 077
password=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-48)
{others}
printf '%s%s\\n' {" ".join(f'{sh(line)} "$password"' for line in lines)} >>{link.PGPASS}.new
{put}
"""
    return Command(
        move.new,
        check=" && ".join(f"grep -qF {sh(line)} {link.PGPASS}" for line in lines),
        run=make,
        undo=f"umask 077\n[ ! -e {link.PGPASS} ] || {{ {others}; {put}; }}",
        shown=f"a random password into {link.PGPASS} (not shown)",
    )


@step_by("replicate")
def pool_role(move: Move) -> Desired:
    """old: PostgreSQL has a role for the application by PgBouncer; what it makes belongs to the application's own."""
    return pool.role(move, move.old)


@step_by("replicate")
def pgbouncer_package(move: Move) -> Desired:
    """new: PgBouncer is installed, and what the program of the switch speaks to databases with."""
    return packages(move.new, PACKAGES, "/etc/pgbouncer")


@step_by("copy")
def copy_package(move: Move) -> Desired:
    """new: what the program of the copy speaks to databases with is installed."""
    return packages(move.new, "python3-psycopg2", ETC)


@step_by("replicate")
def pgbouncer(move: Move) -> Desired:
    """new: PgBouncer leads to old's database over TLS, the certificate checked."""
    new = move.new
    userlist = render("templates/pgbouncer-userlist.txt.j2", username=pool.ROLE, password=pool.password(move))
    ini = pool.ini(move, move.old)
    _refuse_a_stranger(move, ini)
    drop_in = render("templates/pgbouncer.conf.j2", files=4096)
    unit = "/etc/systemd/system/pgbouncer.service.d/switchover.conf"
    owner = "postgres:postgres"
    restart = (
        "systemctl try-restart pgbouncer 2>/dev/null || refuse 'PgBouncer does not start: journalctl -u pgbouncer'"
    )
    return [
        File(new, pool.USERLIST, userlist, owner, "640", secret=True),
        File(new, unit, drop_in, "root:root", "644", then="systemctl daemon-reload"),
        # Nobody's queries pass it yet, or none any more.
        File(new, pool.INI, ini, owner, "640", then=restart),
        Service(new, "pgbouncer", running=True, at_boot=True),
    ]


def _refuse_a_stranger(move: Move, ours: bytes) -> None:
    """Raises Problem where PgBouncer works for somebody else."""
    found = read(move.new, pool.INI).content or b""
    databases = re.search(r"^\[databases\]\n(.*?)(?=^\[|\Z)", found.decode(errors="replace"), re.M | re.S)
    lines = [line for line in (databases[1] if databases else "").splitlines() if line.strip() and line[0] not in ";#"]
    if lines and found != ours and not move.journal.active("prepare-new.pgbouncer"):
        raise Problem(
            f"{pool.INI} has databases already ({lines[0].split('=')[0].strip()})",
            str(move.new),
            "PgBouncer works for somebody else here: take that away first, or say in the settings: strategy: copy",
        )


@step_by("replicate")
def pgbouncer_answers(move: Move) -> Desired:
    """new: a query passes PgBouncer and is answered by old's database."""
    script = f'[ "$(psql -XAtq {sh(pool.connection(move))} -c "SELECT current_user")" = {sh(move.old.database.owner)} ]'
    return succeeds(move.new, script, "old's database does not answer by PgBouncer", within=15)


@step
def database_yml(move: Move) -> Desired:
    """new: the application will use old's database."""
    if replication_status.is_replicated(move):
        content = render(
            "templates/database-pooled.yml.j2",
            environment=move.new.app.environment,
            port=move.settings.pgbouncer.port,
            database=move.new.database.name,
            username=pool.ROLE,
            password=pool.password(move),
        )
    else:
        content = render(
            "templates/database.yml.j2",
            environment=move.new.app.environment,
            host=move.old.main_address,
            port=move.settings.relay,
            database=move.old.database.name,
            username=link.ROLE,
            password=link.password(move),
            certificate=link.OLD_CERTIFICATE,
        )
    path = move.new.in_app(move.new.database.config)
    user = move.new.app.user
    return File(move.new, path, content, f"{user}:{user}", "600", secret=True)


@step
def no_pending_migrations(move: Move) -> Desired:
    """new: the code knows every migration that old's database has had, and no other."""
    names = f"cd {sh(move.new.app.path)} && ls db/migrate 2>/dev/null | sed -n 's/^\\([0-9]*\\)_.*[.]rb$/\\1/p' | sort"
    done = f"{link.ON_OLD} -c 'SELECT version FROM schema_migrations' || exit 1"

    def difference() -> str | None:
        answer = move.new.look(f"{done}\necho --\n{names}")
        had, _, has = answer.out.partition("--\n")
        pending = sorted(set(has.split()) - set(had.split()))
        if pending:
            raise Problem(
                f"pending migrations would run on the live database: {', '.join(pending[:5])}",
                str(move.new),
                "Deploy old's exact commit (settings: revision), or migrate old first",
            )
        return None

    return Precondition(difference)


@step
def certificate(move: Move) -> Desired:
    """new: has the production domain's certificate, as old shows it."""
    desired = []
    for source, target in (
        (move.old.certificate.fullchain, fullchain(move.settings.domain)),
        (move.old.certificate.key, key(move.settings.domain)),
    ):
        found = read(move.old, source)
        if found.content is None:
            raise Problem(f"{source} does not exist", str(move.old), "Mend old.certificate in the settings")
        desired.append(
            File(move.new, target, found.content, found.owner, found.mode, secret=target == key(move.settings.domain))
        )
    return desired


@step
def site(move: Move) -> Desired:
    """new: nginx answers for the production domain."""
    return move.new.web.answers(move.front(move.new))


@step
def restart(move: Move) -> Desired:
    """new: the application was restarted with its new code and configuration."""
    new = move.new
    carried = [new.in_app(carried.target) for carried in move.settings.carry]
    # Its undo is the first one of this section's code step.
    files = [new.in_app(new.database.config), *carried, new.app.path, new.code.changed]
    return new.app.restarted(files, certain=not move.would_change)


@step
def answers(move: Move) -> Desired:
    """new: pages asked by the production name have the same status and title as on old."""

    def difference() -> str | None:
        pages = move.settings.pages
        there = _titles(move, str(move.old.main_address))
        here = _titles(move, str(move.new.main_address))
        for page, one, two in zip(pages, there, here, strict=True):
            if one != two:
                return f"{page}: old says {one}, new says {two}"
        return None

    return Precondition(difference, within=30)


def _titles(move: Move, address: str) -> list[str]:
    """Status and title of every page, asked at *address* from old; all pages at once."""
    lines = ["d=$(mktemp -d)"]
    for n, page in enumerate(move.settings.pages):
        lines.append(ask(move.settings.domain, address, page, f"-w '\\n%{{http_code}}' >$d/{n} 2>&1 &"))
    lines.append("wait")
    for n in range(len(move.settings.pages)):
        title = f"tr -d '\\n' <$d/{n} | sed -n 's/.*<title>\\([^<]*\\)<.*/\\1/p'"
        lines.append(f'echo "$(tail -n 1 $d/{n}) $({title})"')
    return move.old.look("\n".join([*lines, "rm -rf $d"])).out.splitlines()
