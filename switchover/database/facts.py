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
from ..hosts import Server
from ..move import Move
from ..quote import sh
from ..resources.postgres import PSQL

QUESTIONS = (Path(__file__).parent / "facts.sql").read_text()
MINUTES = 5  # of the access log

# Lines `key<TAB>value`; a key may come more than once, and is missing where its command failed.
SAY = 'say() { sed "s/^/$1\\t/"; }'
HOST = r"""
getconf GNU_LIBC_VERSION 2>/dev/null | say libc
nproc | say cores
{ dpkg-query -W -f '${Version}\n' pgbouncer 2>/dev/null ||
  apt-cache policy pgbouncer 2>/dev/null | sed -n 's/^ *Candidate: *//p'; } | say pgbouncer
nginx -T 2>/dev/null | grep -E '^\s*(worker_connections|worker_processes|access_log)\s' | say nginx
worker=$(pgrep -P "$(cat /run/nginx.pid 2>/dev/null)" 2>/dev/null | head -n 1)
[ -z "$worker" ] || awk '/open files/ { print $4 }' "/proc/$worker/limits" | say nginx_files
cat /proc/sys/net/core/somaxconn | say somaxconn
if [ -n "$master" ]; then
  tr '\0' '\n' 2>/dev/null <"/proc/$master/environ" | grep '^RACK_TIMEOUT_[A-Z_]*=[0-9]*$' | say rack_timeout
fi
grep -sqE '^ +rack-timeout ' "$app/Gemfile.lock" && echo yes | say rack_timeout_gem
timeouts='(Rack::Timeout\.(service_|wait_)?timeout *=|(service|wait)_timeout:) *[0-9]+'
grep -srhoE --include='*.rb' "$timeouts" "$app/config" | say rack_timeout
# database.yml without what could be a secret; ERB is no YAML.
grep -vE 'password|url|user|secret|key' "$yml" | sed 's/<%.*%>/erb/g' | say yml
df -Pk "$(psql_ -c 'SHOW data_directory')/pg_wal/" | awk 'NR == 2 { printf "%.0f\n", $4 * 1024 }' | say wal_free
logs=$(nginx -T 2>/dev/null | sed -nE 's/^\s*access_log\s+(\/[^; ]+).*/\1/p' | sort -u)
[ -z "$logs" ] || for n in $(seq "$minutes"); do
  tail -qn 50000 $logs | grep -cF "$(date -d "-$n min" '+[%d/%b/%Y:%H:%M:')"
done | say requests
# A connection without a request: nothing of it stands in the other's access log.
perl -MIO::Socket::IP -MTime::HiRes=time -e '
  my $start = time;
  IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 80, Timeout => 5) and printf "%.6f\n", time - $start;
' "$other" | say round_trip
"""


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
    psql = f"{PSQL} -d {sh(server.database.name)} -v owner={sh(server.database.owner)}"
    found = server.look(f"{psql} <<'END OF SQL'\n{start}\n{question};\nEND OF SQL").out
    return list(json.loads(found)["tables"])


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
        "other": other.settings.main_address,
        "minutes": str(MINUTES),
    }
    psql = f"psql_ -v ON_ERROR_STOP=0 -v owner={sh(database.owner)} -d {sh(database.name)}"
    lines = [f"{name}={sh(value)}" for name, value in variables.items()]
    lines += [
        f'psql_() {{ {PSQL} "$@"; }}',
        SAY,
        server.app.facts,
        HOST,
        f"{psql} <<'END OF SQL' | say sql\n{QUESTIONS}\nEND OF SQL",
    ]
    return "\n".join(lines)


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
