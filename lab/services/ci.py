"""The lab's host from which the sites are deployed: by the agent that builds and tests them, and by a developer.

The agent knows old alone, until its remote is new's; the developer's key is known to both servers.
"""

from ..machine import ssh
from ..machine.files import UNPACK, ServerFile, archive
from ..machine.server import LabServer
from ..sites.provision import render, source
from ..world import Role, World


def url(world: World, role: Role, domain: str = "") -> str:
    """Where git pushes to, to deploy a site on a server; the first site unless *domain* is given."""
    site = world.site(role, domain)
    return f"{site.user}@{world.hosts[role].name}:{site.app.removeprefix(site.home + '/')}"


def provision(server: LabServer, *, shop: bool) -> None:
    """Makes a booted plain Debian the ci host: none of the programs that servers need runs; with *shop* the sites'
    pushers are there.

    Raises Problem when a command fails.
    """
    server.exec("systemctl disable --now --quiet postgresql pgbouncer nginx monit ufw certbot.timer")
    for site in server.world.sites if shop else ():
        remote = url(server.world, "old", site.domain)
        for pusher in site.pushers.values():
            server.exec(f"useradd --create-home --home-dir {pusher.home} --shell /bin/bash {pusher.user}")
            server.exec(" ".join(UNPACK), input=archive(source(pusher.checkout)))
            server.exec(render("checkout.sh.j2", pusher=pusher, url=remote, domain=site.domain, behind=False))


def authorise(world: World, files: dict[Role, list[ServerFile]]) -> None:
    """Adds to the *files* of all hosts a new key for each pusher, and what the servers need to let it in."""
    for site in world.sites:
        let_in: dict[Role, str] = {}
        for pusher in site.pushers.values():
            private, public = ssh.key_pair(f"{pusher.user}@{world.hosts['ci'].name.split('.')[0]}")
            known = "".join(ssh.known_hosts(world.hosts[role].name, files[role]) for role in pusher.known_by)
            files["ci"] += [
                ServerFile(pusher.key, private, 0o600, pusher.user),
                ServerFile(f"{pusher.key}.pub", public, 0o644, pusher.user),
                ServerFile(f"{pusher.home}/.ssh/known_hosts", known, 0o600, pusher.user),
            ]
            for role in pusher.known_by:
                let_in[role] = let_in.get(role, "") + public
        for role, keys in let_in.items():
            here = site.servers[role]
            files[role].append(ServerFile(f"{here.home}/.ssh/authorized_keys", keys, 0o600, here.user))
