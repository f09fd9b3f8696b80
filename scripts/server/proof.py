"""New server, as root: compares the application's database on both servers, every row of every table.

docs/proof.md says how. Read by the program `prove`, and by those that copy or switch. Nothing stays: each statement is
a transaction of its own, so that no lock on a table outlives it. For PostgreSQL 11 to 17.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
from refusals import Refused
from servers import Server, first_line

NAME = f"switchover prove {os.getpid()} rows"
PAGES = 4000  # of a table, read by one statement
BUCKETS = 4096  # into which a table is divided by the hash of its key
KEYS = 20  # named of a table
NARROWED = 20  # tables whose rows are named
# Both sides' texts must be the same, whatever a role or a database has set.
SETTINGS = """
client_min_messages=warning statement_timeout=4h lock_timeout=60s idle_in_transaction_session_timeout=60s
default_transaction_read_only=on row_security=off search_path=pg_catalog
jit=off enable_seqscan=off max_parallel_workers_per_gather=0
DateStyle=ISO IntervalStyle=postgres TimeZone=UTC bytea_output=hex lc_monetary=C
quote_all_identifiers=off standard_conforming_strings=on
"""
TOO_LONG = ("54000", "53200")  # program_limit_exceeded, out_of_memory: a text of more than 1 GB
OTHER_ROWS = "other rows"
# A row for each table: what is needed to read it. Only catalogs are read here.
TABLES = """
SELECT json_build_object(
  'id', json_build_array(nspname, relname)::text, 'sql', format('%I.%I', nspname, relname), 'oid', c.oid::bigint,
  'name', CASE nspname WHEN 'public' THEN format('%I', relname) ELSE format('%I.%I', nspname, relname) END,
  'node', relfilenode::bigint, 'bytes', coalesce(pg_table_size(c.oid), 0),
  'by_page', current_setting('server_version_num')::integer >= 140000,
  'pages', coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::integer,
  -- Types of PostgreSQL's own alone are hashed one by one: the cast of another could be a function of the application.
  'columns', (SELECT coalesce(json_agg(json_build_array(attname, format('t.%I', attname), CASE
        WHEN atttypid = 'bytea'::regtype THEN format('sha256(t.%I)', attname)
        WHEN atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype, 'xml'::regtype)
          THEN format('hashtextextended(t.%I::text COLLATE "C", 0)', attname)
        ELSE format('t.%I', attname) END) ORDER BY attname::text COLLATE "C"), '[]')
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
  'key', (SELECT json_agg(json_build_array(attname, format('t.%I', attname)) ORDER BY place)
    FROM pg_index CROSS JOIN LATERAL unnest((indkey::int2[])[0:indnkeyatts - 1]) WITH ORDINALITY k (number, place)
      JOIN pg_attribute ON attrelid = indrelid AND attnum = number
    WHERE indrelid = c.oid AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL
    GROUP BY indexrelid, indisprimary, indnkeyatts HAVING bool_and(attnotnull)
    ORDER BY indisprimary DESC, indnkeyatts, indexrelid::regclass::text LIMIT 1),
  -- A whole number that is the key, where rows lie about in its order: the statistics know its hundredths.
  'hundredths', (SELECT json_build_array(format('t.%I', a.attname), histogram_bounds::text::bigint[])
    FROM pg_index JOIN pg_attribute a ON attrelid = indrelid AND attnum = indkey[0]
      JOIN pg_stats s ON schemaname = nspname AND tablename = relname AND s.attname = a.attname AND NOT inherited
    WHERE indrelid = c.oid AND indisunique AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL AND indexprs IS NULL
      AND attnotnull AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      AND abs(correlation) > 0.9 AND histogram_bounds IS NOT NULL
    ORDER BY indisprimary DESC LIMIT 1))
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't'
  AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'switchover', 'switchover_own')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE classid = 'pg_class'::regclass AND objid = c.oid AND d.deptype = 'e')
"""
SEQUENCES = """
SELECT CASE schemaname WHEN 'public' THEN format('%I', sequencename) ELSE format('%I.%I', schemaname, sequencename) END,
  last_value
