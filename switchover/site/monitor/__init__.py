"""The monitor: what restarts the application and the worker when they die, and sends alerts."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...desired import Nothing, Resource
from ...resources.file import FileState
from ..kinds import KindSettings, OfApplication, S
from ..worker import Worker

DEFAULT = "monit"  # the kind, where the settings name none


class Settings(KindSettings):
    """What restarts the application and the worker when they die."""


Some = Nothing | list[Resource]


@dataclass(eq=False)
class Monitor(OfApplication[S]):
    """What every kind of monitor can do."""

    worker: Worker[Any]
    starts_worker: bool = field(default=False, init=False)  # whether it starts the worker, after a boot too

    @abstractmethod
    def forgets_application(self, *, record_only: bool = False) -> Some:
        """It no longer watches the application, which it would restart."""

    @abstractmethod
    def forgets_worker(self) -> Some:
        """It no longer watches the worker."""

    @abstractmethod
    def remembers_application(self, before: Callable[[str], FileState | None]) -> Some:
        """It watches the application as before; *before* returns a file of its configuration as it was then."""

    @abstractmethod
    def watches(self, is_ours: Callable[[str], bool]) -> Some:
        """It watches the application and the worker; *is_ours*: whether the move wrote that file."""

    @abstractmethod
    def watches_program(self, name: str, arguments: str) -> Some:
        """It runs the program *name* of scripts/server/ regularly, and sends an alert when it fails."""
