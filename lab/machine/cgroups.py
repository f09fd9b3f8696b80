"""Control groups: each server has one of its own, by which all its processes are found and ended.

Works with cgroup2 alone and with the hybrid of cgroup2 and systemd's own v1 hierarchy: a group is made in
both, since systemd inside looks at either.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

from switchover.errors import Problem

ROOT = Path("/sys/fs/cgroup")
WITHIN = 20  # seconds in which processes that are killed end


@cache
def hierarchies() -> tuple[Path, ...]:
    """The mounted hierarchies in which a group must be made; the cgroup2 one comes first.

    Raises Problem when there is no cgroup2.
    """
    found = [mounts("--types=cgroup2"), mounts("--types=cgroup", "--options=name=systemd")]
    # Somebody's chroot may have them too.
    unified, named = ([point for point in points if point.is_relative_to(ROOT)] for points in found)
    if not unified:
        raise Problem("no cgroup2 is mounted", str(ROOT), "Boot it with cgroup2 (or the hybrid)")
    return (unified[0], *named[:1])


def mounts(*which: str) -> list[Path]:
    """Where anything is mounted on this machine; *which*: findmnt's options for less."""
    command = ["findmnt", "--raw", "--noheadings", "--output=TARGET", *which]
    return [Path(line) for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]


def make(name: str) -> list[Path]:
    """Makes the group *name* and gives the files that take the number of a process to be in it (0: who writes it)."""
    groups = [hierarchy / name for hierarchy in hierarchies()]
    for group in groups:
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(f"no control group can be made ({error.strerror})", str(group), "Run it as root") from None
    return [group / "cgroup.procs" for group in groups]


def pids(name: str) -> set[int]:
    """All processes in the group *name* and below."""
    groups = [folder for hierarchy in hierarchies() for folder, _, _ in os.walk(hierarchy / name)]
    return set[int]().union(*(_pids(Path(group, "cgroup.procs")) for group in groups))


def _pids(file: Path) -> set[int]:
    """The processes in a group by its *file*, without those that cannot be seen from here; none when it is gone."""
    with contextlib.suppress(OSError):
        return {*map(int, file.read_text().split())} - {0}
    return set()


def init(name: str) -> int | None:
    """The process, as this machine sees it, that is number 1 inside the server of group *name*."""
    payload = hierarchies()[0] / name / "payload"
    for file in (payload / "init.scope" / "cgroup.procs", payload / "cgroup.procs"):
        for pid in _pids(file):
            with contextlib.suppress(OSError):
                if re.search(r"^NSpid:\t\d+\t(.+\t)?1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
                    return pid
    return None


def end(name: str) -> None:
    """Kills all in the group *name* and removes it, with those below it.

    Raises Problem when something is still there after `WITHIN` seconds.
    """
    deadline = time.monotonic() + WITHIN
    while left := pids(name):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Problem(f"processes {sorted(left)[:5]} do not end", name, "Look at them with `ps`")
        time.sleep(0.01)
    for hierarchy in hierarchies():
        while (hierarchy / name).exists():
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                with contextlib.suppress(OSError):  # a process just killed leaves its group a moment later
                    Path(folder).rmdir()
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
