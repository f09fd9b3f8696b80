"""snapshots.py and proof.py of scripts/server/, without PostgreSQL: what a pair proves, what is read, what is equal."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from conftest import DatabaseError

# --- a pair of snapshots ------------------------------------------------------------------------------------------


class Side:
    """A server's session: transactions have numbers; *meanwhile* is what others do before each answer."""

    def __init__(self, role: str, number: int) -> None:
        self.role, self.number, self.row = role, number, (0, "")
        self.open = False  # whether somebody else's transaction, with a number of its own, is open
        self.meanwhile: dict[str, Callable[[], None]] = {}

    def connect(self, **options: Any) -> Side:
        assert "idle_in_transaction_session_timeout=60s" in options["options"]
        return self

    def cursor(self) -> Side:
        return self

    def execute(self, sql: str) -> None:
        assert sql == "ROLLBACK"

    def writes(self) -> None:
        """Somebody else's transaction, which ends at once."""
        self.number += 1

    def snapshot(self) -> str:
        return f"{self.number - self.open}:{self.number}:" + (f"{self.number - 1}" if self.open else "")

    def ask(self, sql: str, *values: Any, session: Any = None) -> Any:
        kind = "beat" if "INSERT" in sql else "take" if "pg_export" in sql else "look"
        self.meanwhile.get(kind, lambda: None)()
        if kind == "beat":
            mine, before = self.number, self.snapshot()
            self.number += 1
            self.row = (mine % 2**32, f"beat {mine}")
            return [self.row[1], str(mine), before]
        if kind == "take":
            return [f"snapshot of {self.role}", self.snapshot(), str(self.row[0]) if values == (self.row[1],) else None]
        return self.row[1]


class Target(Side):
    """It follows *source*: the heartbeat arrives when it is looked for."""

    def __init__(self, source: Side, number: int) -> None:
        super().__init__("new", number)
        self.source, self.unplugged = source, False

    def ask(self, sql: str, *values: Any, session: Any = None) -> Any:
        if "pg_export" not in sql and not self.unplugged and self.row[1] != self.source.row[1]:
            self.row = (self.number % 2**32, self.source.row[1])
            self.number += 1
        return super().ask(sql, *values, session=session)


def taken(modules: types.SimpleNamespace, prepare: Callable[[Side, Target], None]) -> bool:
    source = Side("old", 7000)
    target = Target(source, 2**32 + 5)  # the number of a row's transaction has 32 bits
    prepare(source, target)
    snapshots = modules.snapshots.Snapshots(source, target)
    proved: bool = snapshots.take_proved(0.05)
    return proved


def test_a_pair_proves_itself_where_nobody_else_writes(modules: types.SimpleNamespace) -> None:
    assert taken(modules, lambda source, target: None)


def open_at_first(source: Side, _target: Side) -> None:
    """A transaction began to write before the row, and ends before the snapshot is taken."""
    source.open = True
    source.meanwhile["take"] = lambda: setattr(source, "open", False)


OTHERS: dict[str, Callable[[Side, Target], None]] = {
    "a transaction is open before the row": open_at_first,
    "a transaction is open on old": lambda s, t: setattr(s, "open", True),
    "somebody writes on old after the row": lambda s, t: s.meanwhile.update(take=s.writes),
    "somebody writes on new after the row": lambda s, t: t.meanwhile.update(take=t.writes),
    "a transaction is open on new": lambda s, t: setattr(t, "open", True),
    "the row does not arrive": lambda s, t: setattr(t, "unplugged", True),
    "another row has taken its place": lambda s, t: t.meanwhile.update(take=lambda: setattr(t, "row", (5, "other"))),
}


@pytest.mark.parametrize("prepare", OTHERS.values(), ids=OTHERS)
def test_a_pair_is_no_proof_where_anything_else_was_written(
    modules: types.SimpleNamespace, prepare: Callable[[Side, Target], None]
) -> None:
    assert not taken(modules, prepare)


def test_in_a_hold_they_are_taken_in_one_round_trip_each(modules: types.SimpleNamespace) -> None:
    source, asked = Side("old", 7), []
    target = Target(source, 9)
    source.meanwhile["take"] = lambda: asked.append("old")
    target.meanwhile["take"] = lambda: asked.append("new")
    snapshots = modules.snapshots.Snapshots(source, target)
    snapshots.take()
    assert snapshots.names == {"old": "snapshot of old", "new": "snapshot of new"} and asked == ["old", "new"]


