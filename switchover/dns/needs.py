"""What this room needs of a move, which it cannot import: that would be upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..hosts import Host
from ..journal import Journal
from .records import Names

if TYPE_CHECKING:
    from .settings import Dns


class Settings(Protocol):
    """What it needs of the settings."""

    dns: Dns  # who changes the records

    @property
    def domains(self) -> Sequence[str]:
        """The site's domains."""


class Move(Protocol):
    """What it needs of a move."""

    dry: bool
    journal: Journal  # its journal
    ci: Host | None  # the host that deploys, if there is one

    @property
    def settings(self) -> Settings:
        """The settings."""

    @property
    def names(self) -> Names:
        """The site's records, as the authoritative name servers have them."""

    @property
    def old(self) -> Host:
        """The old server."""

    @property
    def new(self) -> Host:
        """The new server."""
