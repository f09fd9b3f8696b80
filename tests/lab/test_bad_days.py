"""Bad days of a move, one after the other on the same two servers: full disks, cut connections, reboots, a broken
nginx, edits by others, two operators, other clones, damaged journals. Each is told in one line, and the move goes on.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from by_hand import (
    JOURNAL,
    ROOT,
    UNCHANGED,
    Operator,
    cut,
    differences,
    fails,
    full_database_disk,
    inv,
    looks,
    one_line,
    order,
    recorded,
    thorough,
    works,
)

from lab.judging.inventory import Inventory
from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="copy") as running:
        yield running


def server(lab: Lab, role: str) -> LabServer:
    """`old` or `new`."""
    return lab.old if role == "old" else lab.new


def comes(host: LabServer, step: str, command: subprocess.Popen[str]) -> None:
    """Waits until *step* is recorded on a server, and not undone, while *command* runs."""
    look = f"for e in {JOURNAL}/*-{step}; do [ ! -d $e ] || [ -e $e/undone ] || exit 0; done; exit 1"
    seen: Callable[[], bool] = lambda: host.exec(look, check=False).returncode == 0  # noqa: E731
    until(lambda: seen() or command.poll() is not None, 90, f"{step} does not come", pause=0.005)
    assert command.poll() is None, command.communicate()


@contextmanager
def broken_nginx(host: LabServer) -> Iterator[None]:
    """Somebody else's site has an error."""
    path = "/etc/nginx/sites-enabled/somebody-elses"
    host.exec(f"echo 'server {{ listen 81; nonsense on; }}' >{path}")
    try:
        yield
    finally:
        host.exec(f"rm {path}")


# --- before anything is done -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untouched(lab: Lab) -> dict[str, Inventory]:
    """Both servers before anything is done."""
    return looks(lab)


@pytest.mark.parametrize(
    ("role", "kilobytes", "said"),
    [
        ("old", 12, "journal could not be written"),
        ("new", 4, "lock could not be taken"),
        thorough("new", 12, "journal could not be written"),
        thorough("old", 4, "lock could not be taken"),
    ],
)
def test_a_full_disk_is_reported_and_nothing_is_changed(
    lab: Lab, untouched: dict[str, Inventory], role: str, kilobytes: int, said: str
) -> None:
    """There is room for the lock and no more, or not even for that."""
    host = server(lab, role)
    step = "prepare-old.key" if role == "new" else "prepare-old.firewall"
    host.exec(f"mkdir -p {JOURNAL} && mount -t tmpfs -o size={kilobytes}k switchover-full {JOURNAL}")
    try:
        if kilobytes == 4:
            host.exec(f"head -c 4096 /dev/zero >{JOURNAL}/somebodys")
        line = fails(lab, step)
    finally:
        host.exec(f"umount {JOURNAL}; rm -rf /var/lib/switchover")
        server(lab, "old" if role == "new" else "new").exec("rm -rf /var/lib/switchover")
    assert line.startswith(f"{host}: the {said}") and "No space left on device" in line
    assert differences(lab, untouched, journal=False, within=12, but=("process ", "rows of ")) == []


@pytest.mark.parametrize("role", ["old", thorough("new")])
def test_check_finds_an_nginx_that_is_broken(lab: Lab, role: str) -> None:
    with broken_nginx(server(lab, role)):
        ran = inv(lab, "check")
    assert ran.status == 1 and f"✗ {role}: nginx refuses its configuration (" in ran.out
    assert 'unknown directive "nonsense"' in ran.out
    assert ran.err.splitlines() == ["1 blocker. Fix every line marked ✗, then run `inv check` again."]


# --- prepare-old: two operators, and both servers rebooted -------------------------------------------------------


def test_a_second_operator_sees_who_is_at_work(lab: Lab) -> None:
    """And goes on by `inv unlock` when the first one's machine is gone for good."""
    laptop = ("unshare", "--uts", "sh", "-c", 'hostname annas-laptop; exec "$@"', "sh")
    first = Operator(lab, through=laptop).start("prepare-old")
    comes(lab.new, "prepare-old.key", first)
    first.send_signal(signal.SIGSTOP)  # it takes its time
    line = fails(lab, "prepare-old")
    assert (
        "root@annas-laptop has been at work here since 20" in line and "(prepare-old)" in line and "inv unlock" in line
    )
    assert "annas-laptop has been at work since" in works(lab, "status").out
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert "annas-laptop has been at work here" in fails(lab, "prepare-old")
    assert "annas-laptop" in fails(lab, "undo", "--yes")
    assert "still locked" in fails(lab, "unlock")  # nobody answers its question
    works(lab, "unlock", "--yes")
    assert "not locked" in works(lab, "unlock").out
    works(lab, "prepare-old")


