"""`inv lab.…`: throw-away servers to explore."""

import os
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

# What a lab's database is like.
DATABASE = {"seed-mb": "about how large old's database is", "strategy": "how the database moves: replicate or copy"}


@task(
    help=DATABASE
    | {
        "old": "Debian release of the old server: 11, 12 or 13",
        "new": "Debian release of the new server",
        "state": "start from this saved state",
        "plain": "bare servers, without the shop",
        "ci": "the host that deploys is there too",
        "firewall": "old has its firewall on",
    }
)
def up(
    _c: Context, old: str = "11", new: str = "12", seed_mb: int = 300, state: str | None = None, plain: bool = False,
    ci: bool = True, firewall: bool = True, strategy: str = "replicate",
) -> None:  # fmt: skip
    """Boots old, new and the host that deploys, which then stay up until `inv lab.down`."""
    from .servers import Lab

    with Lab(old, new, state, seed_mb=seed_mb, plain=plain, ci=ci, firewall=firewall, strategy=strategy) as lab:
        lab.keep()
    print(f"Up. Settings: {lab.settings}\nLook around: inv lab.ssh old (new, ci). End it: inv lab.down")


@task(help={"server": "old, new or ci", "command": "what to run there instead of a shell"})
def ssh(_c: Context, server: str, command: str = "") -> None:
    """A shell on old, new or ci, as the user with sudo."""
    from .servers import Lab

    lab = Lab.running()
    os.execvp("ssh", ["ssh", "-F", str(lab.ssh_config), lab.server(server).name, *([command] if command else [])])


@task(help={"name": "what to call it"})
def save(_c: Context, name: str) -> None:
    """Keeps the state of all servers: `inv lab.up --state NAME` starts from it."""
    from .servers import Lab

    Lab.running().save(name)


@task
def down(_c: Context) -> None:
    """Ends the lab, whoever uses it, and removes all that is left of it."""
    from .machine import clean
    from .place import place

    clean.clear(place())


@task(
    help=DATABASE
    | {
        "sample": "so many points, drawn by chance; all unless given",
        "seed": "for the drawing",
        "json": "a file for the result",
        "section": "only this section, or this step (those before it run without kills)",
    }
)
def kills(
    _c: Context, sample: int = 0, seed: int = 0, json: str = "", seed_mb: int = 5, section: str = "",
    strategy: str = "replicate",
) -> None:  # fmt: skip
    """Kills commands at every point of every step, in a lab of its own: can each be completed, and undone?"""
    from .crash_points import Walk, all_points_of_the_last_section
    from .report import terminal
    from .sections import RETIRE
    from .servers import Lab

    out = terminal.console()
    with Lab("11", "12", seed_mb=seed_mb, strategy=strategy) as lab:
        walk = Walk(lab, out)
        if section == RETIRE:
            walk.all_but_the_last()
        else:
            walk.all_steps(sample=sample, seed=seed, only=section)
        if last := section == RETIRE or not (sample or section):
            lab.save("before-the-last")
    if last:
        all_points_of_the_last_section("before-the-last", walk.result, out)
    raise SystemExit(walk.result.report(out, Path(json) if json else None))


namespace = Collection("lab", up, ssh, save, down, kills)
