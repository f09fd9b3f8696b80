"""PgBouncer on new, between the application and its database: first old's, after the switch new's."""

from __future__ import annotations

import re

from ..desired import Precondition, Resource
from ..errors import Problem
from ..move import Move
from ..programs import ETC
from ..quote import pgpass, sh
from ..render import render
from ..resources import Command, File, Role, Service, succeeds
from ..resources.file import read
from ..server import Server
from . import link
from .replication_status import is_replicated

ROLE = "switchover_app"  # PgBouncer logs in with it to either database, and the application to PgBouncer
INI = "/etc/pgbouncer/pgbouncer.ini"
USERLIST = "/etc/pgbouncer/userlist.txt"
STEPS = ("prepare-new.pgbouncer", "prepare-new.pgbouncer-package")  # by which it is there, the last first


def password(move: Move) -> str:
    """The password of PgBouncer's role. Raises Problem where there is none yet."""
    return link.password(move, ROLE, "prepare-new.pool-password")


def role(move: Move, server: Server) -> Role:
    """*server*'s PostgreSQL has the role that PgBouncer logs in with, which acts as the application's own."""
    # Rails from 6.1 on sets it for each connection that it opens; PgBouncer before 1.20 lets it meet another client.
    gem = f"sed -n 's/^    activerecord (\\([0-9]*\\)[.]\\([0-9]*\\).*/\\1 \\2/p' {sh(move.new.in_app('Gemfile.lock'))}"
    version = tuple(int(number) for number in move.new.look(gem, check=False).out.split())
    sets = (("intervalstyle", "iso_8601"),) if version >= (6, 1) else ()
    return Role(server, ROLE, server.database.owner, password(move), acts_as_it=True, sets=sets)


def ini(move: Move, to: Server) -> bytes:
    """new: PgBouncer's configuration, in which the application's database is the one on *to*."""
    own, listen = move.new.database, move.settings.pgbouncer
    place = {"host": "127.0.0.1", "port": own.port, "database": own.name, "certificate": None}
    if to is move.old:
        place = link.to_old(move)
    pool = {"listen_port": listen.port, "pool": listen.pool}
    return render("templates/pgbouncer.ini.j2", name=own.name, username=ROLE, **place, **pool)


def made_password(move: Move) -> Command:
    """new: has a random password of PgBouncer's role."""
    old, own = f"{pgpass(move.old.main_address)}:{move.settings.relay}", f"127.0.0.1:{move.settings.pgbouncer.port}"
    return link.made_password(move, ROLE, old, own)


def configured(move: Move) -> list[Resource]:
    """new: PgBouncer runs and points to old's database. Raises Problem where it works for somebody else."""
    new, content, owner = move.new, ini(move, move.old), "postgres:postgres"
    present = read(new, INI).content or b""
    databases = re.search(r"^\[databases\]\n(.*?)(?=^\[|\Z)", present.decode(errors="replace"), re.M | re.S)
    lines = [line for line in (databases[1] if databases else "").splitlines() if line.strip() and line[0] not in ";#"]
    if lines and present != content and not move.journal.active(STEPS[0]):
        do = "Something else uses PgBouncer here: remove that first, or set `strategy: copy`"
        raise Problem(f"{INI} has databases already ({lines[0].split('=')[0].strip()})", str(new), do)
    userlist = render("templates/pgbouncer-userlist.txt.j2", username=ROLE, password=password(move))
    drop_in = render("templates/pgbouncer.conf.j2", files=4096)
    unit = "/etc/systemd/system/pgbouncer.service.d/switchover.conf"
    failed = "refuse 'PgBouncer does not start: journalctl -u pgbouncer'"
    restart = f"systemctl try-restart pgbouncer 2>/dev/null || {failed}"
    return [
        File(new, USERLIST, userlist, owner, "640", secret=True),
        File(new, unit, drop_in, "root:root", "644", then="systemctl daemon-reload"),
        # Nobody's queries pass it yet, or none any more.
        File(new, INI, content, owner, "640", then=restart),
        Service(new, "pgbouncer", running=True, at_boot=True),
    ]


def answers(move: Move) -> Precondition:
    """new: a query through PgBouncer is answered by old's database."""
    connection = f"host=127.0.0.1 port={move.settings.pgbouncer.port} dbname={move.new.database.name} user={ROLE} "
    connection += f"passfile={link.PGPASS} sslmode=disable connect_timeout=10"
    script = f'[ "$(psql -XAtq {sh(connection)} -c "SELECT current_user")" = {sh(move.old.database.owner)} ]'
    return succeeds(move.new, script, "old's database does not answer through PgBouncer", within=15)


def logs_in(move: Move) -> Precondition:
    """new: PgBouncer's role can log in to new's own PostgreSQL."""
    # Nobody can use the application's database yet; another one shows whether PgBouncer can log in.
    connection = f"host=127.0.0.1 port={move.new.database.port} dbname=postgres user={ROLE} connect_timeout=5 "
    connection += "sslmode=disable passfile="
    line = f"127[.]0[.]0[.]1:{move.settings.pgbouncer.port}:\\*:{ROLE}:"
    script = f"""
umask 077; passfile=$(mktemp)
sed -n {sh(f"s/^{line}/*:*:*:{ROLE}:/p")} {link.PGPASS} >"$passfile"
psql -XAtq {sh(connection)}"$passfile" -c 'SELECT 1' >/dev/null; s=$?; rm -f "$passfile"; exit $s
"""
    return succeeds(move.new, script, "the application's role cannot log in to new's PostgreSQL", within=5)


def stays(move: Move) -> bool:
    """Whether the move did not bring PgBouncer, or the settings keep it and it points to new's database."""
    return not move.journal.active(STEPS[0]) or (is_replicated(move) and move.settings.pgbouncer.keep)


def unused(move: Move) -> str:
    """sh for new: succeeds where nobody is connected to PgBouncer."""
    port = move.settings.pgbouncer.port
    console = f"runuser -u postgres -- psql -XAtq -h /var/run/postgresql -p {port} -U pgbouncer pgbouncer"
    clients = f"$({console} -c 'SHOW CLIENTS')"
    return f"""! systemctl is-active -q pgbouncer || {{
  clients={clients} && ! printf '%s\\n' "$clients" | grep -qF {sh(f"|{ROLE}|")}; }}"""


def as_before_the_switch(move: Move, undo: str) -> Command:
    """new: its configuration is the one of before the switch, so that no edit of somebody's seems to be in it."""
    first = f"{ETC}/pgbouncer.old.ini"
    check = f"[ ! -e {first} ] || [ ! -e {INI} ] || cmp -s {first} {INI}"
    return Command(move.new, f"cat {first} >{INI}", undo, check, shown=f"{INI} as before the switch")
