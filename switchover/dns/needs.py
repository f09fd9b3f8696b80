"""What this room needs of a move, which stands above it."""

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

    @property
    def dns(self) -> Dns:
        """Who changes the records."""

    @property
    def domains(self) -> Sequence[str]:
        """The site's names."""


class Move(Protocol):
    """What it needs of a move: *names* are asked for from *new*, where the journal has what was done to them."""

    dry: bool

    @property
    def settings(self) -> Settings:
        """The settings."""

    @property
    def journal(self) -> Journal:
        """What was done."""

    @property
    def names(self) -> Names:
        """The site's names, as authoritative servers have them."""

    @property
    def old(self) -> Host:
        """The server that the site leaves."""

    @property
    def new(self) -> Host:
        """The server that the site moves to."""

    @property
    def ci(self) -> Host | None:
        """The host that deploys, if there is one."""
