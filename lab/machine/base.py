"""What every server of the lab has before anything is installed for the shop: names, a firewall, a way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..place import HOSTS, ROLES, SITE, SUDO_USERS, Role
from ..services.authority import Authority
from . import network
from .ssh import File

if TYPE_CHECKING:
    from .server import LabServer

SETUP = """
useradd --create-home --shell /bin/bash --groups sudo {user}
printf '%s ALL=(ALL) NOPASSWD:ALL\\n' {user} >/etc/sudoers.d/90-{user}
chmod 440 /etc/sudoers.d/90-{user}
visudo -cqf /etc/sudoers.d/90-{user}
update-ca-certificates >/dev/null
# Its first run makes some directories: they shall not appear in the middle of a move.
certbot -q renew
"""
FIREWALL = """
ufw allow 22/tcp >/dev/null
ufw allow 80/tcp >/dev/null
ufw allow 443/tcp >/dev/null
ufw --force enable >/dev/null
"""


def files(role: Role, authority: Authority) -> list[File]:
    """What is written before the first boot: host name, /etc/hosts, the lab's CA."""
    names = {other: [HOSTS[other], HOSTS[other].split(".")[0]] for other in ROLES}
    names["old"].append(SITE)
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    for other in ROLES:
        for address in (network.address4(other), network.address6(other)):
            hosts += f"{address} {' '.join(names[other])}\n"
    return [
        File("/etc/hostname", HOSTS[role] + "\n"),
        File("/etc/hosts", hosts),
        File("/usr/local/share/ca-certificates/switchover-lab.crt", authority.certificate.read_text()),
    ]


def setup(server: LabServer, *, firewall: bool) -> None:
    """On the booted plain image: a sudo user, the CA trusted; with *firewall* ufw on, which lets in ssh and the web."""
    server.exec("set -e\n" + SETUP.format(user=SUDO_USERS[server.role]) + FIREWALL * firewall)
