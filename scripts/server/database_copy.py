"""New server, as root: copies the application's database. Read by `copy-database` beside it.

A copy is done in pieces: a table's rows, the rows of many small tables, an index of a table whose rows are there. Each
of some workers takes the largest piece that is free, until none is left. A fresh database's PostgreSQL itself runs the
program that reads a large table of old, so that no client stands between.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psycopg2
import servers
from psycopg2.errors import UndefinedColumn, UndefinedFunction, UndefinedObject, UndefinedTable
from psycopg2.extras import LogicalReplicationConnection
from psycopg2.sql import SQL, Identifier, Literal
from refusals import Refused
from refusals import run as end_with
from servers import first_line

# Texts that both servers write and read alike; nobody waits long behind our locks.
OPTIONS = f"{servers.OPTIONS} -c lock_timeout=30s -c DateStyle=ISO -c IntervalStyle=postgres"
OPTIONS += " -c extra_float_digits=3 -c row_security=off"
FILL = Path("/run/switchover-fill")  # during a copy: what new's PostgreSQL reads rows of old with, the password too
OLD = "service=old keepalives_idle=10 keepalives_interval=5 keepalives_count=3"  # for PostgreSQL's own programs
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
NAME = "switchover copy"  # what PostgreSQL shows of them
SLOT = servers.FOLLOWS["new"]
SMALL = 8 * 1024**2  # bytes: a client carries the rows of smaller tables; smaller indexes are made at the end
TOGETHER = 20  # small tables, in one transaction
JOBS = len(os.sched_getaffinity(0)) + 1  # as rows wait for the other server now and then
READERS = 2  # pieces of rows at a time: old serves visitors
WAIT = 30  # seconds in which others may end their sessions
OPEN = 300  # seconds in which transactions that are open on old may end
INSTALLED = ("public.schema_migrations", "public.ar_internal_metadata")  # have rows wherever Rails is installed

# Tables with rows of their own; what takes longest is first. Types whose binary form is the same in every version,
# from 11 on, and names no oid of this database, travel so; enums are labels.
TABLES = """
SELECT format('%I.%I', n.nspname, c.relname), columns, CASE WHEN portable THEN 'binary' ELSE 'text' END, c.oid,
  pg_table_size(c.oid), pg_indexes_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT coalesce('(' || string_agg(format('%I', attname), ', ' ORDER BY attnum) || ')', ''),
    bool_and(typtype = 'e' OR CASE typcategory WHEN 'A' THEN typelem ELSE t.oid END = ANY (
      '{bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,bytea,date,time,timetz,timestamp,timestamptz,'
      'interval,uuid,json,jsonb,inet,cidr}'::regtype[]))
  FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    AND coalesce(to_jsonb(a) ->> 'attgenerated', '') = '' -- PostgreSQL 11 has none
) a (columns, portable)
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'switchover_own')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY pg_table_size(c.oid) + 4 * pg_indexes_size(c.oid) DESC
"""
# What pg_restore calls it (class, oid), its table, its size; how it is made by itself, where that says it all. A key
# that is added locks its table, so that no other index of it can be made meanwhile: its index first, then the key.
INDEXES = """
SELECT CASE WHEN k.oid IS NULL THEN '1259' ELSE '2606' END, coalesce(k.oid, indexrelid)::text, indrelid,
  pg_relation_size(indexrelid), pg_get_indexdef(indexrelid),
  CASE WHEN contype IS NOT NULL THEN format('ALTER TABLE ONLY %I.%I ADD CONSTRAINT %I %s USING INDEX %3$I%5$s%6$s',
    nspname, relname, conname, CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END,
    CASE WHEN condeferrable THEN ' DEFERRABLE' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' END) END
FROM pg_index x JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace
  LEFT JOIN pg_constraint k ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
WHERE pg_relation_size(indexrelid) > {small} AND coalesce(contype <> 'x', true)
  AND NOT (indisclustered OR indisreplident)
  AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget >= 0)
"""
SEQUENCES = """
SELECT format('SELECT setval(%L, %s, %L)', format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value),
  last_value IS NOT NULL) FROM pg_sequences ORDER BY 1
