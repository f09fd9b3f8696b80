"""What several sections share: where things of the move lie, and nginx's way of taking a configuration."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath

from ..desired import Wanted
from ..dns.records import KINDS, Addresses, Look, from_json
from ..errors import Problem
from ..hosts import Server
from ..journal import Entry, now, operator
from ..move import Move
from ..quote import sh, sql, under
from ..render import render
from ..resources import Absent, Command, File, Role, Service, Worker
from ..resources.file import Found, read
from ..resources.postgres import PSQL
from ..resources.uploads import Synchronised

HOME = "/etc/switchover"  # on both servers: what the move adds
PROXY_LOG = "/var/log/nginx/switchover.log"  # on old: who came by the proxy
PAGE = "switchover-maintenance.html"
ROLE = "switchover"  # the role of the move in old's PostgreSQL
POOL_ROLE = "switchover_app"  # the role that PgBouncer logs in with, and the application to PgBouncer
PGPASS = f"{HOME}/pgpass"
OLD_CERTIFICATE = f"{HOME}/old-database.crt"
NEW_CERTIFICATE = f"{HOME}/new-database.crt"  # on both
POSTGRES_PGPASS = f"{HOME}/pgpass.postgres"  # on both: what their own PostgreSQL logs in to the other's with
PGBOUNCER_INI = "/etc/pgbouncer/pgbouncer.ini"
USERLIST = "/etc/pgbouncer/userlist.txt"
ON_OLD = f"PGSERVICEFILE={HOME}/pg_service.conf psql -XAtq service=old"  # new: asks old's database
NGINX_TEST = "nginx -t"
NGINX_RELOAD = "systemctl reload nginx"
MONIT_RELOAD = "monit reload >/dev/null 2>&1"
# Which renewals of certificates are scheduled. Debian's /etc/cron.d/certbot does nothing where systemd runs.
SCHEDULED = r"""{
for f in /var/spool/cron/crontabs/* /etc/crontab /etc/cron.d/* /etc/cron.daily/*; do
  [ ! -f "$f" ] || grep -v '^[[:space:]]*#' "$f" | grep -v '/run/systemd/system' |
    grep -E '(certbot|letsencrypt|acme).*renew' | sed "s|^|$f: |"
done
systemctl list-timers --no-legend | grep -oE '[^ ]*certbot[^ ]*[.]timer' || :
}"""
RENEWALS = f"{SCHEDULED} | grep -c ."  # how many
ANSWERS = "/.well-known/switchover/server"
SITE = "/etc/nginx/sites-enabled/switchover"  # on new
# sh for old: `ago` is how many seconds ago the last visitor came by the proxy, empty where nobody did. Those who only
# ask who answers are the move's own; yesterday's visitors are in the log that was put aside.
AGO = rf"""
at=$(tac {PROXY_LOG} {PROXY_LOG}.1 2>/dev/null | grep -m 1 -vF ' {ANSWERS} ' |
  sed -n 's|^[^"]*\[\([0-9]*\)/\([A-Za-z]*\)/\([0-9]*\):\([^]"]*\)\] ".*|\1 \2 \3 \4|p')
ago=; [ -z "$at" ] || ago=$(( $(date +%s) - $(date -d "$at" +%s) ))
"""


def fullchain(move: Move) -> str:
    """new: where the site's certificate lies, as copied from old."""
    return f"{HOME}/{move.settings.domain}.fullchain.pem"


def key(move: Move) -> str:
    """new: where the certificate's key lies."""
    return f"{HOME}/{move.settings.domain}.key.pem"


def monit_file(server: Server, name: str) -> str:
    """Where *server*'s monit finds another check, beside its others."""
    known = server.watch.app or server.watch.worker or "/etc/monit/conf.d/none"
    return f"{known.rpartition('/')[0]}/{name}"


def again(move: Move, ended_by: str, wanted: File | Absent | Service | Worker, shown: str) -> Wanted:
    """*wanted*; under --dry, where the step *ended_by* would end it: that it begins again, as no look can tell yet."""
    return Command(wanted.server, "", shown=shown) if ended_by in move.would_change else wanted


def date(move: Move, line: str = "") -> tuple[str, str]:
    """When the step *line* was done, or the move begun, and by whom; now and we where it was not yet."""
    entries = [e for e in move.journal.entries if e.state != "undone" and (not line or e.step == line)]
    when, who = (entries[0].when, entries[0].who) if entries else (now(), operator())
    return datetime.strptime(when, "%Y-%m-%d %H:%M:%SZ").strftime("%a %-d %b %Y"), who


def before(move: Move, server: Server, line: str, path: str) -> Found | None:
    """*server*'s file *path* as it was before the step *line*; None where that step did not change it."""
    entry = move.journal.latest(line, f"{server.role}:{path}")
    if entry is None:
        return None
    return read(entry.server, f"{move.journal.path(entry)}/before/{path.rpartition('/')[2]}")


def remote(move: Move) -> str:
    """The address that people push to from now on."""
    return f"{move.new.app.user}@{move.new.name}:{move.new.app.path}"


def last_visitor(move: Move) -> str:
    """sh for old: succeeds where the last visitor came by the proxy longer ago than settings say."""
    quiet = move.settings.retire.quiet
    return f"""{AGO}
[ -z "$ago" ] || [ "$ago" -ge {quiet} ] || {{ echo "the last one $ago s ago; wanted: {quiet} s"; exit 1; }}
"""


def last_by_old(move: Move) -> int | None:
    """How many seconds ago the last visitor came by the proxy; None where nobody did."""
    said = move.old.look(f'{AGO}\necho "$ago"').out
    return int(said) if said.strip() else None


def has_names(move: Move) -> bool:
    """Whether the site's names are part of the move."""
    return move.settings.dns.kind != "none"


def old_ttl_until(move: Move) -> datetime | None:
    """Until when the names may be remembered for as long as before `dns-prepare`; None where it changed nothing."""
    return _remembered(move, "dns-prepare.ttl")


def old_remembered_until(move: Move) -> datetime | None:
    """Until when old's addresses may be remembered; None where `switch-dns` changed nothing."""
    return _remembered(move, "switch-dns.records")


def _remembered(move: Move, line: str) -> datetime | None:
    """Until when what was there before a step may be remembered."""
    entries = [(move.journal.done_at(entry), entry) for entry in move.journal.active(line)]
    # It was verified before it was written down as done, so no name server says the old any more since then.
    ends = [at + timedelta(seconds=max(one.ttl for one in records_before(entry))) for at, entry in entries if at]
    return max(ends, default=None)


def records_before(entry: Entry) -> list[Addresses]:
    """The records that a step has changed, as they were before it."""
    return from_json(entry.outside["before"])


def to_new(move: Move, look: Look) -> list[Addresses]:
    """What the names shall be. One that stands for another name is left."""
    new = {kind: tuple(sorted(a for a in move.new.addresses if (":" in a) == (kind == "AAAA"))) for kind in KINDS}
    found = {one.key: one for one in look.found}
    wanted = []
    for name in move.settings.domains:
        its = [found[name, kind] for kind in KINDS if (name, kind) in found]
        if any(one.kind == "A" and one.data for one in its) and not new["A"]:
            do = "Say it in new.address: most visitors have no IPv6"
            raise Problem(f"{name} has an IPv4 address, and new has none", "names", do)
        ttl = min((one.ttl for one in its if one.data), default=move.settings.dns.ttl)
        wanted += [Addresses(name, one.kind, one.ttl if one.data else ttl, new[one.kind]) for one in its]
    return wanted


def deploy_hook(move: Move, *, cron: bool, migrate: bool, moved: bool = False) -> list[File]:
    """new: the hooks of a deploy; *cron*: it installs the crontab; *migrate*: it may change the database's schema.

    *moved*: where it may not, that is because old's database follows new's.
    """
    new = move.new
    if new.deploys.kind != "git":
        return []
    when, who = date(move)
    owner = f"{new.app.user}:{new.app.user}"
    after = render(
        "hooks/new-post-receive.j2",
        branch=new.deploys.branch,
        path=new.app.path,
        pidfile=new.in_app(new.app.pidfile),
        environment=new.app.environment,
        build=new.app.build,
        migrate=migrate,
        rails="bin/rails",
        worker_pidfile=new.in_app(new.worker.pidfile),
        worker_command=new.worker.command,
        cron=new.schedule.install if cron else None,
    )
    domain = move.settings.domain
    values = {"branch": new.deploys.branch, "date": when, "who": who, "domain": domain, "moved": moved}
    before = render("hooks/new-pre-receive.j2", **values)
    hooks = [File(new, f"{new.repository}/hooks/post-receive", after, owner, "755", test_file="sh -n")]
    if not migrate:
        hooks.append(File(new, f"{new.repository}/hooks/pre-receive", before, owner, "755", test_file="sh -n"))
    return hooks


def complete_deploy_hook(move: Move) -> list[File | Absent]:
    """new: the hooks of a deploy that does all: cron jobs, logrotate and migrations."""
    if move.new.deploys.kind != "git":
        return []
    path = f"{move.new.repository}/hooks/pre-receive"
    was = before(move, move.new, "prepare-new.deploy-hook", path)
    if was is None or was.content is None:
        free: Absent | File = Absent(move.new, path)
    else:
        free = File(move.new, path, was.content, was.owner, was.mode)
    return [*deploy_hook(move, cron=True, migrate=True), free]


def paths(move: Move) -> dict[str, str]:
    """What stands for a path of old's application -> what stands for it on new."""
    old, new = PurePosixPath(move.old.app.path), PurePosixPath(move.new.app.path)
    return {str(old): str(new), str(old.parent): str(new.parent)}


def upload_urls(move: Move, server: Server) -> list[dict[str, str]]:
    """The uploads that visitors fetch from below public/: their URL's path and their directory on *server*."""
    urls = []
    for upload in move.settings.uploads:
        path = upload.source if server is move.old else upload.target
        if path.startswith("public/"):
            urls.append({"url": path.removeprefix("public"), "directory": server.in_app(path)})
    return urls


def uploads(
    move: Move, *, deleting: bool = False, first: bool = False, always: bool = False, turn: str = ""
) -> list[Synchronised]:
    """new: every directory of uploads as on old. Nothing is deleted where visitors come to new already."""
    old, new = move.old, move.new
    if deleting:  # somebody may have switched by hand
        answer = ask(move.settings.domain, old.settings.main_address, ANSWERS, "-f")
        deleting = old.look(answer, check=False).out.strip() != "new"
    pairs = [(old.in_app(_slash(u.source)), new.in_app(_slash(u.target))) for u in move.settings.uploads]
    return [Synchronised(old, new, source, target, deleting, first, always, turn) for source, target in pairs]


def nginx_site(move: Move, live: str = "") -> bytes:
    """new: the nginx site for the production domain; with the certificate in the directory *live*, else old's copy."""
    new = move.new
    return render(
        "nginx/new-site.conf.j2",
        domains=move.settings.domains,
        socket=new.in_app(new.app.socket),
        fullchain=f"{live}/fullchain.pem" if live else fullchain(move),
        key=f"{live}/privkey.pem" if live else key(move),
        public=under(new.app.path, "public"),
        old_addresses=move.old.addresses,
        old_host=host(move.old),
        page_directory=HOME,
        page_name=PAGE,
        retry_after=move.settings.maintenance.retry_after,
        uploads=upload_urls(move, new),
    )


def host(server: Server) -> str:
    """*server*'s main address as it stands in a URL."""
    address = server.settings.main_address
    return f"[{address}]" if ":" in address else address


def password(move: Move, role: str = ROLE, made_by: str = "prepare-old.database-password") -> str:
    """The password of *role*, of the move's own, which lies on new. Raises Problem where there is none yet."""
    lines = (read(move.new, PGPASS).content or b"").decode().splitlines()
    found = next((line for line in lines if line.rpartition(":")[0].endswith(f":{role}")), "")
    if not found and move.dry:
        return f"made by {made_by}"
    if not found:
        raise Problem(f"there is no password of {role} for the old database yet", str(move.new), f"Run: inv {made_by}")
    return found.rpartition(":")[2]


def database_certificate(server: Server) -> bytes:
    """The certificate that *server*'s PostgreSQL shows. Raises Problem where it shows none."""
    found = server.look(
        f"[ \"$({PSQL} -c 'SHOW ssl')\" = on ] || exit 0\n"
        f"c=$({PSQL} -c 'SHOW ssl_cert_file'); d=$({PSQL} -c 'SHOW data_directory'); "
        'case $c in /*) ;; *) c=$d/$c ;; esac; cat "$c"'
    ).out
    if not found:
        raise Problem("PostgreSQL speaks no TLS", str(server), "Set ssl = on in postgresql.conf and reload it")
    return found.encode()


def database_door(server: Server, port: int, addresses: list[str]) -> list[File | Service]:
    """*server*: *port* leads *addresses* to its PostgreSQL, which listens on localhost and is not restarted."""
    units, name = "/etc/systemd/system", "switchover-database"
    there = "new" if server.role == "old" else "old"
    socket = render("templates/database-door.socket.j2", door=port, addresses=addresses, there=there)
    # By IPv4: see the template.
    host = "127.0.0.1" if server.database.host == "localhost" else server.database.host
    service = render("templates/database-door.service.j2", host=host, port=server.database.port)
    reload = "systemctl daemon-reload"
    return [
        File(server, f"{units}/{name}.service", service, "root:root", "644", then=reload),
        File(server, f"{units}/{name}.socket", socket, "root:root", "644", then=reload),
        Service(server, f"{name}.socket", running=True, at_boot=True),
    ]


def follows(move: Move) -> bool:
    """Whether new's database shall follow old's. Where it is copied there is no PgBouncer either."""
    return move.settings.strategy == "replicate"


def pool_password(move: Move) -> str:
    """The password of the role that PgBouncer and the application log in with."""
    return password(move, POOL_ROLE, "prepare-new.pool-password")


def pool_role(move: Move, server: Server) -> Role:
    """*server*'s PostgreSQL has the role that PgBouncer logs in with, who is the application's own from then on."""
    # Rails from 6.1 on sets it for each connection that it opens; PgBouncer before 1.20 lets it meet another client.
    lock = move.new.in_app("Gemfile.lock")
    said = move.new.look(
        f"sed -n 's/^    activerecord (\\([0-9]*\\)[.]\\([0-9]*\\).*/\\1 \\2/p' {sh(lock)}", check=False
    )
    version = tuple(int(n) for n in said.out.split())
    sets = (("intervalstyle", "iso_8601"),) if version >= (6, 1) else ()
    return Role(server, POOL_ROLE, server.database.owner, pool_password(move), acts_as_it=True, sets=sets)


