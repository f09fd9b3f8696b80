"""The lab tests boot servers: they need root. Their lab has a name of its own, beside one that a person has up.

Run by several workers (pytest -n 2), each has its own lab.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from lab import place
from lab.machine import clean

# Begun first, so that no worker is left alone with one at the end. Moves under visitors alternate with modules that
# wait for servers, since two moves at a time want more than two processors.
LONGEST = (
    *("test_bare_move", "test_contracts", "test_move_of_services", "test_switch_db", "test_whole_move_held"),
    *("test_sections", "test_rehearsal", "test_replicate", "test_whole_move", "test_bad_days", "test_week_after"),
    *("test_real_hosts", "test_pgbouncer", "test_crash_points"),
)
NAME = os.environ.get("SWITCHOVER_TEST_LAB", "test") + os.environ.get("PYTEST_XDIST_WORKER", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules in the order in which workers take them."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def lab_name() -> Iterator[str]:
    """The name of the tests' lab, in the environment; nothing of it is there before and after."""
    if os.geteuid() != 0:
        pytest.skip("booting servers takes root")
    before = os.environ.get("SWITCHOVER_LAB_NAME")
    os.environ["SWITCHOVER_LAB_NAME"] = NAME
    clean.sweep()
    yield NAME
    clean.clear(place.place())
    shutil.rmtree(place.place().states, ignore_errors=True)
    if before is None:
        del os.environ["SWITCHOVER_LAB_NAME"]
    else:
        os.environ["SWITCHOVER_LAB_NAME"] = before


def pytest_exception_interact(node: pytest.Item, call: pytest.CallInfo[object], report: pytest.TestReport) -> None:
    """A lab that a signal ends leaves with SystemExit; for pytest that is one failed test among others."""
    del node, report
    if call.excinfo is not None and isinstance(call.excinfo.value, SystemExit):
        pytest.exit("ended by a signal", returncode=int(call.excinfo.value.code or 1))
