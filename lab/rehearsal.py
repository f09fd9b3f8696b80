"""The rehearsal: a whole move in the lab, under visitors, and a report of what they felt.

    python -m lab.rehearsal [--report DIR] [--with-undo] [--keep] [--seed-mb N] [--rate N] [--strategy S]

It uses the `inv` commands as a user would, and judges by the answers that visitors got and by asking the servers
afterwards. Exit status 0: no request failed, nothing was lost, nothing ran twice.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

from switchover.errors import Problem

from . import commands
from . import sections as names
from .judging import inventory, switch
from .judging.audit import CRON_TAKES, Audit, Contents, Shop, drained, gather, judge
from .judging.dns import DnsAudit
from .judging.inventory import Inventory
from .judging.observer import Observer
from .judging.secrets import SecretScanner, in_file
from .machine import layers
from .machine.server import until
from .report import page as pages
from .report import result, terminal
from .report.result import PAGE_GRACE, Rehearsal, Span
from .servers import Lab
from .services.acme import CertificateAudit
from .services.bind import OPERATORS
from .settings import STRATEGIES
from .visitors.deploys import DeployAudit
from .visitors.mail import MailAudit
from .visitors.process import Visitors
from .world import VISITORS

BIG_UPLOAD = (100, 20)  # MB, and the seconds over which it is sent
SLOW_JOB = 40  # seconds
DRAIN = 90.0  # seconds that the last jobs may take
RETIRE_QUIET = 2.0  # seconds without a visitor, after which old may retire by the lab's settings
SETTLED = 25  # seconds after which a booted server has started everything
COMMANDS = "commands.log"  # in the report's directory: what each command printed, and when
EVENTS = "events.jsonl"  # beside it: the outcome of each step, for programs


@dataclass(slots=True)
class Plan:
    """What a rehearsal does. `sections`: only these, in this order; else all that `inv --list` has."""

    report: Path
    rate: float = 50
    with_undo: bool = False
    sections: Sequence[commands.ListedSection] | None = None
    quiet: float = 6.0  # seconds of traffic before the first section, and after the last
    at_least: int = 0  # requests; visitors come afterwards until they are as many
    big_upload: tuple[int, float] = BIG_UPLOAD
    slow_job: int = SLOW_JOB
    page_grace: float = PAGE_GRACE  # seconds that the maintenance page may outlast the copy
    spoil: Callable[[Lab], object] | None = None  # done before the audit: for tests of the rehearsal itself


@dataclass(slots=True)
class Course:
    """The commands as they are run, and their spans of time; each is printed as it ends."""

    lab: Lab
    plan: Plan
    visitors: Visitors
    secrets: SecretScanner
    out: Console
    spans: list[Span] = field(default_factory=list)

    def do(self, section: commands.ListedSection, *options: str) -> bool:
        """Runs a section; True when it ended well."""
        return self._run(section, section.name, *options)

    def undo(self, sections: Sequence[commands.ListedSection]) -> None:
        """Undoes the sections that did anything (one for another strategy did not), last first, until one fails."""
        changed = {span.name for span in self.spans if span.steps}
        for section in reversed(sections):
            undo = commands.ListedSection(f"undo {section.name}")
            if section.name in changed and not self._run(undo, "undo", "--yes", section.name):
                return

    def retire(self, sections: Sequence[commands.ListedSection]) -> None:
        """Runs the sections that wait until nobody uses old any more, and that nothing undoes."""
        for section in sections:
            time.sleep(RETIRE_QUIET)
            self.do(section, "--yes")

    def _run(self, section: commands.ListedSection, *words: str) -> bool:
        log, event_file = self.plan.report / COMMANDS, self.plan.report / EVENTS
        span = commands.run(self.lab.settings, *words, section=section, log=log, event_file=event_file)
        self.secrets.learn()
        self._add(span)
        return span.exit == 0

    def _add(self, span: Span) -> None:
        """Notes a span, and prints what the visitors felt during it."""
        self.spans.append(span)
        so_far = self.so_far
        felt = so_far.felt(so_far.during(span))
        if not felt["requests"]:
            self.out.print("    no visitors meanwhile", style="dim")
            return
        page = f", {felt['page']} saw the maintenance page" if felt["page"] else ""
        who = f"visitors {span.name}" if span.quiet else "visitors"
        line = f"{who}: {felt['requests']:,} requests, {felt['failed']} failed{page}"
        style = "bold red" if felt["failed"] or span.exit else "green"
        self.out.print(Text(f"    {line}, longest {felt['longest_ms']:.0f} ms", style=style))

    @property
    def so_far(self) -> Rehearsal:
        """What visitors felt until now; nothing is audited yet."""
        return Rehearsal(self.visitors.book(), self.spans, Audit())

    @contextlib.contextmanager
    def quiet(self, name: str, seconds: float = 0) -> Iterator[None]:
        """A stretch in which nobody moves anything, of so many seconds at least."""
        started = time.time()
        yield
        time.sleep(max(0, started + seconds - time.time()))
        self._add(Span(name, started, time.time(), quiet=True))

    def until_enough(self) -> None:
        """Waits until enough visitors came, and cron, if there is any, has run once where it was moved to."""
        while len(self.visitors.book().answers) < self.plan.at_least:
            time.sleep(1)
        moved = [span.ended for span in self.spans if span.name.endswith(names.SWITCH_CRON) and not span.exit]
        if moved and self.lab.has("schedule"):
            time.sleep(max(0, (moved[-1] // 60 + 1) * 60 + CRON_TAKES + 1 - time.time()))

    @property
    def done(self) -> set[str]:
        """The sections that were done and not undone since."""
        done: set[str] = set()
        for span in self.spans:
            if span.exit == 0 and not span.quiet:
                undone = span.name.removeprefix("undo ")
                done = done - {undone} if undone != span.name else done | {span.name}
        return done


def run_move(lab: Lab, plan: Plan, out: Console | None = None) -> Rehearsal:
    """A whole move in a lab that is up, with the undo of every section if the plan says so. Gives its result.

    Leaves ledger.jsonl in the report's directory. A section that fails ends the move there, not the audit. Raises
    Problem when the lab, the visitors or `inv --list` do not work at all.
    """
    out = out or terminal.console()
    plan.report.mkdir(parents=True, exist_ok=True)
    path = plan.report / "ledger.jsonl"
    for earlier in (path, plan.report / COMMANDS, plan.report / EVENTS):
        earlier.unlink(missing_ok=True)
    sections = list(commands.sections(lab.settings) if plan.sections is None else plan.sections)
    moving = [section for section in sections if section.name != names.RETIRE]
    retiring = [section for section in sections if section.name == names.RETIRE]
    before = gather(Shop(lab.old))
    scanner = SecretScanner({host.role: host for host in lab.hosts})
    with scanner.running() as secrets, Visitors(lab, path, plan.rate) as visitors:
        visitors.wait_for("start", 90)
        course = Course(lab, plan, visitors, secrets, out)
        observers = _observers(lab, course)
        out.print(f"Visitors come, {plan.rate:g} a second.")
        with course.quiet("before", plan.quiet):
            inventories = _settled(lab) if plan.with_undo else {}
        whole = _move(course, moving, observers)
        switching = course.so_far.switching
        # What the switch is compared with takes as long as it did.
        with course.quiet(result.STILL, max(plan.quiet, switching.seconds + 1 if switching else 0)):
            course.until_enough()
        switched = switch.measure(*lab.servers) if names.SWITCH_DB in course.done else switch.SwitchFacts()
        for observer in observers:
            observer.moved(course.done)
        if plan.with_undo and whole:
            course.undo(moving)
            with course.quiet("after the undo", plan.quiet):
                course.until_enough()
        retiring = retiring if whole and not plan.with_undo else []
        if names.SWITCH_DNS in course.done and lab.name_servers:  # visitors find new by themselves
            course.retire(retiring)
            retiring = []
            with course.quiet("without old", plan.quiet):
                pass
        out.print("No new visitors; the last ones get their answers, and the last jobs run.")
        visitors.finish()
        course.retire(retiring)
        found = _audited(course, before, inventories)
        for observer in observers:
            observer.audit(found, course.done)
            found.observed[observer.name] = observer.report
            found.other_problems += observer.problems
    found.switch = switched
    found.secrets_found = _leaked(lab, plan, secrets, json.dumps(found.as_json()).encode())
    found.secrets_looked_for, found.processes_seen = secrets.looked_for, len(secrets.seen)
    return found


def _observers(lab: Lab, course: Course) -> list[Observer]:
    """The ci host has the names, the authority, the customers' mail, and the checkouts."""
    if lab.ci not in lab.hosts:
        return [DnsAudit(lab)]  # which counts the visitors of either server
    deploys = [DeployAudit(lab, course.quiet)] if {*lab.world.sites[0].pushers} == {"ci", "dev"} else []
    return [*deploys, MailAudit(lab), DnsAudit(lab), CertificateAudit(lab)]


