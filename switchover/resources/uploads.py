"""A directory that visitors write to, brought from old to new, server to server."""

from dataclasses import dataclass

from ..desired import Resource
from ..errors import Problem
from ..hosts import Host
from ..journal import Change
from ..programs import programs
from ..quote import sh

KEY = "/root/.ssh/switchover"
KNOWN_HOSTS = "/root/.ssh/switchover_known_hosts"
PROGRAM = "uploads"


def ssh(old: Host) -> str:
    """How new calls *old* for rsync: with the move's key, to the port by which the operator reaches it too."""
    known = f"-o UserKnownHostsFile={KNOWN_HOSTS} -o HostKeyAlias={old.main_address}"
    return f"ssh -i {KEY} -p {old.port} {known} -o StrictHostKeyChecking=yes -o BatchMode=yes"


def on(old: Host, path: str) -> str:
    """*path* of *old* as rsync on new names it."""
    address = old.main_address
    return f"{old.user}@{f'[{address}]' if ':' in address else address}:{path}"


@dataclass(frozen=True)
class Synchronised(Resource):
    """*source* of *old* is in *target* of *new* (both end with a slash), which pulls. *users*: on old, on new.

    *deleting*: what old lacks goes from new, which is right only before visitors write on new. Undone, files
    that visitors wrote on new since travel back to old; with *first* (nothing of the move was there before)
    what the move brought is removed from new, and what it replaced is put back. *always*: even where nothing is
    to be brought it is recorded, for the way back. *turn*: which one it is, where its step brings the directory twice.
    """

    old: Host
    new: Host
    source: str
    target: str
    users: tuple[str, str]
    deleting: bool = False
    first: bool = False
    always: bool = False
    turn: str = ""

    @property
    def server(self) -> Host:
        """The server that is changed."""
        return self.new

    @property
    def part(self) -> str:
        """The directory on new."""
        return f"{self.target} {self.turn}".rstrip()

    # Visitors continue to write, so no look can tell whether it was done, nor right after it.
    record_only = True
    observable = False

    def change(self) -> Change | None:
        """What rsync would bring; None where old has nothing that new lacks."""
        shown = f"rsync {self.old.name}:{self.source} -> {self.target}"
        if self.new.look(f"[ -s {KEY} ]", check=False).status != 0:
            if not self.new.dry:
                raise Problem("the new server has no key yet", str(self.new), "Run: inv prepare-old.key")
            return self._carried(f"{shown}\n(which files: shown when new can reach old)")
        answer = self.new.look(f"{self._pull('-n')} --out-format='%i %n'")
        names = [line for line in answer.out.splitlines() if line and not line.endswith("/")]
        if not names and not self.always:
            return None
        more = [f"… and {len(names) - 15} more"] if len(names) > 15 else []
        return self._carried("\n".join([shown, *names[:15], *more]))

    def _carried(self, diff: str) -> Change:
        target = sh(self.target)
        pull = self._pull("--info=progress2 --backup --backup-dir=" + '"$entry/before/files"')
        lines = [f"sh after/{PROGRAM} list {target}"] if self.first else []
        lines += [f"runuser -u {sh(self.users[1])} -- mkdir -p {target}", f"sh after/{PROGRAM} bring {pull}"]
        push = self._rsync(self.users[0], f"--update {target} {sh(on(self.old, self.source))}")
        failed = 'refuse "uploads made since could not travel back: $(head -n 1 errors)"'
        undo = f"[ ! -d {target} ] || {push} 2>errors || {failed}\n"
        undo += f"sh after/{PROGRAM} back {target}\n" if self.first else ""
        return Change(diff, "\n".join(lines), undo, files=programs(PROGRAM))

    def _pull(self, more: str) -> str:
        delete = "--delete --delete-delay " if self.deleting else ""
        words = f"--no-inc-recursive {delete}{more} {sh(on(self.old, self.source))} {sh(self.target)}"
        return self._rsync(self.users[1], words)

    def _rsync(self, user: str, words: str) -> str:
        return f"rsync -a -s -8 --chown={sh(user)}:{sh(user)} -e {sh(ssh(self.old))} {words}"
