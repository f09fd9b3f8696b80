"""The few things that steps are made of: what shall be true of a server, how it is made so and how undone."""

from .command import Command
from .file import Absent, File
from .package import Packages
from .postgres import Role, Setting
from .seen import Compared, Seen
from .service import Service
from .uploads import Synchronised

__all__ = [
    "Absent",
    "Command",
    "Compared",
    "File",
    "Packages",
    "Role",
    "Seen",
    "Service",
    "Setting",
    "Synchronised",
]
