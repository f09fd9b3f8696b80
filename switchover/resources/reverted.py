"""An earlier change, taken back for good by its own undo script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ..desired import Resource
from ..hosts import Host
from ..journal import Change
from ..quote import sh


@dataclass(frozen=True)
class Reverted(Resource):
    """The change recorded in *path* on *server*, made by *step*, is taken back."""

    server: Host
    path: str
    step: str

    @property
    def part(self) -> str:
        """The change that is taken back, by its directory's name."""
        return PurePosixPath(self.path).name

    def change(self) -> Change | None:
        """Its undo script; None where it ran already."""
        if self.server.look(f"[ -e {sh(self.path)}/undone ]", check=False).status == 0:
            return None
        script = f"sh {sh(self.path)}/undo"
        return Change(f"{script}   # {self.step}", script, "refuse 'retire-old has ended undo'")
