"""The monitor: what restarts the application and the worker when they die, and sends alerts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from ...desired import Nothing, Resource
from ...hosts import Host
from ...resources.file import FileState
from ..app import Application
from ..kinds import KindSettings, OfApplication, S
from ..worker import Worker

DEFAULT = "monit"  # the kind, where the settings name none


class Settings(KindSettings):
    """What restarts the application and the worker when they die."""


Some = Nothing | list[Resource]


class Monitor(OfApplication[S]):
    """What every kind of monitor can do."""

    def __init__(self, server: Host, settings: S, app: Application[Any], worker: Worker[Any]) -> None:
        super().__init__(server, settings, app)
        self.worker = worker

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

    @property
    def starts_worker(self) -> bool:
        """Whether it starts the worker, after a boot too."""
        return False
