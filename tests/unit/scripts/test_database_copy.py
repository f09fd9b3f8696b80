"""database_copy.py of scripts/server/, without PostgreSQL: which piece of work is next, and how rows are carried."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def copying(modules: types.SimpleNamespace) -> types.ModuleType:
    module: types.ModuleType = modules.database_copy
    return module


class Log:
    """Pieces of work that note when they begin; `most`: how many pieces of rows were under way at once."""

    def __init__(self, copying: types.ModuleType) -> None:
        self.copying, self.titles, self.most = copying, list[str](), 0
        self._lock, self._reading = threading.Lock(), 0

    def piece(self, title: str, rank: int, *, rows: bool = True, then: tuple[Any, ...] = ()) -> Any:
        """A piece of work; of *rows*, it needs a session of the source."""

        def work(source: object, _target: object) -> None:
            assert (source is not None) is rows
            with self._lock:
                self.titles.append(title)
                self._reading += rows
                self.most = max(self.most, self._reading)
            threading.Event().wait(0.01)  # the others may begin
            with self._lock:
                self._reading -= rows

        return self.copying.Piece(rank, rank, title, work, int(rows), list(then))


def nothing() -> None:
    """What is to be done meanwhile."""


def test_the_largest_piece_is_first_and_an_index_follows_its_rows(copying: types.ModuleType) -> None:
    log = Log(copying)
    index = log.piece("index of b", 50, rows=False)
    pieces = [log.piece("a", 1), log.piece("c", 100), log.piece("b", 10, then=(index,))]
    work = copying.Work(pieces, ["source"])
    work.run(["target"], nothing)
    assert log.titles == ["c", "b", "index of b", "a"]
    assert work.done == [pieces[1], pieces[2], index, pieces[0]] and not work.free


def test_no_more_pieces_of_rows_at_a_time_than_sessions_of_the_source(copying: types.ModuleType) -> None:
    log = Log(copying)
    pieces = [log.piece(str(n), n, then=(log.piece(f"index {n}", n, rows=False),)) for n in range(12)]
    work = copying.Work(pieces, ["one", "two"])
    work.run(range(5), nothing)
    assert log.most == 2 and len(log.titles) == 24 and sorted(work.sources) == ["one", "two"]


def test_the_first_failure_ends_the_work(copying: types.ModuleType) -> None:
    log = Log(copying)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    work = copying.Work([log.piece("a", 1), copying.Piece(9, 9, "b", fail, 1)], ["source"])
    with pytest.raises(OSError, match="disk full"):
        work.run(["target"], nothing)
    assert log.titles == []


def test_what_is_done_meanwhile_can_end_the_work(copying: types.ModuleType) -> None:
    """A slot that does not come is waited for so long and no longer."""
    ended = threading.Event()

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        copying.Work([copying.Piece(0, 0, "", lambda *_: ended.wait(20))]).run(["session"], give_up)
    ended.set()


class Session:
    """A session whose COPY is *copy*; it is its own cursor."""

    def __init__(self, copy: Callable[[Any], None]) -> None:
        self._copy = copy

    def cursor(self) -> Session:
        return self

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def copy_expert(self, _statement: str, file: Any) -> None:
        """COPY … TO STDOUT or FROM STDIN."""
        self._copy(file)


def receiving(got: list[bytes]) -> Session:
    def copy(file: Any) -> None:
        while chunk := file.read(8192):
            got.append(chunk)

    return Session(copy)


def test_rows_are_carried_to_their_end(copying: types.ModuleType) -> None:
    rows, got = b"a row\n" * 100_000, list[bytes]()
    copying.carry(Session(lambda file: file.write(rows)), "", receiving(got), "")
    assert b"".join(got) == rows


def test_a_reader_that_fails_is_not_the_end_of_the_rows(copying: types.ModuleType) -> None:
    def copy(file: Any) -> None:
        file.write(b"a row\n")
        raise OSError("old is gone")

    with pytest.raises(OSError, match="old is gone"):
        copying.carry(Session(copy), "", receiving([]), "")


def test_a_writer_that_fails_ends_the_reader(copying: types.ModuleType) -> None:
    def full(_file: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        copying.carry(Session(lambda file: file.write(b"." * 10_000_000)), "", Session(full), "")


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("pg_restore: error: could not execute query: ERROR:  disk full\nCommand was: COPY", "disk full"),
        ('psql: error: connection failed: FATAL:  no role "x"', 'no role "x"'),
        ("Broken pipe\npsql:x.sql:1: FATAL:  terminating connection\nlost", "terminating connection"),
        ("pg_dump: error: no such file", "no such file"),
        ("one\ntwo\n", "two"),
        ("", "it ended without a reason"),
    ],
)
def test_the_reason_is_one_line(copying: types.ModuleType, printed: str, line: str) -> None:
    assert copying.reason(printed) == line
