"""Where a lab lives on this machine, and how everything of it is named."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from switchover.errors import Problem


@dataclass(frozen=True)
class LabPlace:
    """The directories and names of one lab. Labs with different names run side by side.

    Images, prepared layers, what was reached and the certificate authorities are shared between them.
    """

    root: Path
    name: str = ""

    @property
    def prefix(self) -> str:
        """Begins the name of every namespace and cgroup of this lab."""
        return f"switchover-{self.name}" if self.name else "switchover"

    def netns(self, part: str) -> str:
        """The network namespace of `hub`, of a host by its role, or of `visitors`."""
        return f"{self.prefix}-{part}"

    @property
    def images(self) -> Path:
        """Debian as mmdebstrap made it."""
        return self.root / "images"

    @property
    def prepared(self) -> Path:
        """What provisioning a server adds to its image: one overlay layer a role."""
        return self.root / "prepared"

    @property
    def reached(self) -> Path:
        """Labs in which a part of the move is done: one directory a state (`lab.reached`)."""
        return self.root / "reached"

    def authority(self, name: str) -> Path:
        """The certificate authority of that name."""
        return self.root / name

    @property
    def run(self) -> Path:
        """The running lab: gone when it ends."""
        return self.root / (f"run-{self.name}" if self.name else "run")

    @property
    def lock(self) -> Path:
        """Locked while a process uses the lab; names that process."""
        return self.run.with_name(self.run.name + ".lock")

    @property
    def kept(self) -> Path:
        """Exists in a lab that is meant to outlive the command which started it."""
        return self.run / "kept"

    @property
    def states(self) -> Path:
        """Saved states of the whole lab."""
        return self.root / (f"states-{self.name}" if self.name else "states")


def place() -> LabPlace:
    """The place that the environment names: $SWITCHOVER_LAB and $SWITCHOVER_LAB_NAME.

    Raises Problem where a name cannot be part of a mount's options or of a namespace's name.
    """
    root = Path(os.environ.get("SWITCHOVER_LAB") or "/var/cache/switchover-lab").absolute()
    name = os.environ.get("SWITCHOVER_LAB_NAME", "")
    if re.search(r"[:,\\\s]", str(root)):
        raise Problem(f"{root} has a colon, comma, backslash or space in it", "SWITCHOVER_LAB", "Choose a plainer path")
    if not re.fullmatch(r"[a-z0-9]{0,12}", name):
        raise Problem(f"'{name}' is no name for a lab", "SWITCHOVER_LAB_NAME", "Use up to 12 small letters and digits")
    return LabPlace(root, name)
