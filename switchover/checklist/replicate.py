"""Let new's database follow old's: copied while visitors go on, then every change at once. For `strategy: replicate`.

Visitors: requests wait for a moment, once, if old's PostgreSQL must restart (some 300 ms); none fails.
Undo: new's database is as it was, and nothing is left on old. Visitors notice nothing, nothing is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..database import facts, link, pooler
from ..database import following as replication
from ..database import switch as switching
from ..database.findings import CHECKS
from ..desired import Wanted
from ..errors import Problem
from ..findings import blockers
from ..hosts import Server
from ..move import Move
from ..programs import ETC, programs
from ..quote import conninfo, ident, pgpass, sh, sql
from ..render import render
from ..resources import Command, Compared, File, Role, Seen, Service, Setting
from ..resources.postgres import CLUSTER, PSQL
from ..step import step_by

HERE = Path(__file__).parent.parent / "database"
PROGRAMS = ("follow-database", "database.sh", "fill.sh")
CATCHES_UP = 900  # seconds: what was written during the copy
FAR = (64, 60)  # megabytes, seconds: further behind somebody has to know


@step_by("replicate")
def can_follow(move: Move) -> Wanted:
    """old: nothing stands in the way of new's database following this one."""
    if move.journal.active("replicate.following"):
        return None

    def hindrance() -> str | None:
        found = blockers(CHECKS.find(facts.gather(move)))
        if not found:
            return None
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        first = found[0]
        raise Problem(
            f"new cannot follow: {first.what}{more}",
            "",
            f"{first.do}. `inv check` says it all. Or say in the settings: strategy: copy",
        )

    return Compared(hindrance)


@step_by("replicate")
def wal_level(move: Move) -> Wanted:
    """old: wal_level is logical; its PostgreSQL was restarted while PgBouncer held every query."""
    if _is_logical(move.old) and not move.journal.active("replicate.wal-level"):
        return None
    old, pool = move.old, move.settings.pgbouncer
    program, name = "/usr/local/sbin/switchover-restart", "switchover-restart.service"
    unit = render(
        "templates/restart-on-request.service.j2",
        program=program,
        database=old.database.name,
        role=link.ROLE,
        state=f"{move.journal.home}/wal_level",
    )
    given = f"{sh(move.new.database.name)} {pool.port} {pool.pool} {sh(old.database.owner)}"
    anew = f"systemctl daemon-reload; systemctl try-restart {name} 2>/dev/null || :"
    logical = f'[ "$({link.ON_OLD} -c "SHOW wal_level")" = logical ]'
    # A restart ends sessions that do not come by PgBouncer: said before anything is begun.
    own = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    own += f"AND (usename = {sql(old.database.owner)} OR "
    own += "usename = current_user AND application_name NOT LIKE 'switchover%')"
    alone = f'{logical} || [ "$(PGAPPNAME=switchover {link.ON_OLD} -c {sh(own)})" = 0 ]'
    otherwise = (
        "the application has sessions on old that do not come by PgBouncer; a restart would end them: inv switch-app"
    )
    # Of itself the unit does nothing: the two programs agree, and each survives the other.
    return [
        Seen(move.new, alone, otherwise, within=10),
        File(old, program, programs("restart-on-request")["restart-on-request"], "root:root", "755", then=anew),
        File(old, f"/etc/systemd/system/{name}", unit, "root:root", "644", then=anew),
        Service(old, name, running=True, at_boot=True),
        Command(
            move.new,
            run=f"sh after/held-restart logical {given}",
            undo=f"sh after/held-restart before {given}",
            check=logical,
            shown="ALTER SYSTEM SET wal_level = logical on old, and its restart while PgBouncer holds all queries",
            files=programs("held-restart", "hold.sh"),
        ),
    ]


