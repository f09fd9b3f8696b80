"""Why a program that holds visitors' queries, or compares both databases, did not do it: a code, a text, what to do.

docs/refusals.md has the same table.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import psycopg2
from servers import first_line


class Meaning(NamedTuple):
    """*means*: in general; *action*: what a person does. *waiting*: whether trying again later can help."""

    means: str
    action: str
    waiting: bool = True


CARRY = "Carry it over, then there: DELETE FROM switchover_own.late_writes"
CODES = {
    # Before anybody is held.
    "SW01": Meaning("the way back is not open", "Repair the firewall, port, password or certificate", waiting=False),
    "SW02": Meaning("a disk is filling up", "Free some of it, or raise max_slot_wal_keep_size", waiting=False),
    "SW03": Meaning("the servers' clocks differ", "Set both right (NTP)", waiting=False),
    "SW04": Meaning("late writes would be lost", CARRY, waiting=False),
    "SW05": Meaning("PgBouncer lacks connections", "Look at PostgreSQL's max_connections, and at PgBouncer's log"),
    "SW06": Meaning("a transaction is open for too long", "Let it end, or end it: pg_terminate_backend(pid)"),
    "SW07": Meaning("the database that follows is behind", "Wait until it has caught up: inv watch"),
    "SW08": Meaning("a query ran too long to be waited for, in each try", "Try again at a quieter time"),
    "SW09": Meaning("another program holds queries now", "Wait until it has ended, then try again"),
    # In the hold: the switch is taken back, visitors stay where they were.
    "SW11": Meaning("the hold took too long", "Try again at a quieter time"),
    "SW12": Meaning("sessions on the database that is left do not end", "End them by hand, then try again"),
    "SW13": Meaning("the last write did not arrive in time", "Wait until it has caught up: inv watch"),
    "SW14": Meaning("something failed in the hold", "Repair what it names, then try again"),
    # After the commit.
    "SW15": Meaning("PgBouncer answers no query after the hold", "Look at PgBouncer's log on new", waiting=False),
    "SW16": Meaning("a replication slot cannot be advanced", "See PostgreSQL's log there"),
    "SW17": Meaning("the database that was left does not answer", "When it does: switchover-switch recover, on new"),
    "SW18": Meaning("a statement or a command failed", "Repair what it names, then try again"),
    "SW19": Meaning("a server does not answer", "Start it, then try again"),
    # The held restart of old's PostgreSQL.
    "SW21": Meaning("the application has sessions that do not pass PgBouncer", "First: inv switch-app"),
    "SW22": Meaning("another session asks for a restart", "Wait until it has ended, then try again"),
    "SW23": Meaning("old cannot be restarted now", "See there: journalctl -u switchover-restart"),
    "SW24": Meaning("there was no time left for the restart", "Try again; nothing was changed"),
    "SW25": Meaning("old's PostgreSQL does not start", "On old: systemctl status postgresql", waiting=False),
    # The proof.
    "SW41": Meaning("neither database follows the other", "Run: inv replicate", waiting=False),
    "SW42": Meaning("no moment was found in which nobody writes", "Prove again at a quieter time"),
    "SW43": Meaning("rows could not be read", "Repair what it names, then prove again"),
    "SW44": Meaning("a snapshot is gone: was PostgreSQL restarted?", "Prove again"),
    "SW45": Meaning("a value is too long to be compared", "Compare that table by hand", waiting=False),
    "SW46": Meaning("there is nothing to compare", "Is it the right database? See `database:`", waiting=False),
    # The copy.
    "SW60": Meaning("somebody works with the database that is read", "End these sessions, then try again"),
    "SW61": Meaning("rows of new's database would be lost", "Carry them over, or delete them, then try again"),
    "SW62": Meaning("old's tables are other ones by now", "Make both databases' tables alike, then try again"),
    "SW63": Meaning("something could not be copied", "Repair what it names, then try again"),
    "SW64": Meaning("a transaction is open on old for too long", "Let it end, or end it: pg_terminate_backend(pid)"),
}


class Refused(Exception):
    """Why it was not done, for a person: `SW06: a transaction is open on old: …. Let it end, …`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}. {CODES[code].action}")
        self.code, self.text, self.waiting = code, text, CODES[code].waiting


def run(main: Callable[[], int | None]) -> None:
    """Ends with *main*'s exit status (None: 0); a refusal is a line and 3, or 5 where waiting does not help."""
    try:
        sys.exit(main())
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        refused = Refused("SW19", first_line(error))
    except (psycopg2.Error, OSError, subprocess.SubprocessError) as error:
        refused = Refused("SW18", first_line(error))
    except Refused as error:
        refused = error
    print(refused, file=sys.stderr)
    sys.exit(3 if refused.waiting else 5)
