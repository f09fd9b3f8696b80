"""What each room of a site promises, kept by each of its kinds on real servers.

A new kind is one parameter more: a `Case`, with a site whose servers have it. Two sites live on the same two servers,
one run as usual, one by services; a case may change what the settings say. What is wanted is made true by the life of a
step, and taken back by the undo that was recorded.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml

from lab import settings
from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.visitors import deploys as pushes
from lab.world import MARKET, SHOP, Deployment, Role, Site
from switchover.checklist import prepare_new, prepare_old
from switchover.desired import Desired, Nothing, Resource
from switchover.errors import Problem
from switchover.journal import FUNCTIONS
from switchover.move import Move
from switchover.section import SECTIONS
from switchover.server import Server
from switchover.settings import load
from switchover.site.certificate import Certificate, copied
from switchover.site.deploys import Notice
from switchover.step import run_step, step

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]

WORLD = replace(SHOP, sites=(*SHOP.sites, replace(MARKET, pushers={}, installed="services")))
USUAL, SERVICES = "shop.test", "market.test"
NOTICE = Notice("Thu 8 Feb 2018", "ann@laptop", "shop.test")
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """A kind, as the site *domain* has it; *changed*: keys of both servers' settings that say something else."""

    name: str
    domain: str
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def deployment(self) -> Deployment:
        return WORLD.deployment(self.domain)

    def site(self, role: Role) -> Site:
        return self.deployment.servers[role]


def each(*cases: Case) -> Any:
    """The test's parameter `case`."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, world=WORLD) as running:
        yield running


@pytest.fixture
def move(lab: Lab, case: Case) -> Iterator[Move]:
    """The move of the case's site: nothing of it is done."""
    said = deepcopy(settings.settings(WORLD, site=case.domain))
    for role, part in itertools.product(("old", "new"), case.changed):
        said[role][part] = case.changed[part]
    file = lab.settings.with_name(f"contract-{next(NUMBERS)}.yaml")
    file.write_text(yaml.safe_dump(said))
    opened = Move(load(file))
    yield opened
    reverted(opened)
    for server in opened.servers:
        server.change(f"rm -rf /var/lib/switchover/{case.domain}")
        server.close()


# --- what a test does ------------------------------------------------------------------------------------------------


def made(move: Move, desired: Desired) -> str:
    """Makes it true as a step does. Gives the step's line, by which it is taken back."""

    def contract(_: Move) -> Desired:
        """A contract is kept."""
        return desired

    one = step(contract)
    one.heading, one._name = SECTIONS["finish"], f"contract-{next(NUMBERS)}"
    run_step(move, one)
    return one.line


def already(move: Move, desired: Desired) -> bool:
    """Whether it is true by itself: a step would change nothing."""

    def contract(_: Move) -> Desired:
        return desired

    one = step(contract)
    one.heading, one._name = SECTIONS["finish"], f"contract-{next(NUMBERS)}"
    parts, _ = one.parts_and_why(move)
    return all(part.change() is None for part in parts if isinstance(part, Resource))


def reverted(move: Move, line: str = "") -> None:
    """The recorded undo of a step, or of all, newest first."""
    for entry in move.journal.active(line):
        answer = move.journal.undo(entry)
        assert answer.status == 0, answer.last_error


def true(server: Server, script: str) -> bool:
    """Whether sh of a kind succeeds there."""
    return server.look(f"{FUNCTIONS}\n{script}", check=False).status == 0


def started(server: Server) -> None:
    """Its worker runs, whatever the test before has left."""
    answer = server.change(f"{FUNCTIONS}\n{server.worker.starting().sh}")
    assert answer.status == 0, answer.last_error


def address(lab: Lab, case: Case, role: Role, path: str) -> str:
    """For curl: a page of the site on that server."""
    domain, to = case.site(role).domain, lab.server(role).address4
    return f"--resolve {domain}:443:{to} https://{domain}{path}"


def slow_job(lab: Lab, case: Case, seconds: float) -> str:
    """Queues a job on old that takes so long: its number."""
    ask = address(lab, case, "old", "/slow_jobs")
    answer = lab.ci.exec(f"curl -sSf -m 20 -d seconds={seconds} {ask}").stdout
    return str(yaml.safe_load(answer)["number"])


