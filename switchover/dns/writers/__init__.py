"""Changes of the site's names, made from here by whoever may: a dynamic update, a provider's API, or people by hand.

What is written to the name system and what then is seen in it are different things: a change is made where it is not
made yet, and then every authoritative server is waited for. So it may be cut short anywhere, and be made again.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ...errors import NothingDone, NotYet, Problem
from ..needs import Move
from ..records import Addresses, from_json

Changes = Sequence[tuple[Addresses, Addresses]]  # what there is, what there shall be
EVERY = 1.0  # seconds between two looks


class Writer(Protocol):
    """Who changes records."""

    def present(self, name: str, kind: str) -> Addresses:
        """What there is."""

    def write(self, changes: Changes) -> None:
        """Makes the changes; raises Problem where it may not. No name is without its addresses meanwhile."""


def carry_out(move: Move, facts: Mapping[str, Any], on_line: Callable[[str], None], *, back: bool = False) -> None:
    """Makes the change that a journal has the *facts* of, or takes it *back*; returns when every server says so.

    Raises NotYet where that takes too long; NothingDone where what there is cannot be known, or somebody has changed it
    since; Problem where the change cannot be made.
    """
    if move.dry:
        raise NothingDone("a change was tried under --dry", "names", "Please report this: it is a fault of ours")
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


def _there(
    writer: Writer, was: Sequence[Addresses], desired: Sequence[Addresses]
) -> Iterator[tuple[Addresses, Addresses]]:
    """What there is and shall be. Raises Problem where that is neither what was nor what is wanted."""
    for before, want in zip(was, desired, strict=True):
        now = writer.present(*want.key)
        if not {*now.data} <= {*before.data, *want.data}:
            what = f"{now}, which is neither what it was nor what it shall be"
            raise Problem(what, "names", f"Mend that by hand: {'; '.join(want.lines) or f'no {want.kind}'}")
        yield now, want


def shown(changes: Changes) -> str:
    """The records that go and come, as a diff."""
    lines = []
    for before, after in changes:
        lines += [f"-{line}" for line in before.lines if line not in after.lines]
        lines += [f"+{line}" for line in after.lines if line not in before.lines]
    return "\n".join(lines)


def undoing(facts: Mapping[str, Any]) -> str:
    """What goes and comes when it is taken back."""
    return shown(list(zip(from_json(facts["after"]), from_json(facts["before"]), strict=True)))


def _wait(move: Move, desired: Sequence[Addresses], on_line: Callable[[str], None]) -> None:
    within, started = move.settings.dns.within, time.monotonic()
    while (missing := move.names.look().missing(desired)) is not None:
        waited = time.monotonic() - started
        if waited > within:
            do = "Run the same command again when it does; or take it back: inv undo"
            raise NotYet(f"not every name server says so yet: {missing}", f"waited {within} s", do)
        on_line(f"doing {missing}")
        on_line(f"progress {waited:.0f} {within} seconds")
        time.sleep(EVERY)


def writer_of(move: Move) -> Writer:
    """Who changes the records of this move: the module here that is named as the settings' `dns.kind`."""
    module = importlib.import_module(f".{move.settings.dns.kind.replace('-', '_')}", __name__)
    writer: Writer = module.Kind(move)
    return writer
