"""A file with its contents, owner and mode; written beside its target and renamed over it."""

from __future__ import annotations

import base64
import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..desired import Resource
from ..errors import Problem
from ..hosts import Host
from ..journal import Change, Journal
from ..quote import sh


@dataclass(frozen=True)
class Found:
    """A file as it is on a server. *owner*: `user:group`, *mode*: octal digits; *content* None: no such file."""

    content: bytes | None
    owner: str = ""
    mode: str = ""


def read(server: Host, path: str) -> Found:
    """The file *path* on *server*, as root sees it; a link is followed."""
    answer = server.look(
        f'p={sh(path)}; [ -e "$p" ] || {{ echo absent; return; }}; [ -f "$p" ] || {{ echo other; return; }}\n'
        'stat -L -c \'%U:%G %a\' "$p"; base64 "$p"'
    )
    first, _, rest = answer.out.partition("\n")
    if first == "absent":
        return Found(None)
    if first == "other":
        raise Problem(f"{path} is not a file", str(server), "Look at what it is; the settings name a file here")
    owner, _, mode = first.partition(" ")
    return Found(base64.b64decode(rest), owner, mode)


def before(journal: Journal, server: Host, line: str, path: str) -> Found | None:
    """*server*'s file *path* as it was before the step *line*; None where that step did not change it."""
    entry = journal.latest(line, f"{server.role}:{path}")
    if entry is None:
        return None
    return read(entry.server, f"{journal.path(entry)}/before/{PurePosixPath(path).name}")


@dataclass(frozen=True)
class File(Resource):
    """*path* on *server* has *content*, *owner* (`user:group`, as it is when None) and *mode* (octal digits).

    *test_file* checks the new file by itself before it is put there (the file's name is added), *test* the
    configuration with it before it is used; *then* makes the program read it (all sh).
    *files*: what these need, to lie in `after/` too. Of a *secret* file only that it differs is shown.
    """

    server: Host
    path: str
    content: bytes
    owner: str | None = None
    mode: str | None = None
    secret: bool = False
    test_file: str = ""
    test: str = ""
    then: str = ""
    record_only: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """Its path."""
        return self.path

    def change(self) -> Change | None:
        """The difference between the file there and the file wanted; None where there is none."""
        return self.plan(read(self.server, self.path))

    def edited(self, entry: str) -> str:
        """Its path, where the file there is no longer the one that the change recorded in *entry* put there."""
        ours = sh(f"{entry}/after/{PurePosixPath(self.path).name}")
        edited = self.server.look(f"[ -e {ours} ] && ! cmp -s {ours} {sh(self.path)}", check=False).status == 0
        return self.path if edited else ""

    def plan(self, found: Found) -> Change | None:
        """What must change, given what was *found*."""
        owner = self.owner or found.owner or "root:root"
        mode = self.mode or found.mode or "644"
        if found == Found(self.content, owner, mode):
            return None
        name = PurePosixPath(self.path).name
        path, before, after = sh(self.path), sh(f"before/{name}"), sh(f"after/{name}")
        parent = sh(str(PurePosixPath(self.path).parent))
        edited = sh(f"{self.path} was edited since. What it was:")
        put_back = f"if there {before}; then install_file {before} {path}; else rm -f {path}; fi"
        apply = f"""
{tested_before(self.test, self.server)}
{tested_after(f"{self.test_file} {after}", ":") if self.test_file else ""}
chown {sh(owner)} {after}; chmod {mode} {after}
[ -d {parent} ] || {{ mkdir -p {parent}; touch before/.parent-made; }}
install_file {after} {path}
{tested_after(self.test, put_back)}
{self.then}
"""
        undo = f"""
if same {before} {path} || {{ not there {before} && not there {path}; }}; then :
elif [ ! -L {path} ] && cmp -s {after} {path}; then
  {put_back}
  {tested_after(self.test, f"install_file {after} {path}")}
  {self.then or ":"}
else
  refuse {edited} "$entry"/{before}{sh(". Compare, mend by hand, or copy that back")}
fi
[ ! -e before/.parent-made ] || rmdir {parent} 2>/dev/null || :
"""
        return Change(self._diff(found, owner, mode), apply, undo, (self.path,), {name: self.content, **self.files})

    def _diff(self, found: Found, owner: str, mode: str) -> str:
        if self.secret:
            was = "absent" if found.content is None else f"sha256 {_short(found.content)}, {found.owner} {found.mode}"
            return f"{self.path}: {was} -> sha256 {_short(self.content)}, {owner} {mode} (a secret: not shown)"
        lines = unified(found.content or b"", self.content, self.path, found.content is None)
        if found.content is None and not self.content:
            lines = f"{self.path}: absent -> an empty file\n"
        if found.content is None:
            lines += f"owner and mode: {owner} {mode}\n"
        elif (found.owner, found.mode) != (owner, mode):
            lines += f"owner and mode: {found.owner} {found.mode} -> {owner} {mode}\n"
        return lines


@dataclass(frozen=True)
class Absent(Resource):
    """There is no file *path* on *server*. *then* makes its program notice."""

    server: Host
    path: str
    test: str = ""
    then: str = ""
    record_only: bool = False

    @property
    def part(self) -> str:
        """Its path."""
        return self.path

    def change(self) -> Change | None:
        """Its removal; None where it is absent already."""
        return self.plan(read(self.server, self.path))

    def plan(self, found: Found) -> Change | None:
        """What must change, given what was *found*."""
        if found.content is None:
            return None
        name = PurePosixPath(self.path).name
        path, before = sh(self.path), sh(f"before/{name}")
        put_back = f"install_file {before} {path}"
        apply = f"rm -f {path}\n{tested_after(self.test, put_back)}\n{self.then}"
        undo = f"""
if not there {path}; then
  {put_back}
  {self.then or ":"}
elif ! same {before} {path}; then
  refuse {sh(f"{self.path} is there again, and not as it was. What it was:")} "$entry"/{before}
fi
"""
        return Change(f"rm {path}" + (f"; {self.then}" if self.then else ""), apply, undo, (self.path,))


def tested_before(test: str, server: Host) -> str:
    """sh that refuses where the program's configuration is broken before we touch it."""
    if not test:
        return ""
    reason = sh(f"the configuration of {server.role} was broken before any change: ")
    return f'tried=$({test} 2>&1) || refuse {reason}"$(printf %s "$tried" | head -n 1)"'


def tested_after(test: str, put_back: str) -> str:
    """sh that puts the file back and refuses where its program does not take it."""
    if not test:
        return ""
    return f'tried=$({test} 2>&1) || {{ {put_back}; refuse "$(printf %s "$tried" | head -n 1)"; }}'


def unified(old: bytes, new: bytes, path: str, absent: bool = False) -> str:
    """A unified diff of two files' bytes."""
    one, two = (b.decode(errors="replace").splitlines(keepends=True) for b in (old, new))
    lines = list(difflib.unified_diff(one, two, "absent" if absent else path, path, n=2))
    return "".join(line if line.endswith("\n") else line + "\n\\ no newline at the end\n" for line in lines)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
