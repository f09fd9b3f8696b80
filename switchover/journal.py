"""The journal: what was done, by whom, when, and what undoing it needs; kept on the server that was changed.

It is a directory `/var/lib/switchover/DOMAIN/`, root's alone, on each server for what was changed there:

    move                      JSON: format, release that opened the move, its domains and addresses, when, who
    0007-switch-app.proxy/    an entry, written whole before the change
      entry.json              step, part of it, what it does, who, when (no secret)
      apply                   sh: makes the change; safe to repeat
      undo                    sh: puts it back; safe to repeat; refuses where someone has changed the thing since
      functions.sh            what both of them call
      before/ after/          the original and the new bytes, with owner and mode
    lock/ .running            one operator at a time; one script at a time
    retired                   undo has ended

An entry's state is what lies in its directory, so that each change of state is one rename:

    what is there                   state     the change        the next run of the step          inv undo, or sh undo
    .new-0007-… (any part of it)    none      was not begun     records it anew                   skips it
    0007-…/entry.json, no more      recorded  may be half made  runs `apply` again, verifies      runs `undo`
      and `done`                    done      was verified      looks, or trusts it (`step`)      runs `undo`
      and `undone`                  undone    was undone      records a new entry               does nothing
    retired, beside the entries               stands for good   as before                         refuses

Formats, by the number in `move`. A tool that meets another one than its own changes nothing, and says which release
to check out; undo by `sh` works whatever the tool.

    1    `move` is one line, OLD -> NEW; parts are numbered by their order       releases before 0.2
    2    `move` is JSON; parts have names                                        from 0.2 on
"""

import getpass
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from . import output
from .errors import Problem, Unreached
from .hosts import Answer, Host, OnLine
from .opening import Identity, is_ours, opening
from .programs import program, unpacked
from .quote import sh

ROOT = "/var/lib/switchover"
TIME = "%Y-%m-%d %H:%M:%SZ"
FACTS = ("number", "step", "part", "doc", "who", "when")  # of an entry, in its entry.json
FUNCTIONS = program("functions.sh").decode()  # sh: in every entry, and for looks that need them
LOOKS = program("journal.sh").decode()
T = TypeVar("T")
UNSEEN = 20  # numbers left to the entries of a CI host that could not be asked; it never has that many in a row


@dataclass(frozen=True)
class Change:
    """What a step will do to one server, and how that is put back.

    *diff* is for people and holds no secret. *apply* and *undo* are sh, run as root in the entry's directory,
    with the functions of scripts/server/functions.sh at hand. *keep*: files whose originals go to `before/`.
    *files*: new contents for `after/`. *commands*: what exactly is run, where *diff* only sums it up.
    *outside*: what is changed outside the servers, from the operator's machine; see `Move.outside`.
    """

    diff: str
    apply: str
    undo: str
    keep: Sequence[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    commands: str = ""
    outside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One recorded change. *part*: which one of its step's on that server; *state*: see the table above."""

    server: Host
    number: int
    step: str
    part: str
    doc: str
    who: str
    when: str
    state: str
    outside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def section(self) -> str:
        """The section that the step belongs to."""
        return self.step.split(".")[0]

    @property
    def key(self) -> str:
        """The server and the part: what the step calls `Resource.key`."""
        return f"{self.server.role}:{self.part}"

    @property
    def name(self) -> str:
        """The name of the entry's directory; names sort as the changes were made."""
        return f"{self.number:04d}-{self.step}"


def operator() -> str:
    """Who is at work: user and machine."""
    return f"{getpass.getuser()}@{platform.node()}"


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).strftime(TIME)


