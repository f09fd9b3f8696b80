"""Pushes that are refused: what somebody who pushes to old reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from recorded_server import Made

from switchover.resources.file import Absent, File, FileState
from switchover.site.deploys import Notice

NOTICE = Notice("Thu 8 Feb 2018", "anna@laptop", "shop.test")


def pushed(file: object) -> str:
    """What the hook says, which ends with a failure."""
    assert isinstance(file, File) and file.path.endswith("/hooks/pre-receive")
    ran = subprocess.run(["sh", "-c", file.content.decode()], input="", capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr == ""
    return ran.stdout


def test_while_the_site_moves(server: Made) -> None:
    (hook,) = server().deploys.refused(NOTICE)  # type: ignore[misc]
    said = pushed(hook)
    assert "[Thu 8 Feb 2018] anna@laptop is moving shop.test to a new server." in said and "set-url" not in said


def test_when_it_has_moved_it_names_the_new_address(server: Made, tmp_path: Path) -> None:
    new = server(role="new", deploys={"name": "live"})
    (hook,) = server().deploys.refused(NOTICE, new.deploys)  # type: ignore[misc]
    assert f"git remote set-url live ofn@prod2.example.org:{tmp_path}/app\n" in pushed(hook)


def test_when_it_has_moved_to_where_nobody_pushes_it_names_none(server: Made) -> None:
    new = server(role="new", deploys={"kind": "none"})
    (hook,) = server().deploys.refused(NOTICE, new.deploys)  # type: ignore[misc]
    said = pushed(hook)
    assert "[Thu 8 Feb 2018] We have a new production server.\n" in said and "set-url" not in said


@pytest.mark.parametrize("before", [None, FileState(None), FileState(b"#!/bin/sh\n", "ofn:ofn", "700")])
def test_at_the_end_the_hook_is_as_it_was(server: Made, before: FileState | None) -> None:
    deploys, hook = server(role="new").deploys.complete(lambda path: before)  # type: ignore[misc]
    assert isinstance(deploys, File) and b"db:migrate" in deploys.content
    if before and before.content is not None:
        assert isinstance(hook, File) and (hook.content, hook.owner, hook.mode) == (b"#!/bin/sh\n", "ofn:ofn", "700")
    else:
        assert isinstance(hook, Absent)
