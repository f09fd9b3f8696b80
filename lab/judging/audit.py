"""The audit: the answers that visitors got, against what the databases and disks hold afterwards.

It takes no part in the move: it reads the ledger, which the visitors wrote, and asks the servers themselves, as root
inside them and by PostgreSQL's own client. `gather` looks, `judge` compares and touches nothing, so that a
test can hand it data in which something was lost.
"""

import json
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from switchover.findings import listed

from ..machine.server import LabServer
from ..visitors.ledger import Book, RequestOutcome
from ..world import Site

CRON_TAKES = 6  # seconds after the turn of the minute in which its run has been recorded, where nothing holds it up


@dataclass(slots=True, frozen=True)
class Shop:
    """The first site of the lab's world, on a server."""

    server: LabServer

    @property
    def site(self) -> Site:
        """Its names there."""
        return self.server.world.site(self.server.role)

    def psql(self, sql: str) -> str:
        """What its database answers."""
        return self.server.psql(sql, self.site.database)


@dataclass(slots=True, frozen=True)
class Order:
    """One row of orders with what hangs on it: how many lines and tags, how often it is in the audits table."""

    number: str
    lines: int
    tags: int
    audits: int
    product: int | None
    quantity: int
    client: str | None = None

    @property
    def rows(self) -> dict[str, int]:
        """How many rows it has in other tables."""
        return {"lines": self.lines, "tags": self.tags, "audits": self.audits}


@dataclass(slots=True, frozen=True)
class Run:
    """One run of a job, as the job itself recorded it."""

    number: str
    host: str
    started: str


@dataclass(slots=True, frozen=True)
class Contents:
    """What one database and one folder of uploads hold."""

    orders: tuple[Order, ...] = ()
    runs: tuple[Run, ...] = ()
    waiting: tuple[str, ...] = ()  # jobs in the queue: the order's number and the last error
    uploads: dict[str, str] = field(default_factory=dict)  # files: name -> sha256
    upload_rows: dict[str, str] = field(default_factory=dict)  # rows: name -> sha256
    stock: dict[str, int] = field(default_factory=dict)  # product -> in stock plus sold, which never changes
    cron: tuple[tuple[int, str], ...] = ()  # minute (unix seconds) and host
    behind: tuple[str, ...] = ()  # sequences that would give out a number that is taken
    fingerprints: dict[str, str] = field(default_factory=dict)  # rows that nobody changes -> their count and md5


@dataclass(slots=True)
class Promise:
    """What visitors were promised. *keys*: of its numbers in report.json: promised, lost, twice.

    `lost` and `twice` have the name of each thing that is wrong and, in words, how; `hosts`: how many each server did.
    """

    what: str
    keys: tuple[str, ...]
    promised: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    twice: dict[str, str] = field(default_factory=dict)
    hosts: Counter[str] | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words, the first few by name."""
        sorts = zip(self.keys[1:], (self.lost, self.twice), strict=False)
        return [line for key, how in sorts for line in counted(f"{self.what} {key.replace('_', ' ')}", how)]

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        numbers = (self.promised, len(self.lost), len(self.twice))
        by_host = {} if self.hosts is None else {"by_host": dict(sorted(self.hosts.items()))}
        return dict(zip(self.keys, numbers, strict=False)) | by_host


def _promise(what: str, *keys: str, by_host: bool = False) -> Callable[[], Promise]:
    return lambda: Promise(what, keys, hosts=Counter() if by_host else None)


@dataclass(slots=True)
class Audit:
    """What was found."""

    orders: Promise = field(default_factory=_promise("order(s)", "acknowledged", "lost", "duplicated"))
    uploads: Promise = field(default_factory=_promise("upload(s)", "acknowledged", "lost"))
    jobs: Promise = field(default_factory=_promise("job(s)", "expected", "never_ran", "ran_twice", by_host=True))
    sessions: Promise = field(default_factory=_promise("session(s)", "checked", "lost"))
    # Of each minute while visitors came; a problem only where a section takes care of cron.
    cron: Promise = field(default_factory=_promise("cron run(s)", "expected", "missed", "ran_twice", by_host=True))
    orders_unanswered: int = 0  # there, though the visitor got no answer: allowed, and counted
    jobs_on: dict[str, list[str]] = field(default_factory=dict)  # where the slow jobs ran
    rows_changed: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What makes a rehearsal fail, in words, the first few of each sort by name."""
        promises = (self.orders, self.uploads, self.jobs, self.sessions)
        changed = counted("other thing(s) changed in the data", self.rows_changed)
        return [problem for promise in promises for problem in promise.problems] + changed

    def as_report(self) -> dict[str, Any]:
        """The numbers for report.json."""
        names = ("orders", "uploads", "jobs", "sessions", "cron")
        report: dict[str, Any] = {name: getattr(self, name).as_report() for name in names}
        report["orders"]["there_without_an_answer"] = self.orders_unanswered
        return report | {"data": {"changed": len(self.rows_changed)}}