def runs_of(lab: Lab, case: Case, number: str) -> int:
    """How often a job has run to its end."""
    query = f"SELECT count(*) FROM job_runs WHERE order_number = '{number}'"
    return int(lab.old.psql(query, case.site("old").database))


def under_way(lab: Lab, case: Case, number: str) -> bool:
    """Whether it runs now."""
    query = f"SELECT count(*) FROM delayed_jobs WHERE locked_at IS NOT NULL AND handler LIKE '%{number}%'"
    return lab.old.psql(query, case.site("old").database) == "1"


@contextmanager
def asked_all_the_time(lab: Lab, case: Case, role: Role) -> Iterator[list[str]]:
    """Four visitors ask one page after the other meanwhile; afterwards the list has the status of each answer."""
    ask = f"curl -s -m 20 -o /dev/null -w '%{{http_code}}\\n' {address(lab, case, role, '/products/1')}"
    loop = f"( until [ -e /tmp/enough ]; do {ask}; done ) &"
    answers: list[str] = []
    lab.ci.exec("rm -f /tmp/enough")
    asking = threading.Thread(target=lambda: answers.extend(lab.ci.exec(f"{loop * 4}\nwait").stdout.split()))
    asking.start()
    try:
        yield answers
    finally:
        lab.ci.exec("touch /tmp/enough")
        asking.join()


def reboot(move: Move, server: LabServer) -> None:
    """The server comes up again, and is reached anew."""
    server.reboot()
    for host in move.servers:
        host.close()


# --- the worker ------------------------------------------------------------------------------------------------------

SYSTEMD = {"kind": "service", "service": "market-worker", "did_a_job": "grep -q COMPLETED log/delayed_job.log"}
WORKERS = (
    Case("delayed_job", USUAL),
    Case("service", SERVICES),
    Case("service by systemd alone", SERVICES, {"worker": SYSTEMD}),
)


@each(*WORKERS)
def test_a_worker_ends_its_present_job_and_takes_no_new_one(lab: Lab, case: Case, move: Move) -> None:
    worker = move.old.worker
    made(move, move.old.monitor.forgets_worker())  # which would start it again
    started(move.old)
    first, second = slow_job(lab, case, 15), slow_job(lab, case, 0)
    until(lambda: under_way(lab, case, first), 20, "the job does not begin", pause=0.2)
    line = made(move, worker.stopped())
    assert not true(move.old, worker.runs)
    assert already(move, worker.stopped())
    assert (runs_of(lab, case, first), runs_of(lab, case, second)) == (1, 0)
    lab.old.exec("sleep 3")
    assert runs_of(lab, case, second) == 0
    reverted(move, line)
    assert true(move.old, worker.runs)
    until(lambda: runs_of(lab, case, second) == 1, 30, "it does not work again", pause=0.2)
    assert runs_of(lab, case, first) == 1
    made(move, worker.stopped())
    made(move, worker.running())
    assert true(move.old, worker.runs) and already(move, worker.running())


@each(*WORKERS)
def test_a_worker_that_does_not_come_to_its_end_is_said_to(lab: Lab, case: Case, move: Move) -> None:
    """Within `longest_job` seconds it has not ended its job: that is no silent success, and it works again."""
    worker = move.old.worker
    patient = worker.settings.model_copy(update={"longest_job": 2})
    made(move, move.old.monitor.forgets_worker())
    started(move.old)
    number = slow_job(lab, case, 15)
    until(lambda: under_way(lab, case, number), 20, "the job does not begin", pause=0.2)
    with pytest.raises(Problem, match=r"still running after 2 s"):
        made(move, type(worker)(move.old, patient, move.old.app).stopped())
    until(lambda: runs_of(lab, case, number) == 1, 45, "the job was ended", pause=0.2)
    made(move, worker.running())
    after = slow_job(lab, case, 0)
    until(lambda: runs_of(lab, case, after) == 1, 30, "nobody works", pause=0.2)
    assert runs_of(lab, case, number) == 1