def test_a_heartbeat_says_how_long_it_took(modules: types.SimpleNamespace) -> None:
    source = Side("old", 7)
    target = Target(source, 9)
    assert 0 <= modules.snapshots.heartbeat(source, target, "switch", 1) < 1
    target.unplugged = True
    assert modules.snapshots.heartbeat(source, target, "switch", 0.01) is None


# --- the tables ---------------------------------------------------------------------------------------------------


def table(modules: types.SimpleNamespace, name: str = "orders", **facts: Any) -> Any:
    given = {
        "id": f'["public", "{name}"]', "sql": f"public.{name}", "name": name, "oid": 1, "node": 10, "bytes": 100,
        "pages": 1, "columns": [["id", "t.id", "t.id"], ["note", "t.note", "hash(t.note)"]], "key": [["id", "t.id"]],
        "by_page": False, "hundredths": None,
    }  # fmt: skip
    return modules.proof.Table(**given | {"convert": False} | facts)


@pytest.mark.parametrize("pages", [0, 1, 4000, 4001, 12_001])
@pytest.mark.parametrize("by_page", [True, False])
def test_every_row_is_in_one_part(modules: types.SimpleNamespace, pages: int, by_page: bool) -> None:
    ranges = table(modules, pages=pages, by_page=by_page, hundredths=["t.id", list(range(0, 1010, 10))]).ranges()
    assert len(ranges) == max(1, -(-pages // 4000))
    begins, ends = (
        [half.split()[-1] for half in halves] for halves in zip(*(r.split(" AND ") for r in ranges), strict=True)
    )
    assert begins[0] == ends[-1] == "true" and begins[1:] == ends[:-1]  # without a gap or anything twice
    assert all("ctid" in part if by_page else "t.id" in part for part in ranges[1:])


def test_few_hundredths_make_few_parts_and_none_makes_one(modules: types.SimpleNamespace) -> None:
    assert table(modules, pages=40_000, hundredths=["t.id", [1, 5, 9]]).ranges() == [
        "true AND t.id < 5",
        "t.id >= 5 AND true",
    ]
    assert table(modules, pages=40_000).ranges() == ["true AND true"]


def test_a_row_is_its_columns_by_name(modules: types.SimpleNamespace) -> None:
    plain, apart = table(modules), table(modules, apart=True)
    assert plain.row == "ROW(t.id, t.note)::text" and apart.row == "ROW(t.id, hash(t.note))::text"
    assert plain.hash(plain.row) == 'hashtextextended(ROW(t.id, t.note)::text COLLATE "C", 0)'
    other = table(modules, convert=True)
    assert "convert_to(ROW(t.id, t.note)::text, 'UTF8')" in other.hash(other.row)
    assert table(modules, columns=[], key=None).row == "ROW()::text"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, ""),
        ({"rows": 4}, "other rows"),
        ({"hashes": -1}, "other rows"),
        ({"columns": [["id", "t.id", "t.id"]]}, "other columns"),
        ({"rows": 4, "rewritten": True}, "emptied or rewritten meanwhile: prove again"),
        ({"rewritten": True}, ""),
    ],
)
def test_what_is_different(modules: types.SimpleNamespace, facts: dict[str, Any], why: str) -> None:
    old = table(modules, rows=3, hashes=5)
    assert old.difference(table(modules, **{"rows": 3, "hashes": 5} | facts)) == why


def test_a_table_that_was_rewritten_on_both_sides_is_not_called_equal(modules: types.SimpleNamespace) -> None:
    """An older snapshot sees both as empty."""
    old, new = (table(modules, rows=0, hashes=0, rewritten=True) for _ in range(2))
    assert old.difference(new) == "emptied or rewritten meanwhile: prove again"


def test_the_sums_of_parts_are_added_exactly(modules: types.SimpleNamespace) -> None:
    whole = table(modules)
    for hashes in (2**63 - 1, 2**63 - 1, -(2**63), 7):
        whole.add(2, Decimal(hashes * 10**15 + 1), 10)
    assert (whole.rows, whole.hashes, whole.rewritten) == (8, (2**63 + 5) * 10**15 + 4, False)
    whole.add(0, Decimal(0), 11)
    assert whole.rewritten


@pytest.mark.parametrize(
    ("left", "now", "right"),
    [(7, 7, True), (7, 9, True), (9, 7, False), (None, 3, True), (None, None, True), (3, None, False), (-5, -5, True)],
)
def test_a_sequence_has_counted_on(
    modules: types.SimpleNamespace, left: int | None, now: int | None, right: bool
) -> None:
    assert modules.proof.counted_on(left, now) is right


# --- readers ------------------------------------------------------------------------------------------------------


