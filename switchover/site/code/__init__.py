"""The code: how new gets exactly the version that old runs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...desired import Precondition, Resource
from ...errors import Problem
from ...findings import Found
from ..kinds import KindSettings, OfApplication, S

DEFAULT = "git"  # the kind, where the settings name none


class Settings(KindSettings):
    """How the application's code gets from old to new."""


class Code(OfApplication[S]):
    """What every kind of code can do."""

    changed: str  # a file that changes whenever the code does

    @abstractmethod
    def version(self) -> str:
        """The version that is there. Raises Problem where it cannot be found. It only looks."""

    def desired(self, old: Code[Any], revision: str | None) -> str:
        """The version that it shall have: *revision*, where the settings name one, else that of *old*.

        Raises Problem where the two servers' versions cannot be compared. It only looks.
        """
        if type(self) is not type(old):
            what = f"old.code and new.code have different kinds ({old.settings.kind}, {self.settings.kind})"
            raise Problem(what, "settings", "Give both the same kind, so that versions can be compared")
        return revision or old.version()

    @abstractmethod
    def is_at(self, version: str, old: Code[Any]) -> Resource | Precondition:
        """It is at exactly that *version*; what is missing is fetched from *old*."""

    @abstractmethod
    def compared(self, desired: str) -> Found:
        """What `inv check` finds, where new shall have the version *desired*."""
