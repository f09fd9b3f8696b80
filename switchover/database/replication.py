"""Replication from one database to the other, each part with its undo: WAL, replica identities, publications,
subscriptions, and the way back.
"""

from __future__ import annotations

from dataclasses import replace

from ..desired import Resource
from ..move import Move
from ..programs import ETC, programs
from ..quote import ident, sh, sql
from ..render import render
from ..resources import Command, File, Service, setting
from ..resources.postgres import PSQL, says
from ..server import Server
from . import host, link, pgbouncer
from .replication_status import BACK, FORWARD


def is_logical(server: Server) -> bool:
    """Whether *server*'s WAL has what a subscriber needs."""
    return server.look(says("SHOW wal_level", "logical"), check=False).status == 0


def logical(server: Server) -> Command:
    """*server*'s wal_level is logical; its PostgreSQL, which nobody uses, restarts."""
    level = setting(server, "wal_level", "logical", "setting = 'logical'")
    return replace(level, shown=f"{level.shown}; systemctl restart postgresql")


def limits(server: Server) -> list[Command]:
    """*server* keeps changes only as long as its disk can hold them; a broken link is tried again at once."""
    data = f"\"$({PSQL} -c 'SHOW data_directory')/pg_wal/\""
    free = int(server.look(f"df -Pk {data} | awk 'NR == 2 {{ print int($4 / 1024) }}'").out)
    return [
        # PostgreSQL before 13 has no such limit. One that somebody set stays.
        setting(server, "max_slot_wal_keep_size", f"{max(64, free // 200 * 100)}MB", "setting <> '-1'"),
        setting(server, "wal_retrieve_retry_interval", "100ms", "setting::int <= 100"),
    ]


def identities(move: Move) -> Command | None:
    """old: a table without a primary key has another replica identity; None where every table has a key."""
    old, done = move.old, move.journal.latest("replicate.identities")
    tables = [] if done and done.state == "recorded" else host.tables(old)  # else finished as recorded
    keyless = [t for t in tables if t["kind"] == "r" and not t["unlogged"] and t["identity"] is None]
    if not keyless:
        return Command(old, ":", check="true") if done else None
    changes, undo = [], []
    for table in keyless:
        name, index = table["name"], table["offer"]
        changed = f"USING INDEX {index.rpartition('.')[2]}" if index else "FULL"
        before = "NOTHING" if table["replica"] == "n" else "DEFAULT"
        changes.append(f"ALTER TABLE {name} REPLICA IDENTITY {changed};")
        undo.append(f"ALTER TABLE IF EXISTS {name} REPLICA IDENTITY {before};")
    values = ", ".join(f"({sql(table['name'])})" for table in keyless)
    left = f"SELECT count(*) FROM (VALUES {values}) v (name) JOIN pg_class c ON c.oid = v.name::regclass"
    left += " WHERE relreplident NOT IN ('f', 'i')"
    one_by_one = _mode(old, "one-by-one")
    run, back, check = f"{one_by_one} <after/set.sql", f"{one_by_one} <after/back.sql", says(left, 0, old.database.name)
    files = programs("follow-database") | {"set.sql": _lines(changes), "back.sql": _lines(undo)}
    return Command(old, run, back, check, shown="\n".join(changes), files=files)


def identities_as_before(move: Move, undo: str) -> list[Command]:
    """new: the tables that got their replica identity from old for the move have the one of before."""
    new, entries = move.new, move.journal.active("replicate.identities")
    paths = " ".join(sh(f"{move.journal.path(entry)}/after/back.sql") for entry in entries)
    back = move.old.look(f"cat {paths} 2>/dev/null", check=False).out if paths else ""
    if not back:
        return []
    files = programs("follow-database") | {"back.sql": back.encode()}
    run = f"{_mode(new, 'one-by-one')} <after/back.sql"
    return [Command(new, run, undo, shown=back.strip(), files=files, part="identities")]


def publication(old: Server) -> Command:
    """*old* publishes the changes of all tables, and has a table for the move's heartbeat."""
    return _piece(old, "publication", "unpublished", f"CREATE PUBLICATION {FORWARD} FOR TABLE … (every one)")