@step_by("replicate")
def wal_level_new(move: Move) -> Wanted:
    """new: wal_level is logical; its PostgreSQL, which nobody uses yet, was restarted."""
    before = "SELECT setting FROM pg_file_settings WHERE name = 'wal_level' AND sourcefile LIKE '%.auto.conf'"
    slots = "SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE slot_type = 'logical'"
    run = f"""
[ -e before/wal_level ] || {{ {PSQL} -c {sh(before)} >before/wal_level.new; mv before/wal_level.new before/wal_level; }}
{PSQL} -c "ALTER SYSTEM SET wal_level = 'logical'"
{_restart()}
"""
    undo = f"""
if [ -e before/wal_level ]; then
  # With one, PostgreSQL does not start below logical.
  slots=$({PSQL} -c {sh(slots)})
  [ -z "$slots" ] || refuse "there are logical replication slots still: $slots"
  before=$(cat before/wal_level)
  if [ "$before" ]; then {PSQL} -c "ALTER SYSTEM SET wal_level = '$before'"
  else {PSQL} -c 'ALTER SYSTEM RESET wal_level'; fi
  {_restart()}
fi
"""
    check = f'[ "$({PSQL} -c "SHOW wal_level")" = logical ]'
    return Command(
        move.new, run, undo, check, shown="ALTER SYSTEM SET wal_level = logical; systemctl restart postgresql"
    )


@step_by("replicate")
def limits(move: Move) -> Wanted:
    """old: keeps changes for new only as long as its disk can take it; a link that broke is tried again at once."""
    wanted = []
    for server in move.servers:
        data = f"\"$({PSQL} -c 'SHOW data_directory')/pg_wal/\""
        free = int(server.look(f"df -Pk {data} | awk 'NR == 2 {{ print int($4 / 1024) }}'").out)
        # PostgreSQL before 13 has no such limit. One that somebody set stays.
        wanted.append(Setting(server, "max_slot_wal_keep_size", f"{max(64, free // 200 * 100)}MB", "setting <> '-1'"))
        wanted.append(Setting(server, "wal_retrieve_retry_interval", "100ms", "setting::int <= 100"))
    return wanted


@step_by("replicate")
def own_role(move: Move) -> Wanted:
    """new: has the move's own role too; on both servers it may replicate."""
    new = move.new
    own = Role(new, link.ROLE, new.database.owner, link.password(move))
    return [_may_replicate(move.old), own, _may_replicate(new)]


@step_by("replicate")
def roles(move: Move) -> Wanted:
    """new: has the roles that have something to do in old's database, with their passwords."""
    return _carried_roles(move)


@step_by("replicate")
def door_back(move: Move) -> Wanted:
    """new: a port leads old, and nobody else, to PostgreSQL; both databases can log in to each other, over TLS."""
    old, new, door = move.old, move.new, move.settings.door
    wanted: list[Any] = []
    wanted.append(new.firewall.lets_in(old.addresses, door))
    wanted += link.door(new, door, old.addresses)
    wanted.append(File(old, link.NEW_CERTIFICATE, link.certificate(new), "root:root", "644"))
    for server in move.servers:
        address = move.other(server).settings.main_address
        line = f"{pgpass(address)}:{door}:*:{link.ROLE}:{link.password(move)}\n"
        path = link.POSTGRES_PGPASS
        wanted.append(File(server, path, line.encode(), "postgres:postgres", "600", secret=True))
    for server in move.servers:
        script = (
            f"export PGOPTIONS='-c client_min_messages=warning'\n"
            f'[ "$({PSQL} -d {sh(_connection(move, move.other(server), "postgres"))} '
            "-c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')\" = t ]"
        )
        other = move.other(server).role
        wanted.append(Seen(server, script, f"{server.role}'s database cannot log in to {other}'s", within=15))
    return wanted


