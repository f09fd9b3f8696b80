"""The lab's third host, from which the shop is deployed: by the agent that builds and tests it, and by a developer.

The agent knows old alone, as long as nobody has told it of new; the developer's key is known to both servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..machine import ssh
from ..place import HOSTS, Role
from ..sites.provision import SITES, archive, render, source

if TYPE_CHECKING:
    from ..machine.server import LabServer

By = Literal["ci", "dev"]


@dataclass(frozen=True)
class Pusher:
    """A user of the ci host with a checkout of the shop, a remote there that leads to production, and a key."""

    user: str
    home: str
    checkout: str
    remote: str
    known_by: tuple[Role, ...]  # the servers that let the key in, and whose host key is known

    @property
    def key(self) -> str:
        """Where the private key is; the public one is beside it."""
        return f"{self.home}/.ssh/id_ed25519"


PUSHERS: dict[By, Pusher] = {
    "ci": Pusher(
        user="buildkite-agent",
        home="/var/lib/buildkite-agent",
        checkout="/var/lib/buildkite-agent/builds/shop",
        remote="production",
        known_by=("old",),
    ),
    "dev": Pusher(
        user="dev",
        home="/home/dev",
        checkout="/home/dev/shop",
        remote="aus-production",
        known_by=("old", "new"),
    ),
}


def url(role: Literal["old", "new"]) -> str:
    """Where git pushes to, to deploy on a server."""
    site = SITES[role]
    return f"{site.user}@{site.host}:{site.app.removeprefix(site.home + '/')}"


def provision(server: LabServer, *, shop: bool) -> None:
    """Makes a booted plain Debian the ci host: none of the programs that servers need runs; with *shop* two push.

    Raises Problem when a command fails.
    """
    server.exec("systemctl disable --now --quiet postgresql pgbouncer nginx monit ufw certbot.timer")
    if shop:
        for pusher in PUSHERS.values():
            server.exec(f"useradd --create-home --home-dir {pusher.home} --shell /bin/bash {pusher.user}")
            server.exec("tar -x -C / --no-same-owner", input=archive(source(pusher.checkout)))
            server.exec(render("checkout.sh.j2", pusher=pusher, url=url("old"), role="ci"))


def authorise(files: dict[Role, list[ssh.File]]) -> None:
    """Adds to the *files* of all hosts a new key for each pusher, and what the servers need to let it in."""
    let_in = dict.fromkeys(SITES, "")
    for pusher in PUSHERS.values():
        private, public = ssh.key_pair(f"{pusher.user}@{HOSTS['ci'].split('.')[0]}")
        known = "".join(ssh.known_hosts(role, files[role]) for role in pusher.known_by)
        files["ci"] += [
            ssh.File(pusher.key, private, 0o600, pusher.user),
            ssh.File(f"{pusher.key}.pub", public, 0o644, pusher.user),
            ssh.File(f"{pusher.home}/.ssh/known_hosts", known, 0o600, pusher.user),
        ]
        for role in pusher.known_by:
            let_in[role] += public
    for role, keys in let_in.items():
        site = SITES[role]
        files[role].append(ssh.File(f"{site.home}/.ssh/authorized_keys", keys, 0o600, site.user))
