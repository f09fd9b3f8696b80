"""Secrets where none may be: in the process lists during a move; on the disks and in the logs after it.

A `SecretScanner` reads the processes of both servers and of the operator while the move runs, and learns the secrets
from the files that hold them; `found` then searches what it saw, the disks and the journals. The files that may hold
secrets are the one list `KEPT_IN`, with the reasons; everything else that holds one is named, by the secret's name.
"""

import base64
import contextlib
import json
import os
import re
import shlex
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from ..machine.server import LabServer
from .allowed import Allowed

INTERVAL = 0.2  # seconds between two looks at the processes
SHORTEST = 8  # characters; anything shorter is found by chance
# All that is not Debian's own, nor in PostgreSQL's tables.
FOLDERS = "/etc /home /root /srv /opt /tmp /run $(ls -d /var/* /var/lib/* | grep -vx /var/lib | grep -v /postgresql$)"
IN_TABLES = "SELECT subconninfo FROM pg_subscription UNION ALL SELECT unnest(umoptions) FROM pg_user_mapping"
SSH_HEAD = "b3BlbnNzaC1rZXktdjE"  # how the first line of every OpenSSH key begins

RAILS = tuple(f"/home/*/config/{name}.yml" for name in ("database", "secrets", "s3"))
KEYS = ("letsencrypt/archive/*/privkey*.pem", "letsencrypt/keys/*.pem", "ssl/private/*", "switchover/*.key.pem")
CERTIFICATES = tuple(f"/etc/{name}" for name in KEYS)
JOURNAL = ("/var/lib/switchover/*/before/*", "/var/lib/switchover/*/after/*")

KEPT_IN = (
    Allowed(RAILS, "the application's own configuration, where Rails reads it"),
    Allowed(CERTIFICATES, "certificates' keys, where certbot keeps them and nginx and PostgreSQL read them"),
    Allowed(("/etc/letsencrypt/accounts/*/private_key.json",), "certbot's key to its account with the authority"),
    Allowed(("/etc/ssh/ssh_host_*_key", "/root/.ssh/*", "/home/*/.ssh/*", "/var/lib/*/.ssh/*"), "ssh's own keys"),
    Allowed(("/etc/bind/*.key",), "the key by which the name servers' records may be changed, where they read it"),
    Allowed(("/etc/switchover/pgpass",), "the password of the move's role in old's database, where libpq reads it"),
    Allowed(JOURNAL, "the journal: the same files as they were, which undo puts back, and as they became"),
)


# --- which secrets there are --------------------------------------------------------------------------------


def forms(secret: str) -> frozenset[bytes]:
    """How a secret may be written: as it is, quoted for a shell, SQL, YAML or an address, and in base64."""
    plain = secret.encode()
    written = {
        plain,
        shlex.quote(secret).strip("'").encode(),
        secret.replace("'", "''").encode(),
        secret.replace("'", "\\'").encode(),
        secret.replace("\\", "\\\\").replace(":", "\\:").encode(),  # pgpass
        urllib.parse.quote(secret, safe="").encode(),
        urllib.parse.quote_plus(secret).encode(),
    }
    for shift, spoilt in enumerate((0, 2, 3)):  # base64 depends on where in three bytes it begins
        text = base64.b64encode(b"\0" * shift + plain)
        written.add(text.rstrip(b"=")[spoilt : -1 if b"=" in text else None])
    return frozenset(form for form in written if len(form) >= SHORTEST)


