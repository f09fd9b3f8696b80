"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from here import BASE, Here, right

from switchover.journal import Journal
from switchover.move import Move
from switchover.settings import Settings, check


@pytest.fixture
def data() -> dict[str, Any]:
    """Settings without a fault."""
    return right()


@pytest.fixture
def settings() -> Settings:
    """Settings without a fault, read."""
    return check(right(), "move.yaml")


@pytest.fixture
def here(tmp_path: Path, settings: Settings) -> Callable[..., Move]:
    """Makes a move (each call another command's) whose servers are this machine; `dry=True` under --dry."""

    def make(given: Settings = settings, **options: Any) -> Move:
        move = Move(given, **options)
        for name in ("old", "new"):
            server = Here(name, getattr(given, name), dry=move.dry)
            server.root = tmp_path / name
            server.root.mkdir(exist_ok=True)
            setattr(move, name, server)
        move.journal = Journal(move.journal.identity, move.servers, BASE)
        return move

    return make


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What steps change."""
    path = tmp_path / "a.conf"
    path.write_text("old\n")
    return path
