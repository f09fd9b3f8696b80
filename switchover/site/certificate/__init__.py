"""New's own certificate for the production domains: how it is ordered, served and renewed."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ...desired import Desired
from ...findings import Found
from ..kinds import Kind, KindSettings, S
from ..web import Front, Web

DEFAULT = "certbot"  # the kind, where the settings name none


class Settings(KindSettings):
    """New's own certificate for the production domains. Until it has one, old's copy serves."""


@dataclass(eq=False)
class Certificate(Kind[S]):
    """What every kind of certificate can do; all on new unless a docstring says old."""

    web: Web[Any]  # new's web server
    front: Front  # what that serves
    old_web: Web[Any]  # old's, which proxies visitors
    old_fullchain: str  # the file of old's certificate, on old

    @abstractmethod
    def installed(self) -> Desired:
        """The program that orders it is installed."""

    @abstractmethod
    def challenge_passes(self) -> Desired:
        """old: proxies the authority's challenge."""

    @abstractmethod
    def ordered(self) -> Desired:
        """It exists, for every production domain."""

    @abstractmethod
    def trusted(self) -> Desired:
        """old: its web server, which proxies visitors, trusts the authority."""

    @abstractmethod
    def renewed(self) -> Desired:
        """Exactly one timer or cron job renews it, and the web server loads the renewed one."""

    @abstractmethod
    def shown(self) -> Desired:
        """The web server serves it."""

    @abstractmethod
    def seen(self) -> Desired:
        """new serves every production domain with it; old proxies as before."""

    @abstractmethod
    def renews(self) -> Desired:
        """A test of its renewal succeeds."""

    @abstractmethod
    def stays(self) -> Desired:
        """Old may be retired: the certificate that the web server serves is renewed on new."""

    @abstractmethod
    def check(self) -> Found:
        """What `inv check` finds."""