@each(WORKERS[0], WORKERS[1])
def test_a_worker_is_seen_working(lab: Lab, case: Case, move: Move) -> None:
    """Where nobody brings a job one is queued; a worker that stands still is not seen."""
    worker, log = move.old.worker, f"{case.site('old').app}/log/delayed_job.log"
    made(move, move.old.monitor.forgets_worker())
    started(move.old)
    line = made(move, worker.stopped())
    lab.old.exec(f": >{log}")
    with pytest.raises(Problem, match="no job"):
        made(move, worker.seen_working(12))
    reverted(move, line)
    made(move, worker.seen_working(60))
    assert already(move, worker.seen_working(60))
    assert set(worker.queue(move.old, case.site("old").database)) >= {"waiting"}


# --- the application -------------------------------------------------------------------------------------------------

APPLICATIONS = (
    Case("unicorn", USUAL),
    Case("service", SERVICES),
)


@each(*APPLICATIONS)
def test_an_application_runs_anew_and_no_request_fails(lab: Lab, case: Case, move: Move) -> None:
    app = move.new.app
    before = move.new.look(app.main_process).out
    with asked_all_the_time(lab, case, "new") as answers:
        made(move, app.reloaded())
        assert true(move.new, app.runs)
        lab.ci.exec("sleep 2")
    assert len(answers) > 20 and {*answers} == {"404"}  # there is no product yet
    assert move.new.look(app.main_process).out not in ("", before)


@each(*APPLICATIONS)
def test_an_application_stops_and_starts(lab: Lab, case: Case, move: Move) -> None:
    app = move.new.app
    made(move, move.new.monitor.forgets_application())
    ask = f"curl -s -m 20 -o /dev/null -w '%{{http_code}}' {address(lab, case, 'new', '/about')}"
    assert lab.ci.exec(ask).stdout == "200"
    line = made(move, app.stopped(at_boot=False))
    assert not true(move.new, app.runs)
    assert lab.ci.exec(ask).stdout == "502"
    assert already(move, app.stopped(at_boot=False))
    reverted(move, line)
    assert true(move.new, app.runs) and already(move, app.boots(True))
    assert lab.ci.exec(ask).stdout == "200"


@each(*APPLICATIONS)
def test_an_application_is_restarted_after_its_files_have_changed(lab: Lab, case: Case, move: Move) -> None:
    app, file = move.new.app, f"{case.site('new').app}/config/application.rb"
    lab.new.exec(f"sleep 1.1; touch {file}; sleep 1.1")
    assert not already(move, app.restarted([file]))
    before = move.new.look(app.main_process).out
    made(move, app.restarted([file]))
    assert already(move, app.restarted([file]))
    assert move.new.look(app.main_process).out not in ("", before)
    now, started = (int(move.new.look(script).out) for script in ("date +%s", app.started))
    assert 0 <= now - started < 60


@each(*APPLICATIONS)
def test_an_application_says_how_many_requests_can_wait(case: Case, move: Move) -> None:
    app = move.new.app
    output = """say() { sed "s/^/$1\t/"; }"""
    shown = move.new.look(f"{output}\nmaster=$({app.main_process})\n{app.facts}").out
    assert "backlog\t1024\n" in shown
    answer = move.new.look(f"curl -s -m 20 --unix-socket {app.listens.removeprefix('unix:')} http://x/up").out
    assert answer == "ok"


# --- at boot ---------------------------------------------------------------------------------------------------------


@each(Case("usual", USUAL), Case("services", SERVICES))
def test_application_and_worker_start_at_boot_or_do_not(lab: Lab, case: Case, move: Move) -> None:
    old, new = move.old, move.new
    for desired in (old.app.boots(True), old.worker.boots(True), new.app.boots(False), new.worker.boots(False)):
        made(move, desired)
    made(move, new.monitor.forgets_application())
    made(move, new.worker.running())
    for server in lab.servers:
        reboot(move, server)
    for what, part in (("application", old.app), ("worker", old.worker)):
        until(lambda: true(old, part.runs), 60, f"{what} does not start at boot", pause=0.5)  # noqa: B023
    lab.new.exec("sleep 12")  # more than a turn of the monitor
    assert not true(new, new.app.runs) and not true(new, new.worker.runs)
    new.change(f"systemctl start {new.app.service}")


# --- deploys ---------------------------------------------------------------------------------------------------------


