"""PgBouncer on new, by which the application reaches the database that is its own at the time: old's, later new's."""

from __future__ import annotations

from ..desired import Precondition
from ..move import Move
from ..quote import sh
from ..render import render
from ..resources import Role, succeeds
from ..server import Server
from . import link

ROLE = "switchover_app"  # PgBouncer logs in with it to either database, and the application to PgBouncer
INI = "/etc/pgbouncer/pgbouncer.ini"
USERLIST = "/etc/pgbouncer/userlist.txt"


def password(move: Move) -> str:
    """The password of PgBouncer's role. Raises Problem where there is none yet."""
    return link.password(move, ROLE, "prepare-new.pool-password")


def role(move: Move, server: Server) -> Role:
    """*server*'s PostgreSQL has the role that PgBouncer logs in with, who is the application's own from then on."""
    # Rails from 6.1 on sets it for each connection that it opens; PgBouncer before 1.20 lets it meet another client.
    lock = move.new.in_app("Gemfile.lock")
    named = move.new.look(
        f"sed -n 's/^    activerecord (\\([0-9]*\\)[.]\\([0-9]*\\).*/\\1 \\2/p' {sh(lock)}", check=False
    )
    version = tuple(int(number) for number in named.out.split())
    sets = (("intervalstyle", "iso_8601"),) if version >= (6, 1) else ()
    return Role(server, ROLE, server.database.owner, password(move), acts_as_it=True, sets=sets)


def ini(move: Move, to: Server) -> bytes:
    """new: PgBouncer's configuration, in which the application's database is the one on *to*."""
    pool = move.settings.pgbouncer
    here = to is move.new
    return render(
        "templates/pgbouncer.ini.j2",
        name=move.new.database.name,
        host="127.0.0.1" if here else to.main_address,
        port=to.database.port if here else move.settings.relay,
        database=to.database.name,
        username=ROLE,
        listen_port=pool.port,
        pool=pool.pool,
        certificate=None if here else link.OLD_CERTIFICATE,
    )


def logs_in(move: Move) -> Precondition:
    """new: PgBouncer's role can log in to new's own PostgreSQL."""
    # The application's database is open to nobody yet; another one tells whether PgBouncer will get in.
    way = f"host=127.0.0.1 port={move.new.database.port} dbname=postgres user={ROLE} connect_timeout=5 "
    way += "sslmode=disable passfile="
    line = f"127[.]0[.]0[.]1:{move.settings.pgbouncer.port}:\\*:{ROLE}:"
    script = f"""
umask 077; passfile=$(mktemp)
sed -n {sh(f"s/^{line}/*:*:*:{ROLE}:/p")} {link.PGPASS} >"$passfile"
psql -XAtq {sh(way)}"$passfile" -c 'SELECT 1' >/dev/null; s=$?; rm -f "$passfile"; exit $s
"""
    return succeeds(move.new, script, "the application's role cannot log in to new's PostgreSQL", within=5)


def connection(move: Move) -> str:
    """How psql on new goes the application's way, in libpq's words."""
    return (
        f"host=127.0.0.1 port={move.settings.pgbouncer.port} dbname={move.new.database.name} user={ROLE} "
        f"passfile={link.PGPASS} sslmode=disable connect_timeout=10"
    )
