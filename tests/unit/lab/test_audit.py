"""The audit, with data in hand: everything that can be lost or doubled is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.judging.audit import Audit, Contents, Order, Run, judge
from lab.visitors.ledger import Book, RequestOutcome, Response

MINUTE = 1_700_000_040 // 60 * 60


def answer(kind: str, outcome: RequestOutcome = RequestOutcome.OK, at: float = MINUTE - 5, **facts) -> Response:
    return Response(kind=kind, at=at, ms=10, outcome=outcome, **facts)


BOOK = Book(
    answers=[
        answer("order", order="V-1", product=3, quantity=2, status=201),
        answer("order", order="V-2", product=4, quantity=1, status=201),
        answer("order", RequestOutcome.TIMEOUT, order="V-3", product=4, quantity=1),
        answer("upload", upload="a.bin", sha256="aa"),
        answer("big_upload", upload="big.bin", sha256="bb"),
        answer("slow_job", slow_job="slow-1"),
        answer("login", session="visitor-1"),
        answer("me", session="visitor-1"),
        answer("home", at=MINUTE + 124),  # the run of two minutes may still be on its way
    ]
)
BEFORE = Contents(stock={"3": 100, "4": 50}, fingerprints={"blobs up to 9": "9 rows, md5 x"})
NOW = Contents(
    orders=(
        Order("V-1", 1, 1, 1, 3, 2, "10.77.0.100"),
        Order("V-2", 1, 1, 1, 4, 1, "fd77::100"),
        Order("V-3", 1, 1, 1, 4, 1, "10.77.0.100"),
    ),
    runs=(
        Run("V-1", "prod1", "12:00:01"),
        Run("V-2", "prod2", "12:00:02"),
        Run("V-3", "prod2", "12:00:03"),
        Run("slow-1", "prod1", "12:00:00"),
    ),
    uploads={"a.bin": "aa", "big.bin": "bb"},
    upload_rows={"a.bin": "aa", "big.bin": "bb"},
    stock=BEFORE.stock,
    cron=((MINUTE, "prod1"), (MINUTE + 60, "prod2")),
    fingerprints=BEFORE.fingerprints,
)
LEFT_BEHIND = Contents(orders=NOW.orders[:1], runs=NOW.runs[:1] + NOW.runs[3:], cron=NOW.cron[:1], stock={"3": 100})
VISITORS = ("10.77.0.100", "fd77::100")


def audit(book: Book = BOOK, now: Contents = NOW, other: Contents = LEFT_BEHIND, before: Contents = BEFORE) -> Audit:
    return judge(book, now, other, before, VISITORS)


def test_a_good_move_has_no_problem() -> None:
    found = audit()
    assert found.problems == []
    report = found.as_report()
    assert report["orders"] == {
        "acknowledged": 2,
        "lost": 0,
        "duplicated": 0,
        "there_without_an_answer": 1,
    }
    assert report["uploads"] == {"acknowledged": 2, "lost": 0}
    assert report["jobs"] == {
        "expected": 3,
        "never_ran": 0,
        "ran_twice": 0,
        "by_host": {"prod1": 2, "prod2": 2},
    }
    assert report["sessions"] == {"checked": 1, "lost": 0}
    assert report["cron"] == {"expected": 2, "missed": 0, "ran_twice": 0, "by_host": {"prod1": 1, "prod2": 1}}


def test_a_deleted_order_is_lost() -> None:
    found = audit(now=replace(NOW, orders=NOW.orders[1:]), other=Contents())
    assert found.orders.lost == {"V-1": "in no database"}
    assert found.problems == ["1 order(s) lost: V-1 (in no database)"]


def test_an_order_that_stayed_in_the_old_database_is_lost() -> None:
    found = audit(now=replace(NOW, orders=NOW.orders[1:]))
    assert found.orders.lost == {"V-1": "is only in the database left behind"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"lines": 0, "product": None, "quantity": 0}, "without its lines"),
        ({"tags": 0}, "without its tags"),
        ({"audits": 0}, "without its audits"),
        ({"quantity": 1}, "has 1 of 3, not what was ordered"),
        ({"product": 4}, "has 2 of 4, not what was ordered"),
    ],
)
def test_half_an_order_is_lost(changed: dict, why: str) -> None:
    half = replace(NOW.orders[0], **changed)
    assert audit(now=replace(NOW, orders=(half, *NOW.orders[1:]))).orders.lost == {"V-1": why}


@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ((NOW.orders[0], *NOW.orders), "2 times"),
        ((replace(NOW.orders[0], lines=2, quantity=4), *NOW.orders[1:]), "its lines more than once"),
        ((replace(NOW.orders[0], tags=2), *NOW.orders[1:]), "its tags more than once"),
        ((replace(NOW.orders[0], audits=2), *NOW.orders[1:]), "its audits more than once"),
    ],
)
def test_a_doubled_order(orders: tuple[Order, ...], why: str) -> None:
    found = audit(now=replace(NOW, orders=orders))
    assert found.orders.twice == {"V-1": why}
    assert found.orders.lost == {}


def test_an_order_that_was_doubled_without_an_answer_counts_too() -> None:
    doubled = replace(NOW.orders[2], lines=2)
    found = audit(now=replace(NOW, orders=(*NOW.orders[:2], doubled)))
    assert found.orders.twice == {"V-3": "its lines more than once"}


def test_a_dropped_upload_is_lost() -> None:
    assert audit(now=replace(NOW, uploads={"big.bin": "bb"})).uploads.lost == {"a.bin": "no file"}
    other_bytes = replace(NOW, uploads={"a.bin": "ab", "big.bin": "bb"})
    assert audit(now=other_bytes).uploads.lost == {"a.bin": "other bytes"}
    no_row = replace(NOW, upload_rows={"big.bin": "bb"})
    assert audit(now=no_row).uploads.lost == {"a.bin": "no row in the database"}


def test_a_doubled_job_ran_twice() -> None:
    twice = replace(NOW, runs=(*NOW.runs, Run("V-2", "prod1", "12:00:09")))
    found = audit(now=twice)
    assert found.jobs.twice == {"V-2": "on prod1 and prod2"}
    assert found.problems == ["1 job(s) ran twice: V-2 (on prod1 and prod2)"]


def test_a_job_that_ran_on_both_sides_of_the_copy_ran_twice() -> None:
    other = replace(LEFT_BEHIND, runs=(*LEFT_BEHIND.runs, Run("V-2", "prod1", "12:00:09")))
    assert audit(other=other).jobs.twice == {"V-2": "on prod1 and prod2"}


def test_a_job_that_did_not_run() -> None:
    found = audit(now=replace(NOW, runs=NOW.runs[:2], waiting=("V-9 ",)), other=Contents())
    assert found.jobs.lost == {"slow-1": "not in the queue"}
    stuck = replace(NOW, runs=NOW.runs[:3], waiting=("slow-1 ArgumentError",))
    assert audit(now=stuck, other=Contents()).jobs.lost == {"slow-1": "still in the queue ArgumentError"}


@pytest.mark.parametrize(
    ("outcome", "status", "lost"),
    [
        (RequestOutcome.FAILED, 401, {"visitor-1": "not known any more"}),
        (RequestOutcome.WRONG, 200, {"visitor-1": "other name"}),
        (RequestOutcome.FAILED, 500, {}),  # a failed request, but no lost session
        (RequestOutcome.PAGE, 503, {}),
    ],
)
def test_a_lost_session(outcome: RequestOutcome, status: int, lost: dict) -> None:
    book = Book([*BOOK.answers, answer("me", outcome, session="visitor-1", status=status)])
    assert audit(book).sessions.lost == lost


def test_stock_that_does_not_fit() -> None:
    found = audit(now=replace(NOW, stock={"3": 98, "4": 50}))
    assert found.rows_changed == {"stock of product 3": "in stock plus sold was 100, is 98"}
    assert "stock of product 3" in found.problems[0]


def test_rows_that_nobody_should_have_changed_and_sequences_left_behind() -> None:
    now = replace(NOW, fingerprints={"blobs up to 9": "8 rows, md5 y"}, behind=("orders_id_seq",))
    assert audit(now=now).rows_changed == {
        "blobs up to 9": "was 9 rows, md5 x, is 8 rows, md5 y",
        "orders_id_seq": "would give out a number that is taken",
    }


def test_the_address_of_the_client_is_kept() -> None:
    proxied = replace(NOW.orders[0], client="10.77.0.11")
    found = audit(now=replace(NOW, orders=(proxied, *NOW.orders[1:])))
    assert list(found.rows_changed) == ["V-1"]


def test_minutes_of_cron() -> None:
    missed = audit(now=replace(NOW, cron=()), other=Contents())
    assert missed.cron.problems == ["2 cron run(s) missed: 22:14 (UTC), 22:15 (UTC)"]
    twice = audit(other=replace(LEFT_BEHIND, cron=((MINUTE, "prod2"),)))
    assert twice.cron.problems == ["1 cron run(s) ran twice: 22:14 (UTC)"]
    assert twice.problems == []  # the report knows whether a section took care of cron
    without = judge(BOOK, replace(NOW, cron=()), Contents(), BEFORE, VISITORS, cron=False)
    assert (without.cron.promised, without.cron.problems) == (0, [])
