"""What `inv prove` makes of the program's answer, and of two lists of files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from switchover import hosts, programs
from switchover.commands import prove
from switchover.database import proof as proofs
from switchover.database.proof import Proof, UploadsProof, parse

KEYS = [{"on": "both", "key": {"id": "5"}}, {"on": "new", "key": {"shop": "a", "number": "7"}}]
FOUND = {
    "pinned": {"hold_ms": 17, "tries": 5, "held": 1},
    "tables": [
        {"table": '"odd name"', "old": 0, "new": 0, "equal": True, "why": "", "keys": [], "more": None},
        {"table": "orders", "old": 999997, "new": 999998, "equal": False, "why": "other rows", "keys": KEYS,
         "more": {"keys": 41, "buckets": 4, "of": 30}},
        {"table": "tags", "old": 3, "new": None, "equal": False, "why": "on old alone", "keys": [], "more": None},
    ],
    "sequences": [
        {"sequence": "orders_id_seq", "old": 8, "new": None, "equal": True},
        {"sequence": "tags_id_seq", "old": 8, "new": None, "equal": False},
    ],
    "seconds": 2.0,
}  # fmt: skip
ANSWER = f"""\
progress 10 20 bytes
doing which rows of "orders" differ
proof {json.dumps(FOUND)}
{{"event": "proved", "equal": false}}
"""


def test_the_answer_is_read() -> None:
    proof = parse(ANSWER)
    assert [table["table"] for table in proof.tables] == ['"odd name"', "orders", "tags"]
    assert proof.rows == 1_000_001
    assert proof.different == ["orders", "tags", "tags_id_seq"]
    assert proof.as_json()["totals"] == {
        "tables": 3, "rows": 1_000_001, "different": 3, "seconds": 2.0, "rows_per_second": 500_000,
        "hold_ms": 17, "tries": 5, "held": 1,
    }  # fmt: skip
    assert proof.as_json()["tables"] == FOUND["tables"] and proof.as_json()["sequences"] == FOUND["sequences"]


def test_every_difference_has_a_line() -> None:
    proof = parse(ANSWER)
    proof.schema = ["the index orders_number is on old and not on new"]
    proof.files = [UploadsProof("public/system/", {"a": "1", "b": "2"}, {"a": "9"}, ahead=True)]
    assert list(prove._differences(proof)) == [
        "orders: id 5 is not the same on both",
        "orders: shop a, number 7 is on new alone",
        "orders: 41 rows differ in 4 of the 30 parts that differ; the first are named",
        "sequence tags_id_seq: 8 on old, None on new",
        "the index orders_number is on old and not on new",
        "public/system/a is not the same on both",
        "public/system/b is not on new",
    ]
    assert len(proof.different) == 5


@pytest.mark.parametrize(
    ("old", "new", "ahead", "equal"),
    [
        ({"a": "1"}, {"a": "1"}, False, True),
        ({"a": "1"}, {"a": "2"}, True, False),
        ({"a": "1"}, {}, True, False),
        ({"a": "1"}, {"a": "1", "b": "2"}, True, True),  # a visitor's, who comes to new already
        ({"a": "1"}, {"a": "1", "b": "2"}, False, False),
    ],
)
def test_uploads(old: dict[str, str], new: dict[str, str], ahead: bool, equal: bool) -> None:
    assert UploadsProof("system/", old, new, ahead).equal is equal


def test_programs_lie_side_by_side_and_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_text("import sys, two\nprint(*sys.argv[1:])\nprint(two.__file__)\nsys.exit(4)\n")
    (tmp_path / "two.py").touch()
    monkeypatch.setattr(programs, "FOLDER", tmp_path)
    script = hosts.as_read(proofs.program(("one", "two.py"), ["a word", 2]))
    ran = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True)
    assert ran.returncode == 4, ran.stderr
    first, second = ran.stdout.splitlines()
    assert first == "a word 2"
    assert second.endswith("/two.py") and not Path(second).parent.exists()


@pytest.mark.parametrize("given", [{}, {"jobs": 0}, {"strategy": "copy"}])
def test_it_refuses_in_one_line(given: dict[str, Any]) -> None:
    from types import SimpleNamespace

    move: Any = SimpleNamespace(settings=SimpleNamespace(strategy=given.get("strategy", "replicate")))
    if not given:
        prove._refuse(move, 1)
        return
    with pytest.raises(prove.Problem) as problem:
        prove._refuse(move, given.get("jobs", 1))
    assert len(str(problem.value).splitlines()) == 1


def test_nothing_found_is_nothing_different() -> None:
    assert Proof().different == [] and Proof().as_json()["totals"]["rows_per_second"] == 0
