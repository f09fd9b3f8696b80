"""How long a database takes to another server, by five ways, on one pair of servers in one run; and the proof.

    .venv/bin/python benchmarks/database.py --json FILE [--rounds 3] [--seed-mb 500] [--variants 2000000]

As root: it boots a lab of its own (Debian 11 to 12). The ways take turns, in another order each round; all run on
the new server and read old's database by the same way (TLS through its relay), into a fresh database; the rows that
arrived are counted, table by table. Printed are ratios within this run: seconds differ from machine to machine.

- checklist: the checklist's own script of 2018, pg_dump into a file, then psql
- dump_restore: pg_dump and pg_restore, in the directory format, with two jobs
- pgcopydb: `pgcopydb clone` of Debian, where it can be had
- subscription: PostgreSQL's own: the schema, then CREATE SUBSCRIPTION, until every table has been synchronised
- ours: what `inv replicate.copy` runs, with indexes, sequences and statistics
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from lab.machine.server import LabServer, until  # noqa: E402
from lab.rehearsal import Visitors  # noqa: E402
from lab.servers import Lab  # noqa: E402
from lab.visitors.ledger import Outcome, percentile  # noqa: E402
from lab.world import SHOP  # noqa: E402
from switchover.database.copy import PROGRAMS as COPY  # noqa: E402
from switchover.database.proof import PROGRAMS as PROVE  # noqa: E402
from switchover.database.proof import parse  # noqa: E402
from switchover.errors import Problem  # noqa: E402
from switchover.journal import FUNCTIONS  # noqa: E402
from switchover.quote import sh  # noqa: E402

OLD, NEW = SHOP.site("old"), SHOP.site("new")
TARGET = "bench"
HOME = "/var/tmp/bench"  # noqa: S108 - on the lab's server
WAYS = ("checklist", "dump_restore", "pgcopydb", "subscription", "ours")
SERVICE = f"PGSERVICEFILE={HOME}/pg_service.conf"
AS_POSTGRES = f"env -C / {SERVICE} runuser -u postgres --"
FRESH = f"{AS_POSTGRES} dropdb --if-exists {TARGET}; {AS_POSTGRES} createdb -O {NEW.owner} -T template0 {TARGET}"

# The same data for everybody: what a Rails shop has most of, narrow rows with several indexes.
VARIANTS = """
SET ROLE {owner};
CREATE TABLE variants (id bigserial PRIMARY KEY, sku text NOT NULL, price numeric(8,2), on_hand integer,
  weight double precision, note text, deleted_at timestamp, created_at timestamp, updated_at timestamp);
INSERT INTO variants (sku, price, on_hand, weight, note, created_at, updated_at)
  SELECT 'SKU-' || md5(n::text), n % 997 + 0.25, n % 77, n / 7.0::float8,
    CASE WHEN n % 5 = 0 THEN 'A note of some words, as people write them' END,
    timestamp '2018-01-01' + n * interval '11 seconds', timestamp '2018-01-01' + n * interval '12.345 seconds'
  FROM generate_series(1, {count}) n;
CREATE UNIQUE INDEX ON variants (sku); CREATE INDEX ON variants (created_at); CREATE INDEX ON variants (price, on_hand);
RESET ROLE;
ALTER TABLE orders_tags REPLICA IDENTITY FULL;
"""
COUNTS = """
SELECT coalesce(json_object_agg(name, (xpath('/row/n/text()',
  query_to_xml('SELECT count(*) AS n FROM ' || name, false, true, '')))[1]::text::bigint ORDER BY name), '{}')
FROM (SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
  WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'switchover')) t
