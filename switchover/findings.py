"""Findings: what `inv check` says about the servers, the database and the week after (docs/check.md lists them all).

A check yields what it found. Where it yields nothing its docstring is true, and that is the good finding. One that
raises anything is unknown, which is not passed.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, ParamSpec

from .errors import Problem

Facts = ParamSpec("Facts")  # what the checks of a group judge by


class Severity(StrEnum):
    """What a finding means for the move."""

    GOOD = "good"
    NOTE = "note"  # worth knowing: it is as it may be, or the move takes care of it
    WARNING = "warning"  # asks for a hand, and keeps no move from being made
    BLOCKER = "blocker"
    UNKNOWN = "unknown"  # could not be checked


@dataclass(frozen=True)
class Finding:
    """*group* and *key* name its check, *server* the one that it is about; *what* is so, and what to *do* about it."""

    kind: Severity
    what: str
    do: str = ""
    key: str = ""
    group: str = ""
    server: str = ""


Found = Iterator[Finding]


def good(what: str) -> Finding:
    """What was looked at is as it shall be."""
    return Finding(Severity.GOOD, what)


def note(what: str) -> Finding:
    """Worth knowing; nobody has to do anything."""
    return Finding(Severity.NOTE, what)


def warning(what: str, do: str) -> Finding:
    """Somebody should do something about it; the move can be made all the same."""
    return Finding(Severity.WARNING, what, do)


def blocker(what: str, do: str) -> Finding:
    """It stands in the way of the move, or of one way to make it."""
    return Finding(Severity.BLOCKER, what, do)


def unknown(what: str, error: Exception) -> Finding:
    """It could not be checked, because of *error*."""
    why, do = str(error), ""
    if isinstance(error, Problem):
        why, do = f"{error.where}: {error.what}" if error.where else error.what, error.do
    reason = next(iter(why.splitlines()), type(error).__name__)
    return Finding(Severity.UNKNOWN, f"{what} ({reason})", do or "Look at it yourself, or run `inv check` again")


class Checks(Generic[Facts]):
    """The checks of one group, in the order in which they stand; iterated, their keys.

    *server* tells from the facts which server they are of, where they are of one: its name stands before what is found.
    """

    def __init__(self, group: str, server: Callable[Facts, str] = lambda *_, **__: "") -> None:
        self.group = group
        self._server = server
        self._checks: dict[str, Callable[Facts, Found]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._checks)

    def add(self, check: Callable[Facts, Found]) -> Callable[Facts, Found]:
        """Decorator: the function is a check, its name the key. Raises ValueError where the key is taken."""
        key = check.__name__.replace("_", "-")
        if key in self._checks:
            raise ValueError(f"two checks are called {key}")
        self._checks[key] = check
        return check

    def find(self, *args: Facts.args, **kwargs: Facts.kwargs) -> Iterator[Finding]:
        """All findings, as they are found; at least one of each check."""
        server = self._server(*args, **kwargs)
        where = f"{server}: " if server else ""
        for key, check in self._checks.items():
            for finding in _run(check, *args, **kwargs):
                yield replace(finding, what=where + finding.what, key=key, group=self.group, server=server)


def _run(check: Callable[Facts, Found], *args: Facts.args, **kwargs: Facts.kwargs) -> Iterator[Finding]:
    says = inspect.cleandoc(check.__doc__ or "").partition("\n")[0].rstrip(".")
    anything = False
    try:
        for finding in check(*args, **kwargs):
            anything = True
            yield finding
    except Exception as error:  # whatever it is: what was not looked at to the end is not passed
        yield unknown(says, error)
    else:
        if not anything:
            yield good(says)


def blockers(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stand in the way; what could not be checked does as well."""
    return [finding for finding in findings if finding.kind in (Severity.BLOCKER, Severity.UNKNOWN)]


def to_do(findings: Iterable[Finding]) -> list[Finding]:
    """Those that ask for a hand."""
    return [finding for finding in findings if finding.kind not in (Severity.GOOD, Severity.NOTE)]


def listed(names: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more
