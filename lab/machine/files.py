"""Files that the lab puts on its servers, many at a time, and on its own machine."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OPENED = 1518084000  # 8 February 2018, in seconds since 1970: the date of all files
UNPACK = ("tar", "--extract", "--directory=/", "--no-overwrite-dir")


@dataclass(frozen=True)
class ServerFile:
    """A file of a server; *owner* is a user's name there, *link* makes it a symbolic link."""

    path: str
    text: str = ""
    mode: int = 0o644
    owner: str = "root"
    link: str = ""


def archive(files: Iterable[ServerFile]) -> bytes:
    """The *files* as one tar, for `UNPACK`: missing directories are made; those of users for themselves alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            if file.owner != "root":
                tar.addfile(_member(str(Path(file.path).parent), 0o700, file.owner, tarfile.DIRTYPE))
            content = file.text.encode()
            member = _member(file.path, file.mode, file.owner, tarfile.SYMTYPE if file.link else tarfile.REGTYPE)
            member.size, member.linkname = len(content), file.link
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_file(file: Path, text: str, mode: int = 0o644) -> None:
    """Writes a *file* on this machine: all of it or nothing, and never with another *mode*."""
    beside = file.with_name(f".{file.name}")
    beside.unlink(missing_ok=True)
    beside.touch(mode)
    beside.write_text(text)
    beside.rename(file)


def _member(path: str, mode: int, owner: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.mode, member.mtime, member.type = mode, OPENED, kind
    member.uname = member.gname = owner
    return member