@step_by("replicate")
def identities(move: Move) -> Wanted:
    """old: every table's rows can be told apart: by a unique index, or whole, where there is no primary key."""
    done = move.journal.latest("replicate.identities")
    if done and done.state == "recorded":  # it is finished as it was recorded
        return Command(move.old, ":", check="true")
    without = [t for t in facts.tables(move.old) if t["kind"] == "r" and not t["unlogged"] and t["identity"] is None]
    if not without:
        return Command(move.old, ":", check="true") if done else None
    set_, back, names = [], [], []
    for table in without:
        name, index = table["name"], table["offer"]
        how = f"USING INDEX {index.rpartition('.')[2]}" if index else "FULL"
        was = "NOTHING" if table["replica"] == "n" else "DEFAULT"
        set_.append(f"ALTER TABLE {name} REPLICA IDENTITY {how};")
        back.append(f"ALTER TABLE IF EXISTS {name} REPLICA IDENTITY {was};")
        names.append(f"({sql(name)})")
    database, owner = sh(move.old.database.name), sh(move.old.database.owner)
    left = f"SELECT count(*) FROM (VALUES {', '.join(names)}) v (name) JOIN pg_class c ON c.oid = v.name::regclass"
    left += " WHERE relreplident NOT IN ('f', 'i')"
    follow = "sh after/follow-database one-by-one"
    return Command(
        move.old,
        f"{follow} {database} {owner} <after/set.sql",
        f"{follow} {database} {owner} <after/back.sql",
        check=f'[ "$({PSQL} -d {database} -c {sh(left)})" = 0 ]',
        shown="\n".join(set_),
        files=programs(*PROGRAMS) | {"set.sql": _lines(set_), "back.sql": _lines(back)},
    )


@step_by("replicate")
def publication(move: Move) -> Wanted:
    """old: offers the changes of all tables to new, and has a table for the move's own marks."""
    return _follow(move.old, "publication", "unpublished", "CREATE PUBLICATION switchover FOR TABLE … (every one)")


@step_by("replicate")
def database(move: Move) -> Wanted:
    """new: an empty database is there, open to nobody; the one that was there is kept."""
    name = move.new.database.name
    return _follow(move.new, "fresh", "restore", f"{name} -> {name}_before_move; CREATE DATABASE {name}")


@step_by("replicate")
def copy(move: Move) -> Wanted:
    """new: has every row as it was on old at one moment, and old keeps for it what changes from then on."""
    old, new = move.old, move.new
    name, owner = sh(new.database.name), sh(new.database.owner)
    # It goes on by itself when the operator's machine is gone; the same command looks at it again.
    run = f"""
unit=switchover-copy
if [ ! -e copied ]; then
  if ! systemctl is-active -q $unit; then
    rm -f status said errors
    systemd-run --quiet --collect --unit=$unit -p WorkingDirectory="$entry" --setenv=LC_ALL=C --setenv=PATH="$PATH" \\
      sh -c 'sh after/follow-database copy "$0" "$1" >said 2>errors; echo $? >status' {name} {owner}
  fi
  while systemctl is-active -q $unit; do
    sleep 0.5
    tail -n 2 said 2>/dev/null || :
  done
  if [ "$(cat status 2>/dev/null)" != 0 ]; then
    said=$(grep -m 1 -E 'ERROR|FATAL|error:' errors || tail -n 1 errors)
    stays=$(grep -m 1 'may stay on old' errors || :)
    refuse "${{said:-the copy was ended}}${{stays:+; $stays}}"
  fi
  mark copied
fi
"""
    undo = f"""
systemctl stop switchover-copy.service 2>/dev/null || :
sh after/follow-database emptied {name} {owner}
rm -f copied
"""
    return [
        # The slot is old's: its undo needs nobody else.
        Command(
            old,
            ":",
            f"sh after/follow-database slot-gone {sh(old.database.name)} {sh(old.database.owner)}",
            shown="(undone: the slot switchover is dropped)",
            files=programs(*PROGRAMS),
        ),
        Command(
            new,
            run,
            undo,
            shown=f"{old.name}:{old.database.name} -> {new.database.name}, from the snapshot of the slot switchover",
            files=programs(*PROGRAMS),
        ),
    ]


@step_by("replicate")
def following(move: Move) -> Wanted:
    """new: its database takes over every change from old's, at once."""
    return _subscription(move, move.new, "switchover", enabled=True)


@step_by("replicate")
def switch_sql(move: Move) -> Wanted:
    """new: its database, and old's, answer what the switch asks, and note who writes to them while they follow."""
    files = {"switch.sql": switching.QUESTIONS}
    wanted = []
    for server in move.servers:
        make, drop, there = switching.asks(server)
        wanted.append(Command(server, make, drop, there, shown="schema switchover_own: see switch.sql", files=files))
    return wanted


