"""Facts about both servers that decide how the database can move: one look at each, and some at the clocks.

What they mean is findings.py's part; nothing is changed, and no secret leaves a server.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..move import Move
from ..programs import program
from ..quote import sh
from ..resources.postgres import ask
from ..server import Server

QUESTIONS = (Path(__file__).parent / "host.sql").read_text()
MINUTES = 5  # of the access log

HOST = program("host-facts.sh").decode()


class Unknown(Exception):
    """A fact that could not be gathered."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"no answer about {fact}")


class Side(dict[str, Any]):
    """One server's facts; Unknown is raised for one that is missing."""

    def __missing__(self, key: str) -> Any:
        raise Unknown(key)


@dataclass(frozen=True)
class Facts:
    """All there is to judge by: old's, new's, and what is between them.

    Between: `apart` and `within`, seconds by which the clocks differ and how exactly that is known; `round_trip`,
    seconds from new to old and back, where old's web server can be reached.
    """

    old: Side
    new: Side
    between: Side


def gather(move: Move) -> Facts:
    """Looks at both servers. Raises Problem where one, or its database, cannot be reached."""
    old, new = (_look(server, move.other(server)) for server in move.servers)
    for side, server in ((old, move.old), (new, move.new)):
        side |= {"owner": server.database.owner, "name": server.database.name}
        side["environment"] = server.app.environment
    between = Side(_clocks(move))
    if new.get("round_trip"):
        between["round_trip"] = float(new["round_trip"][-1])
    return Facts(old, new, between)


def _look(server: Server, other: Server) -> Side:
    answer = server.look(_script(server, other), check=False)
    side = Side(parse(answer.out))
    if "settings" not in side:
        raise Problem(f"PostgreSQL does not answer ({answer.last_error})", str(server), "Mend that, and run it again")
    return side


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
    database = server.database
    variables = {
        "app": server.app.path,
        "yml": server.in_app(database.config),
        "other": other.main_address,
        "minutes": str(MINUTES),
    }
    asked = ask(database.name, QUESTIONS, ON_ERROR_STOP="0", owner=database.owner)
    lines = [f"{name}={sh(value)}" for name, value in variables.items()]
    lines += [f"master=$({server.app.main_process})", HOST, server.app.facts]
    return "\n".join([*lines, f"{asked} | say sql"])


def _clocks(move: Move) -> dict[str, float]:
    """The least uncertain of three looks at each clock."""
    ahead: list[float] = []
    within = 0.0
    for server in move.servers:
        looks = []
        for _ in range(3):
            start = time.time()
            there = float(server.look("date +%s.%N").out)
            end = time.time()
            looks.append(((end - start) / 2, there - (start + end) / 2))
        unsure, offset = min(looks)
        ahead.append(offset)
        within += unsure
    return {"apart": abs(ahead[0] - ahead[1]), "within": within}