def test_the_lock_of_a_command_that_died_here_is_taken_over(lab: Lab) -> None:
    works(lab, "undo", "--yes", "prepare-old")
    first = Operator(lab).start("prepare-old")
    comes(lab.old, "prepare-old.access", first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert lab.old.exec(f"[ -d {JOURNAL}/lock ]", check=False).returncode == 0
    works(lab, "prepare-old")


@pytest.mark.thorough
def test_both_are_rebooted_after_prepare_old(lab: Lab) -> None:
    lab.old.reboot()
    lab.new.reboot()
    works(lab, "prepare-old.database-answers", "prepare-old.files-pass")


# --- prepare-new: a broken nginx, a cut connection, another clone, damaged journals ------------------------------


@pytest.mark.thorough
def test_prepare_new_leaves_a_broken_nginx_alone(lab: Lab) -> None:
    sites = lab.new.exec("ls /etc/nginx/sites-enabled").stdout.split()
    with broken_nginx(lab.new):
        line = fails(lab, "prepare-new")
        assert line.startswith(f"{lab.new}: prepare-new.site failed: the configuration on new is already invalid")
        assert "nonsense" in line and "The change was undone" in line
        assert lab.new.exec("ls /etc/nginx/sites-enabled").stdout.split() == [*sites, "somebody-elses"]


def test_the_connection_is_cut_while_the_application_restarts(lab: Lab) -> None:
    command = Operator(lab).start("prepare-new")
    comes(lab.new, "prepare-new.restart", command)
    cut(lab.new)
    out, err = command.communicate()
    line = one_line(command.returncode, out, err)
    assert line.startswith(f"{lab.new}: the connection was lost (") and "Run the same command again" in line
    assert works(lab, "prepare-new").outcomes["prepare-new.restart"] == "finished"
    order(lab, "bad-1")


@pytest.mark.thorough
def test_new_is_rebooted_after_prepare_new(lab: Lab) -> None:
    lab.new.reboot()
    works(lab, "prepare-new.answers", "prepare-new")


@pytest.fixture(scope="module")
def colleague(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Has a clone of the repository, with the same settings in move.yaml."""
    home = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "tests", "lab")
    shutil.copytree(ROOT, home, dirs_exist_ok=True, ignore=ignored)
    data = yaml.safe_load(lab.settings.read_text())
    data["ssh_config"] = str(lab.ssh_config)
    (home / "move.yaml").write_text(yaml.safe_dump(data))
    return Operator(lab, home / "move.yaml", checkout=home)


@pytest.mark.thorough
def test_another_clone_undoes_and_continues(lab: Lab, colleague: Operator) -> None:
    colleague.works("undo", "--yes", "prepare-new")
    assert "switchover" not in lab.new.exec("ls /etc/nginx/sites-enabled").stdout.split()
    works(lab, "prepare-new.code", "prepare-new.carried-files")
    colleague.works("prepare-new")
    repeated = works(lab, "prepare-new")
    assert repeated.outcomes and set(repeated.outcomes.values()) <= UNCHANGED


def test_a_half_written_entry_is_passed_over(lab: Lab) -> None:
    """The record was cut short: its name is not yet that of an entry."""
    half = f"{JOURNAL}/.new-0999-switch-jobs.stop-old"
    lab.old.exec(f"mkdir -p {half}/before && printf '{{\"num' >{half}/entry.json")
    works(lab, "status")
    works(lab, "prepare-new")
    lab.old.exec(f"rm -r {half}")


def test_an_entry_cut_short_is_reported(lab: Lab) -> None:
    """As a file system may leave it after a power cut."""
    entry = f"{JOURNAL}/{[e for e in recorded(lab) if e.server is lab.new][-1].name}/entry.json"
    text = lab.new.exec(f"cat {entry}").stdout
    for rest in ("", text[:40]):
        lab.new.exec(f"cat >{entry}", rest)
        for words in (["status"], ["undo", "--yes"], ["switch-jobs"]):
            line = fails(lab, *words)
            assert line.startswith(f"{lab.new}: an entry of the journal cannot be read"), line
            assert JOURNAL in line
    lab.new.exec(f"cat >{entry}", text)
    works(lab, "status")


def test_the_journal_of_another_move_is_reported(lab: Lab, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.settings.read_text())
    data["ssh_config"] = str(lab.ssh_config)
    data["new"]["address"] = ["10.77.0.99"]
    other = tmp_path / "move.yaml"
    other.write_text(yaml.safe_dump(data))
    for words in (["status"], ["undo", "--yes"], ["switch-jobs"]):
        line = fails(lab, *words, settings=other)
        assert "is of another move (10.77.0.11 -> 10.77.0.12)" in line and "10.77.0.99" in line


# --- switch-jobs: both servers rebooted --------------------------------------------------------------------------


def runs_worker(host: LabServer) -> bool:
    """Whether a worker runs there."""
    return host.exec("pgrep -f '^delayed_job'", check=False).returncode == 0


@pytest.mark.thorough
def test_both_are_rebooted_after_switch_jobs(lab: Lab) -> None:
    """Old's worker stays away; new's comes when the same command is given again."""
    works(lab, "switch-jobs")
    lab.old.reboot()
    lab.new.reboot()
    works(lab, "switch-jobs")
    assert runs_worker(lab.new) and not runs_worker(lab.old)


# --- switch-app: a broken nginx, an edited file ------------------------------------------------------------------

SITE = f"/etc/nginx/sites-available/{OLD.name}"


@pytest.mark.thorough
def test_switch_app_leaves_a_broken_nginx_alone(lab: Lab) -> None:
    before = lab.old.exec(f"cat {SITE}").stdout
    with broken_nginx(lab.old):
        line = fails(lab, "switch-app")
        assert line.startswith(f"{lab.old}: switch-app.proxy failed: the configuration on old is already invalid")
        assert lab.old.exec(f"cat {SITE}").stdout == before
        order(lab, "bad-2")


def test_an_edited_file_is_not_overwritten(lab: Lab) -> None:
    works(lab, "switch-jobs", "switch-app.uploads", "switch-app.proxy")
    lab.old.exec(f"echo '# by anna' >>{SITE}")
    ran = inv(lab, "switch-app.proxy")
    line = one_line(ran.status, ran.out, ran.err)
    assert line.startswith(f"{lab.old}: {SITE} was edited since switch-app.proxy wrote it")
    assert "      -# by anna" in ran.out.splitlines()
    line = fails(lab, "undo", "--yes", "switch-app")
    kept = f"Keep that edit elsewhere, then copy the file from before over it: {JOURNAL}/"
    assert f"{SITE} was edited since. {kept}" in line
    assert lab.old.exec(f"tail -n 1 {SITE}").stdout == "# by anna\n"
    order(lab, "bad-3")
    lab.old.exec(f"sed -i '$d' {SITE}")
    works(lab, "undo", "--yes", "switch-app")
    works(lab, "switch-app")


# --- switch-db: a full disk, reboots, a cut connection -----------------------------------------------------------


def test_the_disk_of_new_fills_up_while_the_database_is_copied(lab: Lab) -> None:
    """Visitors go on with old's database after undo."""
    with full_database_disk(lab.new, 9):
        line = fails(lab, "switch-db")
        assert line.startswith(f"{lab.new}: switch-db.copy failed: ") and "The change was undone" in line
        works(lab, "undo", "--yes", "switch-db")
    order(lab, "bad-4")
    assert lab.old.psql("SELECT count(*) FROM orders WHERE number = 'bad-4'", OLD.database) == "1"
    assert runs_worker(lab.new)


@pytest.mark.thorough
def test_reboots_under_the_maintenance_page(lab: Lab) -> None:
    """The page stays, and the application does not come back with the old database."""
    steps = ("stop-worker", "monit-off", "boot-off", "fence", "page-on")
    works(lab, *[f"switch-db.{step}" for step in steps])
    lab.old.reboot()
    lab.new.reboot()
    works(lab, "switch-db.stop-app")
    lab.new.reboot()
    status = "curl -s -o /dev/null -w '%{http_code} %header{retry-after}' https://shop.test/"
    assert lab.new.exec(status).stdout.split()[0] == "503"
    assert lab.new.exec(f"systemctl is-active unicorn_{NEW.name}", check=False).stdout.strip() != "active"


@pytest.mark.thorough
def test_the_connection_is_cut_while_the_database_is_copied(lab: Lab) -> None:
    command = Operator(lab).start("switch-db")
    comes(lab.new, "switch-db.copy", command)
    cut(lab.new)
    out, err = command.communicate()
    assert "the connection was lost (" in one_line(command.returncode, out, err)
    works(lab, "switch-db")
    order(lab, "bad-5")
    found = lab.new.psql("SELECT number FROM orders WHERE number LIKE 'bad-%' ORDER BY 1", NEW.database).split()
    assert found == [f"bad-{n}" for n in range(1, 6)]
    assert runs_worker(lab.new)


@pytest.mark.thorough
def test_the_journal_holds_each_change_once(lab: Lab) -> None:
    """After all of it no change stands twice but one, none is half done, and status knows it."""
    entries = recorded(lab)
    assert [entry.name for entry in entries if entry.state == "recorded"] == []
    standing = [(entry.step, entry.server.role, entry.part) for entry in entries if entry.state == "done"]
    assert len(standing) > 20
    # New's worker was started again after a reboot.
    assert {change for change in standing if standing.count(change) > 1} == {("switch-jobs.start-new", "new", "")}
    shown = json.loads(works(lab, "status", "--json").out)
    states = {one["step"]: one["state"] for part in shown["sections"] for one in part["steps"]}
    assert "interrupted" not in states.values()
    assert states["switch-db.copy"] == "done"
