"""A command, for what no other resource says: with its check and its undo."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..desired import Nothing, Resource
from ..hosts import Host
from ..journal import FUNCTIONS, Change
from ..quote import sh

FINAL = "refuse 'retire-old has ended undo'"  # the undo of what retire-old does


@dataclass(frozen=True)
class Command(Resource):
    """*run* (sh, as root on *server*) was done; *undo* undoes it (nothing where there is nothing to undo).

    *check* (sh) succeeds where it is true already; without one the journal alone knows whether it was done.
    *shown* is what a person sees instead of *run*. *keep*: files that *run* will change and *undo* needs.
    *part*: what the journal knows it by, where its step has more than one on that server.
    """

    server: Host
    run: str
    undo: str = ":"
    check: str = ""
    shown: str = ""
    keep: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    part: str = ""

    @property
    def record_only(self) -> bool:
        """Whether the journal alone knows."""
        return not self.check

    @property
    def observable(self) -> bool:
        """Whether its check can tell."""
        return bool(self.check)

    def change(self) -> Change | None:
        """The command, unless its check succeeds."""
        if self.check and self.server.look(f"{FUNCTIONS}\n{self.check}", check=False).status == 0:
            return None
        return Change(self.shown or self.run.strip(), self.run, self.undo, self.keep, self.files, self.run)


def reverted(server: Host, path: str, step: str) -> Command:
    """The change of *step* that is recorded in the directory *path* on *server* is reverted for good."""
    script, done = f"sh {sh(path)}/undo", f"[ -e {sh(path)}/undone ]"
    return Command(server, script, FINAL, check=done, shown=f"{script}   # {step}", part=PurePosixPath(path).name)


def undone(server: Host, undo: str, shown: str, part: str = "") -> Command:
    """Nothing is changed on *server* until this is undone, by *undo* (sh)."""
    return Command(server, ":", undo, shown=f"(when undone: {shown})", part=part)


def again(ended: bool, desired: Resource | Nothing, shown: str) -> Resource | Nothing:
    """*desired*; where an earlier step *ended* it under --dry: that it begins again, as no look can tell yet."""
    if isinstance(desired, Nothing) or not ended:
        return desired
    return Command(desired.server, "", shown=shown, part=desired.part)


def as_user(user: str, path: str, command: str, environment: str = "production") -> str:
    """sh that runs *command* (sh) as *user* in *path*, with Rails' *environment*."""
    home = 'HOME=$(getent passwd "$(id -un)" | cut -d: -f6)'
    script = f"cd {sh(path)} && export {home} RAILS_ENV={sh(environment)} && {command}"
    return f"runuser -u {sh(user)} -- sh -c {sh(script)}"
