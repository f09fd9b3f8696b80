"""Kills the operator's command at every point of every step: does the same command complete the step, and undo it?

    inv lab.kills [--sample N] [--seed S] [--json FILE] [--section NAME or STEP] [--strategy copy]

For each change that a step makes and each of the four points (see `switchover/failpoint.py`):

- killed there, then the same command: the servers end as without the kill, and the step's undo brings the beginning
  back;
- killed there, then `inv undo`: the servers are as before the step.

The last section ends undo, so each of its changes can be killed once in a lab: it is run once for each point, from a
saved state, and ends each time as without a kill.

The whole checklist is run, so that every step begins from where it begins in life. A new step is covered without a line
here: its changes are read from the journals.
"""

import contextlib
import itertools
import json
import random
import re
import subprocess
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich.console import Console

from switchover.errors import Problem
from switchover.failpoint import POINTS, VARIABLE, spec
from switchover.journal import ROOT

from . import commands
from .judging import inventory
from .judging.inventory import Inventory
from .machine.server import until
from .report import terminal
from .sections import RETIRE
from .servers import Lab
from .texts import last_line, script

NOTHING_TO_UNDO = "nothing to undo"
KILLED = -9
NUMBERS = ("points", "completed", "undone")
STANDING = Path(__file__).with_name("judging") / "standing.sh"
MOST_KILLS = 60  # of one step that nothing undoes
# Different each time by its nature: that it is there at all is compared.
THERE = (
    r"file /root/\.ssh/switchover(\.pub)?",  # the key of the move
    r"file /etc/switchover/pgpass",  # its password
    r"file /etc/letsencrypt/(accounts|archive|live|renewal|csr|keys)/.*",  # a certificate, its key, an account's number
    r"setting max_slot_wal_keep_size",  # half of what is free on the disk
    r"role switchover(_app)?",  # whose verifier has a salt
)
# And what is not compared at all.
IGNORED = (
    r"file /home/[^/]+/\.ssh/authorized_keys",  # holds that key
    r"file /var/spool/cron/crontabs/.*",  # whenever writes the time into it
    r"file .*/\.git(/.*)?",  # git's own notes of what was reset when
    r"file .*/log(/.*)?",
    r"file .*/tmp(/.*)?",
    r"process .*",  # young ones are not listed; services and the worker's pid file tell
    r"rows of .*",  # cron tasks and workers write meanwhile
    r"port .*",  # nginx and unicorn, young ones
    r"service switchover-way-back\.service",  # its timer starts it each minute; that and its files are compared
)


@dataclass
class Result:
    """By section: how many `points` were tried, and after how many the step was `completed`, and `undone`."""

    sections: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counter[str]:
        """The same of all sections."""
        return sum(self.sections.values(), Counter[str]())

    def count(self, step: str, completed: bool, undone: bool) -> None:
        """One more point of *step*."""
        self.sections[_section(step)].update(points=1, completed=int(completed), undone=int(undone))

    def report(self, out: Console, file: Path | None) -> int:
        """Prints the table, writes the JSON; gives the exit status."""
        sections = [*self.sections.items(), ("all", self.total)]
        rows = [[name, *(str(numbers[key]) for key in NUMBERS)] for name, numbers in sections]
        out.print(terminal.table("", ("section", *NUMBERS), rows))
        for problem in self.wrong:
            out.print(f"wrong: {problem}", style="red", markup=False)
        if file:
            data = {key: self.total[key] for key in NUMBERS} | {"wrong": self.wrong}
            file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        return 1 if self.wrong else 0


