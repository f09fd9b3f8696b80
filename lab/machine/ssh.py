"""Keys and names for reaching the lab's servers by ssh, as one reaches real ones.

An operator's key, the servers' own host keys in a known_hosts, and a config whose ProxyCommand steps into
the visitors' network.
"""

import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..place import LabPlace
from ..world import Role, World
from . import network
from .files import ServerFile, write_file


def generate(place: LabPlace, world: World, roles: Iterable[Role]) -> dict[Role, list[ServerFile]]:
    """Writes the keys into `ssh/` in the running lab's directory; gives what each server needs to match them."""
    folder = place.run / "ssh"
    folder.mkdir(mode=0o700)
    private, public = key_pair("operator@lab")
    write_file(folder / "operator", private, 0o600)
    write_file(folder / "operator.pub", public)
    files: dict[Role, list[ServerFile]] = {}
    for role in roles:
        user = world.hosts[role].sudo_user
        files[role] = [*identity(), ServerFile(f"/home/{user}/.ssh/authorized_keys", public, 0o600, user)]
    known = "".join(known_hosts(world.hosts[role].name, its) for role, its in files.items())
    write_file(folder / "known_hosts", known)
    return files


def key_pair(comment: str) -> tuple[str, str]:
    """A new key as OpenSSH keeps it in files: the private and the public one."""
    key = Ed25519PrivateKey.generate()
    return _private(key), f"{_public(key)} {comment}\n"


def known_hosts(name: str, files: Iterable[ServerFile]) -> str:
    """The lines of a known_hosts by which a server is known that is called *name* and has these *files*."""
    return "".join(f"{name} {file.text}" for file in files if file.path.endswith("_key.pub"))


def identity() -> list[ServerFile]:
    """What makes a server somebody: a machine's id and ssh host keys, both new."""
    # An empty id would make systemd take this for a first boot and enable what is disabled.
    files = [ServerFile("/etc/machine-id", secrets.token_hex(16) + "\n", 0o444)]
    for kind, key in (("ed25519", Ed25519PrivateKey.generate()), ("ecdsa", generate_private_key(SECP256R1()))):
        path = f"/etc/ssh/ssh_host_{kind}_key"
        files += [ServerFile(path, _private(key), 0o600), ServerFile(f"{path}.pub", _public(key) + "\n")]
    return files


def config(place: LabPlace, world: World, roles: Iterable[Role]) -> str:
    """The ssh configuration of the running lab, which has these servers."""
    folder = place.run / "ssh"
    relay = f"{sys.executable} -I -S {Path(__file__).with_name('relay.py')}"
    through = " ".join(network.entry(place.netns("visitors")))
    hosts = "".join(
        f"Host {world.hosts[role].name}\n    User {world.hosts[role].sudo_user}\n"
        f"    ProxyCommand {through} {relay} {world.address4(role)} 22\n"
        for role in roles
    )
    return f"""{hosts}Host *
    IdentityFile {folder}/operator
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    LogLevel ERROR
"""


def _private(key: Any) -> str:
    return str(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()).decode())


def _public(key: Any) -> str:
    return str(key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode())
