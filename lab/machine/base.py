"""What every server of the lab has before anything is installed for a site: names, a firewall, a way in."""

from pathlib import Path

from ..services.authority import Authority
from ..texts import script
from ..world import Role, World
from .files import ServerFile
from .server import LabServer


def files(world: World, role: Role, authority: Authority) -> list[ServerFile]:
    """What is written before the first boot: host name, /etc/hosts, the lab's CA."""
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    for other in world.hosts:
        name, *more = world.names(other)
        for address in world.addresses(other):
            hosts += f"{address} {' '.join([name, name.split('.')[0], *more])}\n"
    return [
        ServerFile("/etc/hostname", world.hosts[role].name + "\n"),
        ServerFile("/etc/hosts", hosts),
        ServerFile("/usr/local/share/ca-certificates/switchover-lab.crt", authority.certificate.read_text()),
    ]


def setup(server: LabServer, *, firewall: bool) -> None:
    """On the booted plain image: a sudo user, the CA trusted; with *firewall* ufw on, which lets in ssh and the web."""
    server.exec(script(Path(__file__).with_name("setup.sh"), server.sudo_user, *["firewall"] * firewall))
