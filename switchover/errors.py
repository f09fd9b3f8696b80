"""Errors for people: one line that says what, where and what to do."""

from invoke.exceptions import Exit


class Problem(Exit):
    """Ends the command with exit status 1 and one line for a person.

    *what* is wrong, on which server or in which file (*where*), and what to *do* about it.
    """

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = what, where, do
        line = f"{where}: {what}" if where else what
        super().__init__(f"{line}. {do}" if do else line, code=1)

    def __str__(self) -> str:
        return str(self.message)


class Unreached(Problem):
    """A server that does not let us in, or is off."""


class NotYet(Problem):
    """A change outside the servers was made, or handed to people, and is not seen everywhere yet: the next run waits
    for it.
    """


class NothingDone(Problem):
    """A change outside the servers failed before anything was changed."""
