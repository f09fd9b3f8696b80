"""The web server: what visitors' requests reach first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...desired import Precondition
from ...findings import Found
from ...hosts import Host
from ...programs import ETC
from ...resources.file import File
from ...vocabulary import Part
from ..app import Application
from ..kinds import Kind

PAGE = "switchover-maintenance.html"

DEFAULT = "nginx"  # the kind, where the settings name none


class Settings(Part):
    """What visitors' requests reach first."""

    kind: str

    @abstractmethod
    def on(self, server: Host, app: Application[Any]) -> Web[Any]:
        """The web server on *server*."""


@dataclass(frozen=True)
class Front:
    """What a web server has to know of the move: the production *domains*, the *other* server, *uploads* that it serves
    (the path in URLs, and the directory), the files of the certificate that it shows, seconds after which who met the
    maintenance page may come again.
    """

    domains: tuple[str, ...]
    other: Host
    uploads: Sequence[Mapping[str, str]]
    fullchain: str
    key: str
    retry_after: int


def public_uploads(app: Application[Any], directories: Sequence[str]) -> list[dict[str, str]]:
    """Those of the *directories* that visitors fetch from below public/: the path in URLs, and the directory."""
    public = [path for path in directories if path.startswith("public/")]
    return [{"url": path.removeprefix("public"), "directory": app.within(path)} for path in public]


S = TypeVar("S", bound=Settings)


class Web(Kind[S]):
    """What every kind of web server can do. What is sh here runs as root."""

    def __init__(self, server: Host, settings: S, app: Application[Any]) -> None:
        super().__init__(server, settings)
        self.app = app

    page = f"{ETC}/{PAGE}"
    """new: visitors see this file, the maintenance page, while it is there."""

    @property
    @abstractmethod
    def test(self) -> str:
        """sh: fails where its configuration is unsound, and says why."""

    @property
    @abstractmethod
    def reload(self) -> str:
        """sh, for a recorded script: it answers by its configuration as that is now, and by no other, when this ends;
        requests under way end by the one before.
        """

    @property
    @abstractmethod
    def reload_shown(self) -> str:
        """The same in a line, for people."""

    @property
    @abstractmethod
    def site(self) -> str:
        """new: the file of the site for the production domains."""

    @abstractmethod
    def answers(self, front: Front, then: str = "") -> File:
        """new: it answers for the production domains; *then*: sh in place of its reload."""

    @abstractmethod
    def passes_on(self, front: Front) -> File:
        """old: it passes every visitor on to new."""

    @abstractmethod
    def gone(self, front: Front) -> File:
        """old: it no longer answers for the site."""

    @property
    @abstractmethod
    def drained(self) -> str:
        """sh: a command that succeeds where every request from before its last change has ended."""

    @abstractmethod
    def drains(self, within: int) -> Precondition:
        """The requests from before its last change have ended, within so many seconds."""

    @abstractmethod
    def reads_again(self, file: str) -> str:
        """sh: succeeds where it has read *file* since that changed."""

    @abstractmethod
    def nobody_for(self, seconds: int) -> Precondition:
        """old: no visitor has come by it for so many seconds, since it passes them on."""

    @abstractmethod
    def last_visitor(self) -> int | None:
        """old: how many seconds ago the last visitor came by it, since it passes them on; None where nobody did."""

    @abstractmethod
    def visitors(self) -> dict[str, Any]:
        """old: who came by it lately: `last_minute`, `last_seconds_ago`, `addresses`. It only looks."""

    @abstractmethod
    def errors(self) -> dict[str, Any]:
        """Its errors of late: `recent` (how many) and `last`. It only looks."""

    @abstractmethod
    def check(self) -> Found:
        """What `inv check` finds."""
