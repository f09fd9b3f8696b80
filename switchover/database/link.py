"""The link between both databases, over TLS: role, password, certificates and port by which each reaches the other."""

from __future__ import annotations

from ..desired import Precondition
from ..errors import Problem
from ..move import Move
from ..programs import ETC
from ..quote import conninfo, pgpass, sh
from ..render import render
from ..resources import File, Service, succeeds
from ..resources.file import read
from ..resources.postgres import PSQL
from ..server import Server

ROLE = "switchover"  # the role of the move
PGPASS = f"{ETC}/pgpass"  # on new: the passwords of both roles of the move
POSTGRES_PGPASS = f"{ETC}/pgpass.postgres"  # on both: what their own PostgreSQL logs in to the other's with
OLD_CERTIFICATE = f"{ETC}/old-database.crt"  # on new
NEW_CERTIFICATE = f"{ETC}/new-database.crt"  # on old
SERVICES = f"{ETC}/pg_service.conf"  # on new
ON_OLD = f"PGSERVICEFILE={SERVICES} psql -XAtq service=old"  # sh for new: asks old's database


def password(move: Move, role: str = ROLE, made_by: str = "prepare-old.database-password") -> str:
    """The password of *role*, of the move's own, which lies on new. Raises Problem where there is none yet."""
    lines = (read(move.new, PGPASS).content or b"").decode().splitlines()
    its = next((line for line in lines if line.rpartition(":")[0].endswith(f":{role}")), "")
    if not its and move.dry:
        return f"made by {made_by}"
    if not its:
        raise Problem(f"there is no password of {role} for the old database yet", str(move.new), f"Run: inv {made_by}")
    return its.rpartition(":")[2]


def certificate(server: Server) -> bytes:
    """The certificate that *server*'s PostgreSQL shows. Raises Problem where it shows none."""
    shown = server.look(
        f"[ \"$({PSQL} -c 'SHOW ssl')\" = on ] || exit 0\n"
        # Its path may be one from there.
        f"cd \"$({PSQL} -c 'SHOW data_directory')\" && cat \"$({PSQL} -c 'SHOW ssl_cert_file')\""
    ).out
    if not shown:
        raise Problem("PostgreSQL speaks no TLS", str(server), "Set ssl = on in postgresql.conf and reload it")
    return shown.encode()


def relay(server: Server, port: int, addresses: list[str]) -> list[File | Service]:
    """*server*: *port* leads *addresses* to its PostgreSQL, which listens on localhost and is not restarted."""
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
    seen = []
    for server in move.servers:
        other = move.other(server)
        script = (
            f"export PGOPTIONS='-c client_min_messages=warning'\n"
            f'[ "$({PSQL} -d {sh(connection(move, other, "postgres"))} '
            "-c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')\" = t ]"
        )
        otherwise = f"{server.role}'s database cannot log in to {other.role}'s"
        seen.append(succeeds(server, script, otherwise, within=15))
    return seen


def connection(move: Move, to: Server, database: str = "") -> str:
    """How the other server's PostgreSQL reaches *to*'s, in libpq's words; the password is in a file of its own."""
    values = {
        "host": to.main_address,
        "port": move.settings.relay,
        "dbname": database or to.database.name,
        "user": ROLE,
        "passfile": POSTGRES_PGPASS,
        "sslmode": "verify-ca",
        "sslrootcert": OLD_CERTIFICATE if to is move.old else NEW_CERTIFICATE,
        "connect_timeout": 10,
    }
    return " ".join(f"{key}={conninfo(value)}" for key, value in values.items())
