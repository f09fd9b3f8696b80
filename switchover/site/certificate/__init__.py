"""New's own certificate for the production domains: how it comes, is shown, and is renewed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from ...desired import Nothing, Precondition, Resource
from ...findings import Found
from ...vocabulary import Part
from ..kinds import Kind

if TYPE_CHECKING:
    from ...hosts import Server
    from ...move import Move

DEFAULT = "certbot"  # the kind, where the settings name none


class Settings(Part):
    """New's own certificate for the production domains. Until it has one, old's copy serves."""

    kind: str

    @abstractmethod
    def on(self, server: Server) -> Certificate[Any]:
        """The certificate of *server*, which is new."""


S = TypeVar("S", bound=Settings)
Some = Nothing | list[Resource | Precondition]


class Certificate(Kind[S]):
    """What every kind of certificate can do; all of new unless another server is named."""

    @abstractmethod
    def installed(self) -> Some:
        """What orders it is installed."""

    @abstractmethod
    def challenge_passes(self, move: Move) -> Some:
        """old: passes on what an authority asks."""

    @abstractmethod
    def ordered(self, move: Move) -> Some:
        """It is there, for every production domain."""

    @abstractmethod
    def trusted(self, move: Move) -> Some:
        """old: its web server, which passes visitors on, trusts whoever gave it."""

    @abstractmethod
    def renewed(self, move: Move) -> Some:
        """Exactly one thing renews it, and the web server takes the renewed one."""

    @abstractmethod
    def shown(self, move: Move) -> Some:
        """The web server shows it."""

    @abstractmethod
    def seen(self, move: Move) -> Some:
        """Who asks for a production domain is shown it, by old as before."""

    @abstractmethod
    def renews(self, move: Move) -> Some:
        """A trial of its renewal succeeds."""

    @abstractmethod
    def stays(self, move: Move) -> Some:
        """Old may go: what the web server shows is renewed on new."""

    @abstractmethod
    def check(self, move: Move) -> Found:
        """What `inv check` finds."""