@each(Case("git", USUAL))
def test_a_deploy_is_refused_with_the_reason(lab: Lab, case: Case, move: Move) -> None:
    deploys = move.old.deploys
    made(move, deploys.refused(NOTICE))
    pushed = pushes.push(lab, to="old", by="dev")
    assert not pushed.ok
    assert "[Thu 8 Feb 2018] ann@laptop is moving shop.test to a new server." in pushed.output
    made(move, deploys.refused(NOTICE, to=move.new.deploys))
    pushed = pushes.push(lab, to="old", by="dev")
    assert not pushed.ok and f"@{move.new.name}:{move.new.app.path}" in pushed.output
    reverted(move)
    assert pushes.push(lab, to="old", by="dev").title == pushes.title(lab.old)


@each(Case("git", USUAL))
def test_a_deploy_that_runs_is_waited_for(lab: Lab, case: Case, move: Move) -> None:
    ended = move.old.deploys.ended()
    assert not isinstance(ended, Nothing) and ended.within >= 300
    assert ended.missing() is None
    pushing = threading.Thread(target=lambda: pushes.push(lab, to="old", change="slow", by="dev", seconds=8))
    pushing.start()
    until(lambda: ended.missing() is not None, 30, "no deploy is seen", pause=0.1)
    assert ended.missing() == "a deploy is still running on old"
    pushing.join()
    until(lambda: ended.missing() is None, 60, "it does not end", pause=0.5)
    assert pushes.push(lab, to="old", by="dev").ok  # not slow any more


@each(Case("git", USUAL))
def test_a_deploy_is_taken_unless_it_changes_the_schema(lab: Lab, case: Case, move: Move) -> None:
    deploys = move.new.deploys
    made(move, deploys.accepted(NOTICE, cron=False))
    title = pushes.title(lab.new)
    pushed = pushes.push(lab, to="new", change="migration", by="dev")
    assert not pushed.ok and "changes the database's schema" in pushed.output
    assert pushes.title(lab.new) == title
    with asked_all_the_time(lab, case, "new") as answers:
        pushed = pushes.push(lab, to="new", by="dev")
    assert pushed.ok and "-- deployed " in pushed.output
    assert pushes.title(lab.new) == pushed.title
    assert {*answers} == {"404"}
    assert lab.new.exec(f"crontab -l -u {case.site('new').user}", check=False).stdout == ""
    made(move, deploys.complete(lambda _: None))
    pushed = pushes.push(lab, to="new", change="migration", by="dev")
    assert pushed.ok and pushes.title(lab.new) == pushed.title
    lab.new.exec(f"crontab -r -u {case.site('new').user}")


@each(*APPLICATIONS)
def test_a_deploy_restarts_application_and_worker_as_their_kinds_do(lab: Lab, case: Case, move: Move) -> None:
    """The hook, run by whom it is run by: no request fails; where no worker runs none is started."""
    old, site = move.old, case.site("old")
    made(move, old.deploys.accepted(NOTICE, cron=False))
    started(old)
    job = slow_job(lab, case, 4)
    until(lambda: under_way(lab, case, job), 20, "the job does not begin", pause=0.2)
    head = "h=$(git rev-parse HEAD); export GIT_DIR=.git; echo $h $h refs/heads/master | .git/hooks/post-receive 2>&1"
    main = f"{old.app.main_process}; pgrep -u {site.user} -f '[d]elayed_job' | head -n 1"
    before = old.look(main).out.split()
    with asked_all_the_time(lab, case, "old") as answers:
        said = lab.old.exec(f"runuser -u {site.user} -- sh -c 'cd {site.app} && {head}'").stdout
    assert "-- deployed " in said, said
    assert {*answers} == {"200"}
    after = old.look(main).out.split()
    assert len(before) == len(after) == 2 and not {*before} & {*after}
    until(lambda: runs_of(lab, case, job) == 1, 30, "the job was lost", pause=0.2)
    made(move, old.monitor.forgets_worker())
    made(move, old.worker.stopped())
    lab.old.exec(f"runuser -u {site.user} -- sh -c 'cd {site.app} && {head}'")
    assert not true(old, old.worker.runs)


# --- the schedule ----------------------------------------------------------------------------------------------------


