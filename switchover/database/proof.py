"""What a comparison of both databases found (scripts/server/prove), and of the uploads beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Proof:
    """What scripts/server/prove found: a dict for each of its lines."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)
    sequences: list[dict[str, Any]] = field(default_factory=list)
    pinned: dict[str, Any] = field(default_factory=dict)
    took: dict[str, Any] = field(default_factory=dict)
    schema: list[str] = field(default_factory=list)
    files: list[Uploads] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many were compared, each counted once."""
        return sum(max(one["old"] or 0, one["new"] or 0) for one in self.tables)

    @property
    def different(self) -> list[str]:
        """What is not equal, by name."""
        tables = [one["table"] for one in self.tables if not one["equal"]]
        sequences = [one["sequence"] for one in self.sequences if not one["equal"]]
        return tables + sequences + self.schema + [one.directory for one in self.files if not one.equal]

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        tables = [
            {
                **one,
                "keys": [{"on": k["on"], "key": k["key"]} for k in self.keys if k["table"] == one["table"]],
                "more_keys": any(m["table"] == one["table"] for m in self.more),
            }
            for one in self.tables
        ]
        seconds = self.took.get("ms", 0) / 1000
        totals = {
            "tables": len(self.tables),
            "rows": self.rows,
            "different": len(self.different),
            "seconds": seconds,
            "rows_per_second": round(self.rows / seconds) if seconds else 0,
            **self.pinned,
        }
        files = [one.as_json() for one in self.files]
        return {"totals": totals, "tables": tables, "sequences": self.sequences, "schema": self.schema, "files": files}


@dataclass
class Uploads:
    """A directory of uploads on both servers. *ahead*: visitors write on new, so that new may have more."""

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
    """What the program printed; its lines of progress are none of it."""
    proof = Proof()
    many = {"table": proof.tables, "key": proof.keys, "more": proof.more, "sequence": proof.sequences}
    for line in out.splitlines():
        kind, _, text = line.partition(" ")
        if kind in many:
            many[kind].append(json.loads(text))
        elif kind == "pinned":
            proof.pinned = json.loads(text)
        elif kind == "took":
            proof.took = json.loads(text)
    proof.tables.sort(key=lambda one: str(one["table"]))
    return proof