class Database:
    """A server whose statements are answered by *answer*; every session of it is in *sessions*."""

    def __init__(self, role: str, answer: Callable[[str], list[Any]]) -> None:
        self.role, self.answer, self.session = role, answer, self
        self.server_version = 150004
        self.sessions: list[Session] = []
        self.ended: list[Any] = []

    def get_parameter_status(self, _name: str) -> str:
        return "UTF8"

    def connect(self, **options: Any) -> Session:
        self.sessions.append(Session(self, options))
        return self.sessions[-1]

    def ask(self, sql: str, *values: Any) -> None:
        assert "pg_terminate_backend" in sql
        self.ended.append(values)


class Session:
    """One session, and its cursor."""

    def __init__(self, database: Database, options: dict[str, Any]) -> None:
        self.database, self.options, self.closed = database, options, False
        self.asked: list[str] = []
        self.rows: list[Any] = []

    def cursor(self) -> Session:
        return self

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def execute(self, sql: str, values: Any = None) -> None:
        self.asked.append(sql if values is None else sql % tuple(values))
        if sql.strip().startswith("SELECT"):
            self.rows = self.database.answer(sql)

    def fetchall(self) -> list[Any]:
        return self.rows


class Rows:
    """What a database with the table orders answers: its rows, by key."""

    def __init__(self, **rows: int) -> None:
        self.rows = rows
        self.tables = ["orders"]
        self.fails: dict[str, DatabaseError] = {}
        self.sequence: int | None = 5

    def __call__(self, sql: str) -> list[Any]:
        for part, error in self.fails.items():
            if part in sql:
                raise error
        if "json_build_object" in sql:
            columns = [["id", "t.id", "t.id"], ["note", "t.note", "hash(t.note)"]]
            facts = {
                "oid": 1,
                "node": 10,
                "bytes": 100,
                "pages": 20_000,
                "key": [["id", "t.id"]],
                "by_page": True,
                "hundredths": None,
            }
            return [({"id": name, "sql": name, "name": name, "columns": columns} | facts,) for name in self.tables]
        if "pg_sequences" in sql:
            return [("orders_id_seq", self.sequence)]
        if "pg_relation_filenode" in sql:
            # Five parts: the whole is in the first.
            rows = self.rows if "SELECT count(*)" in sql and "WHERE true" in sql else {}
            return [(len(rows), Decimal(sum(rows.values())), 10)]
        if "GROUP BY" in sql:
            return [(int(key[1:]) % 4, 1, Decimal(value)) for key, value in self.rows.items()]
        return [(value, key) for key, value in self.rows.items() if f"{int(key[1:]) % 4}" in sql.split("ANY")[1]]


def comparison(
    modules: types.SimpleNamespace, old: Rows, new: Rows, **more: Any
) -> tuple[Database, Database, tuple[bool, str]]:
    databases = Database("old", old), Database("new", new)
    agree = more.pop("agree", lambda old, new: old == new)
    return (*databases, modules.proof.compare(*databases, more.pop("readers", 3), agree, **more))


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("proof ")]
    return json.loads(line.removeprefix("proof "))


