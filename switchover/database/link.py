"""The link between both databases, over TLS: role, password, certificates and port by which each reaches the other."""

from __future__ import annotations

from typing import Any

from ..desired import Precondition
from ..errors import Problem
from ..move import Move
from ..programs import ETC
from ..quote import conninfo, pgpass, sh
from ..render import render
from ..resources import Command, File, Service, succeeds
from ..resources.file import read
from ..resources.postgres import PSQL, says
from ..server import Server

ROLE = "switchover"  # the role of the move
PGPASS = f"{ETC}/pgpass"  # on new: the passwords of both roles of the move
POSTGRES_PGPASS = f"{ETC}/pgpass.postgres"  # on both: what their own PostgreSQL logs in to the other's with
OLD_CERTIFICATE = f"{ETC}/old-database.crt"  # on new
NEW_CERTIFICATE = f"{ETC}/new-database.crt"  # on old
SERVICES = f"{ETC}/pg_service.conf"  # on new
ON_OLD = f"PGSERVICEFILE={SERVICES} psql -XAtq service=old"  # sh for new: asks old's database


def password(move: Move, role: str = ROLE, made_by: str = "prepare-old.database-password") -> str:
    """The password of *role*, of the move's own, from new. Raises Problem where there is none yet."""
    for line in (read(move.new, PGPASS).content or b"").decode().splitlines():
        place, _, secret = line.rpartition(":")
        if place.endswith(f":{role}"):
            return secret
    if move.dry:
        return f"made by {made_by}"
    raise Problem(f"{role} has no password for old's database yet", str(move.new), f"Run: inv {made_by}")


def made_password(move: Move, role: str, *places: str) -> Command:
    """new: has a random password of *role*, of the move's own, for each of these *places* (HOST:PORT); root's alone."""
    lines = [f"{place}:*:{role}:" for place in places]
    others = f"{{ grep -svF {sh(f':*:{role}:')} {PGPASS} || :; }} >{PGPASS}.new"
    run = f"""
mkdir -p {ETC}; umask 077
password=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-48)
{others}
printf '%s%s\\n' {" ".join(f'{sh(line)} "$password"' for line in lines)} >>{PGPASS}.new
mv {PGPASS}.new {PGPASS}
"""
    undo = f"""
umask 077
[ ! -e {PGPASS} ] || {{ {others}; mv {PGPASS}.new {PGPASS}; [ -s {PGPASS} ] || rm {PGPASS}; }}
rmdir {ETC} 2>/dev/null || :
"""
    check = " && ".join(f"grep -qsF {sh(line)} {PGPASS}" for line in lines)
    return Command(move.new, run, undo, check, shown=f"a random password into {PGPASS} (not shown)")


def certificate(server: Server) -> bytes:
    """The certificate of *server*'s PostgreSQL. Raises Problem where it has none."""
    # Its path may be relative to that directory.
    show = f"cd \"$({PSQL} -c 'SHOW data_directory')\" && cat \"$({PSQL} -c 'SHOW ssl_cert_file')\""
    if not (shown := server.look(f"{says('SHOW ssl', 'on')} || exit 0\n{show}").out):
        raise Problem("PostgreSQL does not have TLS", str(server), "Set ssl = on in postgresql.conf and reload it")
    return shown.encode()


def relay(server: Server, port: int, addresses: list[str]) -> list[File | Service]:
    """*server*: *port* relays *addresses* to its PostgreSQL, which listens on localhost and is not restarted."""
    units, name = "/etc/systemd/system", "switchover-database"
    there = "new" if server.role == "old" else "old"
    socket = render("templates/database-relay.socket.j2", port=port, addresses=addresses, there=there)
    # By IPv4: see the template.
    host = "127.0.0.1" if server.database.host == "localhost" else server.database.host
    service = render("templates/database-relay.service.j2", host=host, port=server.database.port)
    reload = "systemctl daemon-reload"
    return [
        File(server, f"{units}/{name}.service", service, "root:root", "644", then=reload),
        File(server, f"{units}/{name}.socket", socket, "root:root", "644", then=reload),
        Service(server, f"{name}.socket", running=True, at_boot=True),
    ]


def to_old(move: Move) -> dict[str, Any]:
    """How new reaches old's database, for a template."""
    place = {"host": move.old.main_address, "port": move.settings.relay, "database": move.old.database.name}
    return {**place, "certificate": OLD_CERTIFICATE}


def known_to_new(move: Move) -> list[File]:
    """new: has the certificate of old's database, and the way to it (psql service=old)."""
    service = render("templates/pg_service.conf.j2", **to_old(move), username=ROLE, passfile=PGPASS)
    return [
        File(move.new, OLD_CERTIFICATE, certificate(move.old), "root:root", "644"),
        File(move.new, SERVICES, service, "root:root", "644"),
    ]


def postgres_passwords(move: Move) -> list[File]:
    """Both: the password with which each PostgreSQL logs in to the other's."""
    files = []
    for server in move.servers:
        address = move.other(server).main_address
        line = f"{pgpass(address)}:{move.settings.relay}:*:{ROLE}:{password(move)}\n"
        files.append(File(server, POSTGRES_PGPASS, line.encode(), "postgres:postgres", "600", secret=True))
    return files


def both_ways(move: Move) -> list[Precondition]:
    """Both: each PostgreSQL logs in to the other's, over TLS."""
    logins = []
    for server in move.servers:
        other = move.other(server)
        encrypted = says(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "t", connection(move, other, "postgres")
        )
        script = f"export PGOPTIONS='-c client_min_messages=warning'\n{encrypted}"
        otherwise = f"{server.role}'s database cannot log in to {other.role}'s"
        logins.append(succeeds(server, script, otherwise, within=15))
    return logins


def connection(move: Move, to: Server, database: str = "") -> str:
    """libpq's parameters with which the other server's PostgreSQL reaches *to*'s; the password is in a file."""
    place = f"host={to.main_address} port={move.settings.relay} dbname={conninfo(database or to.database.name)}"
    certificate = OLD_CERTIFICATE if to is move.old else NEW_CERTIFICATE
    login = f"user={ROLE} passfile={POSTGRES_PGPASS} sslmode=verify-ca sslrootcert={certificate}"
    return f"{place} {login} connect_timeout=10"