@step_by("replicate")
def way_back(move: Move) -> Wanted:
    """new: all is ready for old to follow new after the switch; until then it does not."""
    new = move.new
    # Old's PostgreSQL has to log in for a moment. Meanwhile the application's roles cannot.
    logins, database = f"{ETC}/way-back.logins", ident(new.database.name)
    applications = f"({sql(new.database.owner)}, {sql(pooler.ROLE)})"
    who = f"SELECT quote_ident(rolname) FROM pg_roles WHERE rolcanlogin AND rolname IN {applications}"
    limit = {n: f"{PSQL} -c {sh(f'ALTER DATABASE {database} CONNECTION LIMIT {n}')}" for n in (0, 8)}
    open_ = f"""
[ -e {logins} ] || {{ {PSQL} -c {sh(who)} >{logins}.new; mv {logins}.new {logins}; }}
while IFS= read -r role; do {PSQL} -c "ALTER ROLE $role NOLOGIN"; done <{logins}
{limit[8]}
"""
    close = f"""
{limit[0]}
if [ -e {logins} ]; then
  while IFS= read -r role; do {PSQL} -c "ALTER ROLE $role LOGIN"; done <{logins}
  rm -f {logins}
fi
"""
    return [
        _follow(new, "way-back", "no-way-back", "CREATE PUBLICATION switchover_back …; slot switchover_back"),
        Command(new, open_, close, shown="the database is open to the move's own role for a moment", part="open"),
        _subscription(move, move.old, "switchover_back", enabled=False),
        Command(new, close, shown="and to nobody again", part="closed"),
    ]


@step_by("replicate")
def way_back_timer(move: Move) -> Wanted:
    """new: each minute while its database follows, what came from old is not kept for old; and the other way round."""
    return [*_passing_over(move.new, "switchover_back"), *_passing_over(move.old, "switchover")]


def _passing_over(server: Server, slot: str) -> list[File | Service]:
    units, name, reload = "/etc/systemd/system", "switchover-way-back", "systemctl daemon-reload"
    # A run of it that the undo met half-way has failed, and systemd would remember that.
    forgotten = f"systemctl stop {name}.service 2>/dev/null || :; {reload}; "
    forgotten += f"systemctl reset-failed {name}.service 2>/dev/null || :"
    script, database = f"{ETC}/way-back.sql", server.database.name
    follows = "switchover" if slot == "switchover_back" else "switchover_back"
    sql_ = render("templates/way-back.sql.j2", database=database, slot=slot, follows=follows)
    service = render("templates/way-back.service.j2", database=database, script=script)
    timer = render("templates/way-back.timer.j2", every=60)
    return [
        File(server, script, sql_, "root:root", "644"),
        File(server, f"{units}/{name}.service", service, "root:root", "644", then=forgotten),
        File(server, f"{units}/{name}.timer", timer, "root:root", "644", then=reload),
        Service(server, f"{name}.timer", running=True, at_boot=True),
    ]


@step_by("replicate")
def caught_up(move: Move) -> Wanted:
    """new: has all that old has, less than a second later, and the same tables."""
    return Compared(lambda: replication.missing(move), within=CATCHES_UP)


@step_by("replicate")
def monit(move: Move) -> Wanted:
    """new: monit watches how far the database that follows is behind, until the end of the move."""
    arguments = f"{move.new.database.name} {FAR[0]} {FAR[1]}"
    return move.new.monitor.watches_program("switchover-lag", "templates/monit-lag.j2", arguments)


def _lines(statements: list[str]) -> bytes:
    return "".join(f"{one}\n" for one in statements).encode()


def _follow(server: Server, do: str, undo: str, shown: str) -> Command:
    """A mode of scripts/server/follow-database on *server*, and the one that takes it back."""
    name, owner = sh(server.database.name), sh(server.database.owner)
    program = "sh after/follow-database"
    run, back = f"{program} {do} {name} {owner}", f"{program} {undo} {name} {owner}"
    return Command(server, run, back, shown=shown, files=programs(*PROGRAMS))