FROM pg_sequences WHERE schemaname <> 'switchover'
"""


@dataclass
class Table:
    """A table on one server, as TABLES knows it, and what was read of it."""

    id: str
    sql: str
    oid: int
    name: str
    node: int
    bytes: int
    pages: int
    columns: list[tuple[str, str, str]]  # name, quoted, hashed where it can be long
    key: list[tuple[str, str]] | None  # name, quoted
    by_page: bool  # PostgreSQL reads a range of pages directly
    hundredths: tuple[str, list[int]] | None
    convert: bool  # the databases' encodings differ: texts are compared as UTF-8
    apart: bool = False  # its rows may be too long for one text: long columns are hashed one by one
    rows: int = 0
    hashes: int = 0  # their sum
    rewritten: bool = False  # since the snapshot

    @property
    def row(self) -> str:
        return f"ROW({', '.join(column[2 if self.apart else 1] for column in self.columns)})::text"

    def hash(self, text: str, seed: int = 0) -> str:
        if self.convert:
            text = f"encode(convert_to({text}, 'UTF8'), 'hex')"
        return f'hashtextextended({text} COLLATE "C", {seed})'

    def ranges(self) -> list[str]:
        """Conditions that divide it."""
        count, column, cuts = -(-self.pages // PAGES), "ctid", []
        if self.by_page:
            cuts = [f"'({part * PAGES},0)'" for part in range(1, count)]
        elif self.hundredths:
            column, bounds = self.hundredths
            count = min(count, len(bounds) - 1)
            cuts = [str(bounds[part * (len(bounds) - 1) // count]) for part in range(1, count)]
        # The first begins and the last ends with the table, whatever it has grown to.
        least = ["true", *(f"{column} >= {cut}" for cut in cuts)]
        most = [*(f"{column} < {cut}" for cut in cuts), "true"]
        return [f"{begin} AND {end}" for begin, end in zip(least, most)]

    def sums(self) -> list[Part]:
        """What is asked of it: how many rows, the sum of their hashes, and in which file the table is now."""
        ranges = self.ranges()
        select = f"SELECT count(*), coalesce(sum(h), 0), coalesce(pg_relation_filenode({self.oid}), 0)"
        rows = f"SELECT {self.hash(self.row)} AS h FROM ONLY {self.sql} t"
        size = self.bytes / len(ranges)
        return [Part(self.name, f"{select} FROM ({rows} WHERE {condition}) s", size, self) for condition in ranges]

    def add(self, rows: int, hashes: Decimal, node: int) -> None:
        """One of the answers."""
        self.rows, self.hashes = self.rows + rows, self.hashes + int(hashes)
        self.rewritten |= node != self.node

    def difference(self, other: Table) -> str:
        """Why it is not equal to the *other* server's; empty where it is."""
        if [name for name, *_ in self.columns] != [name for name, *_ in other.columns]:
            return "other columns"
        # An older snapshot sees a table that was rewritten on both sides as empty.
        if (self.rows, self.hashes) == (other.rows, other.hashes) and not (self.rewritten and other.rewritten):
            return ""
        return "emptied or rewritten meanwhile: prove again" if self.rewritten or other.rewritten else OTHER_ROWS

    def key_texts(self) -> list[tuple[str, str]]:
        """What names a row, and the text of that. Without a key a row is its own."""
        return [(name, f"format('%s', {column})") for name, column in self.key or [("row", f"left({self.row}, 120)")]]

    def bucket(self) -> str:
        """The part of the table to which a row belongs."""
        key = f"ROW({', '.join(column for _, column in self.key)})::text" if self.key else self.row
        return f"({self.hash(key, 1)} & {BUCKETS - 1})"


@dataclass(frozen=True)
class Part:
    """A statement for a reader. *bytes* are for the progress. *table*: whose rows may be too long for it."""

    about: str
    sql: str
    bytes: float = 0
    table: Table | None = None


class Reader(threading.Thread):
    """A session on *server* that answers *parts* until there is none; in *snapshot*, where one is named.

    It shares nothing else: `answers` are its own. An answer is None where rows are too long for one text.
    """

    def __init__(self, server: Server, options: str, snapshot: str | None, parts: deque[Part]) -> None:
        super().__init__(daemon=True)
        self.role, self.parts = server.role, parts
        self.begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        if snapshot:
            self.begin += f"; SET TRANSACTION SNAPSHOT '{snapshot}'"
        self.session = server.connect(application_name=NAME, options=options, client_encoding="UTF8")
        self.answers: list[tuple[Part, Any]] = []
        self.refused: Refused | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(IndexError), contextlib.closing(self.session), self.session.cursor() as cursor:
            while self.refused is None:
                part = self.parts.popleft()
                try:
                    self.answers.append((part, self.answer(part, cursor)))
                except Refused as refused:
                    self.refused = refused
                except Exception as error:  # an answer that is missing must never look like an equal one
                    self.refused = Refused("SW43", f"{self.role}: {part.about}: {first_line(error)}")

    def answer(self, part: Part, cursor: Any) -> Any:
        try:
            cursor.execute(self.begin)
        except psycopg2.Error as error:
            raise Refused("SW44", f"{self.role}: {first_line(error)}") from error
        try:
            cursor.execute(part.sql)
        except psycopg2.Error as error:
            too_long = error.pgcode in TOO_LONG or "invalid memory alloc" in str(error)
            if part.table is None or not too_long:
                raise
            if part.table.apart:
                raise Refused("SW45", f"{self.role}: {part.about}: {first_line(error)}") from error
            cursor.execute("ROLLBACK")
            return None
        rows = cursor.fetchall()
        cursor.execute("COMMIT")
        return rows


