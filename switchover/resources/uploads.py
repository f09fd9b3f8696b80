"""A directory that visitors write to, brought from old to new, server to server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..desired import Resource
from ..errors import Problem
from ..hosts import Server
from ..journal import Change
from ..quote import sh

if TYPE_CHECKING:
    from ..move import Move

KEY = "/root/.ssh/switchover"
KNOWN_HOSTS = "/root/.ssh/switchover_known_hosts"


def ssh(old: Server) -> str:
    """How new calls *old* for rsync: with the move's key, to the port by which the operator reaches it too."""
    known = f"-o UserKnownHostsFile={KNOWN_HOSTS} -o HostKeyAlias={old.settings.main_address}"
    return f"ssh -i {KEY} -p {old.port} {known} -o StrictHostKeyChecking=yes -o BatchMode=yes"


def on(old: Server, path: str) -> str:
    """*path* of *old* as rsync on new names it."""
    address = old.settings.main_address
    return f"{old.user}@{f'[{address}]' if ':' in address else address}:{path}"


def synchronised(
    move: Move, *, deleting: bool = False, first: bool = False, always: bool = False, turn: str = ""
) -> list[Synchronised]:
    """new: every directory of uploads as on old; see Synchronised for the rest."""
    old, new = move.old, move.new
    pairs = [(old.in_app(_slash(u.source)), new.in_app(_slash(u.target))) for u in move.settings.uploads]
    return [Synchronised(old, new, source, target, deleting, first, always, turn) for source, target in pairs]


@dataclass(frozen=True)
class Synchronised(Resource):
    """*source* of *old* is in *target* of *new* (both end with a slash). Runs on new, which pulls.

    *deleting*: what old lacks goes from new, which is right only before visitors write on new. Undone, files
    that visitors wrote on new since travel back to old; with *first* (nothing of the move was there before)
    what the move brought is removed from new, and what it replaced is put back. *always*: even where nothing is
    to be brought it is recorded, for the way back. *turn*: which one it is, where its step brings the directory twice.
    """

    old: Server
    new: Server
    source: str
    target: str
    deleting: bool = False
    first: bool = False
    always: bool = False
    turn: str = ""

    @property
    def server(self) -> Server:
        """The server that is changed."""
        return self.new

    @property
    def part(self) -> str:
        """The directory on new."""
        return f"{self.target} {self.turn}".rstrip()

    @property
    def record_only(self) -> bool:
        """Visitors go on to write, so no look tells whether it was done."""
        return True

    @property
    def observable(self) -> bool:
        """Nor does one tell right after it."""
        return False

    def change(self) -> Change | None:
        """What rsync would bring; None where old has nothing that new lacks."""
        shown = f"rsync {self.old.name}:{self.source} -> {self.target}"
        if self.new.look(f"[ -s {KEY} ]", check=False).status != 0:
            if not self.new.dry:
                raise Problem("the new server has no key yet", str(self.new), "Run: inv prepare-old.key")
            return Change(f"{shown}\n(which files: told when new may reach old)", self._apply(), self._undo())
        answer = self.new.look(f"{self._pull('-n')} --out-format='%i %n'")
        names = [line for line in answer.out.splitlines() if line and not line.endswith("/")]
        if not names and not self.always:
            return None
        more = [f"… and {len(names) - 15} more"] if len(names) > 15 else []
        return Change("\n".join([shown, *names[:15], *more]), self._apply(), self._undo())

    def _pull(self, more: str) -> str:
        user = self.new.app.user
        delete = "--delete --delete-delay " if self.deleting else ""
        return (
            f"rsync -a -s -8 --no-inc-recursive --chown={sh(user)}:{sh(user)} {delete}-e {sh(ssh(self.old))} {more} "
            f"{sh(on(self.old, self.source))} {sh(self.target)}"
        )

    def _push(self) -> str:
        user = self.old.app.user
        return (
            f"rsync -a -s -8 --update --chown={sh(user)}:{sh(user)} -e {sh(ssh(self.old))} "
            f"{sh(self.target)} {sh(on(self.old, self.source))}"
        )

    def _apply(self) -> str:
        target = sh(self.target)
        before = ""
        if self.first:
            before = (
                f"[ -e before/list ] || ( cd {target} 2>/dev/null && find . -mindepth 1 | sort ) >before/list || :\n"
            )
        return f"""
{before}runuser -u {sh(self.new.app.user)} -- mkdir -p {target}
{{ {self._pull("--info=progress2 --backup --backup-dir=" + '"$entry/before/files"')} 2>errors; echo $? >status; }} |
stdbuf -oL tr '\\r' '\\n' | while read -r bytes share rest; do
  bytes=$(printf %s "$bytes" | tr -d ,); share=${{share%\\%}}
  case "$bytes$share" in *[!0-9]*|'') continue;; esac
  [ "$share" -eq 0 ] || echo "progress $bytes $(( bytes * 100 / share )) bytes"
done
# 24: files vanished while rsync read the list, as happens on a live site.
case "$(cat status)" in 0|24) ;; *) refuse "rsync: $(head -n 1 errors)";; esac
"""

    def _undo(self) -> str:
        target = sh(self.target)
        undo = f"""
if [ -d {target} ]; then
  {self._push()} 2>errors || refuse "uploads made since could not travel back: $(head -n 1 errors)"
fi
"""
        if self.first:
            undo += f"""
if [ -d {target} ] && [ -e before/list ]; then
  ( cd {target}; find . -mindepth 1 | sort | comm -23 - "$entry/before/list" | sort -r | while IFS= read -r f; do
    if [ -d "$f" ] && [ ! -L "$f" ]; then rmdir "$f"; else rm -f "$f"; fi
  done )
fi
[ ! -d before/files ] || cp -a before/files/. {target}
"""
        return undo


def _slash(path: str) -> str:
    return path if path.endswith("/") else path + "/"
