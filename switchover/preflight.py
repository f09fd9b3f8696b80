"""What `inv check` finds about the two servers themselves; docs/check.md lists the checks.

A blocker of these prevents the move. Nothing is changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from .database import host, replication_status
from .desired import Nothing
from .errors import Problem
from .findings import Checks, Finding, Found, Severity, blocker, good, note, warning
from .hosts import Host
from .journal import FUNCTIONS
from .move import Move
from .quote import sh, sql
from .resources.postgres import PSQL
from .server import Server

GROUP = "servers"
OLD = ("rsync", "psql", "curl", "base64", "flock", "pgrep")
TOOLS = {"old": OLD, "new": (*OLD, "pg_dump", "pg_restore", "ssh-keygen")}  # beside those of its kinds
EACH = Checks[[Server, Move]](GROUP, lambda server, move: server.role)  # of each server that is reached
BOTH = Checks[[Move]](GROUP)  # of the two together


def find(move: Move) -> Iterator[Finding]:
    """All findings, as they are found; the first say whether each server is reached."""
    there = []
    for server in move.servers:
        finding = reached(server)
        yield finding
        if finding.kind is Severity.GOOD:
            there.append(server)
    if move.ci:
        yield reached(move.ci)
    for server in there:
        yield from EACH.find(server, move)
    if len(there) == len(move.servers):
        yield from BOTH.find(move)


def both_reached(findings: Iterable[Finding]) -> bool:
    """Whether what `find` found says that old and new are reached."""
    return {"old", "new"} <= {f.server for f in findings if f.key == "reached" and f.kind is Severity.GOOD}


def reached(host: Host) -> Finding:
    """Whether we can be root there."""
    return replace(_reached(host), key="reached", group=GROUP, server=host.role)


def _reached(host: Host) -> Finding:
    try:
        answer = host.look("id -u", check=False)
    except Problem as problem:
        return blocker(f"{host}: {problem.what}", problem.do)
    if answer.out.strip() != "0":
        return blocker(f"{host}: sudo does not give root ({answer.out.strip()})", "See /etc/sudoers.d")
    if host.role == "old" and (greeting := next(iter(host.greeting.strip().splitlines()), "")[:40]):
        do = "Print it only where $- has an i: see that user's .bashrc and the like"
        return blocker(f"{host}: {host.user}'s shell prints '{greeting}' without a terminal, which breaks rsync", do)
    return good(f"{host}: reached, its host key is known, sudo works")


def _judged(passed: bool, what: str, do: str) -> Finding:
    return good(what) if passed else blocker(what, do)


# --- each server ----------------------------------------------------------------------------------------------------


@EACH.add
def tools(server: Server, move: Move) -> Found:
    """the programs needed are installed."""
    # new's firewall is changed only for a replicated database.
    left = server.role == "new" and move.settings.strategy == "copy"
    used = [part for part in server.parts if not (left and part is server.firewall)]
    tools = sorted({*TOOLS[server.role], *(tool for part in used for tool in part.tools)})
    missing = server.look("\n".join(f"command -v {tool} >/dev/null || echo {tool}" for tool in tools)).out.split()
    if missing:
        yield blocker(f"lacks {', '.join(missing)}", f"Install the packages of {', '.join(missing)}")


@EACH.add
def paths(server: Server, move: Move) -> Found:
    """every path that the settings name exists."""
    desired = {f"{server.role}.{key}": path for part in server.parts for key, path in part.paths.items()}
    desired[f"{server.role}.database.config"] = server.in_app(server.database.config)
    if server.role == "old":
        desired |= {"old.certificate.fullchain": server.certificate.fullchain}
        desired |= {"old.certificate.key": server.certificate.key}
        desired |= {f"carry.{n}.from": server.in_app(c.source) for n, c in enumerate(move.settings.carry)}
        desired |= {f"uploads.{n}.from": server.in_app(u.source) for n, u in enumerate(move.settings.uploads)}
    script = "\n".join(f"[ -e {sh(path)} ] || echo {sh(key)}" for key, path in desired.items())
    for key in server.look(script).out.split():
        yield blocker(f"{desired[key]} does not exist", f"Fix {key} in the settings")


@EACH.add
def services(server: Server, move: Move) -> Found:
    """every service that the settings name, and the application's user, exist."""
    names = {f"{server.role}.{key}": name for part in server.parts for key, name in part.services.items()}
    user, user_key = server.app.user, f"{server.role}.app.user"
    looks = {key: f"systemctl cat {sh(name)}" for key, name in names.items()} | {user_key: f"id {sh(user)}"}
    script = "\n".join(f"{look} >/dev/null 2>&1 || echo {sh(key)}" for key, look in looks.items())
    missing = server.look(script).out.split()
    for key in missing:
        what = f"service {names[key]}" if key in names else f"user {user}"
        yield blocker(f"no {what}", f"Fix {key} in the settings")
    if not missing:
        yield good(f"service {', '.join(names.values())} and user {user} exist")


@EACH.add
def database(server: Server, move: Move) -> Found:
    """the database exists and belongs to its owner."""
    name, setting = server.database.name, f"{server.role}.database"
    query = f"SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE datname = {sql(name)}"
    owner = server.look(f"{PSQL} -c {sh(query)}").out.strip()
    if owner:
        do = f"The settings say {server.database.owner}: fix {setting}.owner"
        yield _judged(owner == server.database.owner, f"database {name} belongs to {owner}", do)
    else:
        yield blocker(f"no database {name}", f"Fix {setting}.name in the settings")
    if server.role == "old":
        on = server.look(f"{PSQL} -c 'SHOW ssl'").out.strip() == "on"
        do = "Set ssl = on (with a certificate) in postgresql.conf and reload PostgreSQL"
        yield _judged(on, f"PostgreSQL {'has' if on else 'does not have'} TLS", do)


