"""What the switch of the database costs: its hold, to and fro under visitors, and how long no order can be placed.

    .venv/bin/python benchmarks/switch.py --json FILE [--runs 20] [--rate 50] [--only PART]... [--seed-mb 40]

As root: it boots labs of its own (Debian 11 to 12), one after the other, and moves each as far as the switch by the
`inv` commands. The parts, all unless --only names some:

- hold: so many switches in turn to new and to old, with quiet stretches between them. Each is what `inv switch-db`
  has run on the new server (`scripts/server/detached-switch`), without the restarts of application and worker around
  it. The hold is what that program says, failed tries added. What visitors felt in the time of a switch is compared
  with stretches as long in which nothing happened.
- operator_200ms: by `inv switch-db` and `inv undo switch-db`, over a relay that takes 200 ms there and back
- data_x10, tables_1000: another lab, with ten times the data, or 1,000 more tables, each with a sequence
- unavailable: seconds in which no order came through, with visitors who only order (--orders a second): by the
  checklist's own way (stop, pg_dump, psql, start), by `inv switch-db` with `strategy: copy`, and with `replicate`

A variant's hold is compared with the plain one of the same run. Seconds differ from machine to machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from lab.judging.audit import Facts, Place, gather, judge  # noqa: E402
from lab.judging.switch import Switch, told  # noqa: E402
from lab.rehearsal import Visitors  # noqa: E402
from lab.servers import Lab  # noqa: E402
from lab.sites.provision import render  # noqa: E402
from lab.visitors.ledger import Answer, Book, Outcome, percentile  # noqa: E402
from lab.world import SHOP  # noqa: E402
from switchover.errors import Problem  # noqa: E402
from switchover.journal import FUNCTIONS  # noqa: E402
from switchover.quote import sh  # noqa: E402

OLD, NEW = SHOP.site("old"), SHOP.site("new")
OTHER = {"old": "new", "new": "old"}
PARTS = ("hold", "operator_200ms", "data_x10", "tables_1000", "unavailable")
BEFORE = ("prepare-old", "prepare-new", "switch-jobs", "switch-app", "switch-cron")
HOME = "/var/tmp/bench"  # noqa: S108 - on the lab's server
WORKER = f"{NEW.app}/tmp/pids/delayed_job.pid"  # noqa: S108
JOURNAL = "/var/lib/switchover/shop.test"
FAR = 0.1  # seconds, in each direction
SETTLES = 1.0  # seconds after a switch that belong to no quiet stretch
STRETCHES = 3  # quiet ones after a switch, each about as long
TABLES = f"""
SET ROLE {OLD.owner};
SELECT format('CREATE TABLE more_%s (id bigserial PRIMARY KEY, note text)', n) FROM generate_series(1, 1000) n \\gexec
SELECT format('INSERT INTO more_%s (note) VALUES (%L), (%L)', n, 'one', 'two') FROM generate_series(1, 1000) n \\gexec
"""
CHECKLIST = (ROOT / "benchmarks/by-the-checklist.sh").read_text()
CHECKLISTS_WORDS = " ".join(map(sh, (NEW.user, NEW.app, NEW.name, NEW.owner, NEW.database, HOME)))


@dataclass
class Done:
    """One switch: from when to when it was at work (unix seconds), and what its program said."""

    started: float
    ended: float
    switch: Switch

    @property
    def hold(self) -> float:
        if self.switch.hold_ms is None:
            raise Problem("the program of the switch told no hold", "benchmarks/switch.py")
        return self.switch.hold_ms


class Moved:
    """A pair of servers whose move has come to its switch."""

    def __init__(self, lab: Lab, rate: float) -> None:
        self.lab, self.rate = lab, rate
        self.leads = "old"
        self.places = {
            "old": Place(lab.old, OLD.database, OLD.app),
            "new": Place(lab.new, NEW.database, NEW.app),
        }

    def inv(self, *words: str, settings: Path | None = None) -> tuple[float, float]:
        """A command as the operator gives it; from when to when it took."""
        began = time.time()
        command: list[str | Path] = [Path(sys.executable).with_name("inv"), "-f", settings or self.lab.settings, *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Problem(f"inv {' '.join(words)} failed: {done.stderr.strip()[-500:]}", "benchmarks/switch.py")
        say(f"  inv {' '.join(words)}: {time.time() - began:.1f} s")
        return began, time.time()

    def by_command(self, towards: str, settings: Path | None = None) -> Done:
        """A switch as the operator has it done."""
        words = ("switch-db",) if towards == "new" else ("undo", "--yes", "switch-db")
        began, ended = self.inv(*words, settings=settings)
        self.leads = towards
        last = f"ls -d {JOURNAL}/*-switch-db.switch/said | tail -n 1"
        return Done(began, ended, told(self.lab.new.exec(f"cat $({last})").stdout))

    def directly(self, towards: str) -> Done:
        """A switch as the step has it done on the new server."""
        began = time.time()
        said = self.lab.new.exec(f"cd {HOME} && sh after/detached-switch {towards}").stdout
        self.leads = towards
        return Done(began, time.time(), told(said))

    def ready(self) -> None:
        """What the step has beside it is there; the worker has stopped, as in every switch."""
        for name in ("detached-switch", "detached.sh"):
            self.lab.new.write(f"{HOME}/after/{name}", (ROOT / "scripts/server" / name).read_bytes())
        self.lab.new.exec(f"""{FUNCTIONS}
        systemctl stop monit
        if alive {WORKER}; then kill "$(cat {WORKER})"; wait_until 60 not alive {WORKER}; fi
        """)

    def series(self, runs: int, what: str, turn: Callable[[str], Done], stretches: int = 0) -> list[Done]:
        """So many switches in turn, with so many quiet *stretches* after each."""
        found: list[Done] = []
        for number in range(1, runs + 1):
            done = turn(OTHER[self.leads])
            found.append(done)
            parts = ", ".join(f"{name} {took:.0f}" for name, took in done.switch.parts.items())
            how = f"held {done.hold:.1f} ms ({parts}), took {seconds(done):.1f} s"
            say(f"  {what} {number}/{runs}, to {self.leads}: {how}")
            time.sleep(SETTLES + stretches * seconds(done))
        return found

    @contextmanager
    def visited(self, only: str | None = None, rate: float | None = None) -> Iterator[Visitors]:
        """Visitors come meanwhile."""
        with (
            tempfile.TemporaryDirectory() as folder,
            Visitors(self.lab, Path(folder) / "ledger", rate or self.rate, only) as visitors,
        ):
            visitors.wait_for("start", 90)
            time.sleep(5)
            yield visitors


def seconds(done: Done) -> float:
    return done.ended - done.started


def say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def moved(
    options: argparse.Namespace, what: str, strategy: str = "replicate", sql: str = "", more: int = 1
) -> Iterator[Moved]:
    """A lab of its own, moved as far as the switch; *more* times the data, and what *sql* adds."""
    say(f"{what}: two servers, {options.seed_mb * more} MB, moved as far as the switch")
    with Lab("11", "12", seed_mb=options.seed_mb * more, ci=False, strategy=strategy) as lab:
        pair = Moved(lab, options.rate)
        if sql:
            lab.old.psql(sql, OLD.database)
        for section in BEFORE:
            pair.inv(section)
        if strategy == "replicate":
            pair.inv("replicate")
            pair.by_command("new")
            pair.ready()
        yield pair


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """The holds of some switches, in ms."""
    holds = [one.hold for one in done]
    names = done[0].switch.parts
    return {
        "runs": len(holds),
        "median": round(median(holds), 1),
        "p95": percentile(holds, 95),
        "max": max(holds),
        "parts": {name: round(median(one.switch.parts.get(name, 0.0) for one in done), 1) for name in names},
        "tries": sum(one.switch.tries or 0 for one in done),
        "different": sum((one.switch.proof or {"different": 1})["different"] for one in done),
    }


def felt(done: Sequence[Done], answers: Sequence[Answer]) -> dict[str, Any]:
    """The longest request of a switch, against stretches as long without one."""

    def longest(start: float, end: float) -> float:
        return max((a.ms for a in answers if a.at < end and start < a.ended), default=0.0)

    long = median(seconds(one) for one in done)
    quiet = []
    for one in done:
        start = one.ended + SETTLES
        quiet += [
            longest(start + n * long, start + (n + 1) * long) for n in range(int(STRETCHES * seconds(one) / long))
        ]
    longest_ms = median(longest(one.started, one.ended) for one in done)
    p95 = percentile(quiet, 95)
    return {
        "longest_ms": round(longest_ms, 1),
        "quiet_longest_p95_ms": round(p95, 1),
        "above_ms": round(longest_ms - p95, 1),
        "stretches": len(quiet),
        "requests": len(answers),
        "failed": sum(answer.outcome is not Outcome.OK for answer in answers),
    }


class Benchmark:
    """One run of the parts that were asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.parts = options.only or PARTS
        self.result: dict[str, Any] = {"variants": {}, "unavailable_seconds": {}}

    def keep(self) -> None:
        """What is known so far, and how busy the machine was."""
        self.result["load_average"] = os.getloadavg()
        self.options.json.write_text(json.dumps(self.result, indent=1) + "\n")

    def run(self) -> None:
        """All of it; a variant needs the plain hold too."""
        variants = [part for part in PARTS[1:4] if part in self.parts]
        if variants or "hold" in self.parts or "unavailable" in self.parts:
            self._plain()
        if "data_x10" in self.parts:
            self._variant("data_x10", more=10)
        if "tables_1000" in self.parts:
            self._variant("tables_1000", sql=TABLES)
        if "unavailable" in self.parts:
            self._by_copying()
            self._table()

    def _plain(self) -> None:
        options = self.options
        with moved(options, "plain") as pair:
            if set(self.parts) != {"unavailable"}:
                runs = options.runs if "hold" in self.parts else options.variant_runs
                with pair.visited() as visitors:
                    done = pair.series(runs, "hold", pair.directly, STRETCHES)
                    visitors.finish()
                    book = visitors.book()
                self.result["hold_ms"] = summary(done)
                self.result["visitors"] = felt(done, book.answers) | orders(pair, book)
                self.keep()
                say(f"  {json.dumps(self.result['hold_ms'])}\n  {json.dumps(self.result['visitors'])}")
                if pair.leads == "old":  # as the journal has it
                    pair.directly("new")
            if "operator_200ms" in self.parts:
                far = far_away(pair.lab)
                with pair.visited():
                    self._compare(
                        "operator_200ms",
                        pair.series(options.variant_runs, "operator_200ms", lambda to: pair.by_command(to, far)),
                    )
            if "unavailable" in self.parts:
                if pair.leads == "new":
                    pair.by_command("old")
                self._unavailable("ours", pair, lambda: pair.by_command("new"))

    def _variant(self, name: str, **given: Any) -> None:
        with moved(self.options, name, **given) as pair, pair.visited():
            self._compare(name, pair.series(self.options.variant_runs, name, pair.directly))

    def _compare(self, name: str, done: Sequence[Done]) -> None:
        found = summary(done)
        above = round(found["median"] - self.result["hold_ms"]["median"], 1)
        self.result["variants"][name] = found | {"above_plain_ms": above}
        self.keep()
        say(f"  {name}: median {found['median']} ms, {above:+} ms against the plain one")

    def _by_copying(self) -> None:
        with moved(self.options, "copying", strategy="copy") as pair:
            self._unavailable("copy", pair, lambda: pair.inv("switch-db"))
            pair.inv("undo", "--yes", "switch-db")
            new = pair.lab.new
            new.exec("systemctl stop monit")
            new.write(f"{HOME}/pgpass", f"localhost:*:*:{NEW.owner}:{NEW.password}\n", mode=0o600)
            # Not read before the start.
            yml, owner = render("database.yml.j2", site=NEW), f"{NEW.user}:{NEW.user}"
            new.write(f"{NEW.app}/config/database.yml", yml, mode=0o600, owner=owner)
            self._unavailable("checklist", pair, lambda: new.exec(f"set -- {CHECKLISTS_WORDS}\n{CHECKLIST}"))

    def _unavailable(self, name: str, pair: Moved, work: Callable[[], object]) -> None:
        """For how long no order came through, beside the same without any switch."""
        with pair.visited("order", self.options.orders) as visitors:
            began = time.time()
            time.sleep(10)
            switching_from = time.time()
            work()
            time.sleep(3)
            ended = time.time()
            visitors.finish()
            book = visitors.book()
        found = {
            name: round(book.longest_without("order", switching_from, ended), 3),
            f"{name}_quiet": round(book.longest_without("order", began, switching_from), 3),
        }
        self.result["unavailable_seconds"][name] = found[name]
        self.result.setdefault("without_a_switch_seconds", {})[name] = found[f"{name}_quiet"]
        self.keep()
        say(f"  no order for {found[name]} s ({name}); without a switch {found[f'{name}_quiet']} s")

    def _table(self) -> None:
        found = self.result["unavailable_seconds"]
        say(f"\n{'no order for':13} seconds   of the checklist's")
        for name in ("checklist", "copy", "ours"):
            say(f"  {name:11} {found[name]:7.2f}   {found[name] / found['checklist']:.3f}")


