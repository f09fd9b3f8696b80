"""The few things that steps are made of: what shall be true of a server, how it is made so and how undone."""

from .command import Command, undone
from .file import Absent, File
from .package import packages
from .postgres import Role, setting
from .precondition import succeeds
from .service import Service
from .uploads import Synchronised

__all__ = ["Absent", "Command", "File", "Role", "Service", "Synchronised", "packages", "setting", "succeeds", "undone"]
