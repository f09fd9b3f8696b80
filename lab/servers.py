"""The lab: real servers, booted with systemd from overlay layers, and a network for visitors.

    with Lab(old="11", new="12", seed_mb=50) as lab:      # of the usual world: lab.world.SHOP
        lab.old.exec("systemctl is-active nginx")
        lab.new.psql("SELECT 1")
        lab.save("after-prepare-old")

A server's layers, from below: Debian (`lab.machine.images`), what provisioning added (kept, made once), those of saved
states, and the running server's own, thrown away at the end. Provisioning is

    lab.sites.provision.provision(server, deployment, certificate, seed_mb) -> None

called on the booted image with sshd, ufw, the sudo user and the CA's trust in place (`lab.machine.base`), for all
hosts at the same time. It leaves the server as it shall be found after its next boot. `lab.ci` is the host that
deploys; others that the world has (`lab.server("web2")`) get no more than names, a firewall and a way in.
"""

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import Any, Self

from filelock import FileLock

from switchover import output
from switchover.errors import Problem

from . import settings
from .machine import base, cache, cgroups, clean, host, images, layers, network, ssh, supervisor
from .machine.files import ServerFile
from .machine.layers import Described, Variant
from .machine.locks import locked
from .machine.server import BOOT, LabServer, until
from .place import place
from .services import acme, bind, ci, postfix
from .services.authority import Authority
from .sites.provision import provision
from .world import SHOP, VISITORS, Role, World, one_of

__all__ = ["Lab", "LabServer"]


