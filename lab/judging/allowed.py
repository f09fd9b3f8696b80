"""What a judgement passes over, each with its reason: the report prints both."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(slots=True, frozen=True)
class Allowed:
    """Shell patterns of what is no fault, and why."""

    what: tuple[str, ...]
    why: str

    def covers(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.what)