def _move(course: Course, sections: Sequence[commands.ListedSection], observers: Sequence[Observer]) -> bool:
    """The sections in order; False when one failed, and then no further one is begun."""
    for section in sections:
        for observer in observers:
            observer.before(section.name)
        _meanwhile(course, section.name)
        if not course.do(section):
            return False
        for observer in observers:
            observer.after(section.name)
    return True


def _meanwhile(course: Course, section: str) -> None:
    """What shall be under way while a section works: a slow job when workers switch, a big upload at the app."""
    lab, plan, visitors = course.lab, course.plan, course.visitors
    if section == names.SWITCH_JOBS and plan.slow_job and lab.has("worker"):
        visitors.ask_for(f"slow-job {plan.slow_job}")
        locked = "SELECT count(*) FROM delayed_jobs WHERE locked_at IS NOT NULL AND handler LIKE '%slow-%'"
        with contextlib.suppress(Problem):  # the audit says where it ran
            until(lambda: Shop(lab.old).psql(locked) != "0", 15, "the slow job has not begun", pause=0.2)
    if section == names.SWITCH_APP and plan.big_upload[0]:
        visitors.ask_for("big-upload {} {}".format(*plan.big_upload))
        visitors.wait_for("big_upload_started", 15)


def _audited(course: Course, before: Contents, inventories: dict[str, Inventory]) -> Rehearsal:
    """The answers of the servers once the visitors have gone."""
    lab, plan, done = course.lab, course.plan, course.done
    old, new = (Shop(server) for server in lab.servers)
    data, other = (new, old) if names.SWITCH_DB in done else (old, new)
    left = drained(data, DRAIN)
    if plan.spoil:
        plan.spoil(lab)
    now = gather(data, files=new if names.SWITCH_APP in done else old, known=before.fingerprints)
    book, clients = course.visitors.book(), lab.world.addresses(VISITORS)
    audit = judge(book, now, gather(other), before, clients, cron=lab.has("schedule"))
    found = Rehearsal(book, course.spans, audit, _servers(lab), page_grace=plan.page_grace)
    found.strategy = yaml.safe_load(lab.settings.read_text())["strategy"]
    if left:
        found.other_problems.append(f"{left} job(s) still in the queue after {DRAIN:.0f} s")
    if plan.with_undo and not any(span.name.startswith("undo ") for span in course.spans):
        found.other_problems.append("nothing was undone, since the move did not come to its end")
    elif inventories:
        after, found.left_out = inventory.take_all(lab.hosts), inventory.left_out(lab.world)
        found.looked_at = sum(len(things.keys() | after[role].keys()) for role, things in inventories.items())
        found.differences = inventory.differences(inventories, after, found.left_out)
    return found


