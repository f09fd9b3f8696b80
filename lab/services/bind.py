"""The lab's name servers, on the ci host: two instances of bind9, of which the second has what the first tells it.

They have the site's zone and those of the servers' addresses; the operator's key may change all of them. Old, new and
the visitors ask them, and nobody else: what they do not know does not exist.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from switchover.dns.resolver import reverse

from ..machine import network
from ..machine.ssh import File
from ..place import HOSTS, ROLES, SITE, Role

if TYPE_CHECKING:
    from ..machine.server import LabServer

FIRST, SECOND = network.address4("ci"), "10.77.0.14"
SERVERS = (FIRST, SECOND)
TTL, LOWERED = 20, 5  # of the site's records; what the lab's move lowers it to
KEY = "/etc/bind/operator.key"  # on ci
OPERATORS = "ssh/dns.key"  # the same on the operator's machine, in the running lab's directory
SECOND_CONFIG = "/etc/bind/second.conf"

CONFIG = """include "{key}";
options {{
  directory "/var/cache/bind"; recursion no; empty-zones-enable no; dnssec-validation no;
  listen-on {{ {first}; 127.0.0.1; }}; listen-on-v6 {{ none; }};
  notify-source {first}; notify-delay 0; allow-transfer {{ any; }};
}};
"""
ZONE = 'zone "{zone}" {{ type master; file "/var/lib/bind/{zone}"; allow-update {{ key operator; }}; }};\n'
SECONDARY = """controls {{ }};
options {{
  directory "/var/cache/bind/second"; recursion no; empty-zones-enable no; dnssec-validation no;
  listen-on {{ {second}; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile none;
  transfer-source {second}; min-refresh-time 1; min-retry-time 1;
}};
zone "{zone}" {{ type slave; file "{zone}"; masterfile-format text; masters {{ {first}; }}; }};
"""
# Beside Debian's own unit; each with one thread, since nobody is in a hurry here.
UNIT = f"""[Unit]
After=network.target named.service
[Service]
ExecStartPre=-ip address add {SECOND}/24 dev eth0
ExecStart=/usr/sbin/named -f -n 1 -u bind -c {SECOND_CONFIG}
[Install]
WantedBy=multi-user.target
"""
PROVISION = """set -e
install -d -o bind -g bind /var/cache/bind/second
echo 'OPTIONS="-u bind -n 1"' >/etc/default/named
systemctl daemon-reload; systemctl enable --quiet named named-second
"""


def zones() -> dict[str, str]:
    """The zones' files, by zone."""
    head = f"$TTL {TTL}\n@ IN SOA ns1.{SITE}. root.{SITE}. 1 60 10 86400 {TTL}\n@ IN NS ns1.{SITE}.\n"
    site = f"{head}@ IN NS ns2.{SITE}.\nns1 A {FIRST}\nns2 A {SECOND}\nwww CNAME {SITE}.\n"
    found = {SITE: site}
    for role in ROLES:
        for name in (HOSTS[role].removesuffix(f".{SITE}"), *(["@"] if role == "old" else [])):
            found[SITE] += f"{name} A {network.address4(role)}\n{name} AAAA {network.address6(role)}\n"
        for address in (network.address4(role), network.address6(role)):
            back = reverse(address)
            zone = back.partition(".")[2]
            found[zone] = found.get(zone, head) + f"{back}. PTR {HOSTS[role]}.\n"
    return found


def provision(server: LabServer) -> None:
    """Makes a booted ci host the one that knows the names; their key comes with its next boot."""
    config = CONFIG.format(key=KEY, first=FIRST)
    for zone, text in zones().items():
        server.write(f"/var/lib/bind/{zone}", text, owner="bind:bind")
        config += ZONE.format(zone=zone)
    server.write("/etc/bind/named.conf", config)
    server.write(SECOND_CONFIG, SECONDARY.format(first=FIRST, second=SECOND, zone=SITE))
    server.write("/etc/systemd/system/named-second.service", UNIT)
    server.exec(PROVISION)


def switch_on(files: dict[Role, list[File]], run: Path) -> None:
    """Adds to the *files* of the hosts the operator's key, new in each lab, and who asks whom; *run* gets it too."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    text = f'key "operator" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'
    (run / OPERATORS).touch(0o600)
    (run / OPERATORS).write_text(text)
    files["ci"].append(File(KEY, text, 0o640, "bind"))
    for role in ("old", "new"):
        files[role].append(File("/etc/resolv.conf", f"nameserver {FIRST}\nnameserver {SECOND}\n"))
