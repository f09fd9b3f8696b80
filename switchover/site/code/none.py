"""The code comes to new by some other way, before the move; that it is what old runs is compared."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from ...desired import Precondition
from ...errors import Problem
from ...findings import Found, warning
from ...hosts import Host
from ...vocabulary import Line
from .. import code
from ..app import Application

# Of all that is the application's own code, wherever it came from.
CONTENTS = "find app lib db/migrate Gemfile.lock -type f -exec sha256sum {} + 2>/dev/null | sort -k 2 | sha256sum"
NO_CONTENTS = f"{hashlib.sha256().hexdigest()}  -"  # two directories without a file of it would be alike


class Settings(code.Settings):
    """Something else brings the code to new, before the move; its version is compared with old's."""

    kind: Literal["none"] = "none"
    """Nothing of it is copied."""
    version: Line = CONTENTS
    """The command that prints its version, run by the application's user in its directory (`cat REVISION`); without one
    a checksum of the application's own files."""

    def on(self, server: Host, app: Application[Any]) -> Delivered:
        """The code on *server*."""
        return Delivered(server, self, app)


class Delivered(code.Code[Settings]):
    """The code of one server, as something else has put it there."""

    def version(self) -> str:
        """What the command of the settings prints. Raises Problem where it fails or prints nothing."""
        answer = self.server.look(self.app.run(self.settings.version), check=False)
        version = answer.out.strip()
        if answer.status != 0 or version in ("", NO_CONTENTS):
            why = answer.last_error if answer.status else "its command printed nothing"
            why = f"no file of it in {self.app.path}" if version == NO_CONTENTS else why
            do = f"Mend {self.server.role}.code.version in the settings"
            raise Problem(f"no version of the code ({why})", str(self.server), do)
        return version

    def desired(self, old: code.Code[Any], revision: str | None) -> str:
        """That of *old*: a revision is git's."""
        return super().desired(old, None)

    def is_at(self, version: str, old: code.Code[Any]) -> Precondition:
        """It is of that *version*."""
        del old

        def difference() -> str | None:
            if self.version() == version:
                return None
            what, do = self._other_version(version)
            raise Problem(what, str(self.server), f"{do}; then run this again")

        return Precondition(difference)

    def check(self, desired: str) -> Found:
        """It is of that version already, or has to be brought there before `prepare-new`."""
        if self.version() != desired:
            what, do = self._other_version(desired)
            yield warning(what, do)

    def _other_version(self, desired: str) -> tuple[str, str]:
        what = f"new has another version of the code than old ({self.version()[:40]}, not {desired[:40]})"
        return what, "Bring old's to new, the way it comes there"

    @property
    def changed(self) -> str:
        """The list of its gems, which is as near as nobody can tell more."""
        return f"{self.app.path}/Gemfile.lock"
