"""The rehearsal: a whole move in the lab, under visitors, and a report of what they felt.

    python -m lab.rehearsal [--report DIR] [--with-undo] [--keep] [--seed-mb N] [--rate N] [--strategy S]

It uses the `inv` commands as a user would, knows no step of them, and judges by what visitors were told and by looking
at the servers afterwards. Exit status 0: no request failed, nothing was lost, nothing ran twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from switchover.errors import Problem

from . import commands
from .judging import inventory, switch
from .judging.audit import CRON_TAKES, Facts, Place, drained, gather, judge
from .judging.names import SWITCH, Names
from .judging.secrets import Watch, in_file
from .machine import layers, network
from .report import page as pages
from .report import result, terminal
from .report.result import PAGE_GRACE, Rehearsal, Span
from .services.acme import Certificates
from .services.bind import OPERATORS
from .settings import STRATEGIES
from .visitors import ledger
from .visitors.developers import Developers
from .visitors.mail import Post
from .world import VISITORS

if TYPE_CHECKING:
    from rich.console import Console

    from .servers import Lab

BIG_UPLOAD = (100, 20)  # MB, and the seconds over which it is sent
SLOW_JOB = 40  # seconds
DRAIN = 90.0  # seconds that the last jobs may take
RETIRE_QUIET = 2.0  # seconds without a visitor, after which old may retire by the lab's settings
SETTLED = 25  # seconds after which a booted server has started everything
COMMANDS = "commands.log"  # in the report's directory: what each command printed, and when
EVENTS = "events.jsonl"  # beside it: what became of each step, for programs
NOT_UNDONE = ("check",)  # changes nothing
AFTERWARDS = ("retire-old",)  # when nobody comes by the old server any more; nothing can be undone after it


@dataclass(slots=True)
class Plan:
    """What a rehearsal does. `sections`: only these, in this order; else all that `inv --list` has."""

    report: Path
    rate: float = 50
    with_undo: bool = False
    sections: Sequence[commands.Section] | None = None
    quiet: float = 6.0  # seconds of traffic before the first section, and after the last
    at_least: int = 0  # requests; the traffic afterwards goes on until then
    big_upload: tuple[int, float] = BIG_UPLOAD
    slow_job: int = SLOW_JOB
    page_grace: float = PAGE_GRACE  # seconds that the maintenance page may outlast the copy
    spoil: Callable[[Lab], object] | None = None  # done before the audit: for tests of the rehearsal itself


class Visitors:
    """The visitors' process, in their network. A context manager: leaving it ends them, finished or not.

    *only*: the one kind of visit that all come for.
    """

    def __init__(self, lab: Lab, path: Path, rate: float, only: str | None = None) -> None:
        self.path, self._rate, self._lab = path, rate, lab
        self._only = ("--only", only) if only else ()

    def __enter__(self) -> Visitors:
        lab = self._lab
        self._log = self.path.with_name("visitors.log").open("wb")
        self._process = subprocess.Popen(
            [
                *network.entry(lab.netns_visitors),
                *(sys.executable, "-m", "lab.visitors.scenarios", "--control", "--patience", "60"),
                *("--ledger", str(self.path), "--rate", str(self._rate), "--ca", str(lab.ca)),
                *("--domain", lab.world.domain),
                *_whereabouts(lab),
                *self._only,
            ],
            cwd=commands.ROOT,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the rehearsal, which ends them
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):  # what they had not read yet
            self.stdin.close()
        self._log.close()

    @property
    def stdin(self) -> Any:
        return self._process.stdin

    def ask_for(self, line: str) -> None:
        """Sends them a control line. Raises Problem when they are gone."""
        try:
            self.stdin.write(f"{line}\n".encode())
            self.stdin.flush()
        except OSError:
            raise self._gone() from None

    def book(self) -> ledger.Book:
        """The ledger as it is now."""
        return ledger.read(self.path) if self.path.exists() else ledger.Book()

    def wait_for(self, event: str, seconds: float) -> None:
        """Waits until the ledger has an event. Raises Problem when it does not come or the visitors are gone."""
        until = time.monotonic() + seconds
        while not self.book().named(event):
            if self._process.poll() is not None:
                raise self._gone()
            if time.monotonic() > until:
                raise Problem(f"no `{event}` within {seconds:.0f} s", "visitors", f"See {self._log.name}")
            time.sleep(0.1)

    def finish(self, seconds: float = 90) -> None:
        """Nobody new comes; everybody has an answer when this returns. Raises Problem when that takes too long."""
        self.ask_for("finish")
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Problem(f"they did not end within {seconds:.0f} s", "visitors", f"See {self._log.name}") from None

    def _gone(self) -> Problem:
        said = Path(self._log.name).read_text(errors="replace").strip().splitlines()
        return Problem(f"they ended with status {self._process.poll()}", "visitors", said[-1] if said else "")


def _whereabouts(lab: Lab) -> Iterator[str]:
    """How visitors find the site: by its name, or where nobody knows names by old's addresses."""
    for server in lab.name_servers:
        yield from ("--name-server", server)
    for address in () if lab.name_servers else (lab.old.address4, lab.old.address6):
        yield from ("--address", address)


