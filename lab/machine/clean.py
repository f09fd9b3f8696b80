"""Taking a lab down, and sweeping up after one that died."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from switchover.errors import Problem

from ..place import LabPlace
from ..place import place as named_place
from . import cgroups, host, images, network
from .locks import try_lock


def take(place: LabPlace) -> FileLock:
    """Locks the lab for this process, until it ends or releases what this gives.

    Raises Problem when another process uses the lab, or when it is up and was left so on purpose.
    """
    lock = try_lock(place.lock, f"{os.getpid()} ({' '.join(sys.argv)[:200]})")
    if lock is None:
        user = place.lock.read_text() or "another"
        raise Problem(f"it is in use by process {user}", "lab", "Wait until that ends, or end the lab: inv lab.down")
    if place.kept.exists() and cgroups.pids(place.prefix):
        lock.release()
        raise Problem("it is up already, and kept", "lab", "Look around (inv lab.ssh old) or end it: inv lab.down")
    return lock


def sweep(place: LabPlace | None = None) -> None:
    """Removes whatever an earlier lab left: processes, control groups, namespaces, mounts, its run directory.

    Raises Problem when the lab is in use by a living process or kept on purpose.
    """
    place = place or named_place()
    lock = take(place)
    try:
        clear(place)
    finally:
        lock.release()


def clear(place: LabPlace) -> None:
    """The same without asking: also ends a lab that somebody uses."""
    host.check_root()
    cgroups.end(place.prefix)
    network.down(place)
    for mount in _mounts(place):
        subprocess.run(["umount", "--lazy", mount], check=True)
    # Whoever owned it may be removing it too.
    for _ in range(3):
        shutil.rmtree(place.run, ignore_errors=True)
    if place.run.exists():
        raise Problem("it could not be removed", str(place.run), "Look at what is in it")
    images.sweep(place)


def left(place: LabPlace | None = None) -> list[str]:
    """All that a lab has on this machine now, in words: empty when nothing is left of it."""
    place = place or named_place()
    groups = [str(h / place.prefix) for h in cgroups.hierarchies() if (h / place.prefix).exists()]
    found = [f"process {pid}" for pid in sorted(cgroups.pids(place.prefix))]
    found += [f"namespace {name}" for name in network.left(place)]
    found += [f"mount {mount}" for mount in _mounts(place)]
    found += [f"control group {group}" for group in groups]
    return found + [f"directory {path}" for path in [place.run] if path.exists()]


def _mounts(place: LabPlace) -> list[Path]:
    """What is mounted below the run directory, the innermost first."""
    return sorted((point for point in cgroups.mounts() if place.run in point.parents), reverse=True)
