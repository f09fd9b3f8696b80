"""One move: its settings, its two servers, its journal; and the lock that lets one operator in at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from . import certificates
from .dns import writers
from .dns.records import Names
from .errors import Problem
from .hosts import Host
from .journal import Journal, now, operator
from .opening import Identity
from .quote import sh
from .resources.file import FileState, before
from .resources.uploads import Synchronised
from .server import Server

if TYPE_CHECKING:
    from .settings import Settings
    from .site.certificate import Certificate
    from .site.deploys import Notice
    from .site.web import Front


class Move:
    """What every step is given: `move.old`, `move.new`, `move.settings`, `move.journal`."""

    outside = writers  # makes and reverts the part of a change that is on no server: `Change.outside`

    def __init__(self, settings: Settings, *, dry: bool = False) -> None:
        self.settings, self.dry = settings, dry
        ssh_config = settings.ssh_config or ""
        self.old = Server("old", settings.old, ssh_config=ssh_config, dry=dry)
        self.new = Server("new", settings.new, ssh_config=ssh_config, dry=dry)
        self.ci = Host("ci", settings.ci.ssh, ssh_config=ssh_config, dry=dry) if settings.ci else None
        hosts = [*self.servers, *([self.ci] if self.ci else [])]
        identity = Identity(settings.domains, self.old.addresses, self.new.addresses)
        self.journal = Journal(identity, hosts)
        self.would_change: set[str] = set()  # steps, under --dry: what later steps cannot see yet
        self._locked = False

    @property
    def servers(self) -> tuple[Server, Server]:
        """Old, then new."""
        return self.old, self.new

    @cached_property
    def certificate(self) -> Certificate[Any]:
        """New's own certificate for the production domains."""
        from .site.certificate import Certificate

        old, new = self.old, self.new
        place = (new.web, self.front(new), old.web, old.certificate.fullchain)
        return Certificate[Any].of(new, self.settings.certificate, *place)

    @cached_property
    def names(self) -> Names:
        """The site's names, as authoritative servers have them."""
        return Names(self.new, self.settings.domains, self.settings.dns.zone)

    @property
    def paths(self) -> dict[str, str]:
        """What stands for a path of old's application -> what stands for it on new."""
        old, new = PurePosixPath(self.old.app.path), PurePosixPath(self.new.app.path)
        return {str(old): str(new), str(old.parent): str(new.parent)}

    def notice(self, line: str = "") -> Notice:
        """What people who deploy read: who began the move, and when; or who did the step *line*, and when."""
        from .site.deploys import Notice

        return Notice(*self.journal.date(line), self.settings.domain)

    def front(self, server: Server) -> Front:
        """What *server*'s web server has to know of the move."""
        from .site.web import Front, public_uploads

        domain = self.settings.domain
        shown = certificates.fullchain(domain), certificates.key(domain)
        if server is self.old:
            shown = server.certificate.fullchain, server.certificate.key
        places = [upload.source if server is self.old else upload.target for upload in self.settings.uploads]
        uploads, retry = public_uploads(server.app, places), self.settings.maintenance.retry_after
        return Front(self.settings.domains, self.other(server), uploads, *shown, retry)

    def uploads(
        self, *, deleting: bool = False, first: bool = False, always: bool = False, turn: str = ""
    ) -> list[Synchronised]:
        """new: every directory of uploads as on old; see Synchronised for the rest."""
        old, new = self.old, self.new
        users = (old.app.user, new.app.user)
        pairs = [(old.in_app(upload.source), new.in_app(upload.target)) for upload in self.settings.uploads]
        slashed = [(f"{source.rstrip('/')}/", f"{target.rstrip('/')}/") for source, target in pairs]
        return [Synchronised(old, new, *pair, users, deleting, first, always, turn) for pair in slashed]

    def before(self, server: Server, line: str) -> Callable[[str], FileState | None]:
        """Called with a file's path on *server*: the file as it was before the step *line*, None where that left it."""
        return partial(before, self.journal, server, line)

    def other(self, server: Server) -> Server:
        """The server that *server* is not."""
        return self.new if server is self.old else self.old

    @contextmanager
    def lock(self, why: str) -> Iterator[None]:
        """Keeps other operators out of both servers while the block runs; not under --dry.

        Raises Problem, saying who holds it since when and why. A lock whose command is gone from this
        machine is taken over.
        """
        if self.dry or self._locked:
            yield
            return
        held: list[Server] = []
        home = self.journal.home  # refuses what is not ours before anything is touched
        try:
            for server in self.servers:
                self._take(server, why)
                held.append(server)
            self.journal.reread()
            if self.journal.home != home:  # somebody else opened it while the lock was waited for
                what = f"somebody else began this move just now, in {self.journal.home}"
                raise Problem(what, "", "Run the same command again")
            self._locked = True
            yield
        finally:
            self._locked = False
            for server in held:
                with suppress(Problem):  # what failed before is what people must read; the lock is taken over later
                    server.change(f"rm -rf {sh(home)}/lock")  # ours: the journal may have turned out to be elsewhere

    def holder(self, server: Server) -> dict[str, Any] | None:
        """Who holds the lock on *server*: `who`, `when`, `why`, `pid`; None where nobody does."""
        answer = server.look(f"cat {sh(self.journal.home)}/lock/holder 2>/dev/null", check=False)
        try:
            held = json.loads(answer.out)
        except ValueError:
            return None
        return held if isinstance(held, dict) else None

    def locked(self, server: Server) -> bool:
        """Whether *server* is locked."""
        return server.look(f"[ -d {sh(self.journal.home)}/lock ]", check=False).status == 0

    def unlock(self, server: Server) -> None:
        """Takes the lock off *server*, whoever holds it."""
        server.change(f"rm -rf {sh(self.journal.home)}/lock")

    def _take(self, server: Server, why: str) -> None:
        lock = sh(f"{self.journal.home}/lock")
        mine = json.dumps({"who": operator(), "when": now(), "why": why, "pid": os.getpid()})
        script = f"""umask 077; mkdir -p {sh(self.journal.home)}
mkdir {lock} || exit 1
printf '%s\\n' {sh(mine)} | cat >{lock}/holder || {{ rm -rf {lock}; exit 1; }}"""
        answer = server.change(script)
        held = self.holder(server) if answer.status != 0 else None
        if held and held.get("who") == operator() and not _runs(held.get("pid")):
            self.unlock(server)
            answer = server.change(script)
        if answer.status == 0:
            return
        if held is None:
            what = f"the lock could not be taken ({answer.last_error})"
            raise Problem(what, str(server), "Fix that; if it stays so: inv unlock")
        what = f"{held.get('who')} has been at work here since {held.get('when')} ({held.get('why')})"
        raise Problem(what, str(server), "Wait for them. If that command cannot continue any more, run: inv unlock")


def _runs(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def of(context: Any) -> Move:
    """The move of this command: from `-f FILE`, else `move.yaml`; one a process, connections included."""
    return _opened(getattr(context.config, "_runtime_path", None), bool(context.config.run.dry))


@cache
def _opened(file: str | None, dry: bool) -> Move:
    from .settings import DEFAULT_FILE, load

    return Move(load(file or DEFAULT_FILE), dry=dry)