@dataclass(slots=True)
class Course:
    """What happens: the commands are run, and the spans of time told on the terminal as each one ends."""

    visitors: Visitors
    leaks: Watch
    settings: Path
    reports: Path
    out: Console
    spans: list[Span] = field(default_factory=list)

    def do(self, section: commands.Section, *options: str) -> bool:
        """Runs a section; True when it ended well."""
        return self._run(section, section.name, *options)

    def undo(self, section: commands.Section) -> bool:
        """Takes a section back; True when that ended well."""
        return self._run(commands.Section(f"undo {section.name}"), "undo", "--yes", section.name)

    def has_steps(self, section: commands.Section) -> bool:
        """Whether it did anything: one that is for another strategy has nothing to undo."""
        return any(span.name == section.name and span.steps for span in self.spans)

    def _run(self, section: commands.Section, *words: str) -> bool:
        log, told = self.reports / COMMANDS, self.reports / EVENTS
        span = commands.run(self.settings, *words, section=section, log=log, told=told)
        self.leaks.learn()
        return self.add(span).exit == 0

    def add(self, span: Span) -> Span:
        """Notes a span, and prints what the visitors felt during it."""
        from rich.text import Text

        self.spans.append(span)
        so_far = self.so_far
        felt = so_far.felt(so_far.during(span))
        page = f", {felt['page']} saw the maintenance page" if felt["page"] else ""
        good = not felt["failed"] and not span.exit
        if not felt["requests"]:
            self.out.print("    nobody came meanwhile", style="dim")
            return span
        who = f"visitors {span.name}" if span.quiet else "visitors"
        line = f"{who}: {felt['requests']:,} requests, {felt['failed']} failed{page}"
        self.out.print(Text(f"    {line}, longest {felt['longest_ms']:.0f} ms", style="green" if good else "bold red"))
        return span

    @property
    def so_far(self) -> Rehearsal:
        """What visitors felt until now; nothing is audited yet."""
        return Rehearsal(self.visitors.book(), self.spans, judge(ledger.Book(), Facts(), Facts(), Facts()))

    @contextlib.contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        """A stretch in which nobody moves anything."""
        started = time.time()
        yield
        self.add(Span(name, started, time.time(), quiet=True))

    @property
    def done(self) -> set[str]:
        """The sections that were done and not undone since."""
        found: set[str] = set()
        for span in self.spans:
            if span.exit == 0 and not span.quiet:
                name = span.name.removeprefix("undo ")
                found = found - {name} if span.name.startswith("undo ") else found | {name}
        return found


def run_move(lab: Lab, plan: Plan, out: Console | None = None) -> Rehearsal:
    """A whole move in a lab that is up, with the undo of every section if the plan says so. Gives what it found.

    Leaves ledger.jsonl in the report's directory. A section that fails ends the move there, not the audit. Raises
    Problem when the lab, the visitors or `inv --list` do not work at all.
    """
    out = out or terminal.console()
    plan.report.mkdir(parents=True, exist_ok=True)
    path = plan.report / "ledger.jsonl"
    for left in (path, plan.report / COMMANDS, plan.report / EVENTS):
        left.unlink(missing_ok=True)
    sections = list(commands.sections(lab.settings) if plan.sections is None else plan.sections)
    moving = [section for section in sections if section.name not in AFTERWARDS]
    retiring = [section for section in sections if section.name in AFTERWARDS]
    places = _places(lab)
    before = gather(places["old"])
    developers, post = Developers(), Post(lab)
    names, certificates = Names(lab), Certificates(lab.old)
    with Watch({host.role: host for host in lab.hosts}) as leaks, Visitors(lab, path, plan.rate) as visitors:
        visitors.wait_for("start", 90)
        course = Course(visitors, leaks, lab.settings, plan.report, out)
        out.print(f"Visitors come, {plan.rate:g} a second.")
        with course.quiet("before"):
            time.sleep(plan.quiet)
            seen = _looks(lab, settled=True) if plan.with_undo else {}
        whole = _move(lab, plan, course, moving, developers, post, names)
        with course.quiet(result.STILL):
            # What the switch is compared with takes as long as it did.
            took = course.so_far.switching
            time.sleep(max(plan.quiet, took.seconds + 1 if took else 0))
            _until_enough(lab, plan, course)
        switched = switch.look(**places, journal=_journal(lab)) if result.SWITCH in course.done else switch.Switch()
        if result.CERTIFICATE in course.done and lab.ci in lab.hosts:  # where the authority is
            certificates.look(lab.new)
        if plan.with_undo and whole:
            _undo(course, moving)
            with course.quiet("after the undo"):
                time.sleep(plan.quiet)
                _until_enough(lab, plan, course)
        retiring = retiring if whole and not plan.with_undo else []
        if SWITCH in course.done and names.works:  # visitors come by new
            _retire(course, retiring)
            retiring = []
            with course.quiet("without old"):
                time.sleep(plan.quiet)
        out.print("Nobody new comes; the last visitors get their answers, and the last jobs run.")
        visitors.finish()
        _retire(course, retiring)
        found = _audited(lab, plan, course, places, before, seen)
        post.audit(places["new" if result.SWITCH in course.done else "old"])
        names.audit(found.book, course.spans, course.done)
    found.switch = switched
    found.deploys = developers.as_report()
    found.mail, found.dns, found.certificate = post.as_report(), names.as_report(), certificates.as_report()
    found.other_problems += developers.problems + post.problems + names.problems + certificates.problems
    found.secrets_found = _leaked(lab, plan, leaks, json.dumps(found.as_json()).encode())
    found.secrets_looked_for, found.processes_seen = leaks.looked_for, len(leaks.seen)
    return found


