"""What PyYAML passes over in silence: keys that stand twice, and words and numbers that YAML 1.1 takes for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from switchover import settings_file
from switchover.errors import Problem
from switchover.settings import load


def read(tmp_path: Path, text: str) -> dict[Any, Any]:
    file = tmp_path / "move.yaml"
    file.write_text(text)
    return settings_file.read(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "a is there twice (lines 1 and 3)"),
        ("old:\n  app:\n    path: /a\n    user: b\n    path: /c\n", "old.app.path is there twice (lines 3 and 5)"),
        ("a: 1\na: 1\na: 1\n", "a is there 3 times (lines 1, 2 and 3)"),
        ("old: {ssh: a, ssh: b}\n", "old.ssh is there twice (line 1)"),
        ("carry:\n  - {from: a,\n     from: b}\n", "carry.0.from is there twice (lines 2 and 3)"),
        ('a: 1\n"a": 2\n', "a is there twice (lines 1 and 2)"),
        ("1: a\n+1: b\n", "1 is there twice (lines 1 and 2)"),
        ("true: a\nTrue: b\n", "True is there twice (lines 1 and 2)"),
        ("a: 1\nb: {c: 1, c: 2}\na: 2\n", "b.c is there twice (line 2); a is there twice (lines 1 and 3)"),
        ("x: &x {a: 1, a: 2}\ny: *x\n", "x.a is there twice (line 1)"),
        ("x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}\n", "y.b is there twice (line 2)"),
        ('"two\\nlines": 1\n"two\\nlines": 2\n', r"'two\nlines' is there twice (lines 1 and 2)"),
        (f"{'k' * 100}: 1\n{'k' * 100}: 2\n", f"{'k' * 69}… is there twice (lines 1 and 2)"),
    ],
)
def test_a_key_that_stands_twice_is_a_fault(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/move.yaml: {said}. Keep one of them"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("x: &x {aa: 1, b: 1}\ny: {<<: *x, aa: 2}\n", {"x": {"aa": 1, "b": 1}, "y": {"aa": 2, "b": 1}}),
        ("x: &x {aa: 1}\ny: &y {<<: *x, aa: 2}\nz: {<<: *y, aa: 3}\nu: {<<: *y}\n",
         {"x": {"aa": 1}, "y": {"aa": 2}, "z": {"aa": 3}, "u": {"aa": 2}}),
        ("x: &x {aa: 1}\ny: &y {b: 2}\nz: {<<: [*x, *y]}\n", {"x": {"aa": 1}, "y": {"b": 2}, "z": {"aa": 1, "b": 2}}),
        ("a: {b: 1}\nc: {b: 1}\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("- {a: 1}\n", None),
        ('1: a\n"1": b\n', {1: "a", "1": "b"}),
        ("=: 1\n", {"=": 1}),
    ],
)  # fmt: skip
def test_an_override_or_the_same_key_elsewhere_is_none(tmp_path: Path, text: str, data: Any) -> None:
    if data is None:
        with pytest.raises(Problem, match="has no settings"):
            read(tmp_path, text)
    else:
        assert read(tmp_path, text) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"),
        ("true", True), ("False", False),
        ("0600", "0600"), ("1_000", "1_000"), ("0x10", "0x10"), ("12:30", "12:30"), ("5.10", 5.1),
        ("5433", 5433), ("-1", -1), ("0", 0), ("~", None), ("", None),
        ("2026-01-01", "2026-01-01"), ("2026-99-99", "2026-99-99"), ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
        ("=", "="), ("1_0.5", "1_0.5"), ("190:20:30.15", "190:20:30.15"), ("1.", 1.0), ("+.5", 0.5), ("1e3", 1000.0),
        ("-1.5E-1", -0.15), ("1e", "1e"), (".", "."), (".inf", float("inf")), ("5.8.0", "5.8.0"), ("07.5e", "07.5e"),
    ],
)  # fmt: skip
def test_a_word_or_a_number_is_what_editors_take_it_for(tmp_path: Path, text: str, value: Any) -> None:
    found = read(tmp_path, f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("line", ["a: !!bool maybe", "a: !!timestamp soon", "!!set a: 1", "!!omap a: 1", "a: !!int b"])
def test_a_tag_that_its_value_does_not_go_with_is_reported_in_one_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(Problem, match=r"is not YAML.*Compare it with") as caught:
        read(tmp_path, f"{line}\n")
    assert "\n" not in str(caught.value)


def test_a_page_speaks_norwegian(tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / "move.example.yaml").read_text()
    (tmp_path / "move.yaml").write_text(f"{example}    no: Vi flytter.\n")
    assert load(tmp_path / "move.yaml").maintenance.texts["no"] == "Vi flytter."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pgbouncer: {keep: yes}", "pgbouncer.keep: true or false, not 'yes'"),
        ("relay: 05433", "relay: a whole number, not '05433'"),
        ("retire: {quiet: 24:00}", "retire.quiet: a whole number, not '24:00'"),
    ],
)
def test_what_yaml_would_have_made_something_else_of_is_said(tmp_path: Path, line: str, said: str) -> None:
    example = (Path(__file__).parents[2] / "move.example.yaml").read_text()
    (tmp_path / "move.yaml").write_text(f"{example}\n{line}\n")
    with pytest.raises(Problem, match="1 to fix") as caught:
        load(tmp_path / "move.yaml")
    assert said in str(caught.value)
