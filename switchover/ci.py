"""The CI host, which deploys after the tests: it may deploy to new, and knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .desired import Desired, Nothing
from .errors import Problem
from .hosts import Host
from .move import Move
from .quote import sh
from .resources import File
from .resources.file import with_lines
from .server import Server

if TYPE_CHECKING:
    from .site.deploys import Ci


def where_it_deploys(move: Move, want: Callable[[Ci, Host], Desired]) -> Desired:
    """What is wanted of the CI host's settings and of itself, where there is one."""
    if move.ci is None or move.settings.ci is None:
        return Nothing("no CI host: the settings have no `ci:`")
    return want(move.settings.ci, move.ci)


def authorized(new: Server, settings: Ci, host: Host) -> File:
    """*new*: the CI host's key may deploy. Raises Problem where it has none."""
    user, deployer = settings.user, new.app.user
    public = host.look(f"cat {_home(host, user)}/.ssh/id_*.pub 2>/dev/null | head -n 1", check=False).out.strip()
    if not public:
        raise Problem(f"{user} has no ssh key", str(host), f"Make one: sudo -u {user} ssh-keygen -t ed25519")
    return with_lines(new, f"{_home(new, deployer)}/.ssh/authorized_keys", [public], deployer)


def knows(new: Server, settings: Ci, host: Host) -> File:
    """ci: has *new*'s host keys."""
    keys = new.look("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines()
    lines = [f"{new.name} {' '.join(key.split()[:2])}" for key in keys]
    return with_lines(host, f"{_home(host, settings.user)}/.ssh/known_hosts", lines, settings.user)


def _home(host: Host, user: str) -> str:
    return host.look(f"getent passwd {sh(user)} | cut -d: -f6").out.strip()