def test_equal_databases_are_read_by_several_readers(
    modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows(k1=7, k2=-9)
    names = {"old": "A-1", "new": "B-2"}
    old, new, (equal, line) = comparison(modules, rows, rows, snapshots=names, pinned={"held": 1})
    assert equal and line == "1 tables, 2 rows equal"
    found = document(capsys)
    assert found["pinned"] == {"held": 1} and found["sequences"][0]["equal"]
    assert found["tables"] == [
        {"table": "orders", "old": 2, "new": 2, "equal": True, "why": "", "keys": [], "more": None}
    ]
    for database in (old, new):
        statements = [sql for session in database.sessions for sql in session.asked]
        assert sum("pg_relation_filenode(1)" in sql for sql in statements) == 5
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{names[database.role]}'"
        # The catalogs, five parts, the sequences.
        assert statements.count(begin) == statements.count("COMMIT") == 7
        assert all(session.closed for session in database.sessions) and database.ended == []
        assert all("extra_float_digits=1" in session.options["options"] for session in database.sessions)


def test_rows_that_differ_are_named(modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    new = Rows(k1=7, k2=8, k4=40, k6=6)
    _, _, (equal, line) = comparison(modules, Rows(k1=7, k2=9, k3=3, k6=6), new, agree=lambda old, new: False)
    assert (equal, line) == (False, '2 differ: orders, orders_id_seq; the first {"id": "k2"}')
    (orders,) = document(capsys)["tables"]
    assert orders["keys"] == [
        {"on": "both", "key": {"id": "k2"}},
        {"on": "old", "key": {"id": "k3"}},
        {"on": "new", "key": {"id": "k4"}},
    ]
    assert orders["more"] is None


def test_of_rows_without_a_key_as_many_must_be_there(
    modules: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = modules.proof.Comparison(Database("old", Rows()), Database("new", Rows()), 1, {})
    same, other = (7, "(3,same)"), (8, "(4,other)")
    answers = iter([[[(1, 3, 22)], [(1, 2, 15)]], [[same, same, other], [same, other]]])
    asked: list[str] = []
    monkeypatch.setattr(found, "both", lambda _about, sql: asked.append(sql) or next(answers))
    keys, more = found.narrow(table(modules, key=None))
    assert keys == [{"on": "old", "key": {"row": "(3,same)"}}] and more is None
    assert all("(hashtextextended(ROW(t.id, t.note)::text" in sql for sql in asked)
    assert "format('%s', left(ROW(t.id, t.note)::text, 120))" in asked[1] and "ANY ('{1}')" in asked[1]


def test_of_many_rows_the_first_are_named(modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {f"k{number}": number for number in range(1, 101)}
    comparison(modules, Rows(**rows), Rows())
    (orders,) = document(capsys)["tables"]
    assert len(orders["keys"]) == 20 and orders["more"] == {"keys": 100, "buckets": 4, "of": 4}


def test_a_table_on_one_server_alone(modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    new = Rows(k1=7)
    new.tables = ["orders", "more"]
    _, _, (equal, _) = comparison(modules, Rows(k1=7), new)
    more, orders = document(capsys)["tables"]
    assert not equal and orders["equal"] and (more["old"], more["new"], more["why"]) == (None, 1, "on new alone")


def test_with_an_older_postgresql_floats_have_fewer_digits(modules: types.SimpleNamespace) -> None:
    databases = Database("old", Rows(k1=1)), Database("new", Rows(k1=1))
    databases[0].server_version = 110000
    modules.proof.compare(*databases, 1, lambda old, new: True)
    for database in databases:
        assert all("extra_float_digits=0" in session.options["options"] for session in database.sessions)


def test_long_rows_are_read_again_with_their_long_columns_hashed(modules: types.SimpleNamespace) -> None:
    """On both servers, though it failed on one; what was read before does not count twice."""
    old = Rows(k1=7)
    too_long = DatabaseError("invalid memory alloc request size 1073741824")
    old.fails["ROW(t.id, t.note)"] = too_long
    _, new, (equal, line) = comparison(modules, old, Rows(k1=7))
    assert equal and line == "1 tables, 1 rows equal"
    assert any("hash(t.note)" in sql for session in new.sessions for sql in session.asked)
    old.fails["hash(t.note)"] = too_long
    with pytest.raises(modules.refusals.Refused, match="SW45: old: orders: invalid memory"):
        comparison(modules, old, Rows(k1=7))


@pytest.mark.parametrize(
    ("part", "code"),
    [("pg_relation_filenode(1)", "SW43: new: orders"), ("pg_sequences", "SW43: new"), ("json_build", "SW43: new")],
)
def test_an_answer_that_is_missing_is_no_proof(modules: types.SimpleNamespace, part: str, code: str) -> None:
    rows = Rows(k1=7)
    rows.fails[part] = DatabaseError("server closed the connection\nunexpectedly")
    databases = Database("old", Rows(k1=7)), Database("new", rows)
    with pytest.raises(modules.refusals.Refused, match=code):
        modules.proof.compare(*databases, 2, lambda old, new: True)
    for database in databases:  # the other readers end too
        assert database.ended == [(modules.proof.NAME,)]


def test_what_stops_the_program_ends_its_readers(
    modules: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal, or nobody who listens; a server that is gone as well does not keep the other's readers."""

    def nobody_listens(*_: object) -> None:
        raise BrokenPipeError

    def gone(sql: str, *values: Any) -> None:
        databases[1].ended.append(values)
        raise DatabaseError("server closed the connection")

    databases = Database("old", Rows(k1=7)), Database("new", Rows(k1=7))
    monkeypatch.setattr(modules.proof.Comparison, "watch", nobody_listens)
    monkeypatch.setattr(databases[1], "ask", gone)
    with pytest.raises(BrokenPipeError):
        modules.proof.compare(*databases, 2, lambda old, new: True)
    assert [database.ended for database in databases] == [[(modules.proof.NAME,)]] * 2


def test_a_database_without_tables_is_no_proof(modules: types.SimpleNamespace) -> None:
    old = Rows()
    old.tables = []
    with pytest.raises(modules.refusals.Refused, match="SW46: old has no tables"):
        comparison(modules, old, Rows())