"""
VIEWS = "SELECT format('REFRESH MATERIALIZED VIEW %I.%I', schemaname, matviewname) FROM pg_matviews ORDER BY 1"
# Of what has none yet, and of expressions.
STATISTICS = """
SELECT format('ANALYZE %s', c.oid::regclass) FROM pg_class c WHERE relkind IN ('r', 'm', 'p') AND c.oid >= 16384
  AND (NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = c.oid)
    OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
    OR EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indexprs IS NOT NULL))
"""
# What other roles than the owner may do with the database itself, which pg_restore does not carry.
DATABASE_GRANTS = """
SELECT format('GRANT %s ON DATABASE %s TO %I%s;', privilege_type, {here}, rolname,
  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
FROM pg_database CROSS JOIN aclexplode(datacl) JOIN pg_roles r ON r.oid = grantee
WHERE datname = current_database() AND grantee <> datdba
"""
FOREIGN_KEYS = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
  format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE contype = 'f' AND connamespace <> 'pg_catalog'::regnamespace
"""
GRANT = r"(GRANT|ALTER DEFAULT PRIVILEGES FOR ROLE (\S+)) .* TO (.*?)( WITH GRANT OPTION)?;"
OTHERS = "datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Table(NamedTuple):
    """A table that has rows. *columns*: those that can be written; *format*: of rows on their way; sizes in bytes."""

    name: str
    columns: str
    format: str
    oid: int
    size: int
    index_size: int


@dataclass(eq=False)
class Piece:
    """Work for one worker, given a session of the source (for rows; else None) and one of the target.

    *rank*: the highest is first. *size*: bytes. *tables*: how many it has the rows of. *then*: what it makes possible.
    """

    rank: int
    size: int
    title: str
    work: Callable[[Any, Any], None]
    tables: int = 0
    then: list[Piece] = field(default_factory=list)


class Work:
    """Pieces of work, and sessions of the source: as many pieces of rows are under way at most."""

    def __init__(self, pieces: Iterable[Piece], sources: Iterable[Any] = ()) -> None:
        self.free, self.sources = list(pieces), list(sources)
        self.taken: list[Piece] = []
        self.done: list[Piece] = []

    def run(self, targets: Iterable[Any], meanwhile: Callable[[], None]) -> None:
        """All of it, a piece for each session in *targets* at a time; *meanwhile* is called again and again.

        Raises what the first piece raised that failed; what else is under way then is left to itself.
        """
        idle = list(targets)
        workers = ThreadPoolExecutor(len(idle))
        under_way: dict[Future[None], tuple[Piece, Any, Any]] = {}
        while self.free or under_way:
            while idle and (possible := [piece for piece in self.free if self.sources or not piece.tables]):
                piece = max(possible, key=lambda piece: piece.rank)
                source, target = self.sources.pop() if piece.tables else None, idle.pop()
                self.free.remove(piece)
                self.taken.append(piece)
                under_way[workers.submit(piece.work, source, target)] = piece, source, target
            for ended in wait(under_way, 0.2, FIRST_COMPLETED).done:
                ended.result()
                piece, source, target = under_way.pop(ended)
                self.taken.remove(piece)
                self.done.append(piece)
                self.free += piece.then
                self.sources += [source] if source else []
                idle.append(target)
            meanwhile()


class Database(servers.Server):
    """A database on a server, with sessions in which both servers write rows alike."""

    def connect(self, more: str = "", **options: Any) -> Any:
        """A session; *more*: settings in libpq's form (`-c NAME=VALUE`). Raises psycopg2.Error."""
        return super().connect(options=f"{OPTIONS} {more}", **options)

    def rows(self, statement: str, **values: str | Identifier) -> list[tuple[Any, ...]]:
        """See the function."""
        return rows(self.session, statement, **values)

    def texts(self, statement: str, **values: str | Identifier) -> list[str]:
        """The first column of the answer."""
        return [row[0] for row in self.rows(statement, **values)]

    def tables(self) -> list[Table]:
        """Those with rows of their own."""
        return [Table(*row) for row in self.rows(TABLES)]

    def run_all(self, statements: Iterable[str]) -> None:
        """Each, one after the other."""
        for statement in statements:
            self.rows(statement)


def rows(session: Any, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """The answer to *statement*; a {name} in it is a value, quoted. Without *values* it is taken as it is."""
    with session.cursor() as cursor:
        literals = {name: v if isinstance(v, Identifier) else Literal(v) for name, v in values.items()}
        cursor.execute(SQL(statement).format(**literals) if values else statement)
        answer: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    return answer


def carry(source: Any, read: str, target: Any, write: str) -> None:
    """The rows of a COPY of one session to a COPY of another; a reader that fails ends the writer, too."""
    out, in_ = os.pipe()

    def send() -> None:
        with open(in_, "wb") as sink, source.cursor() as cursor:  # noqa: PTH123  # it is a descriptor
            cursor.copy_expert(read, sink)

    with ThreadPoolExecutor(1) as pool, open(out, "rb") as arriving, target.cursor() as cursor:  # noqa: PTH123
        sent = pool.submit(send)
        # The end of the pipe is the end of the rows only where the reader succeeded.
        cursor.copy_expert(write, SimpleNamespace(read=lambda size: arriving.read(size) or sent.result() or b""))


def reason(text: str) -> str:
    """The error in what programs of PostgreSQL printed, on one line."""
    lines = text.strip().splitlines() or ["it ended without a reason"]
    line = next((line for line in lines if re.search("ERROR|FATAL|error:", line)), lines[-1])
    return re.sub(r"^.*(ERROR|FATAL|error): *", "", line)


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raises Refused (SW63) where a statement or a program fails; *what*: that it was not done."""
    try:
        yield
    except (psycopg2.Error, OSError) as error:
        text = first_line(error)
        # Of a program that PostgreSQL runs it says no more than that it failed.
        if isinstance(error, psycopg2.Error) and error.pgcode == "38000" and (FILL / "errors").exists():
            text = reason((FILL / "errors").read_text(errors="replace") or text)
        raise Refused("SW63", f"{what}: {text}") from error


def progress(done: float, total: float, unit: str) -> None:
    """A line for the operator; see switchover/progress.py."""
    print(f"progress {done:.0f} {total:.0f} {unit}", flush=True)


def yield_to_visitors(pids: Iterable[int]) -> None:
    """These processes get what of the processors visitors' own leave."""
    for pid in pids:
        with contextlib.suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, pid, 10)
            Path(f"/proc/{pid}/autogroup").write_text("10")


def environment() -> None:
    """What PostgreSQL's programs read, of this server's own version: Debian's psql looks for that one each time."""
    servers.own_environment()
    binaries = Database("new", {"database": "postgres"}).texts("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
    os.environ["PATH"] = ":".join([*binaries, os.environ["PATH"]])
    os.environ.update(PGOPTIONS=OPTIONS, PGCLIENTENCODING="UTF8", PGAPPNAME=NAME)


def in_a_process(work: Callable[[], None], tidy: Callable[[], None]) -> int:
    """The exit status of *work*, which ends at once when this process is stopped, whatever it waits for.

    *tidy* is called then, and where it fails.
    """
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}

    def child() -> None:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        try:
            end_with(work)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(int(end.code or 0))  # not when its threads end: one may wait for old

    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    stopped = signal.sigwait(signals) != signal.SIGCHLD
    with contextlib.suppress(ProcessLookupError):  # its programs, too
        os.killpg(process.pid or os.getpid(), signal.SIGKILL)
    process.kill()  # where it had no group of its own yet
    process.join()
    shutil.rmtree(FILL, ignore_errors=True)  # first, as what follows may wait for a server
    if stopped or process.exitcode:
        tidy()
    return 143 if stopped else process.exitcode or 0


class Copy:
    """A copy of *database*, which *owner* shall own: here, or, when it goes back, on old.

    *keys*: a file that remembers old's foreign keys, when it goes back.
    """

    def __init__(self, database: str, owner: str = "", keys: str = "") -> None:
        self.database, self.owner, self.keys = database, owner, Path(keys)
        self.gentle = False  # visitors' processes come first
        self.kept = f"{database}_before_move"
        self.name = Identifier(database)
        self.snapshot = ""  # of old, exported
        # Each piece of rows has a transaction of its own, so that it locks no table for long.
        self._begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
        self._later: list[str] = []  # keys that take over their indexes
        self._rest: list[str] = []  # lines of pg_restore's list
        self._known: set[int] = set()
        self._told = 0.0

    @cached_property
    def old(self) -> Database:
        """Old's, which need not answer for what happens here alone."""
        return Database("old", {})

    @cached_property
    def cluster(self) -> Database:
        """New's PostgreSQL, which need not answer for what happens on old alone."""
        return Database("new", {"database": "postgres"})

    @cached_property
    def here(self) -> Database:
        """New's. When it is made anew, another one."""
        return Database("new", {"database": self.database})

    # --- the database here ------------------------------------------------------------------------------------------

    def is_kept(self) -> bool:
        """Whether the database of before is there, under another name."""
        return bool(self.cluster.rows("SELECT 1 FROM pg_database WHERE datname = {name}", name=self.kept))

    def end_sessions(self) -> None:
        """Those with the database here; also a program that one of them runs, and which may wait for old."""
        ended = "SELECT pid::text, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {name}"
        if pids := self.cluster.texts(ended, name=self.database):
            with contextlib.suppress(FileNotFoundError):  # without procps it ends when old answers
                subprocess.run(["pkill", "-P", ",".join(pids)])
        self.__dict__.pop("here", None)

    def fresh(self) -> None:
        """An empty database, open to nobody; the one that was here is kept. Raises Refused (SW61)."""
        names = {"name": self.name, "kept": Identifier(self.kept), "owner": Identifier(self.owner)}
        if self.is_kept():
            self.end_sessions()
        else:
            self._refuse_own_rows()
            self.end_sessions()
            self.cluster.rows("ALTER DATABASE {name} RENAME TO {kept}", **names)
        like = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = {name}"
        facts = dict(zip(("encoding", "collate", "type"), self.cluster.rows(like, name=self.kept)[0]))
        self.cluster.rows("DROP DATABASE IF EXISTS {name}", **names)
        create = "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate}"
        self.cluster.rows(f"{create} LC_CTYPE {{type}} CONNECTION LIMIT 0", **names, **facts)

    def _refuse_own_rows(self) -> None:
        """What is here and not on old would be lost. Rows are compared as texts; those that old has too are no loss."""
        counts = ((t.name, self.here.rows(f"SELECT count(*) FROM {t.name}")[0][0]) for t in self.here.tables())
        for table, count in islice(((name, n) for name, n in counts if n and name not in INSTALLED), 3):
            digests = f"SELECT md5(t::text) FROM {table} t"
            lack = f"SELECT count(*) FROM (SELECT unnest({{own}}) EXCEPT ALL {digests}) d"
            try:
                lacking = self.old.rows(lack, own=self.here.texts(digests))[0][0]
            except psycopg2.ProgrammingError:  # old has no such table
                lacking = count
            if lacking:
                raise Refused("SW61", f"the new database has rows that old lacks: {table}, {lacking} of {count}")

    def restore(self) -> None:
        """The copy goes; the database of before has its name again."""
        shutil.rmtree(FILL, ignore_errors=True)
        if self.is_kept():
            self.end_sessions()
            self.cluster.rows("DROP DATABASE IF EXISTS {name}", name=self.name)
            self.cluster.rows("ALTER DATABASE {kept} RENAME TO {name}", kept=Identifier(self.kept), name=self.name)

    def empty(self) -> None:
        """The copy goes; an empty database is there, if one was made."""
        shutil.rmtree(FILL, ignore_errors=True)
        if self.is_kept():
            self.fresh()

    def open(self, limit: int = -1) -> None:
        """As many sessions as *limit* may be open with the database here (0: superusers' alone)."""
        self.cluster.rows(f"ALTER DATABASE {{name}} CONNECTION LIMIT {limit}", name=self.name)

    def tidy(self, *, slot: bool) -> None:
        """No session stays of a copy that was stopped or failed; nor, on old, its *slot*."""
        with contextlib.suppress(psycopg2.Error):  # a server that is down has no sessions
            if self.is_kept():
                self.end_sessions()
        for _ in range(20 if slot else 0):
            try:
                # pg_dump's session does not notice that it ended while it waits for a lock.
                ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = {name}"
                copy = Copy(self.database)
                copy.old.rows(ours, name=NAME)
                copy.drop_slot()
                return
            except (psycopg2.Error, OSError):  # a server that restarts is there again soon
                time.sleep(1)
        if slot:  # it has its own undo, and old a limit for what it keeps
            print(f"the slot {SLOT} may stay on old, which does not answer: inv undo", file=sys.stderr)

    def _alone(self, database: Database) -> None:
        """Nobody else works with *database*: what they write meanwhile would be lost. Raises Refused (SW60)."""
        for second in range(WAIT):
            if not database.rows(f"SELECT 1 FROM pg_stat_activity WHERE {OTHERS}"):
                return
            progress(second, WAIT, "seconds")
            time.sleep(1)
        may = "pg_has_role(current_user, usesysid, 'MEMBER')"
        database.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS} AND {may}")
        time.sleep(1)
        names = f"SELECT DISTINCT coalesce(usename, '?')::text FROM pg_stat_activity WHERE {OTHERS}"
        if others := database.texts(names):
            raise Refused("SW60", f"the database on {database.role} is in use by {', '.join(others)}")

    # --- the slot ---------------------------------------------------------------------------------------------------

    def drop_slot(self) -> None:
        """Old keeps no changes for new any more; who reads them is ended. Raises psycopg2.Error, TimeoutError."""
        for _ in range(50):
            end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {slot}"
            if not self.old.rows(end, slot=SLOT):
                return
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {slot}"
            with contextlib.suppress(psycopg2.Error):
                self.old.rows(f"{drop} AND NOT active", slot=SLOT)
            time.sleep(0.1)
        raise TimeoutError(f"the slot {SLOT} on old cannot be dropped")

    def _make_slot(self) -> Any:
        """Old keeps all changes from now on; gives the session whose snapshot sees exactly what was before.

        Raises Refused (SW63, SW64).
        """
        create = f"CREATE_REPLICATION_SLOT {SLOT} LOGICAL pgoutput EXPORT_SNAPSHOT"
        with refusing(f"the slot {SLOT} cannot be made on old"):
            self.drop_slot()  # of an interrupted run
            print("doing waiting for the transactions that are open on old", flush=True)
            session = psycopg2.connect(OLD, connection_factory=LogicalReplicationConnection)
            created = ThreadPoolExecutor(1).submit(rows, session, create)
            for second in range(OPEN):
                if wait([created], 1).done:
                    self.snapshot = created.result()[0][2]
                    self._begin_reading += f" SET TRANSACTION SNAPSHOT '{self.snapshot}';"
                    return session
                progress(second + 1, OPEN, "seconds")
        who = "SELECT DISTINCT format('%s (pid %s)', usename, pid) FROM pg_stat_activity WHERE "
        who += "coalesce(xact_start, now()) < now() - interval '4 minutes' AND pid <> pg_backend_pid()"
        names = ", ".join(self.old.texts(who))
        raise Refused("SW64", f"a transaction has been open on old for too long: {names}")

    # --- pieces of work ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A directory of root's, with what new's PostgreSQL reads a table of old with."""
        shutil.rmtree(FILL, ignore_errors=True)
        os.umask(0o022)
        FILL.mkdir(0o711)
        (FILL / "errors").touch()
        shutil.chown(FILL / "errors", "postgres")
        passfile = re.findall("^passfile=(.*)$", Path(os.environ["PGSERVICEFILE"]).read_text(), re.MULTILINE)[0]
        subprocess.run(["install", "-o", "postgres", "-m", "400", passfile, FILL / "pgpass"], check=True)
        names = ("PGSERVICEFILE", "PGAPPNAME", "PGCLIENTENCODING", "PGOPTIONS", "PATH")
        exported = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in names)
        # In long turns: woken for each piece that arrives, it would take the processor from who is at work.
        psql = f'chrt -b 0 stdbuf -o 64K psql -XAtq -v ON_ERROR_STOP=1 -f {FILL}/$1.sql "{OLD} passfile={FILL}/pgpass"'
        (FILL / "reader").write_text(f"exec 2>>{FILL}/errors\nexport {exported}\nexec {psql}\n")

    def _pull(self, table: Table, _: object, target: Any) -> None:
        """New's PostgreSQL reads a large table of old by itself."""
        copy = f"COPY {table.name} {table.columns}"
        (FILL / f"{table.oid}.sql").write_text(f"{self._begin_reading} {copy} TO STDOUT (FORMAT {table.format});\n")
        program = f"FROM PROGRAM 'exec sh {FILL}/reader {table.oid}' (FREEZE, FORMAT {table.format})"
        rows(target, f"BEGIN; TRUNCATE ONLY {table.name}; {copy} {program}; COMMIT")
        rows(target, f"ANALYZE {table.name}")

    def _carry(self, tables: Sequence[Table], source: Any, target: Any, *, fresh: bool) -> None:
        rows(source, self._begin_reading)
        rows(target, "BEGIN")
        for table in tables:
            if fresh:
                rows(target, f"TRUNCATE ONLY {table.name}")
            copy, frozen = f"COPY {table.name} {table.columns}", "FREEZE, " if fresh else ""
            read, write = f"TO STDOUT (FORMAT {table.format})", f"FROM STDIN ({frozen}FORMAT {table.format})"
            carry(source, f"{copy} {read}", target, f"{copy} {write}")
        rows(source, "COMMIT")
        rows(target, "COMMIT")

    def _plan_indexes(self, pieces: dict[int, Piece]) -> None:
        """The large indexes of each table, for when its rows are here. The rest of the schema is for the end."""
        self.old.rows("SET search_path = pg_catalog")  # whatever new's is, it knows what is meant
        indexes = {(kind, oid): index for kind, oid, *index in self.old.rows(INDEXES, small=SMALL)}
        for line in self._list("post-data"):
            words = line.split()
            table, size, create, key = indexes.get((words[1], words[2]), (0, 0, "", ""))
            if table not in pieces:
                self._rest.append(line)
                continue
            self._later += [key] if key else []
            work = partial(self._create_index, create, size)
            pieces[table].then.append(Piece(4 * size, size, f"the index {words[-2]}", work))

    @cached_property
    def _quick(self) -> str:
        """Nothing of a copy is of use before all of it is done, and the end waits for the disk."""
        known = "SELECT name FROM pg_settings WHERE name IN ('synchronous_commit', 'wal_init_zero')"
        return " ".join(f"-c {name}=off" for name in self.cluster.texts(known))

    def _create_index(self, create: str, size: int, _: object, target: Any) -> None:
        # A sort that stays in the processor's cache is the fastest, as long as its parts are put together at once.
        memory = "greatest(least(reset_val::bigint, {most}), 8192)::text"
        setting = f"SELECT set_config(name, {memory}, false) FROM pg_settings WHERE name = 'maintenance_work_mem'"
        rows(target, setting, most=size // 16384)
        rows(target, "SET ROLE {owner}", owner=Identifier(self.owner))
        rows(target, create)
        rows(target, "RESET ROLE")

    def _list(self, section: str) -> list[str]:
        """What pg_restore would do for this part of the schema, a line each."""
        lines = self._tool("pg_restore", f"--section={section}", "-l", str(FILL / "schema")).splitlines()
        return [line for line in lines if line and not line.startswith(";")]

    def _restore(self, lines: Sequence[str], *words: str) -> str:
        """What pg_restore prints that does, where *words* say, what these lines of its list say."""
        (FILL / "list").write_text("".join(f"{line}\n" for line in lines))
        return self._tool("pg_restore", *words, "--no-owner", "-L", str(FILL / "list"), str(FILL / "schema"))

    def _tool(self, *words: str) -> str:
        """What a program of PostgreSQL's prints, run as its user. Raises ChildProcessError with what it said."""
        env = os.environ | {"PGOPTIONS": f"{OPTIONS} {self._quick}"}
        done = subprocess.run([*AS_POSTGRES, *words], cwd="/", env=env, capture_output=True, text=True)
        if done.returncode:
            raise ChildProcessError(reason(done.stderr))
        return done.stdout

    def _plan_rows(self, tables: Sequence[Table], *, fresh: bool) -> dict[int, Piece]:
        """The pieces of their rows, by the table's oid. *fresh*: into tables of this copy's own, which are empty."""
        pieces = {}
        small = [table for table in tables if table.size <= SMALL]
        groups = [[table] for table in tables if table.size > SMALL]
        for group in groups + [small[start : start + TOGETHER] for start in range(0, len(small), TOGETHER)]:
            size, large = sum(table.size for table in group), group[0].size > SMALL
            rank = size + 4 * group[0].index_size if large else size
            work = partial(self._pull, group[0]) if large and fresh else partial(self._carry, group, fresh=fresh)
            piece = Piece(rank, size, group[0].name if large else f"{len(group)} small tables", work, len(group))
            pieces.update({table.oid: piece for table in group})
        return pieces

    def _fill(self, pieces: dict[int, Piece], sources: Database, targets: Database) -> None:
        """All pieces of work. Raises Refused (SW63)."""
        together = set(pieces.values())
        total = sum(piece.size + sum(index.size for index in piece.then) for piece in together)
        readers = [sources.connect() for _ in range(READERS)]
        workers = [targets.connect(self._quick if targets is self.here else "") for _ in range(JOBS)]
        work = Work(together, readers)
        with refusing("the rows could not be copied"):
            work.run(workers, lambda: self._watch(work, total, len(pieces)))
        for session in [*readers, *workers]:
            session.close()

    def _watch(self, work: Work, total: int, tables: int) -> None:
        """What new's PostgreSQL does for the copy is gentle, and once a second a line says how far that is."""
        version, here = self.cluster.session.server_version, "WHERE datname = {name}"
        shares = [f"coalesce({part}_done / nullif({part}_total, 0.0), 0)" for part in ("blocks", "tuples")]
        copied = f"(SELECT coalesce(sum(bytes_processed), 0) FROM pg_stat_progress_copy {here})"
        built = f"(SELECT coalesce(avg({' + '.join(shares)}) / 2, 0) FROM pg_stat_progress_create_index {here})"
        copied, built = copied if version >= 140000 else "0", built if version >= 120000 else "0"
        asked = f"SELECT {copied}::float8, {built}::float8, array(SELECT pid FROM pg_stat_activity {here})"
        now, share, found = self.cluster.rows(asked, name=self.database)[0]
        if self.gentle:
            yield_to_visitors(set(found) - self._known)
            self._known.update(found)
        if time.monotonic() - self._told >= 1:
            self._told = time.monotonic()
            built_now = share * sum(piece.size for piece in work.taken if not piece.tables)
            now += sum(piece.size for piece in work.done) + built_now
            titles = ", ".join(piece.title for piece in work.taken)
            print(f"doing {sum(piece.tables for piece in work.done)} of {tables} tables done, now {titles}")
            progress(min(now, total), total, "bytes")

    # --- copies -----------------------------------------------------------------------------------------------------

    def _fill_here(self) -> None:
        """A fresh database here has what old's has: schema, rows, indexes, constraints, values of sequences, views,
        statistics. Raises Refused (SW61, SW63)."""
        dump = ["pg_dump", "--schema-only", "-Fc", "--no-publications", "--no-subscriptions"]
        dump += ["--exclude-schema=switchover_own", *([f"--snapshot={self.snapshot}"] if self.snapshot else []), OLD]
        with (FILL / "schema").open("wb") as schema:
            dumping = subprocess.Popen(dump, stdout=schema, stderr=subprocess.PIPE, text=True)
        shutil.chown(FILL / "schema", "postgres")
        (FILL / "schema").chmod(0o400)
        self.fresh()  # meanwhile
        _, errors = dumping.communicate()
        if dumping.returncode:
            raise Refused("SW63", f"old's schema could not be read: {reason(errors)}")
        role = f"SET ROLE {self._quoted(self.owner)}"
        here = ("-d", self.database, "--no-acl", f"--role={self.owner}", "--exit-on-error")
        with refusing("the schema could not be made"):
            create = "SELECT format('CREATE EXTENSION IF NOT EXISTS %I', extname) FROM pg_extension"
            self.here.run_all(self.old.texts(create))
            pieces = self._plan_rows(self.old.tables(), fresh=True)
            self._plan_indexes(pieces)
            # Extensions are the superuser's, and so are their comments.
            self._restore([line for line in self._list("pre-data") if " EXTENSION " not in line], *here)
        self._fill(pieces, self.old, self.here)
        print("doing constraints", flush=True)
        with refusing("the constraints could not be made"):
            self.here.run_all([role, *self._later, "RESET ROLE"])
            if self._rest:
                self._restore(self._rest, *here, "-j", str(JOBS))
        print("doing statistics", flush=True)
        with refusing("sequences and views could not be carried"):
            self.here.run_all([*self.old.texts(SEQUENCES), *self.old.texts(VIEWS)])
            self.here.run_all(self.here.texts(STATISTICS))

    def _quoted(self, name: str) -> str:
        return str(Identifier(name).as_string(self.cluster.session))

    def _grant(self) -> None:
        """What other roles may do on old they may do here, if they are here; the owner may have another name."""
        roles = {"PUBLIC", *self.here.texts("SELECT quote_ident(rolname) FROM pg_roles WHERE NOT rolsuper")}
        owner = self.old.texts("SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()")[0]
        listed = [line for line in self._list("pre-data") + self._list("post-data") if " ACL " in line]
        script = self._restore(listed, "-f", "-").splitlines() if listed else []
        for line in script + self.old.texts(DATABASE_GRANTS, here=self._quoted(self.database)):
            grant = re.fullmatch(GRANT, line)
            if grant and grant[2] in (None, owner) and grant[3] in roles and not grant[3].startswith("switchover"):
                # PostgreSQL's own functions, and an extension's, may be others in new's version.
                try:
                    self.here.rows(line.replace(f" FOR ROLE {owner} ", f" FOR ROLE {self._quoted(self.owner)} "))
                except (UndefinedFunction, UndefinedTable, UndefinedColumn, UndefinedObject) as error:
                    print(f"note not granted on new: {line} {first_line(error)}", flush=True)

    def copy_here(self) -> None:
        """Old's database into a fresh one here; nobody works with it."""
        self._alone(self.old)
        self._begin()
        self._fill_here()

    def follow(self) -> None:
        """All rows of old as they are at one moment, from which old keeps the changes; visitors stay on old."""
        self.gentle = True
        yield_to_visitors([os.getpid()])
        slot = self._make_slot()
        self._begin()
        self._fill_here()
        with refusing("the privileges of other roles could not be carried"):
            self._grant()
        slot.close()

    def copy_back(self) -> None:
        """The rows of here into the tables that are on old, so that what others were granted stays.

        Foreign keys are dropped for the time of it. Raises Refused (SW60, SW62, SW63).
        """
        self.open(0)
        self._alone(self.here)
        tables = self.here.tables()
        if {table[:2] for table in tables} != {table[:2] for table in self.old.tables()}:
            raise Refused("SW62", "the tables of both databases differ: the schema was changed since the switch")
        foreign = self.old.rows(FOREIGN_KEYS)
        if not self.keys.exists():
            new = self.keys.with_suffix(".new")
            new.write_text("".join(f"{add};\n" for _, add in foreign))
            subprocess.run(["sync", new], check=True)
            new.rename(self.keys)
        role = f"SET ROLE {self._quoted(self.owner)}"
        with refusing("old's tables could not be emptied"):
            emptied = [f"TRUNCATE {t.name}; ALTER TABLE {t.name} DISABLE TRIGGER USER" for t in tables]
            self.old.run_all([role, "BEGIN", *(drop for drop, _ in foreign), *emptied, "COMMIT", "RESET ROLE"])
        self._begin()
        self._fill(self._plan_rows(tables, fresh=False), self.here, self.old)
        with refusing("foreign keys, sequences and views could not be carried"):
            ready = [f"ALTER TABLE {table.name} ENABLE TRIGGER USER; ANALYZE {table.name}" for table in tables]
            added = self.keys.read_text()
            self.old.run_all([role, *([added] if added else []), *ready])
            self.old.run_all([*self.here.texts(SEQUENCES), *self.here.texts(VIEWS)])