def _move(
    lab: Lab,
    plan: Plan,
    course: Course,
    sections: Sequence[commands.Section],
    developers: Developers,
    post: Post,
    names: Names,
) -> bool:
    """The sections in order; False when one failed, and then no further one is begun."""
    for section in sections:
        post.before(section.name)
        names.before(section.name)
        _meanwhile(lab, plan, course.visitors, section.name)
        if not course.do(section):
            return False
        names.after(section.name)
        if developers.have_something_to_push(lab, section.name):
            with course.quiet("pushes"):
                developers.push(lab, section.name)
    return True


def _retire(course: Course, sections: Sequence[commands.Section]) -> None:
    for section in sections:
        time.sleep(RETIRE_QUIET)
        course.do(section, "--yes")


def _undo(course: Course, sections: Sequence[commands.Section]) -> None:
    for section in reversed(sections):
        if section.name in NOT_UNDONE or not course.has_steps(section):
            continue
        if not course.undo(section):
            return


def _meanwhile(lab: Lab, plan: Plan, visitors: Visitors, section: str) -> None:
    """What shall be under way while a section works: a slow job when workers switch, a big upload at the app."""
    if section == "switch-jobs" and plan.slow_job and lab.has("worker"):
        visitors.ask_for(f"slow-job {plan.slow_job}")
        locked = "SELECT count(*) FROM delayed_jobs WHERE locked_at IS NOT NULL AND handler LIKE '%slow-%'"
        until = time.monotonic() + 15
        while lab.old.psql(locked, db=_places(lab)["old"].database) == "0" and time.monotonic() < until:
            time.sleep(0.2)
    if section == "switch-app" and plan.big_upload[0]:
        visitors.ask_for("big-upload {} {}".format(*plan.big_upload))
        visitors.wait_for("big_upload_started", 15)