@EACH.add
def space(server: Server, move: Move) -> Found:
    """there is space for the journal."""
    free = int(server.look("df -Pk /var/lib | awk 'NR == 2 { print $4 }'").out) * 1024
    yield _judged(free > 100e6, f"{free / 1e9:.1f} GB free for the journal", "Free some space below /var/lib")


@EACH.add
def firewall(server: Server, move: Move) -> Found:
    """the firewall refuses what no rule allows."""
    yield from server.firewall.check()


@EACH.add
def worker_after_a_boot(server: Server, move: Move) -> Found:
    """the worker starts after a reboot."""
    worker = server.worker
    if not worker.there:
        yield good("there is no worker")
    elif server.role == "new" and not server.monitor.starts_worker and isinstance(worker.boots(True), Nothing):
        do = "Name the worker's file in new.watch, or make it a service (worker: {kind: service, …})"
        yield warning("nothing starts the worker after a reboot", do)


@EACH.add
def deploys(server: Server, move: Move) -> Found:
    """deploys there can be refused during the move."""
    yield from server.deploys.check()


@EACH.add
def verbs(server: Server, move: Move) -> Found:
    """application and worker finish their work before they stop."""
    if server.role == "new":  # old's application is never reloaded
        yield from server.app.check()
    yield from server.worker.check()


@EACH.add
def nginx(server: Server, move: Move) -> Found:
    """nginx's configuration is valid."""
    yield from server.web.check()


# --- the two together -----------------------------------------------------------------------------------------------


@BOTH.add
def two_machines(move: Move) -> Found:
    """old and new are two machines."""
    ids = {server.look("cat /etc/machine-id; hostname").out for server in move.servers}
    if len(ids) < len(move.servers):
        yield blocker("old and new are the same machine", "Fix old.ssh or new.ssh in the settings")


@BOTH.add
def clocks(move: Move) -> Found:
    """the clocks agree."""
    apart, _ = host.clocks(*move.servers)
    yield _judged(apart < 2, f"the clocks are {apart:.2f} s apart", "Set them: timedatectl set-ntp true, on both")


@BOTH.add
def versions(move: Move) -> Found:
    """new's PostgreSQL is no older than old's."""
    old, new = (int(server.look(f"{PSQL} -c 'SHOW server_version_num'").out) // 10000 for server in move.servers)
    do = "The new server needs PostgreSQL 11 or later, no older than the old server's"
    yield _judged(new >= old >= 11, f"PostgreSQL {old} on old, {new} on new", do)


@BOTH.add
def copy_fits(move: Move) -> Found:
    """the database and uploads fit on new."""
    size = int(move.old.look(f"{PSQL} -c {sh(f'SELECT pg_database_size({sql(move.old.database.name)})')}").out)
    folders = " ".join(sh(move.old.in_app(u.source)) for u in move.settings.uploads)
    uploads = int(move.old.look(f"du -sbc {folders} | awk 'END {{ print $1 }}'").out) if folders else 0
    data = move.new.look(f"df -Pk \"$({PSQL} -c 'SHOW data_directory')\" | awk 'NR == 2 {{ print $4 }}'").out
    free, need = int(data) * 1024, int(size * 1.5) + uploads
    what = f"the database ({size / 1e6:.0f} MB) and uploads ({uploads / 1e6:.0f} MB) fit on new"
    yield _judged(free > need, f"{what} ({free / 1e9:.1f} GB free)", f"Free {need / 1e9:.1f} GB on new")


@BOTH.add
def certificate(move: Move) -> Found:
    """new can get a certificate for every domain in old's."""
    yield from move.certificate.check()


@BOTH.add
def code(move: Move) -> Found:
    """new can get the version of the code that old runs."""
    code = move.new.code
    try:
        desired = code.desired(move.old.code, move.settings.revision)
    except Problem as problem:
        yield blocker(problem.what, problem.do)
        return
    yield from code.compared(desired)


@BOTH.add
def jobs(move: Move) -> Found:
    """only one server works on jobs at a time."""
    old, new = move.old, move.new
    if not new.worker.there:
        if old.worker.there:
            yield warning("old has a worker, new has none: jobs would wait", "Set new.worker")
        if new.schedule.needs_worker:
            do = "Fix new.schedule or new.worker in the settings"
            yield warning("on new the worker runs the schedule, and new has no worker", do)
    elif not move.journal.active("switch-jobs"):
        runs = new.look(f"{FUNCTIONS}\n{new.worker.runs} && echo runs || :").out.strip()
        if runs:
            do = "Stop it there, and make sure that no reboot starts it: `switch-jobs` starts it when old's has stopped"
            yield blocker("new's worker runs already, as well as old's", do)


@BOTH.add
def replication(move: Move) -> Found:
    """new's database replicates old's."""
    status = replication_status.look(move)
    if status is None:
        yield note("new's database does not replicate old's yet")
        return
    why = status.broken or status.lagging
    do = "Look into it before the switch; you can always start over: inv undo replicate"
    yield _judged(why is None, why or status.lines()[0], do)
    for role, kept in status.retained:
        yield _judged(not (kept.lost or kept.worrying), f"{role} {kept}", do)
