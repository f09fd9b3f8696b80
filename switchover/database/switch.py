"""The switch of a replicated database: its program on new, and the functions that it calls in both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..desired import Precondition, Resource
from ..errors import Problem
from ..move import Move
from ..programs import ETC, programs
from ..quote import sh
from ..render import render
from ..resources import Command, File, Service
from ..resources.postgres import PSQL, says
from ..server import Server
from . import capacity, host, pgbouncer, proof

PROGRAM = "/usr/local/sbin/switchover-switch"
CONFIG = f"{ETC}/switch.json"
BESIDE = ("detached-switch", "detached.sh")  # in the entry of a switch
LIBRARY = "/usr/local/lib/switchover"  # its modules, where it finds them at a boot too
MODULES = ("switch.py", *proof.PROGRAMS[1:])
RECOVERY = "switchover-recover.service"
FUNCTIONS = (Path(__file__).parent / "switch.sql").read_bytes()


def state(move: Move) -> str:
    """new: where the program remembers its last switch."""
    return f"{move.journal.home}/switch.json"


def config(move: Move, ini: dict[str, str]) -> bytes:
    """What the program needs to know. *ini*: for old and new, the configuration of PgBouncer that points there."""
    pool, (hold, why) = move.settings.pgbouncer, longest_hold(move)
    known: dict[str, Any] = {"database": move.new.database.name, "port": pool.port, "pool": pool.pool}
    known |= {"max_hold": hold, "max_hold_because": why, "max_drain": move.settings.switch.max_drain}
    known |= {"ini": ini, "state": state(move)}
    return (json.dumps(known, indent=2) + "\n").encode()


def longest_hold(move: Move) -> tuple[float, str]:
    """Seconds that visitors may be held: as the settings say, or less; and why less."""
    desired = move.settings.switch.max_hold
    try:
        takes, queue = capacity.longest_hold(host.gather(move))
    except (host.Unknown, ValueError, IndexError):  # `inv check` says what it could not find out
        return desired, ""
    if takes >= desired:
        return desired, ""
    return round(takes, 1), f"held for {takes:.1f} s at most, not {desired}: {queue.where} holds {queue.holds} requests"


def gates(move: Move, towards: str) -> str | None:
    """What a switch would have to wait for now; None where nothing. Raises Problem where waiting does not help."""
    answer = move.new.look(f"{PROGRAM} gates {towards}", check=False)
    if answer.status == 5:
        raise Problem(answer.last_error, "", "Then: inv switch-db")
    return answer.last_error if answer.status else None


def program(move: Move) -> list[Resource | Precondition]:
    """new: the switch's program is installed, with its recovery after a crash, and nothing of an earlier switch."""
    new, pool = move.new, {server.role: f"{ETC}/pgbouncer.{server.role}.ini" for server in move.servers}
    unit = render("templates/switch-recover.service.j2", program=PROGRAM)
    forget = f"rm -f {sh(state(move))}"
    return [
        Command(new, forget, forget, shown=f"{forget} (the record of an earlier switch is removed)"),
        *(File(new, pool[server.role], pgbouncer.ini(move, server), "root:root", "644") for server in move.servers),
        *(File(new, f"{LIBRARY}/{name}", data, "root:root", "644") for name, data in programs(*MODULES).items()),
        File(new, PROGRAM, programs("switch-database")["switch-database"], "root:root", "755"),
        File(new, CONFIG, config(move, pool), "root:root", "644"),
        File(new, f"/etc/systemd/system/{RECOVERY}", unit, "root:root", "644", then="systemctl daemon-reload"),
        Service(new, RECOVERY, at_boot=True),
        pgbouncer.logs_in(move),
    ]


def switch(move: Move) -> Command:
    """new: PgBouncer points to its own database, queries held for a moment; undone, to old's."""
    names = f"{move.old.database.name} on old -> {move.new.database.name} on new"
    shown = f"PgBouncer: {names} (scripts/server/switch-database)"
    run, undo = (f"sh after/detached-switch {towards}" for towards in ("new", "old"))
    return Command(move.new, run, undo, shown=shown, files=programs(*BESIDE), part="hold")


def functions(server: Server) -> Command:
    """*server*'s database has the functions of the switch, which also record late writes."""
    psql = f"{PSQL} -d {sh(server.database.name)}"
    make = f"{psql} -c 'SET client_min_messages = warning' -f - <after/switch.sql >/dev/null"
    drop = f"{psql} -c 'SET client_min_messages = warning' -c 'DROP SCHEMA IF EXISTS switchover_own CASCADE'"
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'switchover_own'"
    check, files = says(there, 1, server.database.name), {"switch.sql": FUNCTIONS}
    return Command(server, make, drop, check, shown="schema switchover_own: see switch.sql", files=files)
