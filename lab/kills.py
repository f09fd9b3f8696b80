"""Kills the operator's command at every point of every step, and sees whether the move goes on, and back.

    inv lab.kills [--sample N] [--seed S] [--json FILE] [--section NAME or STEP] [--strategy copy]

For each change that a step makes and each of the four points (see `switchover/failpoint.py`):

- killed there, then the same command: the servers end as without the kill, and the step's undo brings the beginning
  back;
- killed there, then `inv undo`: the servers are as before the step.

The last section ends undo, so each of its changes can be killed once in a lab: it is gone through once for each point,
from a saved state, and ends each time as without a kill.

It walks through the whole checklist, so that every step begins from where it begins in life. A new step is covered
without a line here: what it changes is read from the journals.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchover.errors import Problem
from switchover.failpoint import POINTS, VARIABLE, spec
from switchover.journal import ROOT

from . import commands
from .judging import inventory
from .machine.server import until
from .texts import script

if TYPE_CHECKING:
    from rich.console import Console

    from .servers import Lab

NOTHING_TO_UNDO = "nothing to undo"
STANDING = Path(__file__).with_name("judging") / "standing.sh"
LATE = "retire-old"  # it ends undo: killed and gone on only
MOST_KILLS = 60  # of one step that nothing undoes
# What comes out differently each time by its nature, so that only its being there is compared.
RANDOM = (
    r"file /root/\.ssh/switchover(\.pub)?",  # the key of the move
    r"file /etc/switchover/pgpass",  # its password
    r"file /etc/letsencrypt/(accounts|archive|live|renewal|csr|keys)/.*",  # a certificate, its key, an account's number
    r"setting max_slot_wal_keep_size",  # half of what is free on the disk
    r"role switchover(_app)?",  # whose verifier has a salt
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
    """What came of it: `points` tried, how many `went_on` and were `undone`, and what was `wrong`."""

    points: int = 0
    went_on: int = 0
    undone: int = 0
    wrong: list[str] = field(default_factory=list)
    by_section: dict[str, list[int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"points": self.points, "went_on": self.went_on, "undone": self.undone, "wrong": self.wrong}


def walk(lab: Lab, out: Console, *, sample: int = 0, seed: int = 0, only: str = "") -> Result:
    """Drives every point of all but the last section in a lab that is up and untouched.

    Or one point each of *sample* steps, drawn by *seed*, and then the last section, at points that are drawn too.
    """
    chance = random.Random(seed)
    result = Result()
    lines = [line for section in _sections(lab, only) for line in section.steps]
    if only in lines:  # a step alone
        lines = lines[: lines.index(only) + 1]
    tried = [line for line in lines if only in ("", line, _section(line))]
    if only and tried:  # what comes after it is not wanted
        lines = lines[: lines.index(tried[-1]) + 1]
    if sample:  # some steps only look: there a kill has no point
        tried = chance.sample(tried, min(len(tried), round(1.3 * sample)))
    passed: list[str] = []
    for line in lines:
        if line not in tried:
            passed.append(line)
            continue
        _pass(lab, passed)
        passed = []
        before = _look(lab)
        _pass(lab, [line])
        if not _parts(lab, line):
            continue
        _must(_run(lab, "undo", "--yes", line), result, f"{line}: undo without any kill")
        _same(lab, before, _look(lab), result, f"{line}: undone without any kill")
        parts, after = _reference(lab, line)
        points = [(part, point) for part in parts for point in POINTS]
        if not points:  # undone, it is true by itself: as a restart is, which nobody takes back
            continue
        for part, point in [chance.choice(points)] if sample else points:
            _try(lab, line, part, point, before, after, result, out)
        _must(_run(lab, line), result, f"{line}: done again")
    _pass(lab, passed)
    if sample and not only:
        for line in _lines_of_last(lab):
            _forward(lab, line, [("*", chance.choice(POINTS)) for _ in range(MOST_KILLS)], result, out)
    return result


def walk_last(state: str, result: Result, out: Console) -> None:
    """Drives every point of the last section, from the saved *state* in which all others are done."""
    from .servers import Lab

    ends: dict[str, inventory.Look] = {}
    parts: dict[str, list[str]] = {}
    for point in ("", *POINTS):
        with Lab(state=state) as lab:
            for line in _lines_of_last(lab):
                points = [(part, point) for part in parts[line]] if point else []
                if _forward(lab, line, points, result, out) < len(points):
                    result.wrong.append(f"{line}@{point}: not every change was there to be killed")
                parts.setdefault(line, _parts(lab, line))
            seen = _look(lab)
        if point:
            _same(lab, ends, seen, result, f"the last section, killed {point}")
        else:
            ends = seen


def before_last(lab: Lab) -> None:
    """Everything that comes before the last section, without any kill."""
    _pass(lab, [section.name for section in _sections(lab, "") if section.steps])


def _lines_of_last(lab: Lab) -> list[str]:
    return [line for section in commands.sections(lab.settings) if section.name == LATE for line in section.steps]


def _sections(lab: Lab, only: str) -> list[commands.Section]:
    """Those to go through: up to the one that is wanted; the last is a matter of its own."""
    found = [section for section in commands.sections(lab.settings) if section.name != LATE]
    names = [section.name for section in found]
    if only and _section(only) not in names:
        raise Problem(f"there is no section '{only}'", "lab.kills", f"Choose among {', '.join(names)}")
    if only:
        return found[: names.index(_section(only)) + 1]
    return found


def _pass(lab: Lab, lines: list[str]) -> None:
    """These steps, one after the other, without any kill. Raises Problem where they fail."""
    if lines and (done := _run(lab, *lines)).returncode != 0:
        raise Problem(f"{' '.join(lines)} fails without any kill: {_last(done)}", "lab.kills")


def _section(line: str) -> str:
    return line.partition(".")[0]


def table(result: Result) -> Any:
    """The result as a table for the terminal."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for name in ("section", "points", "went on", "undone"):
        shown.add_column(name, justify="left" if name == "section" else "right")
    for section, numbers in result.by_section.items():
        shown.add_row(section, *map(str, numbers))
    shown.add_row("all", str(result.points), str(result.went_on), str(result.undone), style="bold")
    return shown


