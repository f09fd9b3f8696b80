"""Locks that the kernel gives back when their holder dies, however it dies."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from switchover.errors import Problem


@contextlib.contextmanager
def locked(file: Path, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Waits for the lock *file* and holds it: one maker at a time, the others find what it made.

    Raises Problem when *give_up* says so while it waits.
    """
    lock = _lock(file)
    try:
        held = lock.acquire(poll_interval=0.1, cancel_check=give_up)
    except Timeout:
        raise Problem("stopped while it waited for another lab", file.name) from None
    with held:
        yield


def try_lock(file: Path, text: str = "") -> FileLock | None:
    """Takes the lock *file* and writes *text* into it; None when somebody has it. It is held until its `release`."""
    lock = _lock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    file.write_text(text)
    return lock


def _lock(file: Path) -> FileLock:
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file that merely is there, filelock's way where there is no flock, would outlive its holder.
    return FileLock(file, fallback_to_soft=False, thread_local=False)