"""


def commands() -> dict[str, str]:
    """What each way runs on new, as root (sh)."""
    left = sh("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'")
    there = f'[ "$({AS_POSTGRES} psql -XAtq {TARGET} -c {left})" = 0 ]'
    return {
        "checklist": f"""set -e
{SERVICE} pg_dump -O -x --no-publications service=old >{HOME}/dump.sql
{FRESH}
{AS_POSTGRES} psql -q -o /dev/null {TARGET} <{HOME}/dump.sql""",
        "dump_restore": f"""set -e
{AS_POSTGRES} pg_dump -Fd -j 2 -Z 0 --no-publications -f {HOME}/dump.d service=old
{FRESH}
{AS_POSTGRES} pg_restore -j 2 -O -x -d {TARGET} {HOME}/dump.d""",
        "pgcopydb": f"""set -e
{FRESH}
{AS_POSTGRES} pgcopydb clone --dir {HOME}/pgcopydb --source service=old --target dbname={TARGET} \\
  --table-jobs 2 --index-jobs 2 --no-owner --no-acl --skip-large-objects >{HOME}/pgcopydb.log 2>&1""",
        "subscription": f"""set -e
{FUNCTIONS}
{FRESH}
{AS_POSTGRES} pg_dump -s -O -x --no-publications service=old | {AS_POSTGRES} psql -q -o /dev/null {TARGET}
{AS_POSTGRES} psql -q {TARGET} -c "CREATE SUBSCRIPTION bench CONNECTION 'service=old' PUBLICATION switchover"
wait_until 3600 sh -c {sh(there)}""",
        "ours": f"python3 -B {HOME}/programs/copy-database follow {TARGET} {NEW.owner} >/dev/null",
    }


BETWEEN = f"""
{AS_POSTGRES} psql -q {TARGET} -c 'ALTER SUBSCRIPTION bench DISABLE' \\
  -c 'ALTER SUBSCRIPTION bench SET (slot_name = NONE)' -c 'DROP SUBSCRIPTION bench'
{AS_POSTGRES} dropdb --if-exists -f {TARGET}
{AS_POSTGRES} dropdb --if-exists -f {TARGET}_before_move
rm -rf {HOME}/dump.sql {HOME}/dump.d {HOME}/pgcopydb
"""


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--json", type=Path, required=True)
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--seed-mb", type=int, default=500)
    given.add_argument(
        "--variants", type=int, default=2_000_000, help="rows of the table that stands for a shop's (2,000,000)"
    )
    given.add_argument("--rate", type=float, default=20, help="visitors' requests a second, where they come (20)")
    options = given.parse_args()
    os.environ.setdefault("SWITCHOVER_LAB_NAME", "bench")
    with Lab("11", "12", seed_mb=options.seed_mb, ci=False) as lab:
        result = Benchmark(lab, options).run()
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"All of it: {options.json}")
    return 0


def p99(times: list[float]) -> float:
    """What 99 of 100 requests took at most, in ms."""
    return round(percentile(times, 99), 1)


@dataclass
class Felt:
    """What visitors felt meanwhile: `ms` of their requests, how many `failed`; `each` time's own p99."""

    ms: list[float] = field(default_factory=list)
    failed: int = 0
    each: list[float] = field(default_factory=list)

    def add(self, other: Felt) -> None:
        """Another time of the same."""
        self.ms, self.failed, self.each = self.ms + other.ms, self.failed + other.failed, self.each + other.each

    def as_json(self) -> dict[str, Any]:
        """The p99 of all requests together: that of a few seconds alone is the luck of two or three."""
        return {"p99_ms": p99(self.ms), "requests": len(self.ms), "failed": self.failed, "p99_each_ms": self.each}


