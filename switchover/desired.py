"""What a step wants: what shall be true of a server, and what must be so before the move continues.

Each kind of resource is a class of its own (see `switchover/resources`); the life of a step (see `step`) knows these
two protocols and no kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hosts import Host
    from .journal import Change


class Resource(ABC):
    """Something that shall be true of `server`."""

    if TYPE_CHECKING:  # a field in most kinds, which a property of this class would hide

        @property
        def server(self) -> Host:
            """The server that is changed."""

    @property
    def part(self) -> str:
        """What the journal knows it by among the parts of its step on that server: a path, a service, a role.

        It never depends on its place in a list of the settings.
        """
        return ""

    @property
    def key(self) -> str:
        """The server and the part: unique within the step."""
        return f"{self.server.role}:{self.part}"

    @property
    def record_only(self) -> bool:
        """Whether the journal alone says that it was done: later steps of the section may end what it made true."""
        return False

    @property
    def observable(self) -> bool:
        """Whether a look can tell that it is true."""
        return True

    @abstractmethod
    def change(self) -> Change | None:
        """What must change to make it true; None where it is true already. Only looks."""

    def edited(self, entry: str) -> str:
        """What somebody edited since the change recorded in the directory *entry* was made; empty where nobody did.

        It is not overwritten unless the operator says so.
        """
        return ""


@dataclass(frozen=True)
class Precondition:
    """Something that must be so before the move continues; it changes nothing. *within*: seconds to wait for it.

    *missing* says in a few words what is not so yet, None when all is; it raises Problem where waiting is no use.
    """

    missing: Callable[[], str | None]
    within: float = 0


@dataclass(frozen=True)
class Nothing:
    """Nothing of a step is to be done here, and *why*: the site has no such part."""

    why: str


# What a step's function returns.
Desired = Resource | Precondition | Nothing | Sequence[Resource | Precondition | Nothing] | None
