"""Who rotates the application's logs on new: its own configuration, one that the move brings, or somebody else."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from switchover.checklist import prepare_new
from switchover.desired import Nothing
from switchover.hosts import Answer
from switchover.move import Move
from switchover.resources import Command, File

OWN = f"ofn:ofn 644\n{base64.b64encode(b'log/*.log {}').decode()}"


@pytest.mark.parametrize(
    ("its_own", "named", "kinds"),
    [
        ("absent", False, [File, Command]),  # nobody: one is brought, and tried
        (OWN, False, [Command]),  # its own is tried
        (OWN, True, [Command]),
        ("absent", True, [Nothing]),  # a file in /etc/logrotate.d names its logs
    ],
)
def test_a_configuration_is_brought_where_nobody_rotates_its_logs(
    here: Callable[..., Move], monkeypatch: pytest.MonkeyPatch, its_own: str, named: bool, kinds: list[type]
) -> None:
    move = here()
    ask = move.new.look

    def look(script: str, *, check: bool = True, on_line: object = None) -> Answer:
        if "/etc/logrotate.d" in script:
            return Answer("", "", 0 if named else 1)
        if script.startswith("p="):  # what the file says
            return Answer(its_own, "", 0)
        return ask(script, check=check, on_line=on_line)

    monkeypatch.setattr(move.new, "look", look)
    desired = prepare_new.logs_rotate.body(move)
    assert [type(part) for part in (desired if isinstance(desired, list) else [desired])] == kinds
