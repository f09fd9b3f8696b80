"""What the move puts on the two servers: where it lies, and the programs of `scripts/server/` that run there."""

import base64

from .render import HOME

ETC = "/etc/switchover"  # on both servers: the directory of what the move adds
FOLDER = HOME / "scripts" / "server"


def program(name: str) -> bytes:
    """The program *name*, as it lies in the repository."""
    return (FOLDER / name).read_bytes()


def programs(*names: str) -> dict[str, bytes]:
    """Programs by name, to lie side by side in a change's `after/`."""
    return {name: program(name) for name in names}


def unpacked(data: bytes, word: str) -> str:
    """sh that writes *data* to the file that *word* (sh, quoted) names.

    The shell says it by itself (`printf` is no program of its own), so nothing of it shows in a list of processes.
    """
    return f"printf %s {base64.b64encode(data).decode()} | base64 -d >{word}"
