"""New's own certificate for the production domains: how it comes, is shown, and is renewed."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

from ...desired import Nothing, Precondition, Resource
from ...findings import Found
from ...hosts import Host
from ...vocabulary import Part
from ..app import Application
from ..kinds import Kind
from ..web import Front, Web

DEFAULT = "certbot"  # the kind, where the settings name none


class Settings(Part):
    """New's own certificate for the production domains. Until it has one, old's copy serves."""

    kind: str

    @abstractmethod
    def on(self, place: Place) -> Certificate[Any]:
        """The certificate that goes there."""


@dataclass(frozen=True)
class Place:
    """Where it goes: *new*, with the application and the web server that visitors meet there (*front*); and old, whose
    web server passes visitors on and shows the certificate in the file *old_fullchain*.
    """

    new: Host
    app: Application[Any]
    web: Web[Any]
    front: Front
    old_web: Web[Any]
    old_fullchain: str


S = TypeVar("S", bound=Settings)
Some = Nothing | list[Resource | Precondition]


class Certificate(Kind[S]):
    """What every kind of certificate can do; all of new unless another server is named."""

    def __init__(self, place: Place, settings: S) -> None:
        super().__init__(place.new, settings)
        self.place = place

    @abstractmethod
    def installed(self) -> Some:
        """What orders it is installed."""

    @abstractmethod
    def challenge_passes(self) -> Some:
        """old: passes on what an authority asks."""

    @abstractmethod
    def ordered(self) -> Some:
        """It is there, for every production domain."""

    @abstractmethod
    def trusted(self) -> Some:
        """old: its web server, which passes visitors on, trusts whoever gave it."""

    @abstractmethod
    def renewed(self) -> Some:
        """Exactly one thing renews it, and the web server takes the renewed one."""

    @abstractmethod
    def shown(self) -> Some:
        """The web server shows it."""

    @abstractmethod
    def seen(self) -> Some:
        """Who asks for a production domain is shown it, by old as before."""

    @abstractmethod
    def renews(self) -> Some:
        """A trial of its renewal succeeds."""

    @abstractmethod
    def stays(self) -> Some:
        """Old may go: what the web server shows is renewed on new."""

    @abstractmethod
    def check(self) -> Found:
        """What `inv check` finds."""
