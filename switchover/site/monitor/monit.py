"""monit."""

from collections.abc import Callable
from dataclasses import asdict

from ...desired import Nothing, Resource
from ...programs import program
from ...quote import sh
from ...render import render
from ...resources.file import Absent, File, FileState, read
from ...vocabulary import Absolute
from .. import monitor
from ..kinds import Watched

FOLDER = "/etc/monit/conf.d"  # where the settings name no file of monit
TEST, RELOAD = "monit -t", "monit reload >/dev/null 2>&1"
# A start that monit has begun continues after its file is removed, perhaps beyond the next step's stop: wait for it.
STARTING = 'ps -o stat= --ppid "$(pgrep -x -d , monit)" 2>/dev/null | grep -qv ^Z'
FORGET = f"{RELOAD}\nwait_showing 60 not sh -c {sh(STARTING)} || :"


class Settings(monitor.Settings):
    """monit, with a file of its configuration for each of the two, or one for both."""

    app: Absolute | None = None
    """The file of monit's configuration that watches the application, from the root."""
    worker: Absolute | None = None
    """The file of monit's configuration that watches the worker, from the root."""


class Monit(monitor.Monitor[Settings]):
    """monit of one server: where the settings name no file, nothing is changed."""

    def __post_init__(self) -> None:
        self.starts_worker = self.settings.worker is not None
        if self.settings.app or self.settings.worker or self.server.role == "new":  # there for the certificate too
            self.tools = ("monit",)

    def _unnamed(self, what: str) -> Nothing:
        return Nothing(f"the settings name no file of {self.server.role}'s monitor for the {what}")

    def forgets_application(self, *, record_only: bool = False) -> Nothing | list[Resource]:
        """Its file is not there."""
        return self._forgets("application", self.settings.app, record_only)

    def forgets_worker(self) -> Nothing | list[Resource]:
        """Its file is not there."""
        return self._forgets("worker", self.settings.worker)

    def _forgets(self, what: str, path: str | None, record_only: bool = False) -> Nothing | list[Resource]:
        if not path:
            return self._unnamed(what)
        return [Absent(self.server, path, then=FORGET, record_only=record_only)]

    def remembers_application(self, before: Callable[[str], FileState | None]) -> Nothing | list[Resource]:
        """Its file is back."""
        path = self.settings.app
        if not path:
            return self._unnamed("application")
        state = before(path)
        if state is None or state.content is None:
            return Nothing(f"{self.server.role}'s monitor did not watch the application")
        return [File(self.server, path, state.content, state.owner, state.mode, then=RELOAD)]

    def watches(self, is_ours: Callable[[str], bool]) -> Nothing | list[Resource]:
        """A file for each is there; somebody's own file stays as it is."""
        files, parts = self.settings, dict[str, list[tuple[str, Watched]]]()
        programs = ("app", files.app, self.app.watched()), ("worker", files.worker, self.worker.watched())
        for name, path, watched in programs:
            if path and watched:  # one file may be for both
                parts.setdefault(path, []).append((f"templates/monit-{name}.j2", watched))
        if not parts:
            return self._unnamed("application and the worker")
        return [self._file(path, watched, is_ours(path)) for path, watched in parts.items()]

    def _file(self, path: str, watched: list[tuple[str, Watched]], ours: bool) -> File:
        state = read(self.server, path)
        if state.content is None or ours:
            content = b"\n".join(render(template, **asdict(program)) for template, program in watched)
            state = FileState(content, "root:root", "600")
        return File(self.server, path, state.content or b"", state.owner, state.mode, test=TEST, then=RELOAD)

    def watches_program(self, name: str, arguments: str) -> list[Resource]:
        """The program is there, and a file of configuration that runs it: its template says how often."""
        installed = f"/usr/local/sbin/{name}"
        check = render(f"templates/monit-{name}.j2", program=f"{installed} {arguments}")
        known = self.settings.app or self.settings.worker
        path = f"{known.rpartition('/')[0] if known else FOLDER}/{name.replace('-', '_')}"
        runs = File(self.server, path, check, "root:root", "600", test=TEST, then=RELOAD)
        return [File(self.server, installed, program(name), "root:root", "755"), runs]
