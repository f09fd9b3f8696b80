"""The fixture `server`."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from here import right
from recorded_server import AS_ANOTHER, RECORDED, Made, Prints, Recorded

from switchover.settings import check


@pytest.fixture
def server(tmp_path: Path) -> Made:
    """Makes a server: the beginning of a command -> the file that it prints, with its exit status where it fails.

    Its application's directory is `app` of the test's; *parts*: other settings than those of `right`.
    """

    def make(prints: Prints | None = None, role: str = "old", **parts: Any) -> Recorded:
        home, programs = tmp_path / "app", tmp_path / f"{role}-programs"
        home.mkdir(exist_ok=True)
        programs.mkdir()
        by_program: dict[str, list[str]] = {}
        for command, output in (prints or {}).items():
            file, status = output if isinstance(output, tuple) else (output, 0)
            prints_it = f"cat '{RECORDED / file}'{' >&2' * (status > 0)}; exit {status}"
            by_program.setdefault(command.split()[0], []).append(f"'{command}'*) {prints_it};;")
        bodies = {
            program: "\n".join([f'case "{program} $*" in', *cases, f'*) echo "{program} $*" >&2; exit 99;;', "esac"])
            for program, cases in by_program.items()
        }
        for program, body in ({"runuser": AS_ANOTHER} | bodies).items():
            (programs / program).write_text(f"#!/bin/sh\n{body}\n")
            (programs / program).chmod(stat.S_IRWXU)
        data = right()
        for name in ("old", "new"):
            data[name] |= parts
            data[name]["app"] = data[name]["app"] | {"path": str(home)}
        made = Recorded(role, getattr(check(data, "move.yaml"), role))
        made.programs = programs
        return made

    return make