def _subscription(move: Move, server: Server, name: str, *, enabled: bool) -> Command:
    """*server*'s database follows the other's, from the slot of the same *name*, or is ready to."""
    database, connection = server.database.name, _connection(move, move.other(server))
    options = f"copy_data = false, create_slot = false, enabled = {str(enabled).lower()}, slot_name = '{name}'"
    create = f"CREATE SUBSCRIPTION {name} CONNECTION {sql(connection)} PUBLICATION {name} WITH ({options});"
    there = f"SELECT count(*) FROM pg_subscription WHERE subname = '{name}'"
    run = f'[ "$({PSQL} -c {sh(there)})" != 0 ] || {PSQL} -d {sh(database)} <after/subscribe.sql'
    undo = f"sh after/follow-database unsubscribed {sh(database)} {name}"
    files = programs(*PROGRAMS) | {"subscribe.sql": f"{create}\n".encode()}
    return Command(server, run, undo, shown=create, files=files)


def _connection(move: Move, to: Server, database: str = "") -> str:
    """How the other server's PostgreSQL reaches *to*'s, in libpq's words; the password is in a file of its own."""
    certificate = link.OLD_CERTIFICATE if to is move.old else link.NEW_CERTIFICATE
    values = {
        "host": to.settings.main_address,
        "port": move.settings.door,
        "dbname": database or to.database.name,
        "user": link.ROLE,
        "passfile": link.POSTGRES_PGPASS,
        "sslmode": "verify-ca",
        "sslrootcert": certificate,
        "connect_timeout": 10,
    }
    return " ".join(f"{key}={conninfo(value)}" for key, value in values.items())


def _may_replicate(server: Server) -> Command:
    role = link.ROLE
    there = f"SELECT rolreplication FROM pg_roles WHERE rolname = {sql(role)}"
    back = f"SELECT 'ALTER ROLE {role} NOREPLICATION' WHERE EXISTS ({there}) \\gexec"
    alter = f"ALTER ROLE {role} REPLICATION"
    check = f'[ "$({PSQL} -c {sh(there)})" = t ]'
    return Command(server, f"{PSQL} -c {sh(alter)}", f"printf '%s\\n' {sh(back)} | {PSQL}", check, shown=alter)


def _carried_roles(move: Move) -> list[Command]:
    """new: the roles of others that old's database knows (reports, integrations), with their passwords."""
    old, new = move.old, move.new
    question = (HERE / "roles.sql").read_text()
    psql = f"{PSQL} -d {sh(old.database.name)} -v owner={sh(old.database.owner)} -v new_owner={sh(new.database.owner)}"
    statements = old.look(f"{psql} <<'END OF SQL'\n{question}\nEND OF SQL").out.splitlines()
    names = sorted({line.partition("\t")[0] for line in statements})
    if not names:
        return []
    listed = ", ".join(sql(name) for name in names)
    there = f"SELECT quote_ident(rolname) FROM pg_roles WHERE quote_ident(rolname) IN ({listed})"
    run = f"""
[ -e before/there ] || {{ {PSQL} -c {sh(there)} | sort >before/there.new; mv before/there.new before/there; }}
{{
  echo 'SET log_min_error_statement = panic; SET log_statement = none; SET log_min_duration_statement = -1; BEGIN;'
  # Who is here already stays as it is.
  awk -F '\t' 'FILENAME == ARGV[1] {{ there[$0]; next }}
    !($2 ~ /^(CREATE|ALTER) ROLE / && $1 in there) {{ print $2 }}' before/there after/roles
  echo 'COMMIT;'
}} | {PSQL} >/dev/null
"""
    undo = f"""
{PSQL} -c {sh(there)} | sort | comm -23 - before/there | while IFS= read -r role; do
  {PSQL} -c "DROP ROLE $role"
done
"""
    check = f'[ "$({PSQL} -c {sh(there)} | wc -l)" = {len(names)} ]'
    files = {"roles": _lines(statements)}
    shown = "\n".join(f"CREATE ROLE {name} (as on old, its password too: not shown)" for name in names)
    return [Command(new, run, undo, check, shown=shown, files=files)]


def _is_logical(server: Server) -> bool:
    return server.look(f"{PSQL} -c 'SHOW wal_level'").out.strip() == "logical"


def _restart() -> str:
    """sh: restarts PostgreSQL and waits until it answers."""
    answers = f"{PSQL} -c 'SELECT 1' >/dev/null 2>&1"
    return f"""
answers() {{ {answers}; }}
systemctl restart "$({CLUSTER})"
wait_until 60 answers || refuse "PostgreSQL does not start: see its log"
"""
