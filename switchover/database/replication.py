"""What makes one database follow the other, each with what takes it back: identities of rows, publications, the first
copy, subscriptions, and the way back.
"""

from __future__ import annotations

from ..move import Move
from ..programs import ETC, programs
from ..quote import sh, sql
from ..render import render
from ..resources import Command, File, Service
from ..resources.postgres import PSQL
from ..server import Server
from . import host, link, pgbouncer
from .replication_status import BACK, FORWARD

COPY = ("copy-database", "database_copy.py", "servers.py", "refusals.py")


def identities(move: Move) -> Command | None:
    """old: every table's rows can be told apart, where there is no primary key; None where nothing lacks one."""
    done = move.journal.latest("replicate.identities")
    if done and done.state == "recorded":  # it is finished as it was recorded
        return Command(move.old, ":", check="true")
    without = [t for t in host.tables(move.old) if t["kind"] == "r" and not t["unlogged"] and t["identity"] is None]
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
    left = f"SELECT count(*) FROM (VALUES {', '.join(names)}) v (name) JOIN pg_class c ON c.oid = v.name::regclass"
    left += " WHERE relreplident NOT IN ('f', 'i')"
    follow = _mode(move.old, "one-by-one")
    return Command(
        move.old,
        f"{follow} <after/set.sql",
        f"{follow} <after/back.sql",
        check=f'[ "$({PSQL} -d {sh(move.old.database.name)} -c {sh(left)})" = 0 ]',
        shown="\n".join(set_),
        files=programs("follow-database") | {"set.sql": _lines(set_), "back.sql": _lines(back)},
    )


def publication(old: Server) -> Command:
    """*old* offers the changes of all tables, and has a table for the move's own marks."""
    return _piece(old, "publication", "unpublished", f"CREATE PUBLICATION {FORWARD} FOR TABLE … (every one)")


def empty_database(new: Server) -> Command:
    """*new* has an empty database, open to nobody; the one that was there is kept."""
    name = new.database.name
    run, undo = (
        f"python3 -B after/copy-database {mode} {sh(name)} {sh(new.database.owner)}" for mode in ("fresh", "restore")
    )
    shown = f"{name} -> {name}_before_move; CREATE DATABASE {name}"
    return Command(new, run, undo, shown=shown, files=programs(*COPY))


def first_copy(move: Move) -> list[Command]:
    """new: has every row as it was on old at one moment, and old keeps for it what changes from then on."""
    old, new = move.old, move.new
    name, owner = sh(new.database.name), sh(new.database.owner)
    return [
        # The slot is old's: its undo needs nobody else.
        Command(
            old,
            ":",
            _mode(old, "slot-gone"),
            shown=f"(undone: the slot {FORWARD} is dropped)",
            files=programs("follow-database"),
        ),
        Command(
            new,
            f"sh after/detached-copy begin {name} {owner}",
            f"sh after/detached-copy end {name} {owner}",
            shown=f"{old.name}:{old.database.name} -> {new.database.name}, from the snapshot of the slot {FORWARD}",
            files=programs("detached-copy", "detached.sh", *COPY),
        ),
    ]


def subscription(move: Move, server: Server, name: str, *, enabled: bool) -> Command:
    """*server*'s database follows the other's, from the slot of the same *name*, or is ready to."""
    database, connection = server.database.name, link.connection(move, move.other(server))
    options = f"copy_data = false, create_slot = false, enabled = {str(enabled).lower()}, slot_name = '{name}'"
    create = f"CREATE SUBSCRIPTION {name} CONNECTION {sql(connection)} PUBLICATION {name} WITH ({options});"
    there = f"SELECT count(*) FROM pg_subscription WHERE subname = '{name}'"
    run = f'[ "$({PSQL} -c {sh(there)})" != 0 ] || {PSQL} -d {sh(database)} <after/subscribe.sql'
    undo = f"sh after/follow-database unsubscribed {sh(database)} {name}"
    return Command(
        server, run, undo, shown=create, files=programs("follow-database") | {"subscribe.sql": _lines([create])}
    )


def way_back(move: Move) -> list[Command]:
    """Both: all is ready for old to follow new after the switch; until then it does not."""
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


def passing_over(server: Server, slot: str) -> list[File | Service]:
    """*server*, each minute while its database follows: what came by that is not kept in *slot* for the other one."""
    units, name, reload = "/etc/systemd/system", "switchover-way-back", "systemctl daemon-reload"
    # A run of it that the undo met half-way has failed, and systemd would remember that.
    forgotten = f"systemctl stop {name}.service 2>/dev/null || :; {reload}; "
    forgotten += f"systemctl reset-failed {name}.service 2>/dev/null || :"
    script, database = f"{ETC}/way-back.sql", server.database.name
    follows = FORWARD if slot == BACK else BACK
    sql_ = render("templates/way-back.sql.j2", database=database, slot=slot, follows=follows)
    service = render("templates/way-back.service.j2", database=database, script=script)
    timer = render("templates/way-back.timer.j2", every=60)
    return [
        File(server, script, sql_, "root:root", "644"),
        File(server, f"{units}/{name}.service", service, "root:root", "644", then=forgotten),
        File(server, f"{units}/{name}.timer", timer, "root:root", "644", then=reload),
        Service(server, f"{name}.timer", running=True, at_boot=True),
    ]


def _mode(server: Server, mode: str) -> str:
    """sh: a mode of scripts/server/follow-database for *server*'s database."""
    return f"sh after/follow-database {mode} {sh(server.database.name)} {sh(server.database.owner)}"


def _piece(server: Server, do: str, undo: str, shown: str) -> Command:
    """A mode of scripts/server/follow-database on *server*, and the one that takes it back."""
    return Command(server, _mode(server, do), _mode(server, undo), shown=shown, files=programs("follow-database"))


def _lines(statements: list[str]) -> bytes:
    return "".join(f"{statement}\n" for statement in statements).encode()
