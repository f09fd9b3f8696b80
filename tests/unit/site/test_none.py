"""The kind `none` of each room: nothing is done, no server is asked, and a line says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab import settings
from lab.world import BARE
from switchover.desired import Nothing
from switchover.server import Server
from switchover.settings import check
from switchover.site.deploys import Notice

NOTICE = Notice("Thu 8 Feb 2018", "ann@laptop", "shop.test")


def _nothing(*_: Any) -> None:
    raise AssertionError("it was asked")


# What each room promises: its verbs, all of them.
VERBS: dict[str, list[Callable[[Any], Any]]] = {
    "worker": [
        lambda worker: worker.running(),
        lambda worker: worker.stopped(),
        lambda worker: worker.stopped(record_only=True),
        lambda worker: worker.boots(True),
        lambda worker: worker.boots(False),
        lambda worker: worker.seen_working(60),
    ],
    "deploys": [
        lambda deploys: deploys.refused(NOTICE),
        lambda deploys: deploys.refused(NOTICE, to=deploys),
        lambda deploys: deploys.ended(),
        lambda deploys: deploys.accepted(NOTICE, cron=True),
        lambda deploys: deploys.complete(_nothing),
        lambda deploys: deploys.remote(None, None),
        lambda deploys: deploys.deploys(None, None),
    ],
    "schedule": [
        lambda schedule: schedule.cleared(),
        lambda schedule: schedule.installed(schedule, "", {}),
    ],
    "monitor": [
        lambda monitor: monitor.forgets_application(),
        lambda monitor: monitor.forgets_application(record_only=True),
        lambda monitor: monitor.forgets_worker(),
        lambda monitor: monitor.remembers_application(_nothing),
        lambda monitor: monitor.watches(_nothing),
        lambda monitor: monitor.watches_program("certificate-age", ""),
    ],
    "firewall": [
        lambda firewall: firewall.on(),
        lambda firewall: firewall.lets_in(["10.77.0.12"], 5433),
    ],
}
ALL = [(room, number) for room, verbs in VERBS.items() for number in range(len(verbs))]


@pytest.fixture(params=["old", "new"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server where all that can be is of kind `none`; nobody may ask it anything."""
    monkeypatch.setattr(Server, "look", _nothing)
    monkeypatch.setattr(Server, "change", _nothing)
    read = check(settings.settings(BARE), "move.yaml")
    return Server(request.param, getattr(read, request.param))


@pytest.mark.parametrize(("room", "number"), ALL)
def test_nothing_is_wanted_and_a_line_says_why(server: Server, room: str, number: int) -> None:
    desired = VERBS[room][number](getattr(server, room))
    assert isinstance(desired, Nothing)
    assert desired.why.startswith(server.role) or f"to {server.role}" in desired.why
    assert "\n" not in desired.why and len(desired.why) < 100


def test_no_program_is_needed_for_it(server: Server) -> None:
    tools = {tool for part in server.parts for tool in part.tools}
    assert tools == {"nginx"}
    assert server.worker.watched() is None and not server.monitor.starts_worker
    assert server.worker.queue(server, "shop") == {} and server.schedule.on_deploy is None
    assert server.worker.restart() == ":"
    assert "worker() { :; }" in server.worker.on_deploy()
