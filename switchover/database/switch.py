"""What the switch of a database that follows is made of: its program on new, and what it asks of both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..hosts import Server
from ..move import Move
from ..programs import ETC
from ..quote import sh
from ..resources.postgres import PSQL
from . import facts, findings

PROGRAM = "/usr/local/sbin/switchover-switch"
CONFIG = f"{ETC}/switch.json"
RECOVERY = "switchover-recover.service"
QUESTIONS = (Path(__file__).parent / "switch.sql").read_bytes()


def state(move: Move) -> str:
    """new: where the program remembers its last switch."""
    return f"{move.journal.home}/switch.json"


def config(move: Move, user: str, passfile: str, ini: dict[str, str]) -> bytes:
    """What the program needs to know. *ini*: for old and new, the configuration of PgBouncer that leads there."""
    hold, why = longest_hold(move)
    known: dict[str, Any] = {
        "database": move.new.database.name,
        "port": move.settings.pgbouncer.port,
        "pool": move.settings.pgbouncer.pool,
        "user": user,
        "passfile": passfile,
        "max_hold": hold,
        "max_hold_because": why,
        "max_drain": move.settings.switch.max_drain,
        "ini": ini,
        "state": state(move),
    }
    return (json.dumps(known, indent=2) + "\n").encode()


def longest_hold(move: Move) -> tuple[float, str]:
    """Seconds that visitors may be held: as the settings say, or less; and why less."""
    wanted = move.settings.switch.max_hold
    try:
        takes, queue = findings.longest_hold(facts.gather(move))
    except (facts.Unknown, ValueError, IndexError):  # `inv check` says what it could not find out
        return wanted, ""
    if takes >= wanted:
        return wanted, ""
    return round(takes, 1), f"held for {takes:.1f} s at most, not {wanted}: {queue.where} holds {queue.holds} requests"


def gates(move: Move, towards: str) -> str | None:
    """What a switch would have to wait for now; None where nothing. Raises Problem where waiting does not mend it."""
    answer = move.new.look(f"{PROGRAM} gates {towards}", check=False)
    if answer.status == 4:
        raise Problem(answer.last_error, "", "Then: inv switch-db")
    return answer.last_error if answer.status else None


def run(towards: str) -> str:
    """sh for new: the switch as a unit of its own, which needs nobody to end; what it says is followed."""
    return f"""
unit=switchover-switch
if ! systemctl is-active -q $unit; then
  {PROGRAM} recover >recovered 2>&1 || refuse "$(tail -n 1 recovered)"
  rm -f said errors status
  systemd-run --quiet --collect --unit=$unit -p WorkingDirectory="$PWD" -p ExecStopPost="{PROGRAM} recover" \\
    -p TimeoutStopSec=infinity -p Nice=-10 --setenv=LC_ALL=C \\
    sh -c '{PROGRAM} to {towards} >said 2>errors; echo $? >status; [ "$(cat status)" = 0 ]'
fi
looks=0
while systemctl is-active -q $unit; do
  sleep 0.2
  tail -n 2 said 2>/dev/null || :
  looks=$(( looks + 1 ))
  # In the hold the watchdog ends a program that somebody stopped (SIGSTOP); after it, this does.
  # shellcheck disable=SC2009 # not every pgrep can tell who is stopped
  if [ $(( looks % 25 )) = 0 ] && ps -eo stat=,args= | grep -q '^T.* {PROGRAM} to '; then
    {PROGRAM} recover >recovered 2>&1 || :
  fi
done
grep -v -e '^doing ' -e '^progress ' said 2>/dev/null || :
# A program that died after the commit was followed by its recovery, which led on.
{PROGRAM} recover >recovered 2>&1 || refuse "$(tail -n 1 recovered)"
said=$(tail -n 1 errors 2>/dev/null) || :
[ "$({PROGRAM} leads)" = {towards} ] || refuse "${{said:-the program of the switch was ended}}"
grep -qs -e '"proved"' -e '"already"' said || echo 'note that moment was not proved; `inv prove` compares now'
"""


def asks(server: Server) -> tuple[str, str, str]:
    """sh for *server*: its database answers what the switch asks; that it no longer does; whether it does."""
    psql = f"{PSQL} -d {sh(server.database.name)}"
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'switchover_own'"
    make = f"{psql} -c 'SET client_min_messages = warning' -f - <after/switch.sql >/dev/null"
    drop = f"{psql} -c 'SET client_min_messages = warning' -c 'DROP SCHEMA IF EXISTS switchover_own CASCADE'"
    return make, drop, f'[ "$({psql} -c {sh(there)})" = 1 ]'
