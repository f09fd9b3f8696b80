"""Something else brings the code to new, before the move; its version is compared with old's."""

import hashlib
from typing import Any

from ...desired import Precondition
from ...errors import Problem
from ...findings import Found, warning
from ...vocabulary import Line
from .. import code

# Of the application's own code, however it got there.
CONTENTS = "find app lib db/migrate Gemfile.lock -type f -exec sha256sum {} + 2>/dev/null | sort -k 2 | sha256sum"
NO_CONTENTS = f"{hashlib.sha256().hexdigest()}  -"  # no files at all: that is no version


class Settings(code.Settings):
    """Something else brings the code to new, before the move; its version is compared with old's."""

    version: Line = CONTENTS
    """The command that prints its version, run by the application's user in its directory (`cat REVISION`); by default
    a checksum of the application's own files."""


class Delivered(code.Code[Settings]):
    """The code of one server, put there by something else."""

    def __post_init__(self) -> None:
        self.changed = f"{self.app.path}/Gemfile.lock"  # the list of its gems: the best that is known

    def version(self) -> str:
        """What the settings' command prints. Raises Problem where it fails or prints nothing."""
        answer = self.server.look(self.app.run(self.settings.version), check=False)
        version = answer.out.strip()
        if answer.status != 0 or version in ("", NO_CONTENTS):
            why = answer.last_error if answer.status else "its command printed nothing"
            why = f"no file of it in {self.app.path}" if version == NO_CONTENTS else why
            do = f"Fix {self.server.role}.code.version in the settings"
            raise Problem(f"the version of the code is not known ({why})", str(self.server), do)
        return version

    def desired(self, old: code.Code[Any], revision: str | None) -> str:
        """That of *old*: `revision` is for git."""
        return super().desired(old, None)

    def is_at(self, version: str, old: code.Code[Any]) -> Precondition:
        """It has that *version*."""

        def difference() -> None:
            for finding in self.compared(version):
                raise Problem(finding.what, str(self.server), f"{finding.do}; then run this again")

        return Precondition(difference)

    def compared(self, desired: str) -> Found:
        """It has that version already; else bring it there before `prepare-new`."""
        here = self.version()
        if here != desired:
            what = f"new has another version of the code than old ({here[:40]}, not {desired[:40]})"
            yield warning(what, "Bring old's version to new, as you usually deploy")
