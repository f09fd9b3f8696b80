"""The mail servers of a lab: old's and new's pass all on to the ci host, as to a provider's relay, where customers have
their mailbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine import network
from ..machine.ssh import File
from ..place import Role

if TYPE_CHECKING:
    from ..machine.server import LabServer

DOMAIN = "customers.test"  # of all customers' addresses
CUSTOMERS = "/var/lib/customers/Maildir"  # on ci: one file a mail; where no look at a host looks

# Where it is, the shop writes to customers, and its host's mail server runs: a lab without the ci host has neither.
SHOPS = (
    File("/etc/shop-mail", f"{DOMAIN}\n"),
    File("/etc/systemd/system/multi-user.target.d/mail.conf", "[Unit]\nWants=postfix.service\n"),
)

SENDS = """
postconf -e myhostname=$(hostname) mydestination=localhost alias_maps= inet_interfaces=loopback-only \\
  inet_protocols=ipv4 relayhost=[{relay}] default_transport=smtp relay_transport=smtp smtp_tls_security_level=none \\
  smtp_tls_session_cache_database=
"""
RECEIVES = f"""
useradd --create-home --home-dir /var/lib/customers customers
postconf -e inet_interfaces=all inet_protocols=ipv4 mydestination={DOMAIN} myorigin={DOMAIN} alias_maps= \\
  local_recipient_maps= luser_relay=customers home_mailbox=Maildir/ smtpd_peername_lookup=no \\
  smtpd_client_restrictions='check_client_access cidr:/etc/postfix/later'
touch /etc/postfix/later
systemctl enable --quiet postfix
"""


def sends(server: LabServer) -> None:
    """Old or new, prepared: its mail server passes everything on to the ci host."""
    server.exec(SENDS.format(relay=network.address4("ci")))


def receives(server: LabServer) -> None:
    """The ci host, prepared: it takes all mail to customers."""
    server.exec("set -e\n" + RECEIVES)


def switch_on(files: dict[Role, list[File]]) -> None:
    """Adds to the *files* of old and new that the shop writes to customers."""
    for role in ("old", "new"):
        files[role] += SHOPS