class Journal:
    """The entries of one move on all its servers, oldest first."""

    def __init__(self, identity: Identity, servers: Sequence[Host], root: str = ROOT) -> None:
        self.identity = identity
        self.retired = False  # whether retire-old has ended undo
        self._servers, self._root = servers, root
        self._entries: list[Entry] | None = None

    @cached_property
    def home(self) -> str:
        """Its directory, alike on each server: the move's first domain names it, as it was when the move was opened.

        Raises Problem where what is there is of another move, or of a release with another format.
        """
        homes = set(self._ask(self._homes_on))
        if len(homes) > 1:
            raise Problem(f"this move has two journals: {' and '.join(sorted(homes))}", "", "Rename one of them")
        return homes.pop() if homes else f"{self._root}/{self.identity.domains[0]}"

    @property
    def entries(self) -> list[Entry]:
        """All entries, read once a command; what this command writes is added."""
        if self._entries is None:
            _ = self.home  # by one thread, not by each
            self._entries = sorted(self._ask(self._read), key=lambda entry: entry.number)
        return self._entries

    def reread(self) -> None:
        """What others wrote since is seen from now on."""
        self.__dict__.pop("home", None)
        self._entries = None

    def latest(self, step: str, key: str | None = None) -> Entry | None:
        """The last entry of *step* that is not undone: of the part with that *key*, or of any."""
        return next((entry for entry in self.active() if entry.step == step and key in (None, entry.key)), None)

    def active(self, prefix: str = "") -> list[Entry]:
        """Entries that can be undone, newest first: all, a section's, or a step's."""
        active = [entry for entry in reversed(self.entries) if entry.state != "undone"]
        return [entry for entry in active if not prefix or prefix in (entry.step, entry.section)]

    def date(self, line: str = "") -> tuple[str, str]:
        """When the step *line* was done, or the move begun, and by whom; now and we where it was not yet."""
        entries = [entry for entry in self.entries if entry.state != "undone" and line in ("", entry.step)]
        when, who = (entries[0].when, entries[0].who) if entries else (now(), operator())
        return datetime.strptime(when, TIME).strftime("%a %-d %b %Y"), who

    def path(self, entry: Entry) -> str:
        """The entry's directory on its server."""
        return f"{self.home}/{entry.name}"

    def record_and_apply(
        self, server: Host, step: str, part: str, doc: str, change: Change, on_line: OnLine = None, apply: bool = True
    ) -> tuple[Entry, Answer]:
        """Writes the entry, whole and synced, and then, in the same trip, makes the change (unless not *apply*)."""
        number = max((e.number for e in self.entries), default=0) + 1
        if any(host.unreached for host in self._servers):
            number += UNSEEN
        entry = Entry(server, number, step, part, doc, operator(), now(), "recorded", change.outside)
        # Left of `||` the shell would ignore `set -e` and make the change after a failed recording.
        recording = f"( {self._recording(entry, change)}\n)\n[ $? -eq 0 ] || exit 9\n"
        answer = server.change(recording + (self._running(entry, "apply") if apply else ""), on_line=on_line)
        if answer.status == 9:
            raise Problem(f"the journal could not be written: {answer.last_error}", str(server), "Nothing was changed")
        self.entries.append(entry)
        return entry, answer

    def apply(self, entry: Entry, on_line: OnLine = None) -> Answer:
        """Runs the entry's change. Waits where an interrupted command still runs there."""
        return entry.server.change(self._running(entry, "apply"), on_line=on_line)

    def undo(self, entry: Entry, on_line: OnLine = None) -> Answer:
        """Runs the entry's undo script, as a person on the server would with `sh`."""
        answer = entry.server.change(self._running(entry, "undo"), on_line=on_line)
        if answer.status == 0:
            self._set(entry, "undone")
        return answer

    def done(self, entry: Entry) -> None:
        """Marks the change as made and verified."""
        text, path = sh(json.dumps({"who": operator(), "when": now()})), sh(self.path(entry))
        writing = f"cd {path} && printf '%s\\n' {text} | cat >done.new && sync done.new && mv done.new done"
        answer = entry.server.change(writing)
        if answer.status != 0:
            raise Problem(f"the journal could not be written: {answer.last_error}", str(entry.server))
        self._set(entry, "done")

    def done_at(self, entry: Entry) -> datetime | None:
        """When it was made and verified; None where it was not yet."""
        try:
            facts = json.loads(entry.server.look(f"cat {sh(self.path(entry))}/done 2>/dev/null", check=False).out)
            return datetime.strptime(facts["when"], TIME).replace(tzinfo=UTC)
        except (ValueError, KeyError, TypeError):
            return None

    def _running(self, entry: Entry, script: str) -> str:
        # The lock is held by the script itself: one that outlives a broken connection is waited for.
        return f"flock -o -w 900 {sh(self.home)}/.running sh {sh(self.path(entry))}/{script}"

    def _set(self, entry: Entry, state: str) -> None:
        self._entries = [replace(e, state=state) if e.number == entry.number else e for e in self.entries]

    def _ask(self, look: Callable[[Host], list[T]]) -> list[T]:
        """What *look* gives on every server; at once, since each is a connection to be made."""
        with ThreadPoolExecutor(len(self._servers)) as pool:
            return [item for items in pool.map(partial(self._look, look), self._servers) for item in items]

    def _look(self, look: Callable[[Host], list[T]], server: Host) -> list[T]:
        """What *look* gives. Without the CI host a move continues: what needs it says so itself."""
        if server.unreached and server.role == "ci":
            return []
        try:
            return look(server)
        except Unreached as problem:
            if server.role != "ci":
                raise
            server.unreached = problem
            output.to_stderr(f"{server}: {problem.what}: what the move did there is unknown, and stays as it is")
            return []

    def _homes_on(self, server: Host) -> list[str]:
        """This move's directories on *server*: one, or none; more where two sites' moves have become one."""
        records = server.look(f"{LOOKS}\nmoves {sh(self._root)}").out.split("\0")
        moves = [record.split("\t", 1) for record in records if record]
        paths = [(f"{self._root}/{name}", text) for name, text in moves]
        return [path for path, text in paths if is_ours(self.identity, path, text, str(server))]

    def _read(self, server: Host) -> list[Entry]:
        entries = []
        # Not by splitlines(): U+2028 and the like end no line of JSON, and a file's diff may have them.
        for line in filter(None, server.look(f"{LOOKS}\nentries {sh(self.home)}").out.split("\n")):
            if line == "retired":
                self.retired = True
                continue
            state, _, text = line.partition("\t")
            try:
                facts = json.loads(text)
                if not isinstance(facts["part"], str):  # format 1 had numbers
                    raise TypeError("part")
                given = {name: facts[name] for name in FACTS}
                entries.append(Entry(server, state=state, outside=facts.get("outside", {}), **given))
            except (ValueError, KeyError, TypeError):
                what = f"an entry of the journal cannot be read: {line[:60]!r}"
                raise Problem(what, str(server), f"Look at {self.home}") from None
        return entries

    def _recording(self, entry: Entry, change: Change) -> str:
        """sh that writes the entry, whole, before it gets its name."""
        path, target, home = sh(f"{self.home}/.new-{entry.name}"), sh(self.path(entry)), sh(self.home)
        first_line = sh(opening(self.identity, entry.when, entry.who))
        lines = [
            "set -eu; umask 077",
            f"mkdir -p {home}; m={home}/move",
            # By cat, since a shell's own printf does not say that the disk is full.
            f'[ -e "$m" ] || {{ printf "%s\\n" {first_line} | cat >"$m.new"; sync "$m.new"; mv "$m.new" "$m"; }}',
            f"rm -rf {path}; mkdir -p {path}/before {path}/after; cd {path}",
        ]
        for kept in change.keep:
            name = sh(f"before/{PurePosixPath(kept).name}")
            lines.append(f"if [ -e {sh(kept)} ] || [ -L {sh(kept)} ]; then cp -a {sh(kept)} {name}; fi")
        lines += [unpacked(data, sh(name)) for name, data in self._files(entry, change).items()]
        # The entry's bytes and names are on disk before the change begins.
        lines.append("find . -type f -exec sync {} +; sync before after .")
        lines.append(f"mv -T {path} {target}; sync {home}")
        return "\n".join(lines)

    def _files(self, entry: Entry, change: Change) -> dict[str, bytes]:
        """What lies in the entry, but for the originals."""
        facts = {name: vars(entry)[name] for name in FACTS} | {"diff": change.diff}
        facts |= {"outside": change.outside} if change.outside else {}
        target = sh(self.path(entry))
        part = f" ({entry.part})" if entry.part else ""
        head = f"# {entry.step}{part}: {entry.doc}\n# Recorded {entry.when} by {entry.who}.\n"
        common = f'{head}set -eu\numask 022\nentry={target}\ncd "$entry"\n. ./functions.sh # called below\n'
        whose = f"# Undo of {entry.step}. As root, on this server:  sh {target}/undo\n"
        undo = f"[ ! -e undone ] || exit 0\n{change.undo.strip()}\nmark undone\n"
        return {
            "entry.json": (json.dumps(facts, ensure_ascii=False) + "\n").encode(),
            "apply": f"#!/bin/sh\n{common}{change.apply.strip()}\n".encode(),
            "undo": f"#!/bin/sh\n{whose}{common}{undo}".encode(),
            "functions.sh": FUNCTIONS.encode(),
            **{f"after/{name}": data for name, data in change.files.items()},
        }
