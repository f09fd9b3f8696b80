"""Certificates on the servers: new's copy of old's, what renews them, what is in one."""

from dataclasses import dataclass
from typing import Any

from .desired import Precondition
from .errors import Problem
from .hosts import Host
from .programs import ETC, program, programs
from .quote import sh
from .resources.command import Command
from .resources.file import existing
from .resources.precondition import succeeds

RENEWALS = program("renewals.sh").decode()  # sh, for looks
SOON = 20  # days before its end at which the monitor sends an alert: ten days after it should have been renewed


def fullchain(domain: str) -> str:
    """new: the path of the site's certificate, as copied from old; *domain*: the site's main one."""
    return f"{ETC}/{domain}.fullchain.pem"


def key(domain: str) -> str:
    """new: the path of that certificate's key."""
    return f"{ETC}/{domain}.key.pem"


def scheduled(server: Host) -> list[str]:
    """What renews certificates on *server*: lines of cron, and timers. It only looks."""
    return server.look(f"{RENEWALS}\nscheduled").out.splitlines()


def scheduled_once(server: Host) -> Precondition:
    """*server*: exactly one renewal of certificates is scheduled."""
    one = 'count=$(scheduled | grep -c .); [ "$count" = 1 ] || { echo "$count found"; exit 1; }'
    return succeeds(server, f"{RENEWALS}\n{one}", "not exactly one renewal of certificates is scheduled on new")


def no_renewal(server: Host, domains: tuple[str, ...], undo: str) -> Command:
    """*server*: it no longer renews certificates of these *domains*."""
    ours = " ".join(sh(domain) for domain in domains)
    run, check = f". after/renewals.sh\nretire {ours}", f'{RENEWALS}\n[ -z "$(ours {ours})" ] && ! idle'
    shown = "mv /etc/letsencrypt/renewal/….conf ….conf.retired; certbot.timer off"
    return Command(server, run, undo, check, shown, files=programs("renewals.sh"))


@dataclass(frozen=True)
class CertificateFacts:
    """The public facts of a certificate. *key*: certbot's options for a key of the same type."""

    names: tuple[str, ...]
    key: str
    serial: str
    ends: str


def read_on(old: Host, path: str) -> CertificateFacts:
    """The certificate in the file *path* of *old*. Raises Problem where there is none."""
    do = "Fix old.certificate in the settings"
    content, *_ = existing(old, path, do)
    try:
        return read_pem(content)
    except ValueError:
        raise Problem(f"{path} contains no certificate", str(old), do) from None


def read_pem(content: bytes) -> CertificateFacts:
    """The first certificate in a file. Raises ValueError where there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtensionOID

    pem = x509.load_pem_x509_certificate(content)
    try:
        names: Any = pem.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        domains = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        domains = ()
    key = pem.public_key()
    options = "--key-type ecdsa"
    if isinstance(key, rsa.RSAPublicKey):
        options = f"--key-type rsa --rsa-key-size {min((2048, 3072, 4096), key=lambda size: abs(size - key.key_size))}"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1":
        options = "--key-type ecdsa --elliptic-curve secp384r1"
    return CertificateFacts(domains, options, f"{pem.serial_number:x}", f"{pem.not_valid_after_utc:%Y-%m-%d}")
