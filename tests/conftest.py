"""Chance is drawn once for a whole run, and printed, so that it can be repeated."""

from __future__ import annotations

import os
import secrets

import pytest

SEED = "SWITCHOVER_KILLS_SEED"


def pytest_configure(config: pytest.Config) -> None:
    """Draws the seed before workers are started, which then have it too."""
    del config
    os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))


def pytest_report_header(config: pytest.Config) -> str:
    """Says the seed, whatever comes of the tests."""
    del config
    return f"{SEED}={os.environ[SEED]}"