Agree = Callable[["int | None", "int | None"], bool]  # whether a sequence's last values on old and on new are right


class Comparison:
    """Of *old* with *new*, by so many *readers* a side, in *snapshots* (names by role) where there are some."""

    def __init__(self, old: Server, new: Server, readers: int, snapshots: Mapping[str, str]) -> None:
        self.servers, self.readers, self.snapshots = (old, new), readers, snapshots
        encodings = {server.session.get_parameter_status("server_encoding") for server in self.servers}
        self.convert = len(encodings) > 1
        # PostgreSQL 12 began to write a float's shortest text; with an older one both write 15 digits.
        digits = 0 if min(server.session.server_version for server in self.servers) < 120000 else 1
        self.options = " ".join(f"-c {setting}" for setting in [*SETTINGS.split(), f"extra_float_digits={digits}"])
        self.doing, self.printed = "what there is to compare", time.monotonic()
        self.seconds = 0.0  # that all rows took
        self.narrowed = 0

    def read(self, *parts: list[Part]) -> list[list[tuple[Part, Any]]]:
        """The answers of old, and those of new, to the *parts* of each; the largest first. Prints the progress."""
        queues = [deque(sorted(side, key=lambda part: -part.bytes)) for side in parts]
        total = sum(part.bytes for queue in queues for part in queue)
        readers: list[Reader] = []
        try:
            for server, queue in zip(self.servers, queues):
                for _ in range(min(self.readers, len(queue))):
                    readers.append(Reader(server, self.options, self.snapshots.get(server.role), queue))
            for reader in readers:
                while reader.is_alive():
                    reader.join(0.1)
                    self.watch(readers, total)
            self.watch(readers, total)
            if sum(len(reader.answers) for reader in readers) != sum(map(len, parts)):
                raise Refused("SW43", "a session ended without its answers")
        except BaseException:
            for queue in queues:
                queue.clear()
            self.end()
            raise
        return [
            [answer for reader in readers if reader.parts is queue for answer in reader.answers] for queue in queues
        ]

    def watch(self, readers: list[Reader], total: float) -> None:
        """Raises what stopped a reader; prints a line each second, which fails where nobody listens any more."""
        for reader in readers:
            if reader.refused:
                raise reader.refused
        if time.monotonic() - self.printed > 1:
            done = sum(part.bytes for reader in readers for part, _ in reader.answers)
            print(f"progress {done:.0f} {total:.0f} bytes" if total else f"doing {self.doing}", flush=True)
            self.printed = time.monotonic()

    def end(self) -> None:
        """Whoever reads ends at once on both servers; new first, as old may be the one that is gone."""
        end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
        for server in reversed(self.servers):
            with contextlib.suppress(psycopg2.Error):
                server.ask(end, NAME)

    def both(self, about: str, sql: str) -> list[list[Any]]:
        """The rows that old answers, and those of new."""
        return [rows for answers in self.read([Part(about, sql)], [Part(about, sql)]) for _, rows in answers]

    def tables(self) -> list[dict[str, Any]]:
        """For each table how many rows it has on either server, and what is different."""
        catalogs = self.both("the catalogs", TABLES)
        old, new = ([Table(**row, convert=self.convert) for (row,) in rows] for rows in catalogs)
        if not old:
            raise Refused("SW46", "old has no tables")
        begin = time.monotonic()
        self.sum_up(old, new)
        self.seconds = time.monotonic() - begin
        on_old, on_new = ({table.id: table for table in tables} for tables in (old, new))
        named = sorted({**on_new, **on_old}.values(), key=lambda table: table.name)
        return [self.table(on_old.get(table.id), on_new.get(table.id)) for table in named]

    def sum_up(self, old: list[Table], new: list[Table]) -> None:
        """Counts and sums up all rows. Where they are too long for one text: again, long columns by themselves."""
        sides = self.read(*([part for table in tables for part in table.sums()] for tables in (old, new)))
        answers = [answer for side in sides for answer in side]
        long = {part.table.id for part, rows in answers if part.table and rows is None}
        for part, rows in answers:
            if part.table and part.table.id not in long:
                part.table.add(*rows[0])
        if long:
            again = [[table for table in tables if table.id in long] for tables in (old, new)]
            for table in again[0] + again[1]:
                table.apart = True
            self.sum_up(*again)

    def table(self, old: Table | None, new: Table | None) -> dict[str, Any]:
        """What a table is on both servers."""
        table = old or new
        assert table
        why = old.difference(new) if old and new else f"on {'old' if old else 'new'} alone"
        keys: list[dict[str, Any]] = []
        more = None
        if why == OTHER_ROWS and self.narrowed < NARROWED:
            self.narrowed += 1
            keys, more = self.narrow(table)
        rows = {"old": old.rows if old else None, "new": new.rows if new else None}
        return {"table": table.name, **rows, "equal": not why, "why": why, "keys": keys, "more": more}

    def narrow(self, table: Table) -> tuple[list[dict[str, Any]], dict[str, int] | None]:
        """The first keys of rows that differ, from the parts of *table* that do; and how much more there is, if any."""
        self.doing = f"which rows of {json.dumps(table.name)} differ"
        bucket, hash = table.bucket(), table.hash(table.row)
        rows = f"FROM ONLY {table.sql} t"
        old, new = self.both(table.name, f"SELECT {bucket}, count(*), sum({hash}) {rows} GROUP BY 1")
        buckets = sorted({number for number, *_ in {*old} ^ {*new}})
        # Rows that differ come from everywhere: a list of some hundred thousand is enough to name the first.
        few = buckets[: max(4, 100_000 * BUCKETS // (table.rows + 1))]
        among = f"WHERE {bucket} = ANY ('{{{', '.join(map(str, few))}}}')"
        names, texts = zip(*table.key_texts())
        old, new = self.both(table.name, f"SELECT {hash}, {', '.join(texts)} {rows} {among}")
        on_old = {row[1:] for row in Counter(old) - Counter(new)}
        on_new = {row[1:] for row in Counter(new) - Counter(old)}
        all_keys = sorted(on_old | on_new)
        keys = []
        for key in all_keys[:KEYS]:
            on = "both" if key in on_old & on_new else "old" if key in on_old else "new"
            keys.append({"on": on, "key": dict(zip(names, key))})
        complete = len(keys) == len(all_keys) and few == buckets
        return keys, None if complete else {"keys": len(all_keys), "buckets": len(few), "of": len(buckets)}

    def sequences(self, agree: Agree) -> list[dict[str, Any]]:
        """The last value of each on both servers; equal where it is on both and they *agree*."""
        old, new = (dict(rows) for rows in self.both("the sequences", SEQUENCES))
        result = []
        for name in sorted({*old, *new}):
            equal = name in old and name in new and agree(old[name], new[name])
            result.append({"sequence": name, "old": old.get(name), "new": new.get(name), "equal": equal})
        return result


def counted_on(left: int | None, now: int | None) -> bool:
    """Whether a sequence is right in the database that was switched to: it has not less than the one that was left."""
    return left in (None, now) or (now or 0) >= (left or 0)


def compare(
    old: Server, new: Server, readers: int, agree: Agree, snapshots: Mapping[str, str] | None = None, **facts: Any
) -> tuple[bool, str]:
    """Whether both databases are equal, by so many *readers* on each server, and a line that says so for people.

    *snapshots* are names by role; without them nobody may write. *agree*: whether the last values of a sequence, on old
    and on new, are right. Prints all that was found, and *facts*, as one line: `proof {…}`. Raises Refused.
    """
    comparison = Comparison(old, new, readers, snapshots or {})
    tables, sequences = comparison.tables(), comparison.sequences(agree)
    found = {**facts, "tables": tables, "sequences": sequences, "seconds": round(comparison.seconds, 3)}
    print(f"proof {json.dumps(found)}", flush=True)
    names = [table["table"] for table in tables if not table["equal"]]
    names += [sequence["sequence"] for sequence in sequences if not sequence["equal"]]
    if not names:
        return True, f"{len(tables)} tables, {sum(table['old'] for table in tables)} rows equal"
    keys = [key["key"] for table in tables for key in table["keys"]]
    first = f"; the first {json.dumps(keys[0])}" if keys else ""
    return False, f"{len(names)} differ: {', '.join(names)[:200]}{first}"