class Lab:
    """Old, new, the host that deploys, and their network. A context manager; `up` and `down` by hand otherwise.

    *world*: their names, addresses and sites, and which further hosts there are. *old*, *new*: other releases of Debian
    than the world has.
    *state* starts from what `save` kept under that name; *states*: the directory of those, if it is not the lab's own.
    *seed_mb*: about how large old's database shall be.
    *plain* boots servers without the shop, *ci=False* no host that deploys, *firewall=False* an old that has none on.
    *strategy*: how move.yaml says that the database moves (that of a state is as it was saved).
    """

    def __init__(
        self, old: str | None = None, new: str | None = None, state: str | None = None, *,
        world: World = SHOP, seed_mb: int = 300, plain: bool = False, ci: bool = True, firewall: bool = True,
        strategy: str = "replicate", states: Path | None = None,
    ) -> None:  # fmt: skip
        self.place, self.world = place(), world
        one_of("strategy", strategy, settings.STRATEGIES)
        self._states = states or self.place.states
        self._state, self._variant, self._strategy = state, Variant(seed_mb, plain, firewall), strategy
        asked = {"old": old, "new": new}
        releases: dict[Role, str] = {role: asked.get(role) or host.debian for role, host in world.hosts.items()}
        self._servers = {role: LabServer(self.place, world, role, release) for role, release in releases.items()}
        self._releases = {role: release for role, release in releases.items() if ci or role != "ci"}
        self._layers: dict[Role, list[str]] = {}
        self._files: dict[Role, list[ServerFile]] = {}
        self._lock: FileLock | None = None
        self._cut_short = False
        self.old, self.new, self.ci = (self._servers[role] for role in ("old", "new", "ci"))
        self.servers = self.old, self.new
        self.settings = self.place.run / "move.yaml"  # describes them
        self.ca = self.place.run / "ca.pem"  # the certificate of the authority that signed the servers', PEM
        self.ssh_config = self.place.run / "ssh" / "config"  # for `ssh -F`: the servers by their names
        self.netns_visitors = self.place.netns(VISITORS)  # `network.entry` begins a command line that runs in it

    @classmethod
    def running(cls) -> Self:
        """The lab that is up now, started by whom ever. Raises Problem when none is."""
        host.check_root()
        described = layers.running(place())
        lab = cls(world=described.world)
        lab._take(described)
        return lab

    def server(self, role: Role) -> LabServer:
        """The host that the world has under this name. Raises Problem when it has none."""
        return self._servers[one_of("server", role, self._servers)]

    @property
    def hosts(self) -> list[LabServer]:
        """All that this lab has: those of its world, but for ci where it was left out."""
        return [host for role, host in self._servers.items() if role in self._releases]

    def has(self, part: str) -> bool:
        """Whether the site that moves has this part: its settings name a kind of it that is not `none`."""
        return settings.has(self.settings, part)

    @property
    def name_servers(self) -> tuple[str, ...]:
        """Whom visitors ask for names; nobody in a lab without the ci host, where they know the site's addresses."""
        return self.world.name_servers if "ci" in self._releases else ()

    def up(self) -> Self:
        """Boots all of it and waits until it is ready; what is missing is made first.

        Raises Problem when this machine cannot hold a lab, the lab is in use, or a server does not come up.
        """
        host.check(self.place)
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
        # A second Ctrl-C does not cut it short: what it would leave is what it removes.
        with _on(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            clean.clear(self.place)
            self._release()

    def keep(self) -> None:
        """The lab outlives this process and a `with` block: `inv lab.down` ends it."""
        self.place.kept.touch()
        self._release()

    def save(self, name: str) -> None:
        """Keeps the state of all hosts as *name*: they end cleanly, then boot again from all that was on disk."""
        described = Described(self.world, self._releases, self._layers)
        self._all(self._stop)
        self._layers = layers.save(self.place, self._states, name, described).layers
        self._start_all()

    def has_state(self, name: str) -> bool:
        """Whether `save` kept *name* for hosts like these, prepared as they would be now."""
        try:
            found = layers.load(self._states, name)
        except Problem:
            return False
        current = all(str(self._prepared(host)) in found.layers.get(host.role, []) for host in self.hosts)
        return found.world == self.world and current

    def __enter__(self) -> Self:
        """`up`; SIGTERM and SIGHUP leave the block as Ctrl-C does, so that the lab is taken down."""
        with contextlib.ExitStack() as exits:
            exits.enter_context(_on(_leave, signal.SIGTERM, signal.SIGHUP))
            self.up()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._exits:
            if not self.place.kept.exists():
                self.down()

    def _up(self) -> None:
        self.place.run.mkdir(parents=True)
        network.up(self.place, self.world)
        if self._state:
            self._restore(self._state)
        else:
            self._make()
        self.ssh_config.write_text(ssh.config(self.place, self.world, self._releases))
        self._start_all()

    def _make(self) -> None:
        authority = Authority.at(self.place.authority(self.world.authority))
        found = images.ensure(self.place, self._releases.values())
        self._all(lambda host: self._prepare(host, found[host.release], authority))
        self._files = ssh.generate(self.place, self.world, self._releases)
        if "ci" in self._releases and not self._variant.plain:
            ci.authorise(self.world, self._files)
            postfix.switch_on(self.world, self._files)
            bind.switch_on(self.world, self._files, self.place.run)
        shutil.copy(authority.certificate, self.ca)
        self.settings.write_text(settings.text(self.world, ci="ci" in self._releases, strategy=self._strategy))

    def _restore(self, state: str) -> None:
        described = layers.load(self._states, state)
        if described.world != self.world:
            raise Problem(f"the state '{state}' is of another world", "lab", "Start it with the world it was saved in")
        self._take(described)
        layers.restore_files(self.place, self._states, state)

    def _take(self, described: Described) -> None:
        self._releases, self._layers = described.releases, described.layers
        for server in self.hosts:
            server.release = described.releases[server.role]

    def _prepare(self, server: LabServer, image: Path, authority: Authority) -> None:
        """Finds the server's prepared layer, or boots the image, provisions it and keeps what that wrote."""
        target = self._prepared(server)
        with locked(target.with_name(f".{target.name}.lock"), lambda: self._cut_short):
            if not target.exists():
                output.console().print(f"{server}: prepared now, on Debian {server.release}; kept for the next time")
                self._layers[server.role] = [str(image)]
                self._files[server.role] = [*base.files(self.world, server.role, authority), *ssh.identity()]
                self._start(server)
                base.setup(server, firewall=self._variant.has_firewall(server.role))
                self._provision(server, authority)
                self._stop(server)
                layers.keep(supervisor.folder(self.place, server.role) / "upper", target)
                cache.prune(self.place.prepared)
        self._layers[server.role] = [str(cache.used(target)), str(image)]

    def _provision(self, server: LabServer, authority: Authority) -> None:
        if server.role == "ci":
            ci.provision(server, shop=not self._variant.plain)
            if not self._variant.plain:
                acme.provision(server, authority)
                postfix.receives(server)
                bind.provision(server)
        elif not self._variant.plain:
            here = [moved for moved in self.world.sites if server.role in moved.servers]
            for moved in here:
                certificate = authority.issue([moved.servers[server.role].domain])
                provision(server, moved, certificate, self._variant.seed_mb)
            if here:
                postfix.sends(server)

    def _prepared(self, server: LabServer) -> Path:
        return layers.prepared(self.place, self.world, server.role, self._releases[server.role], self._variant)

    def _start_all(self) -> None:
        Described(self.world, self._releases, self._layers).write(self.place.run / layers.DESCRIPTION)
        self._all(self._start)
        self._files = {}  # in the server's layer now; a later boot must not lose what came since
        if "ci" in self._releases:
            acme.trusted(self.ci, [host for host in self.hosts if host is not self.ci], self.ca)

    def _start(self, server: LabServer) -> None:
        spec = supervisor.Spec(self.place, server.role, server.addresses, self._layers[server.role])
        supervisor.start(spec, self._files.get(server.role, []))
        server.wait_ready(ended=lambda: supervisor.is_off(self.place, server.role))

    def _stop(self, server: LabServer) -> None:
        server.exec("systemctl poweroff", check=False)
        until(lambda: supervisor.is_off(self.place, server.role), BOOT, f"{server}: does not power off")

    def _all(self, work: Callable[[LabServer], None]) -> None:
        """*work* on all hosts at the same time. When one fails, or on Ctrl-C, the others' is cut short."""
        self._cut_short = False
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            try:
                for ended in as_completed([pool.submit(work, host) for host in self.hosts]):
                    ended.result()
            except BaseException:
                self._cut_short = True
                cgroups.end(self.place.prefix)
                raise

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _on(handler: Any, *signals: int) -> Iterator[None]:
    """These signals have this *handler* in the block, where the block is in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
