"""What the move puts on the two servers: where it lies, and the programs of `scripts/server/` that run there."""

from __future__ import annotations

from .render import HOME

ETC = "/etc/switchover"  # on both servers: the directory of what the move adds
FOLDER = HOME / "scripts" / "server"


def program(name: str) -> bytes:
    """The program *name*, as it lies in the repository."""
    return (FOLDER / name).read_bytes()


def programs(*names: str) -> dict[str, bytes]:
    """Programs by name, to lie side by side in a change's `after/`."""
    return {name: program(name) for name in names}
