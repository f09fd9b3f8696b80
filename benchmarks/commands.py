"""What commands cost that change nothing: each section repeated, `check`, `status`, a command inside a server.

    .venv/bin/python benchmarks/commands.py --json FILE [--rounds 5] [--strategy copy|replicate]

As root: it boots a lab of its own and moves it section by section, up to `switch-dns`. After each section the same
command is given again, in turn with `inv --list`, which starts the program and asks no server. Printed are medians, and
ratios to that of `inv --list` within this run: seconds differ from machine to machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lab.commands import must, sections  # noqa: E402
from lab.servers import Lab  # noqa: E402

LIST = "--list"
LAST = "retire-old"  # it ends the move: not repeated
INSIDE = 200  # commands inside a server


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--json", type=Path, required=True)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--strategy", default="replicate")
    options = given.parse_args()
    os.environ.setdefault("SWITCHOVER_LAB_NAME", "bench")
    with Lab(seed_mb=5, strategy=options.strategy) as lab:
        seconds = measured(lab, options.rounds)
        start = time.monotonic()
        for _ in range(INSIDE):
            lab.old.exec("true")
        inside = (time.monotonic() - start) / INSIDE
    options.json.write_text(json.dumps(summary(seconds, inside), indent=1) + "\n")
    for name, found in summary(seconds, inside)["commands"].items():
        print(f"  {name:<14} {found['median']:6.2f} s   {found['ratio']:5.2f} times `inv --list`")
    print(f"  a command inside a server: {inside * 1000:.1f} ms\nAll of it: {options.json}")
    return 0


def measured(lab: Lab, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, of `inv --list` too. Raises Problem when one fails."""

    def run(*words: str) -> float:
        start = time.monotonic()
        must(lab.settings, *words)
        return time.monotonic() - start

    seconds: dict[str, list[float]] = {LIST: []}
    for section in [section.name for section in sections(lab.settings) if section.name != LAST] + ["status"]:
        run(section)
        seconds[section] = in_turn(lambda: run(LIST), partial(run, section), rounds, seconds[LIST])
    return seconds


def in_turn(one: Callable[[], float], other: Callable[[], float], rounds: int, ones: list[float]) -> list[float]:
    """What *other* took, each time after *one*, whose times go to *ones*."""
    others = []
    for _ in range(rounds):
        ones.append(one())
        others.append(other())
    return others


def summary(seconds: dict[str, list[float]], inside: float) -> dict[str, Any]:
    """Medians, and how many times that of `inv --list` each is."""
    base = median(seconds[LIST])
    found = {
        name: {"median": round(median(all_), 3), "ratio": round(median(all_) / base, 2), "seconds": all_}
        for name, all_ in seconds.items()
    }
    return {"commands": found, "inside_ms": round(inside * 1000, 2)}


if __name__ == "__main__":
    sys.exit(main())
