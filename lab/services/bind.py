"""The lab's name servers, on the ci host: two instances of bind9, of which the second has what the first tells it.

They have the zones of the sites, of other hosts' names and of all addresses; the operator's key may change all of them.
All other hosts and the visitors ask them, and nobody else: what they do not know does not exist.
"""

import base64
import secrets
from pathlib import Path

from switchover.dns.resolver import reverse

from ..machine.files import ServerFile, write_file
from ..machine.server import LabServer
from ..texts import render
from ..world import Role, World

TTL, LOWERED = 20, 5  # of the sites' records; what the lab's move lowers it to
KEY = "/etc/bind/operator.key"  # on ci
OPERATORS = "ssh/dns.key"  # the same on the operator's machine, in the running lab's directory
SECOND_CONFIG = "/etc/bind/second.conf"
TEMPLATES = Path(__file__).parent / "templates"

PROVISION = """set -e
install -d -o bind -g bind /var/cache/bind/second
echo 'OPTIONS="-u bind -n 1"' >/etc/default/named
systemctl daemon-reload; systemctl enable --quiet named named-second
"""


def zones(world: World) -> dict[str, str]:
    """The zones' files, by zone; those of the sites are at the second name server too."""
    main, (first, second) = world.domain, world.name_servers
    head = f"$TTL {TTL}\n@ IN SOA ns1.{main}. root.{main}. 1 60 10 86400 {TTL}\n@ IN NS ns1.{main}.\n"
    found = {site.domain: f"{head}@ IN NS ns2.{main}.\nwww CNAME {site.domain}.\n" for site in world.sites}
    found[main] += f"ns1 A {first}\nns2 A {second}\n"
    for role, host in world.hosts.items():
        for name in world.names(role):
            zones = [zone for zone in found if f".{name}".endswith(f".{zone}")]
            zone = max(zones, key=len, default=name.partition(".")[2])
            address4, address6 = world.addresses(role)
            found[zone] = found.get(zone, head) + f"{name}. A {address4}\n{name}. AAAA {address6}\n"
        for address in world.addresses(role):
            back = reverse(address)
            zone = back.partition(".")[2]
            found[zone] = found.get(zone, head) + f"{back}. PTR {host.name}.\n"
    return found


def provision(server: LabServer) -> None:
    """Makes a booted ci host the one that knows the names; their key comes with its next boot."""
    texts, (first, second) = zones(server.world), server.world.name_servers
    for zone, text in texts.items():
        server.write(f"/var/lib/bind/{zone}", text, owner="bind:bind")
    sites = [site.domain for site in server.world.sites]
    given = {"first": first, "second": second, "key": KEY, "config": SECOND_CONFIG, "zones": texts, "sites": sites}
    for path, template in (
        ("/etc/bind/named.conf", "named.conf.j2"),
        (SECOND_CONFIG, "second.conf.j2"),
        ("/etc/systemd/system/named-second.service", "named-second.service.j2"),
    ):
        server.write(path, render(TEMPLATES / template, **given))
    server.exec(PROVISION)


def switch_on(world: World, files: dict[Role, list[ServerFile]], run: Path) -> None:
    """Adds to the *files* of the hosts the operator's key, new in each lab, and who asks whom; *run* gets it too."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    text = f'key "operator" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'
    write_file(run / OPERATORS, text, 0o600)
    files["ci"].append(ServerFile(KEY, text, 0o640, "bind"))
    asked = "".join(f"nameserver {server}\n" for server in world.name_servers)
    for role in files.keys() - {"ci"}:
        files[role].append(ServerFile("/etc/resolv.conf", asked))
