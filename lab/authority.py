"""The lab's certificate authority: signs the site's certificate on old and new's own.

Made once a lab directory, so that prepared servers stay valid.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .locks import locked

YEARS = datetime.timedelta(days=3650)


@dataclass(frozen=True)
class Authority:
    """A CA in a directory: `ca.pem`, which everybody may have, and `ca.key`."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Authority:
        """The authority kept in *folder*, made now if there is none (or it ends within a year)."""
        self = cls(folder)
        with locked(folder / ".lock"):
            if not self._good():
                self._make()
        return self

    @property
    def certificate(self) -> Path:
        """Its own certificate, PEM."""
        return self.folder / "ca.pem"

    def issue(self, names: Iterable[str]) -> tuple[str, str]:
        """A certificate for *names* (domains, addresses) as `fullchain.pem` and `privkey.pem` hold it, as text."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import ExtendedKeyUsageOID

        ca = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        ca_key: Any = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        names, key = list(names), _key()
        certificate = (
            _builder(names[0], ca.subject, key)
            .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return pem + self.certificate.read_text(), _private(key)

    def _good(self) -> bool:
        from cryptography import x509

        if not (self.certificate.exists() and (self.folder / "ca.key").exists()):
            return False
        ends = x509.load_pem_x509_certificate(self.certificate.read_bytes()).not_valid_after_utc
        return ends - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=365)

    def _make(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import NameOID

        key = _key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Switchover lab CA")])
        certificate = (
            _builder("Switchover lab CA", name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        _write(self.folder / "ca.key", _private(key), 0o600)
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM).decode(), 0o644)


def _key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _builder(subject: str, issuer: Any, key: Any) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + YEARS)
    )


def _general_name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    text: str = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return text


def _write(file: Path, text: str, mode: int) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode)
    file.write_text(text)
