"""The lab's certificate authority: signs the site's certificate on old and new's own.

Made once a lab directory, so that prepared servers stay valid.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trustme import CA

from ..machine.files import write_file
from ..machine.locks import locked

YEARS = datetime.timedelta(days=3650)


@dataclass(frozen=True)
class Authority:
    """A CA in a directory: `ca.pem`, which everybody may have, and `ca.key`."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The authority kept in *folder*, made now if there is none."""
        self = cls(folder)
        with locked(folder / ".lock"):
            if not self.certificate.exists():
                self._make()
        return self

    @property
    def certificate(self) -> Path:
        """Its own certificate, PEM."""
        return self.folder / "ca.pem"

    def issue(self, names: Iterable[str]) -> tuple[str, str]:
        """A certificate for *names* (domains, addresses) as `fullchain.pem` and `privkey.pem` hold it, as text."""
        names, today = list(names), datetime.datetime.now(datetime.UTC)
        yesterday, later = today - datetime.timedelta(days=1), today + YEARS
        ca = CA.from_pem(self.certificate.read_bytes(), (self.folder / "ca.key").read_bytes())
        made = ca.issue_cert(*names, common_name=names[0], not_before=yesterday, not_after=later)
        [certificate] = made.cert_chain_pems
        chain = certificate.bytes().decode() + self.certificate.read_text()
        return chain, made.private_key_pem.bytes().decode()

    def _make(self) -> None:
        ca = CA(path_length=0, organization_name="Switchover", organization_unit_name="Switchover lab CA")
        write_file(self.folder / "ca.key", ca.private_key_pem.bytes().decode(), 0o600)
        write_file(self.certificate, ca.cert_pem.bytes().decode())  # last: where it is, all is there