@each(Case("crontab", USUAL), Case("crontab, copied", USUAL, {"schedule": {"kind": "crontab"}}))
def test_a_schedule_is_cleared_and_installed(lab: Lab, case: Case, move: Move) -> None:
    old, new = move.old, move.new
    listed = {role: f"crontab -l -u {case.site(role).user} 2>/dev/null" for role in ("old", "new")}
    before = lab.old.exec(listed["old"]).stdout
    assert "record_minute" in before
    line = made(move, old.schedule.cleared())
    assert lab.old.exec(listed["old"], check=False).stdout == ""
    entry = move.journal.latest(line)
    assert entry is not None
    desired = new.schedule.installed(old.schedule, f"{move.journal.path(entry)}/before", move.paths)
    installed = made(move, desired)
    now = lab.new.exec(listed["new"]).stdout
    assert f"cd {new.app.path} && RAILS_ENV=production ruby script/record_minute" in now
    assert old.app.path not in now
    assert already(move, new.schedule.installed(old.schedule, f"{move.journal.path(entry)}/before", move.paths))
    reverted(move, installed)
    assert lab.new.exec(listed["new"], check=False).stdout == ""
    reverted(move, line)
    assert lab.old.exec(listed["old"]).stdout == before


# --- the monitor -----------------------------------------------------------------------------------------------------


@each(Case("monit", USUAL))
def test_a_monitor_forgets_and_watches_the_worker(lab: Lab, case: Case, move: Move) -> None:
    """What it watches comes back when it dies; what it has forgotten does not, nor what it never watched."""
    old, monitor, site = move.old, move.old.monitor, case.site("old")
    kill = f"pkill -KILL -u {site.user} -f '[d]elayed_job'"
    started(old)
    line = made(move, monitor.forgets_worker())
    lab.old.exec(f"{kill}; sleep 25")
    assert not true(old, old.worker.runs)
    reverted(move, line)
    until(lambda: true(old, old.worker.runs), 60, "the worker does not come back", pause=0.5)
    lab.old.exec(kill)
    # It may have come in the middle of a start, which monit gives 60 s before it tries another.
    until(lambda: true(old, old.worker.runs), 150, "the worker does not come back", pause=0.5)
    new = move.new
    made(move, new.monitor.watches(lambda _: False))
    assert already(move, new.monitor.watches(lambda path: path == move.settings.new.watch.worker))
    until(lambda: true(new, new.worker.runs), 60, "the worker is not started", pause=0.5)
    made(move, new.monitor.forgets_worker())
    made(move, new.worker.stopped())


@each(Case("monit", USUAL))
def test_a_start_that_the_monitor_has_begun_is_over_when_it_has_forgotten(lab: Lab, case: Case, move: Move) -> None:
    """Else the worker would run again after the next step has stopped it."""
    old, site = move.old, case.site("old")
    starting = "ps -o stat= --ppid $(pgrep -x -d , monit) | grep -v ^Z"
    started(old)
    until(lambda: not true(old, starting), 60, "monit does not come to rest", pause=0.2)
    lab.old.exec(f"pkill -KILL -u {site.user} -f '[d]elayed_job'")
    until(lambda: true(old, starting), 150, "monit starts nothing", pause=0.02)
    made(move, old.monitor.forgets_worker())
    made(move, old.worker.stopped())
    lab.old.exec("sleep 15")
    assert not true(old, old.worker.runs)


@each(Case("monit", USUAL), Case("monit, of a service", SERVICES))
def test_a_monitor_forgets_and_remembers_the_application(lab: Lab, case: Case, move: Move) -> None:
    new, monitor = move.new, move.new.monitor
    stop = f"systemctl stop {new.app.service}"
    line = made(move, monitor.forgets_application())
    lab.new.exec(f"{stop}; sleep 25")
    assert not true(new, new.app.runs)
    made(move, monitor.remembers_application(move.before(move.new, line)))
    until(lambda: true(new, new.app.runs), 60, "the application does not come back", pause=0.5)