def pgbouncer_ini(move: Move, to: Server) -> bytes:
    """new: PgBouncer's configuration, in which the application's database is the one on *to*."""
    pool = move.settings.pgbouncer
    here = to is move.new
    return render(
        "templates/pgbouncer.ini.j2",
        name=move.new.database.name,
        host="127.0.0.1" if here else to.settings.main_address,
        port=to.database.port if here else move.settings.door,
        database=to.database.name,
        username=POOL_ROLE,
        listen_port=pool.port,
        pool=pool.pool,
        certificate=None if here else OLD_CERTIFICATE,
    )


def by_pgbouncer(move: Move) -> str:
    """What psql on new is told to go the application's way."""
    return (
        f"host=127.0.0.1 port={move.settings.pgbouncer.port} dbname={move.new.database.name} user={POOL_ROLE} "
        f"passfile={PGPASS} sslmode=disable connect_timeout=10"
    )


def strangers(move: Move) -> str:
    """SQL for old: how many are connected to the application's database; not those by whom it follows new's."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = {sql(move.old.database.name)}"
    if follows(move):
        query += f" AND backend_type = 'client backend' AND usename <> {sql(ROLE)} AND pid <> pg_backend_pid()"
    return query


def graceful_restart(move: Move) -> str:
    """sh for new: unicorn's master is replaced by a new one, and each process ends its request first."""
    new = move.new
    pid, service = sh(new.in_app(new.app.pidfile)), sh(new.app.service)
    return f"""
if alive {pid}; then
  old=$(cat {pid}); kill -USR2 "$old"
  gone() {{ [ ! -d "/proc/$old" ]; }}
  wait_until 120 gone || refuse {service}" does not restart: see its log"
  wait_until 10 alive {pid} || refuse {service}" does not run: see its log"
fi
"""


