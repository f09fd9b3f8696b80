"""A whole move and its undo where nothing runs that need not: no worker, crontab, monitor, firewall, deploys or git."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import works

from lab.judging.shellcheck import faults, recorded_scripts
from lab.rehearsal import Plan, run_move
from lab.servers import Lab
from lab.world import BARE
from switchover.settings import load

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]

MISSING = ("git", "ufw", "monit", "crontab", "whenever")  # programs that neither server has
# Steps that have nothing to do where a part is of kind `none`, and what they say of it.
NOTHING = {
    "prepare-old.firewall-on": "old's firewall is left alone, as old.firewall.kind is none",
    "prepare-old.firewall": "old's firewall is left alone, as old.firewall.kind is none",
    "prepare-old.pushes-refused": "deploys to old are left alone, as old.deploys.kind is none",
    "prepare-old.pushes-ended": "deploys to old are left alone, as old.deploys.kind is none",
    "prepare-new.deploy-hook": "deploys to new are left alone, as new.deploys.kind is none",
    "switch-jobs.monit-off": "old has no monitor, as old.watch.kind is none",
    "switch-jobs.stop-old": "old has no worker, as old.worker.kind is none",
    "switch-jobs.start-new": "new has no worker, as new.worker.kind is none",
    "switch-jobs.log-shows-a-job": "new has no worker, as new.worker.kind is none",
    "switch-app.monit-off": "old has no monitor, as old.watch.kind is none",
    "switch-cron.cleared": "old has no regular tasks, as old.schedule.kind is none",
    "switch-cron.installed": "new has no regular tasks, as new.schedule.kind is none",
    "switch-cron.deploy-hook": "deploys to new are left alone, as new.deploys.kind is none",
    "switch-db.stop-worker": "new has no worker, as new.worker.kind is none",
    "switch-db.monit-off": "new has no monitor, as new.watch.kind is none",
    "switch-db.monit-on": "new has no monitor, as new.watch.kind is none",
    "switch-db.start-worker": "new has no worker, as new.worker.kind is none",
    "finish.deploy-hook": "deploys to new are left alone, as new.deploys.kind is none",
    "finish.pushes-answered": "deploys to old are left alone, as old.deploys.kind is none",
    "finish.monit": "new has no monitor, as new.watch.kind is none",
    "finish.monit-certificate": "new has no monitor, as new.watch.kind is none",
}


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, world=BARE, strategy="copy") as running:
        yield running


def test_neither_server_has_what_is_not_needed(lab: Lab) -> None:
    for server in lab.servers:
        look = "; ".join(f"command -v {program}" for program in MISSING)
        assert server.exec(f"{look}; ls -d {lab.world.site(server.role).app}/.git", check=False).stdout == ""
    settings = load(lab.settings)
    for role in (settings.old, settings.new):
        parts = (role.worker, role.code, role.watch, role.schedule, role.deploys, role.firewall)
        assert {part.kind for part in parts} == {"none"}
    assert settings.ci is None


def test_what_has_nothing_to_do_says_why(lab: Lab) -> None:
    checked = works(lab, "check").out
    assert "✗" not in checked
    assert all(f"✓ {role}: there is no worker" in checked for role in ("old", "new"))
    ran = works(lab, "--dry", "move")
    assert {step for step in NOTHING if ran.outcomes[step] != "nothing"} == set()
    # Where the terminal is narrow a line breaks in the middle of a word.
    shown = "".join(works(lab, "status").out.split())
    for why in {*NOTHING.values()}:
        assert f"({why})" in ran.out
        assert why.replace(" ", "") in shown


def test_a_whole_move_and_its_undo(lab: Lab, tmp_path: Path) -> None:
    """Visitors see the page for a while, and no error; each job runs once, in the request that brings it."""
    found = run_move(lab, Plan(tmp_path, rate=20, with_undo=True, slow_job=0, big_upload=(5, 3), page_grace=60))
    assert found.problems == []
    recorded = recorded_scripts(lab.hosts)
    assert len(recorded) > 100 and {"old", "new"} <= {name.partition("/")[0] for name in recorded}
    assert faults(recorded) == ""
    assert found.looked_at > 1000
    data = found.as_json()
    assert data["deploys"] == {"refused": 0, "by_ci": 0}
    assert (data["cron"]["expected"], data["cron"]["by_host"]) == (0, {})
    assert set(data["jobs"]["by_host"]) == {"prod1.shop.test", "prod2.shop.test"}
    assert all(data["orders"]["by_database"].values())
    names = [span.name for span in found.spans if not span.quiet]
    assert (names[0], names[-1]) == ("check", "undo dns-prepare")
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["step"] for event in told if event.get("outcome") == "nothing"} >= {*NOTHING}
    assert {event["step"] for event in told if event.get("outcome") in {"done", "failed"}} & {*NOTHING} == set()