@each(Case("monit, which no file names", SERVICES))
def test_a_monitor_watches_a_service_by_what_systemd_says(lab: Lab, case: Case, move: Move) -> None:
    """A file for the application is written where nobody has written one."""
    new, file = move.new, move.settings.new.watch.app
    lab.new.exec(f"mv {file} /root/kept; monit reload; sleep 2; systemctl stop {new.app.service}")
    made(move, new.monitor.watches(lambda _: False))
    assert "check program" in lab.new.exec(f"cat {file}").stdout
    until(lambda: true(new, new.app.runs), 90, "the application is not started", pause=0.5)
    reverted(move)
    lab.new.exec(f"mv /root/kept {file}; monit reload")


@each(Case("monit", USUAL))
def test_a_monitor_runs_a_program(lab: Lab, case: Case, move: Move) -> None:
    new = move.new
    made(move, new.monitor.watches_program("certificate-age", "14 shop.test"))
    until(lambda: "certificate" in lab.new.exec("monit summary").stdout, 30, "monit does not know of it", pause=0.5)
    reverted(move)
    lab.new.exec("monit -t >/dev/null && [ ! -e /usr/local/sbin/certificate-age ]")


# --- the firewall ----------------------------------------------------------------------------------------------------


@each(Case("ufw", USUAL))
def test_a_firewall_is_switched_on_and_lets_in_one_address(lab: Lab, case: Case, move: Move) -> None:
    firewall, port = move.old.firewall, 5555
    lab.old.exec(f"ufw --force disable; systemd-run --quiet -u contract python3 -m http.server {port}")

    def reaches(server: LabServer) -> bool:
        ask = f"curl -s -o /dev/null --connect-timeout 2 http://{lab.old.address4}:{port}/"
        return server.exec(ask, check=False).returncode == 0

    until(lambda: reaches(lab.ci) and reaches(lab.new), 20, "nobody is let in", pause=0.2)
    on = made(move, firewall.on())
    assert already(move, firewall.on())
    assert not reaches(lab.ci) and not reaches(lab.new)
    rule = made(move, firewall.lets_in(move.new.addresses, port))
    assert reaches(lab.new) and not reaches(lab.ci)
    assert f"{port}" in move.old.look(firewall.rules).out
    assert already(move, firewall.lets_in(move.new.addresses, port))
    reverted(move, rule)
    assert not reaches(lab.new)
    reverted(move, on)
    assert reaches(lab.ci)
    lab.old.exec("ufw --force enable; systemctl stop contract")


# --- the code --------------------------------------------------------------------------------------------------------


@each(Case("git", USUAL))
def test_code_is_fetched_from_old(lab: Lab, case: Case, move: Move) -> None:
    for one in (prepare_old.key, prepare_old.access):
        run_step(move, one)
    had, desired = move.new.code.version(), move.old.code.version()
    assert had != desired
    line = made(move, move.new.code.is_at(desired, move.old.code))
    assert move.new.code.version() == desired
    status = f"runuser -u {case.site('new').user} -- git -C {move.new.app.path} status --porcelain"
    assert lab.new.exec(status).stdout == ""
    assert already(move, move.new.code.is_at(desired, move.old.code))
    reverted(move, line)
    assert move.new.code.version() == had


@each(
    Case("none", SERVICES, {"code": {"kind": "none"}}),
    Case("none, by a command", SERVICES, {"code": {"kind": "none", "version": "cat REVISION"}}),
)
def test_code_that_is_deployed_by_other_means_is_compared(lab: Lab, case: Case, move: Move) -> None:
    """New lacks old's last commit, until somebody brings it."""
    old, new = move.old.app.path, move.new.app.path
    for server in move.servers:
        server.change(f"cd {server.app.path} && runuser -u {server.app.user} -- git rev-parse HEAD >REVISION")
    version = move.old.code.version()
    with pytest.raises(Problem, match="new has another version of the code than old"):
        made(move, move.new.code.is_at(version, move.old.code))
    page = f"{new}/app/controllers/pages_controller.rb"
    before = lab.new.exec(f"cat {page}").stdout
    lab.new.exec(f"cat >{page}", input=lab.old.exec(f"cat {old}/app/controllers/pages_controller.rb").stdout)
    lab.new.exec(f"cat >{new}/REVISION", input=lab.old.exec(f"cat {old}/REVISION").stdout)
    made(move, move.new.code.is_at(version, move.old.code))
    lab.new.exec(f"cat >{page}", input=before)
    for server, path in ((lab.old, old), (lab.new, new)):
        server.exec(f"rm {path}/REVISION")


