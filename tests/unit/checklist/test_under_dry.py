"""What steps show under --dry, where an earlier step would have changed what they look at."""

from __future__ import annotations

from collections.abc import Callable

from here import right

from switchover.checklist import switch_db
from switchover.move import Move
from switchover.resources import Service
from switchover.settings import check


def test_application_and_worker_are_two_services_that_start_at_boot_again(here: Callable[..., Move]) -> None:
    data = right() | {"strategy": "copy"}
    data["new"]["worker"] = {"kind": "service", "service": "shop-worker"}
    move = here(check(data, "move.yaml"), dry=True)
    move.would_change.add("switch-db.boot-off")
    app, worker = switch_db.boot_on.desired(move)
    assert [app.part, worker.part] == [f"service {move.new.app.service}", "service shop-worker"]
    shown = [part.change().diff for part in (app, worker)]
    assert shown == [f"systemctl enable {move.new.app.service}", "systemctl enable shop-worker"]
    # As the step itself shows it, where a look finds that neither does.
    for part, text in zip((move.new.app.boots(True), move.new.worker.boots(True)), shown, strict=True):
        assert isinstance(part, Service) and part.plan(running=False, at_boot=False).diff == text
