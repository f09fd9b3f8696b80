"""The registry of checks: what becomes of each, and in which order."""

from __future__ import annotations

import pytest

from switchover.errors import Problem
from switchover.findings import Checks, Finding, Found, Severity, blocker, blockers, good, listed, note, to_do, warning


def checks() -> Checks[[list[str]]]:
    """One check that records that it was called, and finds nothing."""
    made = Checks[[list[str]]]("garden")

    @made.add
    def two_gates(called: list[str]) -> Found:
        """Both gates are shut.

        Nobody reads this.
        """
        called.append("gates")
        yield from ()

    return made


def test_a_check_that_finds_nothing_is_good_by_its_docstring() -> None:
    assert list(checks().find([])) == [Finding(Severity.GOOD, "Both gates are shut", key="two-gates", group="garden")]


@pytest.mark.parametrize(
    ("error", "what", "do"),
    [
        (Problem("it is dark\nand cold", "old (o)", "Bring a lamp"), "old (o): it is dark", "Bring a lamp"),
        (Problem("it is dark"), "it is dark", "Look at it yourself, or run `inv check` again"),
        (ValueError("no number"), "no number", "Look at it yourself, or run `inv check` again"),
        (TypeError(), "TypeError", "Look at it yourself, or run `inv check` again"),
    ],
)
def test_a_check_that_raises_is_unknown_and_the_others_continue(error: Exception, what: str, do: str) -> None:
    made = Checks[[list[str]]]("garden")

    @made.add
    def fence(called: list[str]) -> Found:
        """The fence is whole."""
        raise error
        yield

    @made.add
    def pond(called: list[str]) -> Found:
        """The pond is full."""
        yield from ()

    fence_, pond_ = made.find([])
    assert fence_ == Finding(Severity.UNKNOWN, f"The fence is whole ({what})", do, "fence", "garden")
    assert pond_.kind == "good"
    assert blockers([fence_, pond_]) == to_do([fence_, pond_]) == [fence_]


def test_what_was_found_before_a_check_failed_stays() -> None:
    made = Checks[[]]("garden")

    @made.add
    def trees() -> Found:
        """Every tree stands."""
        yield blocker("the oak lies", "Saw it")
        raise ValueError("fog")

    assert [(f.kind, f.what) for f in made.find()] == [
        ("blocker", "the oak lies"),
        ("unknown", "Every tree stands (fog)"),
    ]


def test_findings_come_in_the_order_of_the_checks_and_as_they_are_found() -> None:
    made, called = checks(), list[str]()

    @made.add
    def apples(called: list[str]) -> Found:
        """There are apples."""
        called.append("apples")
        yield note("they are small")
        yield warning("one is bad", "Take it out")

    assert list(made) == ["two-gates", "apples"]
    found = made.find(called)
    assert next(found).key == "two-gates" and called == ["gates"]
    assert [(f.key, f.kind, f.do) for f in found] == [("apples", "note", ""), ("apples", "warning", "Take it out")]


def test_a_key_is_there_once() -> None:
    made = checks()

    def two_gates(called: list[str]) -> Found:
        """Another one."""
        yield from ()

    with pytest.raises(ValueError, match="two checks are called two-gates"):
        made.add(two_gates)
    assert list(made) == ["two-gates"]


def test_what_is_found_on_one_server_begins_with_it() -> None:
    made = Checks[[str]]("servers", lambda role: role)

    @made.add
    def disk(role: str) -> Found:
        """the disk is fine."""
        if role == "new":
            yield blocker("it is full", "Free some")

    assert [(f.server, f.what) for role in ("old", "new") for f in made.find(role)] == [
        ("old", "old: the disk is fine"),
        ("new", "new: it is full"),
    ]


def test_which_stand_in_the_way_and_which_ask_for_a_hand() -> None:
    found = [good("a"), note("b"), warning("c", "C"), blocker("d", "D"), Finding(Severity.UNKNOWN, "e", "E")]
    assert [f.what for f in blockers(found)] == ["d", "e"]
    assert [f.what for f in to_do(found)] == ["c", "d", "e"]


def test_only_the_first_few_are_named() -> None:
    assert listed(["a", "b"], 3) == "a, b"
    assert listed("abcdefg", 3) == "a, b, c and 4 more"