def _until_enough(lab: Lab, plan: Plan, course: Course) -> None:
    """Lets visitors come until they are enough, and cron, if there is any, has run once where it was moved to."""
    while len(course.visitors.book().answers) < plan.at_least:
        time.sleep(1)
    moved = [span.ended for span in course.spans if span.name.endswith(result.CRON) and not span.exit]
    if moved and lab.has("schedule"):
        time.sleep(max(0, (moved[-1] // 60 + 1) * 60 + CRON_TAKES + 1 - time.time()))


def _audited(
    lab: Lab, plan: Plan, course: Course, places: dict[str, Place], before: Facts, seen: dict[str, inventory.Look]
) -> Rehearsal:
    """Everything that is asked of the servers once the visitors have gone."""
    data = "new" if "switch-db" in course.done else "old"
    files = "new" if "switch-app" in course.done else "old"
    left = drained(places[data], DRAIN)
    if plan.spoil:
        plan.spoil(lab)
    other = gather(places["old" if data == "new" else "new"])
    now = gather(places[data], files=places[files], known=before.fingerprints)
    book = course.visitors.book()
    audit = judge(book, now, other, before, lab.world.addresses(VISITORS), cron=lab.has("schedule"))
    found = Rehearsal(book, course.spans, audit, _servers(lab))
    found.strategy, found.page_grace = _settings(lab)["strategy"], plan.page_grace
    if left:
        found.other_problems.append(f"{left} job(s) still in the queue after {DRAIN:.0f} s")
    if plan.with_undo and not any(span.name.startswith("undo ") for span in course.spans):
        found.other_problems.append("nothing was undone, since the move did not come to its end")
    elif seen:
        after, found.left_out = _looks(lab), inventory.left_out(lab.world)
        found.looked_at = sum(len(look.keys() | after[name].keys()) for name, look in seen.items())
        found.differences = [
            difference
            for name, look in seen.items()
            for difference in inventory.compare(name, look, after[name], found.left_out)
        ]
    return found


def _leaked(lab: Lab, plan: Plan, leaks: Watch, report: bytes) -> list[str]:
    """Where secrets are and may not be. Of the lab's directory all is searched but what the lab itself put there."""
    for file in (lab.place.run / "ssh" / "operator", lab.place.run / OPERATORS):
        for name, secret in in_file(file.name, file.read_text() if file.exists() else ""):
            leaks.add(f"the operator's {name}", secret)
    servers = {host.role for host in lab.hosts}
    own = [path for path in lab.place.run.iterdir() if path.name not in {"ssh", layers.DESCRIPTION, *servers}]
    consoles = list(lab.place.run.glob("*/console.log"))
    return leaks.found([plan.report, *own, *consoles]) + [f"{name}: in the report" for name in leaks.within(report)]


def _looks(lab: Lab, *, settled: bool = False) -> dict[str, inventory.Look]:
    hosts = {host.role: host for host in lab.hosts}
    for server in hosts.values() if settled else ():
        # The worker is started by monit, some seconds after the boot.
        while float(server.exec("ps -o etimes= -p 1").stdout) < SETTLED:
            time.sleep(1)
    with ThreadPoolExecutor(2) as pool:
        looks = pool.map(lambda host: inventory.look(host, databases=host is not lab.ci), hosts.values())
        return dict(zip(hosts, looks, strict=True))


def _places(lab: Lab) -> dict[str, Place]:
    settings = _settings(lab)
    return {
        name: Place(machine, settings[name]["database"]["name"], settings[name]["app"]["path"])
        for name, machine in (("old", lab.old), ("new", lab.new))
    }


def _settings(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(lab.settings.read_text())
    return found


def _journal(lab: Lab) -> str:
    return f"/var/lib/switchover/{_settings(lab)['domains'][0]}"


def _servers(lab: Lab) -> dict[str, dict[str, str]]:
    return {
        name: {
            "os": machine.exec('. /etc/os-release && echo "$PRETTY_NAME"').stdout.strip(),
            "postgresql": machine.psql("SHOW server_version").split()[0],
        }
        for name, machine in (("old", lab.old), ("new", lab.new))
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/rehearse", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--report", type=Path, default=Path("reports"), help="directory of the report (reports/)")
    parser.add_argument("--with-undo", action="store_true", help="afterwards undo every section, and compare")
    parser.add_argument("--keep", action="store_true", help="leave the servers up to look around")
    parser.add_argument("--seed-mb", type=int, default=300, help="size of the shop's database (300)")
    parser.add_argument("--rate", type=float, default=50, help="visits a second (50)")
    parser.add_argument("--old", default="11", help="Debian of the old server: 11, 12 or 13 (11)")
    parser.add_argument("--new", default="12", help="Debian of the new server: 11, 12 or 13 (12)")
    parser.add_argument("--strategy", default="replicate", choices=STRATEGIES, help="of the database (replicate)")
    return parser.parse_args(argv)


def rehearse(given: argparse.Namespace) -> int:
    """From no lab to the printed report; gives the exit status."""
    from .servers import Lab

    out = terminal.console()
    plan = Plan(given.report, given.rate, given.with_undo, at_least=3000 if given.rate >= 50 else 0)
    started = time.monotonic()
    out.print(f"Rehearsal: Debian {given.old} to Debian {given.new}, database switch by {given.strategy}.")
    with Lab(given.old, given.new, seed_mb=given.seed_mb, strategy=given.strategy) as lab:
        out.print(f"Both servers are up ({time.monotonic() - started:.0f} s).")
        found = run_move(lab, plan, out)
        data = found.as_json()
        file = plan.report / "report.json"
        file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        page = file.with_suffix(".html")
        page.write_text(pages.page(found))
        terminal.show(found, out, saved=f"Report: {page}, {file}; every answer: {plan.report / 'ledger.jsonl'}")
        if given.keep:
            lab.keep()
            out.print("The servers stay up: inv lab.ssh old, inv lab.ssh new; end them with inv lab.down.")
    return 0 if data["ok"] else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 all well, 1 something was lost, failed or could not be tried, 130 and 143 when it was ended."""
    given = _arguments(argv)
    try:
        return rehearse(given)
    except KeyboardInterrupt:
        print("\nEnded by Ctrl-C; the servers are gone again.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
