"""Locks that the kernel gives back when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from switchover.errors import Problem


@contextlib.contextmanager
def locked(file: Path, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Waits for the lock *file* and holds it: one maker at a time, the others find what it made.

    Raises Problem when *give_up* says so while it waits.
    """
    while (handle := try_lock(file, "")) is None:
        if give_up():
            raise Problem("stopped while it waited for another lab", file.name)
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(handle)


def try_lock(file: Path, text: str) -> int | None:
    """Takes the lock *file* and writes *text* into it; None when another process has it. `os.close` gives it back."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())
    return handle
