"""The proof: every row of every table on both servers, and every upload, compared. docs/proof.md says how."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import Problem
from ..move import Move
from ..programs import programs, unpacked
from ..quote import sh
from ..server import Server
from . import replication_status

if TYPE_CHECKING:
    from ..settings import UploadDirectory

PROGRAMS = ("prove", "proof.py", "snapshots.py", "hold.py", "servers.py", "refusals.py")
Report = Callable[[int, int, str], None]
DIFFERENT = 4  # the program's exit status
# Names may hold anything but NUL: a line break travels as \1.
CHECKSUMS = r"""
cd {directory} 2>/dev/null || exit 0
echo "total $(find . -type f -printf x | wc -c)"
find . -type f -print0 | LC_ALL=C sort -z | nice -n 19 ionice -c 3 xargs -0 -r -n 50 sha256sum -z -- 2>/dev/null |
  stdbuf -oL tr '\n\0' '\1\n'
"""


@dataclass
class Proof:
    """What scripts/server/prove found, and beside it what is different in the schema and in the uploads."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    sequences: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0
    pinned: dict[str, Any] = field(default_factory=dict)
    schema: list[str] = field(default_factory=list)
    files: list[UploadsProof] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many were compared, each counted once."""
        return sum(max(table["old"] or 0, table["new"] or 0) for table in self.tables)

    @property
    def different(self) -> list[str]:
        """What is not equal, by name."""
        tables = [table["table"] for table in self.tables if not table["equal"]]
        sequences = [sequence["sequence"] for sequence in self.sequences if not sequence["equal"]]
        return tables + sequences + self.schema + [uploads.directory for uploads in self.files if not uploads.equal]

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        speed = round(self.rows / self.seconds) if self.seconds else 0
        totals: dict[str, Any] = {"tables": len(self.tables), "rows": self.rows, "different": len(self.different)}
        totals |= {"seconds": self.seconds, "rows_per_second": speed, **self.pinned}
        parts = {"tables": self.tables, "sequences": self.sequences, "schema": self.schema}
        return {"totals": totals, **parts, "files": [uploads.as_json() for uploads in self.files]}


@dataclass
class UploadsProof:
    """A directory of uploads on both servers, checksums by name. *ahead*: visitors write on new: it may have more."""

    directory: str
    old: Mapping[str, str]
    new: Mapping[str, str]
    ahead: bool

    @property
    def other(self) -> list[str]:
        """Names whose contents differ."""
        return sorted(name for name in self.old.keys() & self.new.keys() if self.old[name] != self.new[name])

    @property
    def missing(self) -> list[str]:
        """Names that new lacks."""
        return sorted(self.old.keys() - self.new.keys())

    @property
    def more(self) -> list[str]:
        """Names that only new has."""
        return sorted(self.new.keys() - self.old.keys())

    @property
    def equal(self) -> bool:
        return not self.other and not self.missing and (self.ahead or not self.more)

    def as_json(self) -> dict[str, Any]:
        counts = {"directory": self.directory, "old": len(self.old), "new": len(self.new), "equal": self.equal}
        return {**counts, "other": self.other, "missing_on_new": self.missing, "on_new_alone": self.more}


def parse(out: str) -> Proof:
    """What the program printed among other lines; an empty proof where it did not come so far."""
    for line in out.splitlines():
        if line.startswith("proof {"):
            with suppress(ValueError):  # cut in its middle
                return Proof(**json.loads(line.removeprefix("proof ")))
    return Proof()


def compare(move: Move, jobs: int, on_line: Callable[[str], None] | None) -> Proof:
    """Both databases, by so many sessions on each server. Raises Problem where they cannot be compared."""
    status = replication_status.look(move)
    if status is None:
        raise Problem("new's database does not replicate old's yet", str(move.new), "Run: inv replicate")
    pgbouncer = move.settings.pgbouncer
    words = ["pinned", move.new.database.name, jobs, pgbouncer.port, pgbouncer.pool]
    answer = move.new.change(program(PROGRAMS, words), on_line=on_line)
    proof = parse(answer.out)
    if answer.status not in (0, DIFFERENT) or not proof.tables:
        why = status.schema_differs if status.differences else answer.last_error
        raise Problem(f"the databases could not be compared: {why}", str(move.new), "Nothing was left behind")
    proof.schema = list(status.differences)
    return proof


def program(names: tuple[str, ...], words: list[Any]) -> str:
    """sh that lays programs of `scripts/server/` into a directory while it runs the first of them, with *words*."""
    lines = ["d=$(mktemp -d) || exit 1"]
    lines += [unpacked(data, f'"$d"/{sh(name)}') for name, data in programs(*names).items()]
    lines += [f'python3 -B "$d"/{sh(names[0])} {" ".join(map(sh, words))}', "status=$?", 'rm -rf "$d"', "exit $status"]
    return "\n".join(lines)


def compare_uploads(move: Move, uploads: UploadDirectory, report: Report | None) -> UploadsProof:
    """A directory, each file by its checksum, on both servers at once; *report*: how many of how many."""
    counts: Counter[str] = Counter()
    lock = Lock()

    def count(line: str) -> None:
        with lock:
            if line.startswith("total "):
                counts["total"] += int(line.split()[1])
            else:
                counts["done"] += 1
                if report:
                    report(counts["done"], counts["total"], "files")

    def checksums(server: Server, directory: str) -> dict[str, str]:
        answer = server.look(CHECKSUMS.format(directory=sh(directory)), on_line=count)
        pairs = (line.split("  ./", 1) for line in answer.out.splitlines() if "  ./" in line)
        return {name: checksum for checksum, name in pairs}

    directories = (move.old.in_app(uploads.source), move.new.in_app(uploads.target))
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(checksums, move.servers, directories)
    return UploadsProof(uploads.source, old, new, ahead=bool(move.journal.active("switch-app")))
