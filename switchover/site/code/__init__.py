"""The code: how new comes to run exactly what old runs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

from ...desired import Precondition, Resource
from ...errors import Problem
from ...findings import Found
from ...hosts import Host
from ...vocabulary import Part
from ..app import Application
from ..kinds import Kind

DEFAULT = "git"  # the kind, where the settings name none


class Settings(Part):
    """How the application's code comes from old to new."""

    kind: str

    @abstractmethod
    def on(self, server: Host, app: Application[Any]) -> Code[Any]:
        """The code on *server*."""


S = TypeVar("S", bound=Settings)


class Code(Kind[S]):
    """What every kind of code can do."""

    def __init__(self, server: Host, settings: S, app: Application[Any]) -> None:
        super().__init__(server, settings)
        self.app = app

    @abstractmethod
    def version(self) -> str:
        """Which version is there. Raises Problem where nobody can tell. It only looks."""

    def desired(self, old: Code[Any], revision: str | None) -> str:
        """The version that it shall have: that of *old*, or *revision*, where the settings name one.

        Raises Problem where nobody can compare the two servers' versions. It only looks.
        """
        if type(self) is not type(old):
            what = f"old's code is of another kind than new's ({old.settings.kind}, {self.settings.kind})"
            raise Problem(
                what, "settings", "Give old.code and new.code the same kind, so that versions can be compared"
            )
        return revision or old.version()

    @abstractmethod
    def is_at(self, version: str, old: Code[Any]) -> Resource | Precondition:
        """It is at exactly that *version*; where it has to be fetched it comes from *old*."""

    @abstractmethod
    def check(self, desired: str) -> Found:
        """What `inv check` finds, where new shall be of the version *desired*."""

    @property
    @abstractmethod
    def changed(self) -> str:
        """A file that changes with it."""
