"""Where a lab lives on this machine, and how everything of it is named."""

import os
import re
from pathlib import Path

from switchover.errors import Problem


class LabPlace:
    """The directories and names of one lab. Labs with different names run side by side.

    Images, prepared layers, reached states and the certificate authorities are shared between them.
    """

    def __init__(self, root: Path, name: str = "") -> None:
        self.root, self.name = root, name
        self.prefix = f"switchover-{name}" if name else "switchover"  # begins the names of its namespaces and cgroups
        self.images = root / "images"  # Debian as mmdebstrap made it
        self.prepared = root / "prepared"  # what provisioning a server adds to its image: one overlay layer a role
        self.reached = root / "reached"  # labs in which a part of the move is done: a directory a state (`lab.reached`)
        self.run = root / (f"run-{name}" if name else "run")  # the running lab: gone when it ends
        self.lock = root / f"{self.run.name}.lock"  # locked while a process uses the lab; names that process
        self.kept = self.run / "kept"  # exists in a lab that is meant to outlive the command which started it
        self.states = root / (f"states-{name}" if name else "states")  # saved states of the whole lab

    def netns(self, part: str) -> str:
        """The network namespace of `hub`, of a host by its role, or of `visitors`."""
        return f"{self.prefix}-{part}"

    def authority(self, name: str) -> Path:
        """The certificate authority of that name."""
        return self.root / name


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
