"""Things made once and kept in directories whose names hold a hash of what they were made from."""

import hashlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

DAYS = 3  # unused for so long, what nothing refers to any more goes


def digest(*parts: str, files: Iterable[Path] = ()) -> str:
    """A short hash of *parts* and of the names and contents of *files* (directories: all in them)."""
    total = hashlib.sha256(repr(parts).encode())
    for path in files:
        found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in found:
            if "__pycache__" not in file.parts:
                total.update(repr((str(file.relative_to(path.parent)), file.stat().st_mode)).encode())
                total.update(file.read_bytes())
    return total.hexdigest()[:12]


def used(path: Path) -> Path:
    """Notes that *path* is in use today."""
    path.with_name(path.name + ".used").touch()
    return path


def prune(folder: Path, current: Iterable[str] = (), *, days: float = DAYS) -> None:
    """Removes from *folder* what was not used for so many *days*, but for the names in *current*."""
    for mark in folder.glob("*.used"):
        name = mark.name.removesuffix(".used")
        if name in set(current) or time.time() - mark.stat().st_mtime < days * 86400:
            continue
        shutil.rmtree(folder / name, ignore_errors=True)
        mark.unlink()
