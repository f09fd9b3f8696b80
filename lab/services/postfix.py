"""The mail servers of a lab: old's and new's pass all on to the ci host, as to a provider's relay, where customers have
their mailbox.
"""

from pathlib import Path

from ..machine.files import ServerFile
from ..machine.server import LabServer
from ..texts import script
from ..world import Role, World

HERE = Path(__file__).parent
CUSTOMERS = "/var/lib/customers/Maildir"  # on ci: one file a mail; where no look at a host looks
# Where it is, the host's mail server runs.
SWITCHED_ON = ServerFile("/etc/systemd/system/multi-user.target.d/mail.conf", "[Unit]\nWants=postfix.service\n")


def sends(server: LabServer) -> None:
    """A server with sites, prepared: its mail server passes everything on to the ci host."""
    server.exec(script(HERE / "mail-sends.sh", server.world.address4("ci")))


def receives(server: LabServer) -> None:
    """The ci host, prepared: it takes all mail to customers."""
    server.exec(script(HERE / "mail-receives.sh", server.world.customers))


def switch_on(world: World, files: dict[Role, list[ServerFile]]) -> None:
    """Adds to the *files* of old and new that the shop writes to customers; a lab without the ci host has nobody who
    would take the mail."""
    for role in ("old", "new"):
        files[role] += [ServerFile("/etc/shop-mail", f"{world.customers}\n"), SWITCHED_ON]
