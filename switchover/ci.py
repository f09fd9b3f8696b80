"""The CI host, which deploys after the tests: it may deploy to new, and knows it."""

from __future__ import annotations

from .desired import Nothing
from .errors import Problem
from .hosts import Host
from .move import Move
from .quote import sh
from .resources import File
from .resources.file import with_lines

NONE = Nothing("no CI host: the settings have no `ci:`")


def authorized(move: Move) -> File | Nothing:
    """new: the CI host's key may deploy. Raises Problem where it has none."""
    if move.ci is None or move.settings.ci is None:
        return NONE
    user, deployer = move.settings.ci.user, move.new.app.user
    public = move.ci.look(f"cat {_home(move.ci, user)}/.ssh/id_*.pub 2>/dev/null | head -n 1", check=False).out.strip()
    if not public:
        raise Problem(f"{user} has no ssh key", str(move.ci), f"Make one: sudo -u {user} ssh-keygen -t ed25519")
    return with_lines(move.new, f"{_home(move.new, deployer)}/.ssh/authorized_keys", [public], deployer)


def knows_new(move: Move) -> File | Nothing:
    """ci: has new's host keys."""
    if move.ci is None or move.settings.ci is None:
        return NONE
    user, keys = move.settings.ci.user, move.new.look("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines()
    lines = [f"{move.new.name} {' '.join(key.split()[:2])}" for key in keys]
    return with_lines(move.ci, f"{_home(move.ci, user)}/.ssh/known_hosts", lines, user)


def _home(host: Host, user: str) -> str:
    return host.look(f"getent passwd {sh(user)} | cut -d: -f6").out.strip()