def counted(what: str, faults: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Of what went wrong, in words, how many there are and the first few by name, with how; nothing where none did."""
    names = [f"{name} ({how})" for name, how in faults.items()] if isinstance(faults, Mapping) else faults
    return [f"{len(names)} {what}: {listed(names, 3)}"] if names else []


# --- judging ------------------------------------------------------------------------------------------------


def judge(
    book: Book, now: Contents, other: Contents, before: Contents, clients: Iterable[str] = (), *, cron: bool = True
) -> Audit:
    """Compares the ledger with what is there.

    `now` is the shop that is right after the move, `other` the one left behind, `before` what was there when the
    first visitor came. `clients` are the visitors' own addresses: when given, every order must name one of them.
    `cron`: whether the shop has a crontab, whose every minute is checked.
    """
    audit = Audit()
    _judge_orders(audit, book, now, other, frozenset(clients))
    _judge_uploads(audit, book, now)
    _judge_jobs(audit, book, now, other)
    _judge_sessions(audit, book)
    _judge_data(audit, now, before)
    if cron:
        _judge_cron(audit, book, now, other)
    return audit


def _judge_orders(audit: Audit, book: Book, now: Contents, other: Contents, clients: frozenset[str]) -> None:
    promised = {answer.order: answer for answer in book.acknowledged("order") if answer.order}
    there: dict[str, list[Order]] = {}
    for order in now.orders:
        there.setdefault(order.number, []).append(order)
    elsewhere = {order.number for order in other.orders}
    audit.orders.promised = len(promised)
    audit.orders_unanswered = len(there.keys() - promised.keys())
    for number, answer in promised.items():
        if number not in there:
            where = "is only in the database left behind" if number in elsewhere else "in no database"
            audit.orders.lost[number] = where
            continue
        order = there[number][0]
        if missing := [name for name, count in order.rows.items() if count == 0]:
            audit.orders.lost[number] = f"without its {', '.join(missing)}"
        elif order.lines == 1 and (order.product, order.quantity) != (answer.product, answer.quantity):
            audit.orders.lost[number] = f"has {order.quantity} of {order.product}, not what was ordered"
        elif clients and order.client not in clients:
            audit.rows_changed[number] = f"came from {order.client}, the visitor's address was not kept"
    for number, rows in there.items():
        doubled = [name for name in rows[0].rows if any(row.rows[name] > 1 for row in rows)]
        if len(rows) > 1:
            audit.orders.twice[number] = f"{len(rows)} times"
        elif doubled:
            audit.orders.twice[number] = f"its {', '.join(doubled)} more than once"


def _judge_uploads(audit: Audit, book: Book, now: Contents) -> None:
    promised = book.acknowledged("upload") + book.acknowledged("big_upload")
    audit.uploads.promised = len(promised)
    for answer in promised:
        name = answer.upload or ""
        if name not in now.uploads:
            audit.uploads.lost[name] = "no file"
        elif now.uploads[name] != answer.sha256:
            audit.uploads.lost[name] = "other bytes"
        elif now.upload_rows.get(name) != answer.sha256:
            audit.uploads.lost[name] = "no row in the database"


def _judge_jobs(audit: Audit, book: Book, now: Contents, other: Contents) -> None:
    expected = {answer.order for answer in book.acknowledged("order") if answer.order}
    expected |= {answer.slow_job for answer in book.acknowledged("slow_job") if answer.slow_job}
    waiting = dict(entry.partition(" ")[::2] for entry in now.waiting)
    # A run is one row in both databases when it was copied, and two rows when it was done on both servers.
    runs: dict[str, list[str]] = {}
    for run in {*now.runs, *other.runs}:
        runs.setdefault(run.number, []).append(run.host)
    audit.jobs.promised = len(expected)
    audit.jobs.hosts = Counter(host for hosts in runs.values() for host in hosts)
    audit.jobs_on = {number: hosts for number, hosts in runs.items() if number.startswith("slow-")}
    for number in sorted(expected - runs.keys()):
        error = waiting.get(number)
        audit.jobs.lost[number] = "not in the queue" if error is None else f"still in the queue {error}"
    for number, hosts in sorted(runs.items()):
        if len(hosts) > 1:
            audit.jobs.twice[number] = "on " + " and ".join(sorted(hosts))


def _judge_sessions(audit: Audit, book: Book) -> None:
    given = {answer.session for answer in book.acknowledged("login")}
    checks = [answer for answer in book.answers if answer.kind == "me" and answer.session in given]
    audit.sessions.promised = len({answer.session for answer in checks})
    for answer in checks:
        if answer.status == 401 or answer.outcome is RequestOutcome.WRONG:
            audit.sessions.lost[answer.session or ""] = "not known any more" if answer.status == 401 else "other name"


def _judge_data(audit: Audit, now: Contents, before: Contents) -> None:
    for product, total in before.stock.items():
        if (present := now.stock.get(product)) != total:
            audit.rows_changed[f"stock of product {product}"] = f"in stock plus sold was {total}, is {present}"
    for rows, print_ in before.fingerprints.items():
        if now.fingerprints.get(rows) != print_:
            audit.rows_changed[rows] = f"was {print_}, is {now.fingerprints.get(rows)}"
    for sequence in now.behind:
        audit.rows_changed[sequence] = "would give out a number that is taken"


def _judge_cron(audit: Audit, book: Book, now: Contents, other: Contents) -> None:
    started = min((answer.at for answer in book.answers), default=0.0)
    ended = max((answer.ended for answer in book.answers), default=0.0)
    whole = range(int(started // 60 + 1) * 60, int(ended - CRON_TAKES), 60)
    there = {*now.cron, *other.cron}
    runs = Counter(minute for minute, _ in there)
    audit.cron.promised = len(whole)
    audit.cron.hosts = Counter(host for minute, host in there if minute in whole)
    for minute in whole:
        if runs[minute] != 1:
            faults = audit.cron.twice if runs[minute] else audit.cron.lost
            faults[time.strftime("%H:%M", time.gmtime(minute))] = "UTC"


# --- gathering ----------------------------------------------------------------------------------------------

# One row a kind, all as JSON, so that nothing depends on how psql prints.
_DATABASE = """
SELECT json_build_object(
  'orders', (SELECT json_agg(json_build_array(o.number, coalesce(l.n, 0), coalesce(t.n, 0), coalesce(a.n, 0),
                                              l.product, coalesce(l.quantity, 0), a.client))
    FROM orders o
    LEFT JOIN (SELECT order_id, count(*) n, min(product_id) product, sum(quantity) quantity
               FROM line_items GROUP BY 1) l ON l.order_id = o.id
    LEFT JOIN (SELECT order_id, count(*) n FROM orders_tags GROUP BY 1) t ON t.order_id = o.id
    LEFT JOIN (SELECT subject, count(*) n, min(client) client
               FROM audits WHERE event = 'ordered' GROUP BY 1) a ON a.subject = o.number
    WHERE o.number LIKE 'V-%'),
  'runs', (SELECT json_agg(json_build_array(order_number, host, started_at::text)) FROM job_runs
           WHERE order_number LIKE 'V-%' OR order_number LIKE 'slow-%'),
  'waiting', (SELECT json_agg(json_build_array(handler, coalesce(last_error, ''))) FROM delayed_jobs),
  'upload_rows', (SELECT json_object_agg(name, sha256) FROM uploads),
  'stock', (SELECT json_object_agg(s.product_id, s.quantity + coalesce(sold, 0)) FROM stock s
            LEFT JOIN (SELECT product_id, sum(quantity) sold FROM line_items GROUP BY 1) l USING (product_id)),
  'cron', (SELECT json_agg(json_build_array(extract(epoch FROM minute)::bigint, host)) FROM cron_runs));
"""

# Writes one query for each sequence: its name, when it is behind the column that it feeds.
_SEQUENCES = """
SELECT format('SELECT %L WHERE coalesce((SELECT last_value FROM pg_sequences WHERE sequencename = %L), 0)'
              ' < (SELECT max(%I) FROM %I)', s.relname, s.relname, a.attname, t.relname)
FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype = 'a' AND s.relkind = 'S'
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid;
"""

# Rows that were there before the first visitor and that nobody has a reason to change.
_UNCHANGED = {
    "products": "SELECT id, name, price FROM products",
    "tags": "SELECT id, name FROM tags",
    "blobs": "SELECT id, md5(body) FROM blobs",
    "orders": "SELECT id, number, total, created_at FROM orders",
    "line_items": "SELECT id, order_id, product_id, quantity, price FROM line_items",
    "orders_tags": "SELECT order_id AS id, tag_id FROM orders_tags",
    "job_runs": "SELECT id, order_number, host, started_at FROM job_runs",
}


def gather(shop: Shop, *, files: Shop | None = None, known: dict[str, str] | None = None) -> Contents:
    """What is in one database and one folder of uploads, which is that of `files` where they are on another server.

    `known` are earlier fingerprints: the same rows are taken again, without rows that are newer.
    Raises Problem when the server or its database does not answer.
    """
    rows = json.loads(shop.psql(_DATABASE))
    behind = [name for query in shop.psql(_SEQUENCES).splitlines() if (name := shop.psql(query))]
    return Contents(
        orders=tuple(Order(*row) for row in rows["orders"] or ()),
        runs=tuple(Run(*row) for row in rows["runs"] or ()),
        waiting=tuple(_waiting(*row) for row in rows["waiting"] or ()),
        uploads=_files(files or shop),
        upload_rows=rows["upload_rows"] or {},
        stock=rows["stock"] or {},
        cron=tuple((minute, host) for minute, host in rows["cron"] or ()),
        behind=tuple(behind),
        fingerprints=dict(_fingerprint(shop, table, known or {}) for table in _UNCHANGED),
    )


def _waiting(handler: str, error: str) -> str:
    number = re.search(r"number: (\S+)", handler)
    return f"{number[1] if number else 'unknown'} {error.splitlines()[0][:100] if error else ''}"


def _files(shop: Shop) -> dict[str, str]:
    folder = shlex.quote(f"{shop.site.app}/public/system/uploads")
    sums = f"cd {folder} 2>/dev/null || exit 0; find . -maxdepth 1 -type f ! -name '.*' -exec sha256sum {{}} +"
    lines = (line.partition("  ") for line in shop.server.exec(sums).stdout.splitlines())
    return {name.removeprefix("./"): digest for digest, _, name in lines}


def _fingerprint(shop: Shop, table: str, known: dict[str, str]) -> tuple[str, str]:
    """The name of some rows, `table up to id`, and their number and sum."""
    earlier = [name.split()[-1] for name in known if name.split()[0] == table]
    last = earlier[0] if earlier else shop.psql(f"SELECT coalesce(max(id), 0) FROM ({_UNCHANGED[table]}) r")
    rows = f"SELECT md5(r::text) AS m FROM ({_UNCHANGED[table]}) r WHERE id <= {int(last)}"
    total = "count(*) || ' rows, md5 ' || coalesce(md5(string_agg(m, '' ORDER BY m)), '-')"
    return f"{table} up to {last}", shop.psql(f"SELECT {total} FROM ({rows}) s")


def drained(shop: Shop, seconds: float) -> int:
    """Waits until the job queue is empty, `seconds` at most; returns how many jobs are left."""
    until = time.monotonic() + seconds
    while True:
        left = int(shop.psql("SELECT count(*) FROM delayed_jobs"))
        if not left or time.monotonic() > until:
            return left
        time.sleep(1)
