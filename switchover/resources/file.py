"""A file with its contents, owner and mode; written beside its target and renamed over it."""

import base64
import difflib
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..desired import Resource
from ..errors import Problem
from ..hosts import Host
from ..journal import Change, Journal
from ..quote import sh


@dataclass(frozen=True)
class FileState:
    """A file as it is on a server. *owner*: `user:group`, *mode*: octal digits; *content* None: no such file."""

    content: bytes | None
    owner: str = ""
    mode: str = ""


def read(server: Host, path: str) -> FileState:
    """The file *path* on *server*, as root sees it; a link is followed."""
    is_file = f'p={sh(path)}; [ -e "$p" ] || {{ echo absent; exit; }}; [ -f "$p" ] || {{ echo other; exit; }}'
    first, _, rest = server.look(f'{is_file}\nstat -L -c \'%U:%G %a\' "$p"; base64 "$p"').out.partition("\n")
    if first == "absent":
        return FileState(None)
    if first == "other":
        raise Problem(f"{path} is not a file", str(server), "Look at what it is; the settings name a file here")
    owner, _, mode = first.partition(" ")
    return FileState(base64.b64decode(rest), owner, mode)


def existing(server: Host, path: str, do: str) -> tuple[bytes, str, str]:
    """Content, owner and mode of the file *path* on *server*. Raises Problem, with what to *do*, if it is missing."""
    found = read(server, path)
    if found.content is None:
        raise Problem(f"{path} does not exist", str(server), do)
    return found.content, found.owner, found.mode


def before(journal: Journal, server: Host, line: str, path: str) -> FileState | None:
    """*server*'s file *path* as it was before the step *line*; None where that step did not change it."""
    entry = journal.latest(line, f"{server.role}:{path}")
    if entry is None:
        return None
    return read(entry.server, f"{journal.path(entry)}/before/{PurePosixPath(path).name}")


@dataclass(frozen=True)
class AtPath(Resource):
    """What there shall be, or not be, at *path* on *server*."""

    server: Host
    path: str

    @property
    def part(self) -> str:
        """Its path."""
        return self.path

    def change(self) -> Change | None:
        """How what is there differs from that; None where it does not."""
        return self.plan(read(self.server, self.path))

    @abstractmethod
    def plan(self, now: FileState) -> Change | None:
        """What must change, given what is there *now*."""


@dataclass(frozen=True)
class File(AtPath):
    """*path* on *server* has *content*, *owner* (`user:group`, as it is when None) and *mode* (octal digits).

    *test_file* checks the new file by itself before it is put there (the file's name is added), *test* the
    configuration with it before it is used; *then* makes the program read it (all sh).
    *files*: what these need, to lie in `after/` too. Of a *secret* file only that it differs is shown.
    """

    content: bytes
    owner: str | None = None
    mode: str | None = None
    secret: bool = False
    test_file: str = ""
    test: str = ""
    then: str = ""
    record_only: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)

    def edited(self, entry: str) -> str:
        """Its path, where the file there is no longer the one that the change recorded in *entry* put there."""
        ours = sh(f"{entry}/after/{PurePosixPath(self.path).name}")
        edited = self.server.look(f"[ -e {ours} ] && ! cmp -s {ours} {sh(self.path)}", check=False).status == 0
        return self.path if edited else ""

    def plan(self, now: FileState) -> Change | None:
        """The difference between the file *now* and the file wanted; None where there is none."""
        owner = self.owner or now.owner or "root:root"
        mode = self.mode or now.mode or "644"
        if now == FileState(self.content, owner, mode):
            return None
        with_these = _variables(self.server, self.test, self.then, self.test_file)
        apply = f"{with_these} put_file {sh(self.path)} {sh(owner)} {mode}"
        undo = f"{with_these} put_file_back {sh(self.path)}"
        name = PurePosixPath(self.path).name
        return Change(self._diff(now, owner, mode), apply, undo, (self.path,), {name: self.content, **self.files})

    def _diff(self, now: FileState, owner: str, mode: str) -> str:
        if self.secret:
            was = "absent" if now.content is None else f"sha256 {_short(now.content)}, {now.owner} {now.mode}"
            return f"{self.path}: {was} -> sha256 {_short(self.content)}, {owner} {mode} (a secret: not shown)"
        lines = unified(now.content or b"", self.content, self.path, now.content is None)
        if now.content is None and not self.content:
            lines = f"{self.path}: absent -> an empty file\n"
        if now.content is None:
            lines += f"owner and mode: {owner} {mode}\n"
        elif (now.owner, now.mode) != (owner, mode):
            lines += f"owner and mode: {now.owner} {now.mode} -> {owner} {mode}\n"
        return lines


def with_lines(server: Host, path: str, lines: Sequence[str], user: str, replaces: str = "") -> File:
    """*path* on *server*, *user*'s, has these *lines* after those that are there; *replaces*: what old ones contain."""
    found = read(server, path)
    there = [line for line in (found.content or b"").decode().splitlines() if not replaces or replaces not in line]
    there += [line for line in lines if line not in there]
    content = "".join(f"{line}\n" for line in there).encode()
    return File(server, path, content, found.owner or f"{user}:{user}", found.mode or "600")


@dataclass(frozen=True)
class Absent(AtPath):
    """There is no file *path* on *server*. *then* makes its program notice."""

    test: str = ""
    then: str = ""
    record_only: bool = False

    def plan(self, now: FileState) -> Change | None:
        """Its removal; None where it is absent already."""
        if now.content is None:
            return None
        path, with_these = sh(self.path), _variables(self.server, self.test, self.then)
        apply, undo = f"{with_these} remove_file {path}", f"{with_these} put_removed_file_back {path}"
        shown = "; ".join([f"rm {path}", *self.then.splitlines()[:1]])
        return Change(shown, apply, undo, (self.path,))


def _variables(server: Host, test: str, then: str, test_file: str = "") -> str:
    """What is set where a function of scripts/server/functions.sh is called for a file, as that says."""
    words = {"server": server.role, "test_file": test_file, "test": test, "reload": then}
    return " ".join(f"{name}={sh(value)}" for name, value in words.items() if value)


def unified(old: bytes, new: bytes, path: str, absent: bool = False) -> str:
    """A unified diff of two files' bytes."""
    before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (old, new))
    lines = list(difflib.unified_diff(before, after, "absent" if absent else path, path, n=2))
    return "".join(line if line.endswith("\n") else line + "\n\\ no newline at the end\n" for line in lines)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