def orders(pair: Moved, book: Book) -> dict[str, int]:
    """What became of the orders that visitors were told of."""
    there = gather(pair.places[pair.leads])
    audit = judge(book, there, gather(pair.places[OTHER[pair.leads]]), Facts())
    return {
        "orders": audit.orders_acknowledged,
        "lost": len(audit.orders_lost),
        "doubled": len(audit.orders_duplicated),
    }


def far_away(lab: Lab) -> Path:
    """Settings by which the servers are far from the operator."""
    config = lab.ssh_config.with_name("config-far")
    config.write_text(re.sub(r"^( *ProxyCommand .*)$", rf"\1 {FAR}", lab.ssh_config.read_text(), flags=re.MULTILINE))
    file = lab.settings.with_name("far.yaml")
    settings = yaml.safe_load(lab.settings.read_text()) | {"ssh_config": f"ssh/{config.name}"}
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--json", type=Path, required=True)
    given.add_argument("--runs", type=int, default=20, help="switches of the part hold (20)")
    given.add_argument("--variant-runs", type=int, default=6, help="and of each variant (6)")
    given.add_argument("--rate", type=float, default=50, help="visitors' requests a second (50)")
    given.add_argument("--orders", type=float, default=20, help="orders a second where all visitors order (20)")
    given.add_argument("--seed-mb", type=int, default=40, help="about how large old's database is (40)")
    given.add_argument("--only", action="append", choices=PARTS, help="a part; repeatable (all)")
    options = given.parse_args()
    os.environ.setdefault("SWITCHOVER_LAB_NAME", "bench")
    try:
        Benchmark(options).run()
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    say(f"All of it: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
