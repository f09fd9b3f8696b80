"""The firewall of a server."""

from abc import abstractmethod
from collections.abc import Sequence

from ...desired import Nothing, Precondition, Resource
from ...findings import Found
from ..kinds import Kind, KindSettings, S

DEFAULT = "ufw"  # the kind, where the settings name none


class Settings(KindSettings):
    """The server's firewall."""


class Firewall(Kind[S]):
    """What every kind of firewall can do."""

    rules: str  # sh: prints each rule that lets somebody in, as a person types it; empty where they are not known

    @abstractmethod
    def on(self) -> Nothing | list[Resource | Precondition]:
        """It is on; a change that would lock us out reverts itself."""

    @abstractmethod
    def lets_in(self, sources: Sequence[str], port: int) -> Nothing | Resource:
        """It lets *sources* (addresses) reach TCP *port*; it opens nothing else."""

    @abstractmethod
    def check(self) -> Found:
        """What `inv check` finds."""