@dataclass
class Walk:
    """Runs the checklist in a lab that is up, and kills its commands; what it finds is in *result*."""

    lab: Lab
    out: Console
    result: Result = field(default_factory=Result)

    @cached_property
    def sections(self) -> dict[str, tuple[str, ...]]:
        """The steps of each section, in the checklist's order."""
        return {section.name: section.steps for section in commands.sections(self.lab.settings)}

    def all_steps(self, *, sample: int = 0, seed: int = 0, only: str = "") -> Result:
        """Every point of all but the last section, in a lab that is untouched; or of one section or step.

        Or one point each of *sample* steps, drawn by *seed*, and then the last section, at points that are drawn too.
        """
        chance = random.Random(seed)
        sections = {name: steps for name, steps in self.sections.items() if name != RETIRE}
        steps = list(itertools.chain(*sections.values()))
        tried = [step for step in steps if only in ("", step, _section(step))]
        if not tried:
            raise Problem(f"there is no section '{only}'", "lab.kills", f"Choose among {', '.join(sections)}")
        if only:  # later steps are not needed
            steps = steps[: steps.index(tried[-1]) + 1]
        if sample:  # some steps only look: there a kill has no point
            tried = chance.sample(tried, min(len(tried), round(1.3 * sample)))
        for is_tried, several in itertools.groupby(steps, lambda step: step in tried):
            if not is_tried:
                commands.must(self.lab.settings, *several)
                continue
            for step in several:
                self._all_points(step, chance if sample else None)
        if sample and not only:
            for step in self.sections[RETIRE]:
                self._until_complete(step, [("*", chance.choice(POINTS)) for _ in range(MOST_KILLS)])
        return self.result

    def all_but_the_last(self) -> None:
        """Runs all sections before the last, without any kill."""
        names = [name for name, steps in self.sections.items() if steps and name != RETIRE]
        commands.must(self.lab.settings, *names)

    def last_section(self, point: str, parts: dict[str, list[str]]) -> dict[str, Inventory]:
        """The last section, its steps killed at one *point* of each of their *parts*; gives what it leaves.

        Without a point it runs as it is, and notes its parts.
        """
        for step in self.sections[RETIRE]:
            points = [(part, point) for part in parts[step]] if point else []
            if self._until_complete(step, points) < len(points):
                self.result.wrong.append(f"{step}@{point}: not every change was there to be killed")
            parts.setdefault(step, self._parts(step))
        return self._inventories()

    def same(self, before: dict[str, Inventory], after: dict[str, Inventory], what: str) -> bool:
        """Whether two states of the servers are the same, but for what is different each time by its nature."""
        before, after = ({role: _plain(things) for role, things in state.items()} for state in (before, after))
        found = inventory.differences(before, after, inventory.left_out(self.lab.world))
        self.result.wrong += [f"{what}: {difference}" for difference in found[:3]]
        return not found

    def _all_points(self, step: str, chance: random.Random | None) -> None:
        """One step, at all points or at one that is drawn; it is done in the end."""
        before = self._inventories()
        commands.must(self.lab.settings, step)
        if not self._parts(step):
            return
        self._undo(step, f"{step}: undo without any kill")
        self.same(before, self._inventories(), f"{step}: undone without any kill")
        self._inv(step)
        parts, after = self._parts(step), self._inventories()
        points = [(part, point) for part in parts for point in POINTS]
        if not points:  # undone, it is true by itself: as a restart is, which nobody reverts
            return
        self._undo(step, f"{step}: undone again")
        for part, point in [chance.choice(points)] if chance else points:
            self._point(step, spec(step, part, point), before, after)
        self._must(self._inv(step), f"{step}: done again")

    def _point(self, step: str, point: str, before: dict[str, Inventory], after: dict[str, Inventory]) -> None:
        """One point: killed, completed, undone; killed, undone."""
        started, wrong = time.monotonic(), len(self.result.wrong)
        if not self._kill(step, point):
            return
        completed = self._must(self._inv(step), f"{point}: the same command again")
        completed &= self.same(after, self._inventories(), f"{point}: completed")
        self._undo(step, f"{point}: undo after it was completed")
        self.same(before, self._inventories(), f"{point}: completed, then undone")
        undone = self._kill(step, point)
        undone &= self._undo(step, f"{point}: undo", nothing=NOTHING_TO_UNDO)
        undone &= self.same(before, self._inventories(), f"{point}: undone")
        self.result.count(step, completed, undone)
        self._print(f"{point}  ({time.monotonic() - started:.1f} s)", self.result.wrong[wrong:])

    def _until_complete(self, step: str, points: list[tuple[str, str]]) -> int:
        """Runs a step that nothing undoes until it is complete, killed at one point after the other; says at how many.

        The next run tells whether it could be completed after a kill. It is complete where there was nothing to kill.
        """
        times, before = 0, ""
        for part, point in [*points, ("", "")]:
            kill = spec(step, part, point) if point else ""
            command = self._inv(step, kill=kill)
            completed = command.returncode in (0, KILLED)
            if not completed:
                how = "completed" if before else "without a kill"
                self.result.wrong.append(f"{before or step}: {how}: {_reason(command)}")
            if before:
                self.result.count(step, completed, False)
                self._print(f"{before} (it ends undo)", [] if completed else self.result.wrong[-1:])
            if command.returncode != KILLED:
                break
            times, before = times + 1, kill
        return times

    def _print(self, what: str, problems: list[str]) -> None:
        self.out.print(f"  {'[red]✗[/]' if problems else '[green]✓[/]'} {what}")
        for problem in problems:
            self.out.print(f"      {problem}", style="red", markup=False)

    def _inv(self, *words: str, kill: str = "") -> subprocess.CompletedProcess[str]:
        return commands.inv(self.lab.settings, *words, **{VARIABLE: kill})

    def _kill(self, step: str, point: str) -> bool:
        command = self._inv(step, kill=point)
        if command.returncode != KILLED:
            self.result.wrong.append(f"{point}: was not killed, ended with {command.returncode}: {_reason(command)}")
        return command.returncode == KILLED

    def _undo(self, step: str, what: str, nothing: str = "") -> bool:
        """Undoes a step; an undo that fails with *nothing* in its output did not need to do anything."""
        command = self._inv("undo", "--yes", step)
        return (bool(nothing) and nothing in command.stdout + command.stderr) or self._must(command, what)

    def _must(self, command: subprocess.CompletedProcess[str], what: str) -> bool:
        if command.returncode != 0:
            self.result.wrong.append(f"{what}: {_reason(command)}")
        return command.returncode == 0

    def _parts(self, step: str) -> list[str]:
        """Which parts of the step are in effect by the servers' journals, in the order in which they were made."""
        standing = script(STANDING, ROOT, step)
        parts: list[tuple[int, str]] = []
        for server in self.lab.hosts:
            entries = map(json.loads, server.exec(standing).stdout.splitlines())
            parts += [(entry["number"], f"{server.role}:{entry['part']}") for entry in entries]
        return list(dict.fromkeys(part for _, part in sorted(parts)))

    def _inventories(self) -> dict[str, Inventory]:
        # The unit of a copy ends a moment after the step that waits for it; one that stays is seen.
        copy = "test ! -e /run/systemd/transient/switchover-copy.service"
        with contextlib.suppress(Problem):
            until(lambda: self.lab.new.exec(copy, check=False).returncode == 0, 10, "a copy's unit stays", pause=0.1)
        return inventory.take_all(self.lab.hosts)


def all_points_of_the_last_section(state: str, result: Result, out: Console) -> None:
    """Every point of the last section, from the saved *state* in which all others are done."""
    expected: dict[str, Inventory] = {}
    parts: dict[str, list[str]] = {}
    for point in ("", *POINTS):
        with Lab(state=state) as lab:
            walk = Walk(lab, out, result)
            left = walk.last_section(point, parts)
            expected = expected or left
            walk.same(expected, left, f"the last section, killed {point}")


def _section(step: str) -> str:
    return step.partition(".")[0]


def _plain(things: Inventory) -> Inventory:
    """Without what differs each time by its nature."""
    there = {re.sub(r"/[0-9a-f]{32}\b", "/…", thing): "there" for thing in things if _matches(thing, THERE)}
    return {thing: state for thing, state in things.items() if not _matches(thing, THERE + IGNORED)} | there


def _matches(thing: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, thing) for pattern in patterns)


def _reason(command: subprocess.CompletedProcess[str]) -> str:
    return last_line(command.stderr, command.stdout)
