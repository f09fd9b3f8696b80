"""The lab: two real servers, booted with systemd from overlay layers, and a network for visitors.

    with Lab(old="11", new="12", seed_mb=50) as lab:
        lab.old.exec("systemctl is-active nginx")
        lab.new.psql("SELECT 1")
        lab.save("after-prepare-old")

A server's layers, from below: Debian (`lab.images`), what provisioning added (kept, made once), those of saved
states, and the running server's own, thrown away at the end. Provisioning is

    lab.provision.provision(server, role, ShopOptions(seed_mb, certificates)) -> None

called on the booted image with sshd, ufw, the sudo user and the CA's trust in place (`lab.base`), for both
servers at the same time. It leaves the server as it shall be found after its next boot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from switchover import say
from switchover.errors import Problem

from . import base, cache, cgroups, clean, images, layers, machine, network, settings, ssh, supervisor
from .authority import Authority
from .layers import Described
from .locks import locked
from .paths import CERTIFIED, ROLES, Role, place
from .server import BOOT, LabServer, until

__all__ = ["Lab", "LabServer"]


class Lab:
    """Both servers and their network. A context manager; `up` and `down` by hand otherwise.

    *state* starts from what `save` kept under that name. *seed_mb*: about how large old's database shall be.
    *plain* boots servers without the shop.
    """

    def __init__(
        self, old: str = "11", new: str = "12", state: str | None = None, *, seed_mb: int = 300, plain: bool = False
    ) -> None:
        self.place = place()
        self._state, self._plain, self._seed_mb = state, plain or not layers.has_shop(), seed_mb
        self._releases: dict[Role, str] = {"old": old, "new": new}
        self._layers: dict[Role, list[str]] = {}
        self._files: dict[Role, list[ssh.File]] = {"old": [], "new": []}
        self._lock: int | None = None
        self._cut_short = False
        self._handlers: dict[int, Any] = {}
        self.old, self.new = (LabServer(self.place, role, self._releases[role]) for role in ROLES)

    @classmethod
    def running(cls) -> Lab:
        """The lab that is up now, started by whom ever. Raises Problem when none is."""
        machine.check_root()
        described = layers.running(place())
        lab = cls(described.releases["old"], described.releases["new"])
        lab._layers = described.layers
        return lab

    @property
    def servers(self) -> tuple[LabServer, LabServer]:
        """Old and new."""
        return self.old, self.new

    @property
    def settings(self) -> Path:
        """The move.yaml that describes both servers."""
        return self.place.run / "move.yaml"

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the servers', PEM."""
        return self.place.run / "ca.pem"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: the servers by their names."""
        return self.place.run / "ssh" / "config"

    @property
    def netns_visitors(self) -> str:
        """The network namespace for visitors; `network.entry` begins a command line that runs in it."""
        return self.place.netns("visitors")

    def up(self) -> Self:
        """Boots both servers and waits until they are ready; what is missing is made first.

        Raises Problem when this machine cannot hold a lab, the lab is in use, or a server does not come up.
        """
        machine.check(self.place)
        self._lock = clean.take(self.place)
        try:
            clean.clear(self.place)
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Ends everything of this lab: nothing is left but what is cached. Safe to repeat."""
        with _undisturbed():
            clean.clear(self.place)
            self._release()

    def keep(self) -> None:
        """The lab outlives this process and a `with` block: `inv lab.down` ends it."""
        self.place.kept.touch()
        self._release()

    def save(self, name: str) -> None:
        """Keeps the state of both servers as *name*: they end cleanly, then boot again from all that was on disk."""
        described = Described(self._releases, self._layers)
        self._both(self._stop)
        self._layers = layers.save(self.place, name, described).layers
        self._start_both()

    def has_state(self, name: str) -> bool:
        """Whether `save` kept *name* for servers like these, prepared as they would be now."""
        try:
            found = layers.load(self.place, name).layers
        except Problem:
            return False
        return all(str(self._prepared(server)) in found[server.role] for server in self.servers)

    def __enter__(self) -> Self:
        """`up`; SIGTERM and SIGHUP leave the block as Ctrl-C does, so that the lab is taken down."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _leave)
        try:
            return self.up()
        except BaseException:
            self._restore_handlers()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.place.kept.exists():
                self.down()
        finally:
            self._restore_handlers()

    def _up(self) -> None:
        self.place.run.mkdir(parents=True)
        network.up(self.place)
        if self._state:
            self._restore(self._state)
        else:
            self._make()
        (self.place.run / "ssh" / "config").write_text(ssh.config(self.place))
        self._start_both()

    def _make(self) -> None:
        authority = Authority.at(self.place.authority)
        found = images.ensure(self.place, self._releases.values())
        self._both(lambda server: self._prepare(server, found[server.release], authority))
        self._files = ssh.generate(self.place)
        shutil.copy(authority.certificate, self.ca)
        self.settings.write_text(settings.text())

    def _restore(self, state: str) -> None:
        described = layers.load(self.place, state)
        self._releases, self._layers = described.releases, described.layers
        for server in self.servers:
            server.release = described.releases[server.role]
        layers.restore_files(self.place, state)

    def _prepare(self, server: LabServer, image: Path, authority: Authority) -> None:
        """Finds the server's prepared layer, or boots the image, provisions it and keeps what that wrote."""
        target = self._prepared(server)
        with locked(target.with_name(f".{target.name}.lock"), lambda: self._cut_short):
            if not target.exists():
                say.console().print(f"{server}: prepared now, on Debian {server.release}; kept for the next time")
                self._layers[server.role] = [str(image)]
                self._files[server.role] = [*base.files(server.role, authority), *ssh.identity()]
                self._start(server)
                base.setup(server)
                if not self._plain:
                    self._provision(server, authority)
                self._stop(server)
                layers.keep(supervisor.folder(self.place, server.role) / "upper", target)
                cache.prune(self.place.prepared)
        self._layers[server.role] = [str(cache.used(target)), str(image)]

    def _provision(self, server: LabServer, authority: Authority) -> None:
        from .provision import ShopOptions, provision

        domain = CERTIFIED[server.role]
        options = ShopOptions(seed_mb=self._seed_mb, certificates={domain: authority.issue([domain])})
        provision(server, server.role, options)

    def _prepared(self, server: LabServer) -> Path:
        release = self._releases[server.role]
        return layers.prepared(self.place, server.role, release, seed_mb=self._seed_mb, plain=self._plain)

    def _start_both(self) -> None:
        Described(self._releases, self._layers).write(self.place.run / "lab.json")
        self._both(self._start)
        self._files = {"old": [], "new": []}  # in the server's layer now; a later boot must not lose what came since

    def _start(self, server: LabServer) -> None:
        supervisor.start(supervisor.Spec(self.place, server.role, self._layers[server.role], self._files[server.role]))
        server.wait_ready(ended=lambda: supervisor.is_off(self.place, server.role))

    def _stop(self, server: LabServer) -> None:
        server.exec("systemctl poweroff", check=False)
        until(lambda: supervisor.is_off(self.place, server.role), BOOT, f"{server}: does not power off")

    def _both(self, work: Callable[[LabServer], None]) -> None:
        """*work* on both servers at the same time. When one fails, or on Ctrl-C, the other's is cut short."""
        self._cut_short = False
        with ThreadPoolExecutor(len(self.servers)) as pool:
            try:
                for ended in as_completed([pool.submit(work, server) for server in self.servers]):
                    ended.result()
            except BaseException:
                self._cut_short = True
                cgroups.end(self.place.prefix)
                raise

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _restore_handlers(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Taking down is not cut short by a second Ctrl-C: what it would leave is what it removes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
