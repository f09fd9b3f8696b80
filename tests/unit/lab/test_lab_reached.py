"""Labs in which a part of the move is done: made once for a program and what is asked for, and then started from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import yaml

from lab import commands, reached
from lab.machine import cache
from lab.world import SHOP
from switchover.errors import Problem

DONE: list[str] = []  # what happened, in order


class FakeLab:
    """Keeps states as directories; runs nothing."""

    world = SHOP

    def __init__(self, state: str = "", *, states: Path, **options: Any) -> None:
        self.state, self.states, self.options = state, states, options
        self.settings = states.parent / "move.yaml"
        self.old = SimpleNamespace(world=SHOP, role="old", psql=lambda sql, db: DONE.append(f"{db}: {sql}"))

    def has_state(self, name: str) -> bool:
        return (self.states / name).exists()

    def save(self, name: str) -> None:
        (self.states / name).mkdir(parents=True)

    def __enter__(self) -> Self:
        DONE.append(f"from {self.state}" if self.state else "from nothing")
        self.settings.write_text("domains: [shop.test]\n")
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the program; `inv` is a script that writes down what it is asked."""
    DONE.clear()
    (file := tmp_path / "program").write_text("1")
    (inv := tmp_path / "inv").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/said\n[ "$3" != broken ]\n')
    inv.chmod(0o755)
    monkeypatch.setenv("SWITCHOVER_LAB", str(tmp_path / "cache"))
    monkeypatch.setattr(reached, "Lab", FakeLab)
    monkeypatch.setattr(commands, "INV", inv)
    monkeypatch.setattr(reached, "MADE_FROM", [file])
    return file


def test_what_was_reached_once_is_started_from(tmp_path: Path) -> None:
    for _ in range(2):
        with reached.reached("prepare-old", "switch-jobs", sql="SELECT 1", settings={"pages": ["/"]}):
            pass
    assert DONE == ["from nothing", "openfoodweb_production: SELECT 1", "from reached"]
    assert (tmp_path / "said").read_text().split()[2:] == ["prepare-old", "switch-jobs"]


def test_the_settings_stand_beside_the_lab_s_own() -> None:
    with reached.reached("prepare-old", settings={"pages": ["/"]}) as lab:
        assert yaml.safe_load(lab.settings.read_text()) == {"domains": ["shop.test"], "pages": ["/"]}


@pytest.mark.parametrize(
    "other", [{"ci": False}, {"strategy": "copy"}, {"sql": "SELECT 2"}, {"settings": {"pages": []}}, {"seed_mb": 9}]
)
def test_whoever_asks_for_another_one_gets_another_one(other: dict[str, Any]) -> None:
    with reached.reached("prepare-old"):
        pass
    with reached.reached("prepare-old", **other):
        pass
    assert DONE.count("from nothing") == 2


def test_another_program_makes_it_anew_and_the_old_one_goes_when_it_is_not_used(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reached.reached("prepare-old") as first:
        pass
    program.write_text("2")
    with reached.reached("prepare-old") as second:
        pass
    assert DONE == ["from nothing", "from nothing"] and first.states.exists()  # somebody may be using it
    program.write_text("3")
    later = cache.time.time() + reached.DAYS * 86400 + 1
    monkeypatch.setattr(cache.time, "time", lambda: later)
    with reached.reached("prepare-old") as third:
        pass
    assert [lab.states.exists() for lab in (first, second, third)] == [False, False, True]


def test_one_that_is_not_reached_fails_and_is_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(Problem, match="`inv broken` failed"), reached.reached("broken"):
            pass
    assert DONE == ["from nothing", "from nothing"]
