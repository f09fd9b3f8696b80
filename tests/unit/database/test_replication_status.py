"""How replication is shown: its lag, what is kept for it, which tables differ, who wrote past the fence."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.database import schema
from switchover.database.replication_status import ReplicationStatus, RetainedWal
from switchover.database.schema import compare, parse

KEPT = RetainedWal(kept=5_000_000, free=50_000_000_000, limit=25_000_000_000, lost=False)


def status(**values: Any) -> ReplicationStatus:
    right: dict[str, Any] = {"replicates": True, "behind": 200, "lag": 0.01, "old": KEPT, "new": KEPT}
    return ReplicationStatus(**right | values)


def test_a_small_lag_is_no_fault() -> None:
    assert status().caught_up and status().broken is None and status().lagging is None
    assert status().lines() == [
        "new's database: 0.0 s behind, 0 kB of changes",
        "old keeps 5.0 MB of changes; 50.0 GB of its disk are free, the limit is 25.0 GB",
        "new keeps 5.0 MB of changes; 50.0 GB of its disk are free, the limit is 25.0 GB",
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicates": False, "lag": None, "behind": 30_000_000}, "does not replicate now (30.0 MB behind)"),
        ({"behind": 2_000_000}, "2.0 MB and 0.0 s behind"),
        ({"lag": 4.2}, "4.2 s behind"),
        ({"old": RetainedWal(0, 10, 10, lost=True)}, "start over: inv undo replicate"),
        ({"differences": ("the table carts is on old and not on new",)}, "carts is on old and not on new: make both"),
        ({"primary": "new", "new": RetainedWal(0, 10, 10, lost=True)}, "new dropped changes that old still needs"),
        ({"primary": "new", "behind": 2_000_000}, "old is 2.0 MB and 0.0 s behind"),
        ({"differences": ("a", "b", "c", "d", "e")}, "a; b; c and 2 more: make both alike"),
    ],
)
def test_a_fault_is_one_line(values: dict[str, Any], words: str) -> None:
    fault = status(**values).broken or status(**values).lagging
    assert fault is not None and words in fault and "\n" not in fault


def test_late_writes_are_one_line() -> None:
    lines = status(primary="new", late_writes=(("old", "insert orders id=7, delete carts id=2"),)).lines()
    assert lines[0] == "old's database: 0.0 s behind, 0 kB of changes"
    assert lines[3] == (
        "old has what new lacks, written past the fence: insert orders id=7, delete carts id=2. Carry it over, then on "
        "old: DELETE FROM switchover_own.late_writes"
    )


@pytest.mark.parametrize(
    ("kept", "worrying"),
    [
        (KEPT, False),
        (RetainedWal(20_000_000_000, 50_000_000_000, 25_000_000_000, lost=False), True),
        (RetainedWal(5_000_000, 50_000_000_000, None, lost=False), False),
        (RetainedWal(6_000_000, 10_000_000, None, lost=False), True),
    ],
)
def test_a_limit_that_is_near_worries(kept: RetainedWal, worrying: bool) -> None:
    assert kept.worrying == worrying


def test_without_a_limit_and_past_it() -> None:
    assert str(RetainedWal(1_000, 2_000_000, None, lost=False)).endswith("free, there is no limit")
    assert "dropped" in str(RetainedWal(0, 2_000_000, 5, lost=True))


ORDERS = """table\tpublic.orders
column\tpublic.orders\tid\tbigint NOT NULL
column\tpublic.orders\ttotal\tnumeric(10,2)
constraint\tpublic.orders\torders_pkey\tPRIMARY KEY (id)
index\tpublic.orders\tby_total\tCREATE INDEX by_total ON public.orders USING btree (total)
"""


def test_the_same_schema_has_no_difference() -> None:
    assert compare(parse(ORDERS), parse(ORDERS)) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (ORDERS + "column\tpublic.orders\tnote\ttext\n", ORDERS, "column orders.note (text) is on old and not on new"),
        (ORDERS, ORDERS + "column\tpublic.orders\tnote\ttext\n", "column orders.note (text) is on new and not on old"),
        (ORDERS, ORDERS.replace("(10,2)", "(12,2)"), "orders.total is numeric(10,2) on old, numeric(12,2) on new"),
        (ORDERS, ORDERS.replace("index\t", "other\t"), "the index orders by_total is on old and not on new"),
        (ORDERS + "unpublished\tpublic.orders\n", ORDERS, "the table orders is newer than the publication"),
        (ORDERS + "type\tpublic.state\t\t'a', 'b'\n", ORDERS + "type\tpublic.state\t\t'a'\n", "'b' on old, 'a' on new"),
    ],
)
def test_a_difference_is_named(old: str, new: str, words: str) -> None:
    assert any(words in difference for difference in compare(parse(old), parse(new)))


def test_a_missing_table_stands_for_its_columns() -> None:
    rest = "table\tpublic.tags\ncolumn\tpublic.tags\tid\tbigint\n"
    assert compare(parse(ORDERS + rest + "unpublished\tpublic.tags\n"), parse(ORDERS)) == [
        "the table tags is on old and not on new"
    ]
    assert compare(parse(rest), parse(ORDERS + rest)) == ["the table orders is on new and not on old"]


def test_the_question_of_the_schema_leaves_the_move_s_own_out() -> None:
    assert "nspname NOT IN ('information_schema', 'switchover', 'switchover_own')" in schema.QUESTION