def in_file(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The secrets in a file that may hold some: a name for each and the secret."""
    if "PRIVATE KEY-----" in text:
        public = _public(text)
        for line in text.splitlines():
            if len(line) > 24 and not line.startswith(("-----", SSH_HEAD)) and not public(line):
                yield f"key {path}", line
    elif path.endswith("private_key.json"):
        yield f"key {path}", str(json.loads(text)["d"])
    elif path.endswith("pgpass"):
        for line in text.splitlines():
            fields = re.findall(r"((?:\\.|[^\\:])*)(?::|$)", line)  # host:port:database:user:password
            if len(fields) > 4 and not line.startswith("#"):
                yield "password of the move", re.sub(r"\\(.)", r"\1", fields[4])
    elif path.endswith(".key"):
        for secret in re.findall(r'\bsecret\s+"([^"]+)";', text):
            yield f"key {path}", secret
    elif path.endswith(".yml"):
        for name, value in _settings(yaml.safe_load(text)):
            if name in ("password", "secret_key_base", "secret_access_key"):
                yield f"{name} in {path.rpartition('/')[2]}", str(value)


def _public(text: str) -> Callable[[str], bool]:
    """Tells whether a line of a key's file is of its public half, which the file holds too and everybody may have."""
    from cryptography.hazmat.primitives import serialization as s

    if "OPENSSH" in text:
        key: Any = s.load_ssh_private_key(text.encode(), None).public_key()
        shown = key.public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode()
        return lambda line: line in shown
    try:
        key = s.load_pem_private_key(text.encode(), None).public_key()
    except ValueError:  # it is none that can be read
        return lambda line: False
    half = key.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    return lambda line: base64.b64decode(line + "=" * (-len(line) % 4)) in half


def _settings(data: Any) -> Iterator[tuple[str, Any]]:
    for name, value in data.items() if isinstance(data, dict) else ():
        yield str(name), value
        yield from _settings(value)


_LEARN = Path(__file__).with_name("learn.sh").read_text()


@dataclass(slots=True)
class SecretScanner:
    """Reads the processes until the block is left. `learn` is called whenever there may be new secrets."""

    servers: Mapping[str, LabServer]
    names: dict[bytes, str] = field(default_factory=dict)  # a form of a secret -> the secret's name
    seen: set[tuple[str, str, bytes, bytes]] = field(default_factory=set)  # where, what, command line, text
    _ended: threading.Event = field(default_factory=threading.Event)
    _known: dict[int, bytes] = field(default_factory=dict)  # process -> its command line at the last scan

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Scans the processes, some times a second, until the block is left."""
        self.learn()
        thread = threading.Thread(target=self._scan_until_ended, name="secrets", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def learn(self) -> None:
        """Reads the files that may hold secrets, on both servers."""
        for where, server in self.servers.items():
            for line in server.exec(_LEARN).stdout.splitlines():
                path, _, text = line.partition("\t")
                for name, secret in in_file(path, base64.b64decode(text).decode(errors="replace")):
                    self.add(f"{where}'s {name}", secret)

    def add(self, name: str, secret: str) -> None:
        """A secret to look for."""
        for form in forms(secret):
            self.names.setdefault(form, name)

    @property
    def looked_for(self) -> list[str]:
        """The secrets by name; a key's lines together are one."""
        return sorted(set(self.names.values()))

    def _scan_until_ended(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.scan()

    def scan(self) -> None:
        """Reads the processes of all servers once, and of the commands that this program started."""
        spaces = {}
        for where, server in self.servers.items():
            with contextlib.suppress(Exception):  # it is rebooting
                spaces[_space(server.pid)] = where
        parents: dict[int, int] = {}
        places: dict[int, str] = {}
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208 - five times a second
            with contextlib.suppress(OSError):  # it has just ended, or is none of our business
                where = spaces.get(_space(pid), "")
                if where:
                    places[pid] = where
                else:
                    stat = Path(f"/proc/{pid}/stat").read_bytes()
                    parents[pid] = int(stat[stat.rindex(b")") + 2 :].split()[1])
        places |= dict.fromkeys(_descendants(parents, os.getpid()), "the operator's machine")
        self._known = {pid: self._note(pid, where) for pid, where in places.items()}

    def _note(self, pid: int, where: str) -> bytes:
        command = b""
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if command != self._known.get(pid, b""):
                self.seen.add((where, "command line", command, command))
                self.seen.add((where, "environment", command, Path(f"/proc/{pid}/environ").read_bytes()))
        return command

    # --- where they are -------------------------------------------------------------------------------------

    def found(self, operators: Iterable[Path] = ()) -> list[str]:
        """All places where a secret was or is and may not be, in words: the processes seen, the servers' disks and
        journals, and the operator's files and folders."""
        places: list[str] = []
        for where, what, command, text in sorted(self.seen):
            process = f"the {what} of a process on {where}: {self._masked(command)}"
            places += [f"{name}: in {process}" for name in self.within(text)]
        for where, server in self.servers.items():
            places += self._on_disk(where, server)
            journal = server.exec_bytes("journalctl --no-pager -a -o export").stdout
            places += [f"{name}: in the journal of {where}" for name in self.within(journal)]
            if where != "ci":
                places += [f"{name}: in PostgreSQL of {where}" for name in self.within(server.psql(IN_TABLES).encode())]
        for file in (file for path in operators for file in [path, *path.rglob("*")] if file.is_file()):
            places += [f"{name}: in {file} of the operator's machine" for name in self.within(file.read_bytes())]
        return list(dict.fromkeys(places))

    def within(self, text: bytes) -> list[str]:
        """The names of the secrets that a text holds."""
        return sorted({name for form, name in self.names.items() if form in text})

    def _on_disk(self, where: str, server: LabServer) -> list[str]:
        patterns = b"\n".join(self.names) + b"\n"
        search = f"LC_ALL=C grep -rlaF -D skip -f - {FOLDERS} 2>/dev/null | xargs -r -d '\\n' stat -c '%A %n' || true"
        places = []
        for line in server.exec(search, input=patterns).stdout.splitlines():
            mode, _, path = line.partition(" ")
            if not any(kept.covers(path) for kept in KEPT_IN):
                which = server.exec_bytes(f"LC_ALL=C grep -oahF -f - {shlex.quote(path)}", input=patterns, check=False)
                places += [f"{name}: in {path} of {where}" for name in self.within(which.stdout)]
            elif mode[7] == "r":
                places.append(f"{path} of {where} holds a secret and everybody there may read it ({mode})")
        return places

    def _masked(self, command: bytes) -> str:
        for form in self.names:
            command = command.replace(form, b"[...]")
        text = command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        return text if len(text) <= 120 else text[:119] + "…"


def _space(pid: int) -> int:
    """The number of a process's pid namespace: each server has one of its own."""
    return os.stat(f"/proc/{pid}/ns/pid").st_ino  # noqa: PTH116 - 200 times in each scan


def _descendants(parents: Mapping[int, int], of: int) -> set[int]:
    """All processes that *of* started, and those that they started."""
    children = [pid for pid, parent in parents.items() if parent == of]
    return {*children}.union(*(_descendants(parents, pid) for pid in children))
