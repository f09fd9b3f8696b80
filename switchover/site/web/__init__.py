"""The web server, which visitors' requests reach first."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...desired import Precondition
from ...findings import Found
from ...hosts import Host
from ...programs import ETC
from ...resources.file import File
from ...resources.precondition import succeeds
from ..app import Application
from ..kinds import KindSettings, OfApplication, S

PAGE = "switchover-maintenance.html"

DEFAULT = "nginx"  # the kind, where the settings name none


class Settings(KindSettings):
    """What visitors' requests reach first."""


@dataclass(frozen=True)
class Front:
    """What a web server needs to know of the move: the production *domains*, the *other* server, *uploads* that it
    serves (the path in URLs, and the directory), the files of its certificate, and the seconds after which the
    maintenance page says to try again.
    """

    domains: tuple[str, ...]
    other: Host
    uploads: Sequence[Mapping[str, str]]
    fullchain: str
    key: str
    retry_after: int


def public_uploads(app: Application[Any], directories: Sequence[str]) -> list[dict[str, str]]:
    """Those of the *directories* that are below public/: each one's path in URLs, and its full path."""
    public = [path for path in directories if path.startswith("public/")]
    return [{"url": path.removeprefix("public"), "directory": app.within(path)} for path in public]


class Web(OfApplication[S]):
    """What every kind of web server can do. All sh here runs as root."""

    page = f"{ETC}/{PAGE}"  # new: the maintenance page; visitors see it as long as this file exists
    test: str  # sh: fails where its configuration is invalid, and says why
    # sh, for a recorded script: when this ends, every new request is answered by the present configuration;
    # requests under way still end by the one before.
    reload: str
    reload_shown: str  # the same as one line, for people
    site: str  # new: the file of the site for the production domains
    drained: str  # sh: a command that succeeds when all requests from before its last change have ended

    @abstractmethod
    def answers(self, front: Front, then: str = "") -> File:
        """new: it answers for the production domains; *then*: sh instead of its reload."""

    @abstractmethod
    def passes_on(self, front: Front) -> File:
        """old: it proxies every request to new."""

    @abstractmethod
    def gone(self, front: Front) -> File:
        """old: it no longer answers for the site."""

    def drains(self, within: int) -> Precondition:
        """The requests from before its last change have ended, within so many seconds."""
        otherwise = f"requests from before are still under way on {self.server.role}"
        return succeeds(self.server, self.drained, otherwise, within=within)

    @abstractmethod
    def reads_again(self, file: str) -> str:
        """sh: succeeds where it has read *file* since that file changed."""

    @abstractmethod
    def nobody_for(self, seconds: int) -> Precondition:
        """old: it has proxied no visitor for so many seconds."""

    @abstractmethod
    def last_visitor(self) -> int | None:
        """old: how many seconds ago it proxied a visitor last; None where it never did."""

    @abstractmethod
    def visitors(self) -> dict[str, Any]:
        """old: the visitors that it proxied lately: `last_minute`, `last_seconds_ago`, `addresses`. It only looks."""

    @abstractmethod
    def errors(self) -> dict[str, Any]:
        """Its recent errors: `recent` (how many) and `last`. It only looks."""

    @abstractmethod
    def check(self) -> Found:
        """What `inv check` finds."""
