"""The programs of `scripts/server/`: what runs on the two servers, as files that people can read and lint there too."""

from __future__ import annotations

from .render import HOME as REPOSITORY

FOLDER = REPOSITORY / "scripts" / "server"
HOME = "/etc/switchover"  # on both servers: what the move adds


def program(name: str) -> bytes:
    """The program *name*, as it lies in the repository."""
    return (FOLDER / name).read_bytes()


def programs(*names: str) -> dict[str, bytes]:
    """Programs by name, to lie side by side in a change's `after/`."""
    return {name: program(name) for name in names}
