"""The lab's ACME authority: Pebble on the ci host, which asks port 80 of whomever it finds by a domain, as in life.

Pebble makes new roots and forgets its accounts whenever it starts, so whoever boots a lab has it trusted anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..judging.observer import Observer
from ..machine.server import LabServer, until
from ..sections import CERTIFICATE
from ..texts import script
from ..world import World
from .authority import Authority

if TYPE_CHECKING:
    from ..servers import Lab

HERE = Path(__file__).parent
ISSUER = "Pebble"  # begins the name of every issuer of its certificates
FOLDER = "/etc/pebble"
SECONDS = 20  # that it may take to start
UNIT = f"""[Unit]
Description=The lab's ACME authority
After=network.target named.service
[Service]
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0
ExecStart=/bin/sh {FOLDER}/start.sh
[Install]
WantedBy=multi-user.target
"""


def url(world: World) -> str:
    """Where certbot finds the authority."""
    return f"https://{world.hosts['ci'].name}:14000/dir"


def settings(world: World) -> dict[str, Any]:
    """The certificate's settings, as move.yaml has them."""
    return {"kind": "certbot", "server": url(world), "agree_tos": True}


def provision(server: LabServer, authority: Authority) -> None:
    """Makes a booted ci host the authority, whose own address is certified by the lab's *authority*."""
    certificate, key = authority.issue([server.name])
    server.write(f"{FOLDER}/api.pem", certificate)
    server.write(f"{FOLDER}/api.key", key, mode=0o600)
    refusing(server)
    server.write(f"{FOLDER}/start.sh", (HERE / "pebble.sh").read_text())
    server.write("/etc/systemd/system/pebble.service", UNIT)
    server.exec("systemctl daemon-reload; systemctl enable --quiet pebble")


def refusing(server: LabServer, *domains: str) -> None:
    """The authority gives these domains nothing, from its next start on."""
    settings: dict[str, Any] = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": f"{FOLDER}/api.pem",
        "privateKey": f"{FOLDER}/api.key",
        "httpPort": 80,
        "tlsPort": 443,
        "domainBlocklist": list(domains),
    }
    server.write(f"{FOLDER}/config.json", json.dumps({"pebble": settings}, indent=1) + "\n")


def trusted(ci: LabServer, servers: Iterable[LabServer], visitors: Path) -> None:
    """The *servers* and the *visitors* (their file of authorities) trust the authority on *ci*, which has just started.

    Nothing happens where *ci* is none. Raises Problem when it does not answer.
    """
    if ci.exec("systemctl is-enabled -q pebble", check=False).returncode != 0:
        return
    root = ""

    def answers() -> bool:
        nonlocal root
        asked = f"curl -sSf --cacert {FOLDER}/api.pem --resolve {ci.name}:15000:127.0.0.1"
        root = ci.exec(f"{asked} https://{ci.name}:15000/roots/0", check=False).stdout
        return "END CERTIFICATE" in root

    until(answers, SECONDS, f"{ci}: Pebble does not answer", pause=0.1)
    for server in servers:
        server.exec(script(HERE / "trust.sh", f"{ci.name}:14000"), input=root)
    visitors.write_text(visitors.read_text() + root)


def shown(server: LabServer, domain: str) -> dict[str, Any]:
    """The certificate by which *server* serves *domain*: `issuer`, `serial`, `names`, `days`."""
    from cryptography import x509

    ask = f"openssl s_client -connect 127.0.0.1:443 -servername {domain} </dev/null 2>/dev/null"
    found = x509.load_pem_x509_certificate(server.exec(ask).stdout.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        "issuer": str(list(found.issuer)[-1].value),  # the last part of its name says most
        "serial": f"{found.serial_number:x}",
        "names": sorted(names.get_values_for_type(x509.DNSName)),
        "days": (found.not_valid_after_utc - datetime.now(UTC)).days,
    }


class CertificateAudit(Observer):
    """The certificates of a rehearsal: old's at its beginning, and new's when all has moved."""

    name = "certificate"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.serial = shown(lab.old, lab.world.domain)["serial"]

    def moved(self, done: set[str]) -> None:
        """Reads new's, which has ordered one of its own."""
        if CERTIFICATE in done:
            new = shown(self.lab.new, self.lab.world.domain)
            self.report = new | {"serial_old": self.serial}
            if not new["issuer"].startswith(ISSUER) or new["serial"] == self.serial:
                self.problems.append(f"new has no certificate of its own: {new['issuer']}, {new['serial']}")
