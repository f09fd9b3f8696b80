"""New's own certificate: what certbot is to be told, and what it has brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import Problem
from .move import Move
from .quote import sh
from .resources.file import read

LIVE = "/etc/letsencrypt/live"
CURRENT = "/opt/certbot"  # where a current release has its environment
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
SOON = 20  # days before its end at which monit says so: ten after it should have been renewed
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Certificate:
    """A certificate, of which everybody may know. *key*: what certbot is told of a key like its own."""

    names: tuple[str, ...]
    key: str
    serial: str
    ends: str


def wanted(move: Move) -> bool:
    """Whether new shall have a certificate of its own."""
    return move.settings.certificate.kind == "certbot"


def kept(move: Move) -> bool:
    """Whether it shall be shown to visitors too: a trial brings none."""
    return wanted(move) and not move.settings.certificate.staging


def program(move: Move) -> str:
    """certbot, as new runs it; by the authorities that new itself trusts."""
    where = f"{CURRENT}/bin/certbot" if move.settings.certificate.certbot == "current" else "certbot"
    return f"env REQUESTS_CA_BUNDLE={BUNDLE} {where}"


def _lets_encrypt(move: Move) -> bool:
    return move.settings.certificate.server.startswith("https://acme-v02.api.letsencrypt.org/")


def trial(move: Move) -> str:
    """What certbot is told for a trial, of which nothing is kept: it asks Let's Encrypt's staging by itself."""
    return "--dry-run" if _lets_encrypt(move) else f"--dry-run --server {sh(move.settings.certificate.server)}"


def account(move: Move) -> str:
    """sh for new: the accounts of the authority that certbot has already."""
    trial = move.settings.certificate.staging and _lets_encrypt(move)
    server = STAGING if trial else move.settings.certificate.server
    return f"ls -d /etc/letsencrypt/accounts/{sh(server.removeprefix('https://'))}/*/ 2>/dev/null"


def lookup(move: Move) -> str:
    """sh for new: the name that certbot gave to a certificate of every domain, if there is one and it has not ended."""
    domains = " ".join(sh(domain) for domain in move.settings.domains)
    return f"""
for conf in /etc/letsencrypt/renewal/*.conf; do
  grep -qsxF {sh(f"server = {move.settings.certificate.server}")} "$conf" || continue
  name=${{conf##*/}}; name=${{name%.conf}}; cert={LIVE}/$name/cert.pem
  openssl x509 -in "$cert" -noout -checkend 86400 >/dev/null 2>&1 || continue
  for domain in {domains}; do
    openssl x509 -in "$cert" -noout -checkhost "$domain" | grep -q 'does match' || continue 2
  done
  echo "$name"; break
done
"""


def found(move: Move) -> str:
    """new: that name; empty without such a certificate."""
    return move.new.look(lookup(move)).out.strip()


def live(move: Move) -> str:
    """new: the directory of that certificate; under --dry the one where it will be. Raises Problem without one."""
    name = found(move)
    if not name and not move.dry:
        raise Problem("it has no certificate of its own yet", str(move.new), "Run: inv expand-cert.order")
    return f"{LIVE}/{name or move.settings.domain}"


def of_old(move: Move) -> Certificate:
    """The certificate that old shows. Raises Problem where there is none."""
    path = move.old.certificate.fullchain
    content = read(move.old, path).content
    if content is None:
        raise Problem(f"{path} does not exist", str(move.old), "Mend old.certificate in the settings")
    try:
        return read_pem(content)
    except ValueError:
        raise Problem(f"{path} holds no certificate", str(move.old), "Mend old.certificate in the settings") from None


def read_pem(content: bytes) -> Certificate:
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
    told = "--key-type ecdsa"
    if isinstance(key, rsa.RSAPublicKey):
        told = f"--key-type rsa --rsa-key-size {min((2048, 3072, 4096), key=lambda size: abs(size - key.key_size))}"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1":
        told = "--key-type ecdsa --elliptic-curve secp384r1"
    return Certificate(domains, told, f"{pem.serial_number:x}", f"{pem.not_valid_after_utc:%Y-%m-%d}")
