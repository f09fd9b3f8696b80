"""The codes of refusals: each is raised somewhere, the page has the same, and a program shows them."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest
from conftest import PROGRAMS

PAGE = Path(__file__).parents[3] / "docs/refusals.md"


def test_the_page_has_every_code_and_what_to_do(modules: types.SimpleNamespace) -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| SW")]
    codes = modules.refusals.CODES.items()
    assert rows == [[code, *meaning[:2], "yes" if meaning.waiting else "no"] for code, meaning in codes]


def test_every_code_is_raised_and_none_is_unknown(modules: types.SimpleNamespace) -> None:
    """A code stands in no other place than where something is refused."""
    programs = [file for file in PROGRAMS.iterdir() if file.name != "refusals.py" and file.is_file()]
    raised = {code for file in programs for code in re.findall(r'"(SW\d\d)"', file.read_text())}
    # What no program expects is refused in refusals.py, for all of them.
    assert raised | {"SW18", "SW19"} == set(modules.refusals.CODES)


@pytest.mark.parametrize(("code", "status"), [("SW06", 3), ("SW03", 5)])
def test_a_refusal_is_one_line_with_its_code_and_what_to_do(
    modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    """Whether waiting helps is the exit status."""

    def main() -> int:
        raise modules.refusals.Refused(code, "it is so")

    with pytest.raises(SystemExit) as ended:
        modules.refusals.run(main)
    action = modules.refusals.CODES[code].action
    assert (ended.value.code, capsys.readouterr().err) == (status, f"{code}: it is so. {action}\n")


@pytest.mark.parametrize("code", ["SW18", "SW19"])
def test_what_no_program_expects_is_a_refusal_too(
    modules: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    kind = OSError if code == "SW18" else modules.Error

    def main() -> int:
        raise kind("could not connect\nIs the server running?")

    with pytest.raises(SystemExit) as ended:
        modules.refusals.run(main)
    assert ended.value.code == 3 and capsys.readouterr().err.startswith(f"{code}: could not connect. ")