def subscription(move: Move, server: Server, name: str, *, enabled: bool) -> Command:
    """*server*'s database subscribes to the other's publication and slot *name*; not *enabled*: it is only prepared."""
    database, connection = server.database.name, link.connection(move, move.other(server))
    options = f"copy_data = false, create_slot = false, enabled = {str(enabled).lower()}, slot_name = '{name}'"
    create = f"CREATE SUBSCRIPTION {name} CONNECTION {sql(connection)} PUBLICATION {name} WITH ({options});"
    there = f"SELECT count(*) FROM pg_subscription WHERE subname = '{name}'"
    run = f"{says(there, 1)} || {PSQL} -d {sh(database)} <after/subscribe.sql"
    undo = f"sh after/follow-database unsubscribed {sh(database)} {name}"
    files = programs("follow-database") | {"subscribe.sql": _lines([create])}
    return Command(server, run, undo, shown=create, files=files)


def way_back(move: Move) -> list[Command]:
    """Both: all is ready for old to replicate new after the switch; until then it does not."""
    old, new, program = move.old, move.new, "way-back-logins"
    name = sh(new.database.name)
    # Old's PostgreSQL has to log in for a moment. Meanwhile the application's roles cannot.
    open_ = f"sh after/{program} open {name} {sh(new.database.owner)} {pgbouncer.ROLE}"
    close, files = f"sh after/{program} close {name}", programs(program)
    shown = "the database is open to the move's own role for a moment"
    return [
        _piece(new, "way-back", "no-way-back", f"CREATE PUBLICATION {BACK} …; slot {BACK}"),
        Command(new, open_, close, shown=shown, files=files, part="open"),
        subscription(move, old, BACK, enabled=False),
        Command(new, close, shown="and to nobody again", files=files, part="closed"),
    ]


def way_back_timer(server: Server, slot: str) -> list[File | Service]:
    """*server*, each minute while its database replicates: *slot* does not keep what was replicated for the other."""
    units, name, reload = "/etc/systemd/system", "switchover-way-back", "systemctl daemon-reload"
    # If undo interrupts a run, that run has failed, and systemd would remember it.
    stop, forget = (f"systemctl {verb} {name}.service 2>/dev/null || :" for verb in ("stop", "reset-failed"))
    script, database = f"{ETC}/way-back.sql", server.database.name
    follows = FORWARD if slot == BACK else BACK
    statements = render("templates/way-back.sql.j2", database=database, slot=slot, follows=follows)
    service = render("templates/way-back.service.j2", database=database, script=script)
    timer = render("templates/way-back.timer.j2", every=60)
    return [
        File(server, script, statements, "root:root", "644"),
        File(server, f"{units}/{name}.service", service, "root:root", "644", then=f"{stop}; {reload}; {forget}"),
        File(server, f"{units}/{name}.timer", timer, "root:root", "644", then=reload),
        Service(server, f"{name}.timer", running=True, at_boot=True),
    ]


def ended(move: Move, undo: str) -> list[Resource]:
    """Both: neither database replicates the other, and neither server keeps changes for the other."""
    old, new = move.old, move.new
    # Old's fence stays, but for the move's own role, which goes.
    revoke = f"{PSQL} -c {sh(f'REVOKE CONNECT ON DATABASE {ident(old.database.name)} FROM {link.ROLE}')}"

    def end(server: Server, *modes: str, then: str = "") -> Command:
        lines = [f"sh after/follow-database {mode}" for mode in modes]
        part, files = modes[0].partition(" ")[0], programs("follow-database")
        return Command(server, "\n".join([*lines, then]), undo, shown="; ".join(modes), files=files, part=part)

    of_old, of_new = (f"{sh(server.database.name)} {sh(server.database.owner)}" for server in move.servers)
    return [
        end(old, f"unsubscribed {sh(old.database.name)} {BACK}"),
        end(new, f"unsubscribed {sh(new.database.name)} {FORWARD}", f"no-way-back {of_new}", f"unpublished {of_new}"),
        end(old, f"slot-gone {of_old}", f"unpublished {of_old}", then=revoke),
    ]


def _mode(server: Server, mode: str) -> str:
    """sh: a mode of scripts/server/follow-database for *server*'s database."""
    return f"sh after/follow-database {mode} {sh(server.database.name)} {sh(server.database.owner)}"


def _piece(server: Server, mode: str, undo: str, shown: str) -> Command:
    """A mode of scripts/server/follow-database on *server*, and the mode that undoes it."""
    return Command(server, _mode(server, mode), _mode(server, undo), shown=shown, files=programs("follow-database"))


def _lines(statements: list[str]) -> bytes:
    return "".join(f"{statement}\n" for statement in statements).encode()