def _try(
    lab: Lab,
    line: str,
    part: str,
    point: str,
    before: dict[str, inventory.Look],
    after: dict[str, inventory.Look],
    result: Result,
    out: Console,
) -> None:
    """One point: killed, gone on, undone; killed, undone."""
    name, wrong = spec(line, part, point), len(result.wrong)
    counted = result.by_section.setdefault(line.split(".")[0], [0, 0, 0])
    started = time.monotonic()
    if not _kill(lab, line, part, point, result, name):
        return
    _must(_run(lab, line), result, f"{name}: the same command again")
    _same(lab, after, _look(lab), result, f"{name}: gone on")
    went_on = len(result.wrong) == wrong
    _must(_run(lab, "undo", "--yes", line), result, f"{name}: undo after going on")
    _same(lab, before, _look(lab), result, f"{name}: gone on, then undone")
    middle = len(result.wrong)
    _kill(lab, line, part, point, result, name)
    again = _run(lab, "undo", "--yes", line)
    if again.returncode != 0 and NOTHING_TO_UNDO not in again.stdout + again.stderr:
        result.wrong.append(f"{name}: undo: {_last(again)}")
    _same(lab, before, _look(lab), result, f"{name}: undone")
    undone = len(result.wrong) == middle
    for place, more in enumerate((True, went_on, undone)):
        counted[place] += more
    result.points += 1
    result.went_on += went_on
    result.undone += undone
    mark = "[green]✓[/]" if went_on and undone else "[red]✗[/]"
    out.print(f"  {mark} {name}  [dim]{time.monotonic() - started:.1f} s[/]")
    for problem in result.wrong[wrong:]:
        out.print(f"      {problem}", style="red", markup=False)