def _leaked(lab: Lab, plan: Plan, secrets: SecretScanner, report: bytes) -> list[str]:
    """Where secrets are and may not be. Of the lab's directory all is searched but what the lab itself put there."""
    for file in (lab.place.run / "ssh" / "operator", lab.place.run / OPERATORS):
        for name, secret in in_file(file.name, file.read_text() if file.exists() else ""):
            secrets.add(f"the operator's {name}", secret)
    servers = {host.role for host in lab.hosts}
    own = [path for path in lab.place.run.iterdir() if path.name not in {"ssh", layers.DESCRIPTION, *servers}]
    consoles = list(lab.place.run.glob("*/console.log"))
    return secrets.found([plan.report, *own, *consoles]) + [f"{name}: in the report" for name in secrets.within(report)]


def _settled(lab: Lab) -> dict[str, Inventory]:
    """The inventories once everything has started: the worker is started by monit, some seconds after the boot."""
    for server in lab.hosts:
        while float(server.exec("ps -o etimes= -p 1").stdout) < SETTLED:
            time.sleep(1)
    return inventory.take_all(lab.hosts)


def _servers(lab: Lab) -> dict[str, dict[str, str]]:
    return {
        server.role: {
            "os": server.exec('. /etc/os-release && echo "$PRETTY_NAME"').stdout.strip(),
            "postgresql": server.psql("SHOW server_version").split()[0],
        }
        for server in lab.servers
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
