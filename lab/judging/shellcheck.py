"""shellcheck for the scripts that a move recorded: what ran, or would run, on servers as root."""

import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from switchover.journal import ROOT

from ..machine.server import LabServer

# SC2016: `quote.sh` puts each value and each inner script in single quotes, so that nothing in it expands here.
# SC2317: some functions are called by name (wait_until 5 good).
# SC1091: the functions that scripts read in, and programs beside them, are files here, which `scripts/lint` reads.
EXCLUDED = "SC2016,SC2317,SC1091"


def recorded_scripts(servers: Iterable[LabServer]) -> dict[str, str]:
    """Every `apply` and `undo` in the journals of *servers*: `HOST/DOMAIN/ENTRY/apply` -> its text."""
    scripts = {}
    for server in servers:
        named = "-mindepth 3 -maxdepth 3 -type f '(' -name apply -o -name undo ')' -print0"
        packed = server.exec_bytes(f"find {ROOT} {named} 2>/dev/null | tar -c --null -T -")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                scripts[f"{server.role}/{member.name.removeprefix(ROOT[1:] + '/')}"] = file.read().decode()
    return scripts


def faults(scripts: Mapping[str, str], excluded: str = EXCLUDED) -> str:
    """What shellcheck finds in these *scripts* (by name), but for *excluded*, in its words; empty where nothing."""
    # Many differ in nothing but who recorded them, when and where.
    different = {re.sub(r"(?m)^(#(?! shellcheck).*|entry=.*)\n", "", text): name for name, text in scripts.items()}
    names = list(different.values())
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(scripts[name])
        command = ["shellcheck", "-e", excluded, *names]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"shellcheck: {done.stderr.strip()}")
    return done.stdout