class Benchmark:
    """One run on one pair of servers."""

    def __init__(self, lab: Lab, options: argparse.Namespace) -> None:
        self.lab, self.options = lab, options
        self.commands = commands()
        self.ways = list(WAYS)
        self.seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        self.rows: dict[str, Any] = {way: [] for way in WAYS}
        self.notes: list[str] = []

    def run(self) -> dict[str, Any]:
        """All rounds, then the visitors and the proof."""
        versions = self._prepare()
        if not versions["pgcopydb"]:
            self.ways.remove("pgcopydb")
        self.rows["source"] = self._count(self.lab.old, OLD.database)
        for number in range(self.options.rounds):
            turn = number % len(self.ways)
            for way in self.ways[turn:] + self.ways[:turn]:
                self._once(way)
        self._table()
        felt = self._visitors()
        proof = self._proof()
        medians = {way: sorted(s)[len(s) // 2] for way, s in self.seconds.items() if s}
        size = self.lab.old.psql("SELECT pg_database_size(current_database())", OLD.database)
        return {
            "copy_seconds": self.seconds,
            "ratios": {f"ours/{way}": round(medians["ours"] / medians[way], 3) for way in medians if way != "ours"},
            "commands": self.commands,
            "rows": self.rows,
            "versions": versions,
            "bytes": int(size),
            "visitors": felt,
            "proof": proof,
            "load_average": os.getloadavg(),
            "notes": self.notes,
        }

    def _prepare(self) -> dict[str, str]:
        """The way to old, data, programs; gives versions."""
        old, new = self.lab.old, self.lab.new
        settings = yaml.safe_load(self.lab.settings.read_text()) | {"strategy": "replicate"}
        self.lab.settings.write_text(yaml.safe_dump(settings, sort_keys=False))
        old.psql("ALTER SYSTEM SET wal_level = 'logical'")
        old.exec("systemctl stop cron monit; systemctl restart postgresql")
        until(
            lambda: old.exec("runuser -u postgres -- psql -c 'SELECT 1'", check=False).returncode == 0, 30, "PostgreSQL"
        )
        inv = Path(sys.executable).with_name("inv")
        subprocess.run([inv, "-f", self.lab.settings, "prepare-old"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        old.psql("ALTER ROLE switchover REPLICATION")
        old.psql(VARIANTS.format(owner=OLD.owner, count=self.options.variants), OLD.database)
        old.psql("VACUUM (FREEZE, ANALYZE)", OLD.database)
        new.exec(f"install -d -o postgres {HOME} && install -o postgres -m 600 /etc/switchover/pgpass {HOME}/pgpass")
        new.exec(
            f"sed 's|^passfile=.*|passfile={HOME}/pgpass|' /etc/switchover/pg_service.conf >{HOME}/pg_service.conf"
        )
        # A subscription's worker reads the service file of the server's own system.
        new.exec(f"install -m 644 {HOME}/pg_service.conf /etc/postgresql-common/pg_service.conf")
        for host in (old, new):
            for name in {*COPY, "follow-database", *PROVE}:
                host.write(f"{HOME}/programs/{name}", (ROOT / "scripts/server" / name).read_bytes())
        old.exec(f"cd /var/tmp && sh {HOME}/programs/follow-database publication {OLD.database} {OLD.owner}")
        old.exec(f"{AS_POSTGRES} pg_dump {OLD.database} >/dev/null")  # read once, so that nobody is the first
        return {
            "old": old.psql("SHOW server_version"),
            "new": new.psql("SHOW server_version"),
            "pgcopydb": self._pgcopydb(),
        }

    def _pgcopydb(self) -> str:
        """Debian's pgcopydb onto new; its version, or nothing, and why not among the notes."""
        with tempfile.TemporaryDirectory() as folder:
            got = subprocess.run(["apt-get", "download", "pgcopydb"], cwd=folder, capture_output=True, text=True)
            packages = list(Path(folder).glob("*.deb"))
            if got.returncode != 0 or not packages:
                self.notes.append(f"pgcopydb could not be had here: {got.stderr.strip().splitlines()[-1:]}")
                return ""
            self.lab.new.write("/var/tmp/pgcopydb.deb", packages[0].read_bytes())  # noqa: S108
        done = self.lab.new.exec("dpkg -i /var/tmp/pgcopydb.deb && pgcopydb --version", check=False)
        if done.returncode != 0:
            self.notes.append(f"pgcopydb could not be installed on new: {done.stderr.strip()[-300:]}")
            return ""
        return next((line.strip() for line in done.stdout.splitlines() if "pgcopydb version" in line), "pgcopydb")

    def _between(self) -> None:
        """As before: nothing of the last way is left, and nobody pays for its dirty pages."""
        self.lab.new.exec(BETWEEN, check=False)
        self.lab.old.psql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active", OLD.database
        )
        for host in self.lab.servers:
            host.psql("CHECKPOINT")
            host.exec("sync")

    def _copied(self, way: str) -> float:
        """One copy; its seconds."""
        self._between()
        if way == "ours":
            self.lab.new.exec(FRESH)
        start = time.monotonic()
        done = self.lab.new.exec(self.commands[way], check=False)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            log = self.lab.new.exec(f"tail -n 3 {HOME}/pgcopydb.log", check=False).stdout if way == "pgcopydb" else ""
            raise Problem(
                f"{way} failed: {(done.stderr or done.stdout).strip()[-500:]} {log}", "benchmarks/database.py"
            )
        return seconds

    def _once(self, way: str) -> None:
        seconds = self._copied(way)
        counted = self._count(self.lab.new, TARGET)
        if counted != self.rows["source"]:
            raise Problem(f"{way} brought other rows: {counted}, not {self.rows['source']}", "benchmarks/database.py")
        self.seconds[way].append(round(seconds, 2))
        self.rows[way].append(sum(counted.values()))
        print(f"  {way:13} {seconds:6.1f} s, {sum(counted.values()):,} rows", flush=True)

    def _count(self, server: LabServer, database: str) -> dict[str, int]:
        counts: dict[str, int] = json.loads(server.psql(COUNTS, database))
        return counts

    def _table(self) -> None:
        first = min(self.seconds["checklist"]), max(self.seconds["checklist"])
        middle = sorted(self.seconds["checklist"])[len(self.seconds["checklist"]) // 2]
        print(f"\n{'':13} of the checklist's (median {middle:.1f} s, {first[0]:.1f} to {first[1]:.1f})")
        for way in self.ways:
            own = sorted(self.seconds[way])
            print(f"  {way:13} {own[len(own) // 2] / middle:.2f}   ({own[0] / middle:.2f} to {own[-1] / middle:.2f})")

    def _visitors(self) -> dict[str, Any]:
        """What visitors of old feel while it is copied: 99 of 100 requests took at most so long, in ms."""
        felt: dict[str, Any] = {"rate": self.options.rate}
        with self._coming() as during:
            felt["quiet"] = during(lambda: time.sleep(60))
            for one in ("ours", "checklist", "checklist", "ours") * 3:  # ours comes last: it follows, for the proof
                felt.setdefault(one, Felt()).add(during(partial(self._copied, one)))
        for way in ("quiet", "checklist", "ours"):
            felt[way] = felt[way].as_json()
            print(f"  visitors' p99, {way}: {felt[way]}")
        return felt

    def _proof(self) -> dict[str, Any]:
        """The database that was copied last follows; the proof's rows a second, and what visitors feel of it."""
        new = self.lab.new
        options = "copy_data = false, create_slot = false, slot_name = switchover"
        create = "CREATE SUBSCRIPTION switchover CONNECTION 'service=old' PUBLICATION switchover"
        new.psql(f"{create} WITH ({options})", TARGET)
        found: dict[str, Any] = {"rows_per_second": {}, "readers": {}}
        with self._coming() as during:
            found["p99_quiet"] = during(lambda: time.sleep(60)).as_json()
            for readers in (1, 2):
                rates: list[int] = []
                felt = Felt()
                for _ in range(6):
                    felt.add(during(partial(self._note, rates, readers)))
                found["readers"][str(readers)] = {"rows_per_second_with_visitors": rates, "p99": felt.as_json()}
        for readers in (1, 2):
            found["rows_per_second"][str(readers)] = [self._proved(readers) for _ in range(3)]
        print(f"  proof: {json.dumps(found)}")
        new.psql("ALTER SUBSCRIPTION switchover DISABLE", TARGET)
        return found

    def _note(self, rates: list[int], readers: int) -> None:
        rates.append(self._proved(readers))

    def _proved(self, readers: int) -> int:
        command = f"UNHELD=200 python3 -B {HOME}/programs/prove pinned {TARGET} {readers} 6432 1"
        proof = parse(self.lab.new.exec(command).stdout)
        return round(proof.rows / proof.seconds)

    @contextmanager
    def _coming(self) -> Iterator[Callable[[Callable[[], object]], Felt]]:
        """Visitors come to old; gives a function that tells what they felt while something was done."""
        with (
            tempfile.TemporaryDirectory() as folder,
            Visitors(self.lab, Path(folder) / "ledger", self.options.rate) as visitors,
        ):
            visitors.wait_for("start", 90)

            def during(work: Callable[[], object]) -> Felt:
                start = time.time()
                work()
                end = time.time()
                answers = [a for a in visitors.book().answers if start <= a.at <= end]
                times = [a.ms for a in answers]
                failed = sum(a.outcome not in (Outcome.OK, Outcome.PAGE) for a in answers)
                return Felt(times, failed, [p99(times)])

            yield during
            visitors.finish()


if __name__ == "__main__":
    sys.exit(main())