@each(Case("none", SERVICES, {"code": {"kind": "none", "version": "cat REVISION"}}))
def test_code_without_a_version_is_a_problem(lab: Lab, case: Case, move: Move) -> None:
    with pytest.raises(Problem, match=r"version of the code is not known .*REVISION"):
        move.old.code.version()
    lab.old.exec(f": >{move.old.app.path}/REVISION")
    with pytest.raises(Problem, match="its command printed nothing"):
        move.old.code.version()
    lab.old.exec(f"rm {move.old.app.path}/REVISION")


# --- the web server --------------------------------------------------------------------------------------------------


@each(Case("nginx", USUAL), Case("nginx, before a service", SERVICES))
def test_a_web_server_answers_passes_on_and_is_gone(lab: Lab, case: Case, move: Move) -> None:
    """Whoever asks old is passed on to new, without an error; taken back, old answers by itself as before."""
    old, new = move.old.web, move.new.web
    asks = f"curl -sS -m 20 {address(lab, case, 'old', '/.well-known/switchover/server')}"
    made(move, prepare_new.certificate.body(move))
    made(move, new.answers(move.front(move.new)))
    with asked_all_the_time(lab, case, "old") as answers:
        line = made(move, old.passes_on(move.front(move.old)))
        made(move, old.drains(30))
        assert true(move.old, old.drained)
        assert lab.ci.exec(asks).stdout == "new\n"
        until(lambda: (ago := old.last_visitor()) is not None and ago < 60, 20, "no visitor is seen", pause=0.2)
        assert old.visitors()["addresses"] == 1
        with pytest.raises(Problem, match="still proxies visitors"):
            made(move, old.nobody_for(3600))
        made(move, old.nobody_for(0))
        reverted(move, line)
        until(lambda: true(move.old, old.drained), 30, "requests of the proxy do not end")
        lab.ci.exec("sleep 1")
    assert len(answers) > 20 and {*answers} == {"200", "404"}  # of the product, which new does not have
    assert lab.ci.exec(asks).stdout != "new\n"
    line = made(move, old.gone(move.front(move.old)))
    made(move, old.drains(30))
    ended = f"{asks} 2>/dev/null || echo $?"
    assert lab.ci.exec(ended).stdout == "52\n"  # curl: no answer came
    reverted(move, line)


@each(Case("nginx", USUAL), Case("nginx, before a service", SERVICES))
def test_a_web_server_shows_the_page_while_its_file_is_there(lab: Lab, case: Case, move: Move) -> None:
    web = move.new.web
    made(move, prepare_new.certificate.body(move))
    made(move, web.answers(move.front(move.new)))
    domain = case.site("old").domain
    asks = f"curl -s -m 20 -D- --resolve {domain}:443:{lab.new.address4} https://{domain}/about"
    assert lab.ci.exec(asks).stdout.startswith("HTTP/1.1 200")
    lab.new.exec(f"echo soon > {web.page}")
    answer = lab.ci.exec(asks).stdout
    assert answer.startswith("HTTP/1.1 503") and "Retry-After" in answer and answer.endswith("soon\n")
    lab.new.exec(f"rm {web.page}")
    assert lab.ci.exec(asks).stdout.startswith("HTTP/1.1 200")


# --- the certificate -------------------------------------------------------------------------------------------------


@each(Case("copied", USUAL))
def test_a_copied_certificate_is_left_alone(lab: Lab, case: Case, move: Move) -> None:
    """Each verb says why there is nothing to do. What certbot's does is test_certificate's, on servers of its own."""
    usual = move.certificate
    place = (usual.web, usual.front, usual.old_web, usual.old_fullchain)
    certificate = Certificate.of(move.new, copied.Settings(), *place)
    verbs = sorted(Certificate.__abstractmethods__ - {"check"})
    assert len(verbs) > 5
    assert all(isinstance(getattr(certificate, verb)(), Nothing) for verb in verbs)
    assert ["copied" in found.what for found in certificate.check()] == [True]
