"""Facts about both hosts and their databases: one look at each, and some at the clocks.

compatibility.py judges by them. Nothing is changed, and no secret leaves a server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..findings import listed
from ..hosts import Host
from ..move import Move
from ..programs import program
from ..quote import sh
from ..resources.postgres import ask
from ..server import Server

GROUP = "database"  # of the findings
OURS = "switchover"  # how the names of the move's own slots, publications, subscriptions and roles begin
QUESTIONS = (Path(__file__).parent / "host.sql").read_text()
MINUTES = 5  # of the access log


class Unknown(Exception):
    """A fact that could not be gathered: its name."""

    def __str__(self) -> str:
        return f"{self.args[0]} is not known"


class Side(dict[str, Any]):
    """One server's facts; Unknown is raised for one that is missing."""

    def __missing__(self, key: str) -> Any:
        raise Unknown(key)

    @property
    def version(self) -> int:
        """PostgreSQL's, as 150020 for 15.20."""
        return int(self["settings"]["server_version_num"])

    def tables(self, **properties: Any) -> list[dict[str, Any]]:
        """Tables and views with these properties."""
        return [table for table in self["tables"] if properties.items() <= table.items()]


@dataclass(frozen=True)
class DatabaseFacts:
    """All there is to judge by: old's, new's, and what is between them.

    Between: `apart` and `within`, seconds by which the clocks differ and how exactly that is known; `round_trip`,
    seconds from new to old and back, where old's web server can be reached.
    """

    old: Side
    new: Side
    between: Side

    @property
    def sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        """Each server's role and its facts: old's, then new's."""
        return ("old", self.old), ("new", self.new)


def names(things: Iterable[dict[str, Any]]) -> str:
    """The first few names of tables or sequences, and how many more there are; those of `public` without it."""
    return listed(str(thing["name"]).removeprefix("public.") for thing in things)


def gather(move: Move) -> DatabaseFacts:
    """Looks at both servers. Raises Problem where one, or its database, cannot be reached."""
    old, new = (_look(server, move.other(server)) for server in move.servers)
    between = Side(zip(("apart", "within"), clocks(*move.servers), strict=True))
    if new.get("round_trip"):
        between["round_trip"] = float(new["round_trip"][-1])
    return DatabaseFacts(old, new, between)


def _look(server: Server, other: Server) -> Side:
    script = _script(server, other)
    # A copy whose operator has died makes new's database anew: it may just have dropped it.
    while "settings" not in (facts := parse((answer := server.look(script, check=False)).out)):
        if "copy" not in facts:
            why = f"PostgreSQL does not answer ({answer.last_error})"
            raise Problem(why, str(server), "Start it, then run this again")
    return Side(facts, owner=server.database.owner, name=server.database.name, environment=server.app.environment)


def tables(server: Server) -> list[dict[str, Any]]:
    """The tables of *server*'s database alone, as `Side["tables"]` has them."""
    start = QUESTIONS[: QUESTIONS.index("\n\n")]
    question = next(part for part in QUESTIONS.split(";\n") if "jsonb_build_object('tables'" in part)
    asked = ask(server.database.name, f"{start}\n{question};", owner=server.database.owner)
    return list(json.loads(server.look(asked).out)["tables"])


def parse(out: str) -> dict[str, Any]:
    """What the script printed: SQL's facts as they are, the host's as lists of lines."""
    facts: dict[str, Any] = {}
    for line in out.splitlines():
        key, tab, value = line.partition("\t")
        if key == "sql":
            facts |= json.loads(value)
        elif tab:
            facts.setdefault(key, []).append(value)
    return facts


def _script(server: Server, other: Server) -> str:
    asked = ask(server.database.name, QUESTIONS, ON_ERROR_STOP="0", owner=server.database.owner)
    return f"""
app={sh(server.app.path)} yml={sh(server.in_app(server.database.config))} other={sh(other.main_address)}
minutes={MINUTES} master=$({server.app.main_process})
{program("host-facts.sh").decode()}
{server.app.facts}
{asked} | say sql
"""


def clocks(old: Host, new: Host) -> tuple[float, float]:
    """Seconds by which both clocks differ, and how exactly that is known: the best of three looks at each."""
    (old_within, old_ahead), (new_within, new_ahead) = (min(_clock(host) for _ in range(3)) for host in (old, new))
    return abs(old_ahead - new_ahead), old_within + new_within


def _clock(host: Host) -> tuple[float, float]:
    start = time.time()
    there = float(host.look("date +%s.%N").out)
    end = time.time()
    return (end - start) / 2, there - (start + end) / 2
