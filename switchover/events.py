"""What a command does, as lines for programs: one JSON object each, in the file that `$SWITCHOVER_EVENTS` names.

docs/events.md has every event and its facts, and what may change while `VERSION` stays.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from . import output
from .errors import Problem

VARIABLE = "SWITCHOVER_EVENTS"
VERSION = 1


def ready() -> None:
    """Opens the file, where one is named: a command does it before it does anything else.

    Raises Problem where nothing can be written there.
    """
    if path := os.environ.get(VARIABLE):
        _opened(path)


def emit(event: str, **facts: Any) -> None:
    """Appends an event, in one write; does nothing where no file is named.

    A disk that is full is reported once: it must not stop a move half-way.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    common = {"version": VERSION, "event": event, "at": round(time.time(), 3), "pid": os.getpid()}
    line = json.dumps(common | facts, ensure_ascii=False) + "\n"
    file = _opened(path)
    try:
        os.write(file, (("\n" if _cut_short(file) else "") + line).encode(errors="replace"))
    except OSError as error:
        _lost(path, str(error.strerror))


@contextmanager
def step(section: str, name: str, summary: str) -> Iterator[dict[str, Any]]:
    """The block runs a step, or undoes it: emitted when it ends.

    What it is given gets its `outcome`; where it raises, that is `failed`.
    """
    facts = {"section": section, "step": name, "summary": summary, "outcome": "failed", "detail": ""}
    with _timed("step", facts, "detail", {"outcome": "failed"}):
        yield facts


@contextmanager
def whole(kind: str, section: str, **facts: Any) -> Iterator[None]:
    """The block is a whole `section`, or an `undo`: emitted when it begins, with *facts*, and when it ends."""
    emit(f"{kind}-begun", section=section, **facts)
    with _timed(f"{kind}-ended", {"section": section, "ok": True, "failure": ""}, "failure", {"ok": False}):
        yield


@contextmanager
def _timed(event: str, facts: dict[str, Any], why: str, failed: dict[str, Any]) -> Iterator[None]:
    begun = time.monotonic()
    try:
        yield
    except BaseException as error:
        facts |= failed | {why: reason(error)}
        raise
    finally:
        emit(event, **facts, seconds=round(time.monotonic() - begun, 3))


def problem(error: Problem) -> None:
    """The line with which a command ends."""
    emit("problem", what=_first_line(error.what), where=error.where, do=error.do)


def reason(error: BaseException) -> str:
    """Why something failed, in one line. A diff that may follow it is no part of it."""
    if isinstance(error, Problem):
        return _first_line(error.what)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {_first_line(str(error))}"


def read(file: Path, start: int = 0) -> list[dict[str, Any]]:
    """The events in *file*, from a byte on; none where there is no file. Skips lines that are no object.

    Raises Problem where they are of another version.
    """
    if not file.exists():
        return []
    events = []
    for line in file.read_bytes()[start:].split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        if event["version"] != VERSION:
            raise Problem(f"has events of version {event['version']}, not {VERSION}", str(file), "Read docs/events.md")
        events.append(event)
    return events


@cache
def _opened(path: str) -> int:
    do = f"{VARIABLE} names the file for events: choose one that you can write to, or unset it"
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe that nobody reads would stop a move half-way
            raise Problem("is not a file that events can be appended to", path, do)
        # Readable, for the look at its end.
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Problem(f"events cannot be written ({error.strerror})", path, do) from None


def _cut_short(file: int) -> bool:
    """Whether the file ends in the middle of a line: its writer was killed, or the disk full."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


@cache
def _lost(path: str, why: str) -> None:
    output.to_stderr(f"{path}: events are lost ({why})")


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