def ask(domain: str, address: str, path: str, more: str = "") -> str:
    """sh: asks *address* for *path* of the site *domain*, the certificate checked."""
    url = sh(f"https://{domain}{path}")
    at = f"[{address}]" if ":" in address else address
    return f"curl -sS -m 20 --resolve {sh(f'{domain}:443:{at}')} {url} {more}"


def packages(server: Server, names: str, configuration: str) -> Command:
    """*server*: these packages are installed. Undone, they go, with a *configuration* that was not there before."""
    apt = "apt-get -qq -y -o Dpkg::Use-Pty=0"
    # What is new, that is: an update of a package that was there is not undone.
    run = f"""
[ -s before/packages ] || apt-get -s -qq install --no-install-recommends {names} |
  awk '$1 == "Inst" && $3 !~ /^\\[/ {{ print $2 }}' >before/packages
[ ! -d {configuration} ] || touch before/had-configuration
export DEBIAN_FRONTEND=noninteractive
{apt} install --no-install-recommends {names} >apt.log 2>&1 ||
  refuse "apt-get install {names}: $(grep -m 1 '^E:' apt.log)"
"""
    undo = f"""
export DEBIAN_FRONTEND=noninteractive
how=purge; [ ! -e before/had-configuration ] || how=remove
[ ! -s before/packages ] || xargs {apt} "$how" <before/packages >apt.log 2>&1 ||
  refuse "apt-get $how: $(grep -m 1 '^E:' apt.log)"
"""
    installed = f"dpkg-query -W -f '${{db:Status-Status}}\\n' {names} 2>/dev/null | grep -cx installed"
    return Command(server, run, undo, f'[ "$({installed})" = {len(names.split())} ]', f"apt-get install {names}")


def _slash(path: str) -> str:
    return path if path.endswith("/") else path + "/"
