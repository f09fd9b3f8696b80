"""What the switch of a database that follows is made of: its program on new, and what it asks of both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..hosts import Server
from ..move import Move
from ..quote import sh
from ..resources.postgres import PSQL

PROGRAM = "/usr/local/sbin/switchover-switch"
CONFIG = "/etc/switchover/switch.json"
RECOVERY = "switchover-recover.service"
QUESTIONS = (Path(__file__).parent / "switch.sql").read_bytes()


def state(move: Move) -> str:
    """new: where the program remembers its last switch."""
    return f"{move.journal.home}/switch.json"


def config(move: Move, user: str, passfile: str, ini: dict[str, str]) -> bytes:
    """What the program needs to know. *ini*: for old and new, the configuration of PgBouncer that leads there."""
    switch = move.settings.switch
    known: dict[str, Any] = {
        "database": move.new.database.name,
        "port": move.settings.pgbouncer.port,
        "pool": move.settings.pgbouncer.pool,
        "user": user,
        "passfile": passfile,
        "max_hold": switch.max_hold,
        "max_drain": switch.max_drain,
        "ini": ini,
        "state": state(move),
    }
    return (json.dumps(known, indent=2) + "\n").encode()


def run(towards: str) -> str:
    """sh for new: the switch as a unit of its own, which needs nobody to end; what it says is followed."""
    return f"""
unit=switchover-switch
if ! systemctl is-active -q $unit; then
  {PROGRAM} recover >recovered 2>&1 || refuse "$(tail -n 1 recovered)"
  rm -f said errors status
  systemd-run --quiet --collect --unit=$unit -p WorkingDirectory="$PWD" -p ExecStopPost="{PROGRAM} recover" \\
    -p TimeoutStopSec=infinity --setenv=LC_ALL=C \\
    sh -c '{PROGRAM} to {towards} >said 2>errors; echo $? >status; [ "$(cat status)" = 0 ]'
fi
while systemctl is-active -q $unit; do sleep 0.2; done
cat said 2>/dev/null || :
# A program that died after the commit was followed by its recovery, which led on.
{PROGRAM} recover >recovered 2>&1 || refuse "$(tail -n 1 recovered)"
said=$(tail -n 1 errors 2>/dev/null) || :
[ "$({PROGRAM} leads)" = {towards} ] || refuse "${{said:-the program of the switch was ended}}"
"""


def asks(server: Server) -> tuple[str, str, str]:
    """sh for *server*: its database answers what the switch asks; that it no longer does; whether it does."""
    psql = f"{PSQL} -d {sh(server.database.name)}"
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'switchover_own'"
    make = f"{psql} -c 'SET client_min_messages = warning' -f - <after/switch.sql >/dev/null"
    drop = f"{psql} -c 'SET client_min_messages = warning' -c 'DROP SCHEMA IF EXISTS switchover_own CASCADE'"
    return make, drop, f'[ "$({psql} -c {sh(there)})" = 1 ]'
