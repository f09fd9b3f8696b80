"""Changes of the site's DNS records, made from the operator's machine: a dynamic update, a provider's API, or by hand.

To write a change and to see it everywhere are two things: what is not written yet is written, then every authoritative
name server is waited for. So it can be interrupted anywhere, and repeated.
"""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ...errors import NothingDone, NotYet, Problem
from ..needs import Move
from ..records import Addresses, from_json

Pair = tuple[Addresses, Addresses]
Changes = Sequence[Pair]  # what there is -> what there shall be
EVERY = 1.0  # seconds between two looks


class Writer(Protocol):
    """Who changes records."""

    def present(self, name: str, kind: str) -> Addresses:
        """What there is."""

    def write(self, changes: Changes) -> None:
        """Makes the changes; every name has an address all the time. Raises Problem where that is refused."""


def carry_out(move: Move, facts: Mapping[str, Any], on_line: Callable[[str], None], *, back: bool = False) -> None:
    """Makes the change whose *facts* a journal has, or reverts it (*back*); returns when every name server has it.

    Raises NotYet where that takes too long; NothingDone where the present records cannot be read, or somebody has
    changed them since; Problem where the change cannot be made.
    """
    if move.dry:
        raise NothingDone("a change was tried under --dry", "dns", "Please report this bug")
    was, desired = from_json(facts["before"]), from_json(facts["after"])
    if back:
        was, desired = desired, was
    try:
        writer = writer_of(move)
        changes = [change for change in _there(writer, was, desired) if not change[0].same(change[1])]
    except Problem as problem:
        raise NothingDone(problem.what, problem.where, problem.do) from None
    if changes:
        writer.write(changes)
    _wait(move, desired, on_line)


def _there(writer: Writer, was: Sequence[Addresses], desired: Sequence[Addresses]) -> Iterator[Pair]:
    """What there is and shall be. Raises Problem where somebody else has changed it."""
    for before, want in zip(was, desired, strict=True):
        now = writer.present(*want.key)
        if not {*now.data} <= {*before.data, *want.data}:
            what = f"{now}: somebody has changed it"
            raise Problem(what, "dns", f"Set it by hand: {'; '.join(want.lines) or f'no {want.kind}'}")
        yield now, want


def shown(changes: Changes) -> str:
    """The records to delete and to add, as a diff."""
    lines = []
    for before, after in changes:
        lines += [f"-{line}" for line in before.lines if line not in after.lines]
        lines += [f"+{line}" for line in after.lines if line not in before.lines]
    return "\n".join(lines)


def undoing(facts: Mapping[str, Any]) -> str:
    """The same diff for reverting it."""
    return shown(list(zip(from_json(facts["after"]), from_json(facts["before"]), strict=True)))


def _wait(move: Move, desired: Sequence[Addresses], on_line: Callable[[str], None]) -> None:
    within, started = move.settings.dns.within, time.monotonic()
    while (missing := move.names.look().missing(desired)) is not None:
        waited = time.monotonic() - started
        if waited > within:
            do = "Run the same command again later; or undo it: inv undo"
            raise NotYet(f"not every name server has the change yet: {missing}", f"waited {within} s", do)
        on_line(f"doing {missing}")
        on_line(f"progress {waited:.0f} {within} seconds")
        time.sleep(EVERY)


def writer_of(move: Move) -> Writer:
    """The writer of this move's records: `Kind` of the module here that the settings' `dns.kind` names."""
    module = importlib.import_module(f".{move.settings.dns.kind.replace('-', '_')}", __name__)
    writer: Writer = module.Kind(move)
    return writer