def _forward(lab: Lab, line: str, points: list[tuple[str, str]], result: Result, out: Console) -> int:
    """Runs a step that nothing undoes until it is at its end, killed at one point after the other; says at how many.

    Whether it went on from a kill the next run tells. It is at its end where nothing was there to be killed.
    """
    counted = result.by_section.setdefault(_section(line), [0, 0, 0])
    kills, before = 0, ""
    for part, point in [*points, ("", "")]:
        kill = spec(line, part, point) if point else ""
        done = _run(lab, line, kill=kill)
        went_on = done.returncode in (0, -9)
        if not went_on:
            result.wrong.append(f"{before or line}: {'gone on' if before else 'without a kill'}: {_last(done)}")
        if before:
            counted[0], counted[1] = counted[0] + 1, counted[1] + went_on
            result.points, result.went_on = result.points + 1, result.went_on + went_on
            out.print(f"  {'[green]✓[/]' if went_on else '[red]✗[/]'} {before} (it ends undo)")
        if done.returncode != -9:
            break
        kills, before = kills + 1, kill
    return kills


def _kill(lab: Lab, line: str, part: str, point: str, result: Result, name: str) -> bool:
    killed = _run(lab, line, kill=spec(line, part, point))
    if killed.returncode != -9:
        result.wrong.append(f"{name}: was not killed, ended with {killed.returncode}: {_last(killed)}")
        return False
    return True


def _reference(lab: Lab, line: str) -> tuple[list[str], dict[str, inventory.Look]]:
    """The parts of the step, and how the servers are after it without any kill; it is undone again."""
    _run(lab, line)
    parts, after = _parts(lab, line), _look(lab)
    if parts:
        _run(lab, "undo", "--yes", line)
    return parts, after


def _run(lab: Lab, *words: str, kill: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: kill}
    return subprocess.run(
        [commands.INV, "-f", lab.settings, *words],
        cwd=commands.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def _parts(lab: Lab, line: str) -> list[str]:
    """Which parts of the step stand in the journals of the servers, in the order in which they were made."""
    standing = script(STANDING, ROOT, line)
    found = [
        (facts["number"], f"{role}:{facts['part']}")
        for role, server in _servers(lab).items()
        for facts in map(json.loads, server.exec(standing).stdout.splitlines())
    ]
    return list(dict.fromkeys(part for _, part in sorted(found)))


def _servers(lab: Lab) -> dict[str, Any]:
    return {host.role: host for host in lab.hosts}


def _look(lab: Lab) -> dict[str, inventory.Look]:
    # The unit of a copy ends a moment after it has said that all is here; one that stays is seen.
    copy = "test ! -e /run/systemd/transient/switchover-copy.service"
    with contextlib.suppress(Problem):
        until(lambda: lab.new.exec(copy, check=False).returncode == 0, 10, "a copy's unit stays", pause=0.1)
    return {name: inventory.look(server, databases=name != "ci") for name, server in _servers(lab).items()}


def _same(lab: Lab, one: dict[str, inventory.Look], two: dict[str, inventory.Look], result: Result, what: str) -> None:
    for name, seen in one.items():
        found = inventory.compare(name, _plain(seen), _plain(two[name]), inventory.left_out(lab.world))
        result.wrong += [f"{what}: {difference}" for difference in found[:3]]


def _plain(seen: inventory.Look) -> inventory.Look:
    """Without what differs each time by its nature; of a random file its being there stays."""
    kept = {}
    for key, value in seen.items():
        pattern = next((p for p in RANDOM if re.fullmatch(p, key)), None)
        if pattern is None:
            kept[key] = value
        elif key.startswith(("file /root", "file /etc", "role", "setting")):
            kept[re.sub(r"/[0-9a-f]{32}\b", "/…", key)] = "there"
    return kept


def _must(done: subprocess.CompletedProcess[str], result: Result, what: str) -> None:
    if done.returncode != 0:
        result.wrong.append(f"{what}: {_last(done)}")


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1][:300] if lines else f"exit status {done.returncode}"


def report(result: Result, out: Console, file: Path | None) -> int:
    """Prints the table, writes the JSON; gives the exit status."""
    out.print(table(result))
    for problem in result.wrong:
        out.print(f"wrong: {problem}", style="red", markup=False)
    if file:
        file.write_text(json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n")
    return 1 if result.wrong else 0
