"""One server of a running lab, looked at and changed from outside, without ssh."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from switchover.errors import Problem

from ..place import LabPlace
from ..texts import last_line
from ..world import VISITORS, Role, World
from . import cgroups, network, supervisor

NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT = 90.0  # seconds a boot or a clean end may take on a busy machine


class LabServer:
    """A host of the lab, by its role in *world*.

    `exec` and its like go through the kernel's namespaces, not through ssh: a few milliseconds.
    """

    def __init__(self, place: LabPlace, world: World, role: Role, release: str) -> None:
        self.place, self.world, self.role, self.release = place, world, role, release
        self.name, self.sudo_user = world.hosts[role].name, world.hosts[role].sudo_user
        self.addresses = self.address4, self.address6 = world.addresses(role)
        self._init: int | None = None

    def __str__(self) -> str:
        return f"{self.role} ({self.name})"

    @property
    def pid(self) -> int:
        """The server's first process, as this machine numbers it. Raises Problem when the server is off."""
        if self._init is None or not Path(f"/proc/{self._init}").exists():
            self._init = cgroups.init(supervisor.cgroup(self.place, self.role))
        if self._init is None:
            raise Problem("is not running", str(self), "Start the lab: inv lab.up")
        return self._init

    def exec(
        self, cmd: str, input: bytes | str | None = None, check: bool = True, *, timeout: float | None = 600
    ) -> subprocess.CompletedProcess[str]:
        """Runs *cmd* (sh) inside as root; *timeout* in seconds.

        Raises Problem when it fails and *check* is on, when it takes too long, or when the server is off.
        """
        done = self.exec_bytes(cmd, input, check, timeout=timeout)
        text = [done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape")]
        return subprocess.CompletedProcess(cmd, done.returncode, *text)

    def exec_bytes(
        self, cmd: str, input: bytes | str | None = None, check: bool = True, *, timeout: float | None = 600
    ) -> subprocess.CompletedProcess[bytes]:
        """As `exec`, with the output as it is."""
        enter = ["nsenter", f"--target={self.pid}", *NAMESPACES, "--", "/bin/sh", "-c"]
        environment = {"PATH": PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "LANG": "C.UTF-8"}
        data = input.encode() if isinstance(input, str) else input
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        try:
            done = subprocess.run([*enter, cmd], capture_output=True, env=environment, timeout=timeout, **given)
        except subprocess.TimeoutExpired:
            raise Problem(f"`{_short(cmd)}` took more than {timeout:.0f} s", str(self)) from None
        if check and done.returncode != 0:
            reason = last_line(*(text.decode(errors="replace") for text in (done.stderr, done.stdout)))
            raise Problem(f"`{_short(cmd)}` ended with status {done.returncode}: {reason}", str(self))
        return done

    def psql(self, sql: str, db: str = "postgres") -> str:
        """What PostgreSQL answers as its superuser: rows as lines, columns parted by `|`, no heading."""
        # Debian's psql is a script, which takes longer than most questions.
        psql = "exec runuser -u postgres -- $(ls -d /usr/lib/postgresql/*/bin/psql | tail -n 1)"
        return self.exec(f"{psql} -XAtq -v ON_ERROR_STOP=1 -d '{db}'", input=sql).stdout.strip()

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Writes a file inside, its directories made where they are missing."""
        make = f"mkdir -p '{Path(path).parent}'; cat >'{path}'; chown {owner} '{path}'; chmod {mode:o} '{path}'"
        self.exec(f"set -e; {make}", input=text)

    def reboot(self) -> None:
        """Reboots it and waits until it is up again."""
        before = self.pid
        self.exec("systemctl reboot", check=False)
        until(lambda: not Path(f"/proc/{before}").exists(), BOOT, f"{self}: does not go down for a reboot")
        self.wait_ready()

    def wait_ready(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Waits until systemd says `running` and sshd answers the visitors' network.

        Raises Problem when a service failed, when *ended* says that the server is off, or after `BOOT` seconds.
        """
        deadline = time.monotonic() + BOOT
        state = "off"
        while state != "running":
            if ended() or time.monotonic() > deadline:
                log = self.place.run / self.role / "console.log"
                said = last_line(log.read_text(errors="replace")) if log.exists() else "empty"
                raise Problem(f"did not boot (its state: {state})", str(self), f"Its console: {log} ({said})")
            with contextlib.suppress(Problem):  # it has no first process yet, or has it no more
                state = self.exec("systemctl is-system-running --wait", check=False, timeout=BOOT).stdout.strip()
            if state == "degraded":
                failed = self.exec("systemctl --failed --plain --no-legend | cut -d' ' -f1").stdout.split()
                raise Problem(f"failed at boot: {' '.join(failed)}", str(self), "Look at its journal")
            if state != "running":
                time.sleep(0.05)
        until(self._sshd_answers, max(1, deadline - time.monotonic()), f"{self}: sshd does not answer", pause=0.05)

    def _sshd_answers(self) -> bool:
        script = f"exec 3<>/dev/tcp/{self.address4}/22 && read -r -t 2 line <&3 && [[ $line == SSH-* ]]"
        entry = network.entry(self.place.netns(VISITORS))
        return subprocess.run([*entry, "bash", "-c", script], stderr=subprocess.DEVNULL).returncode == 0


def until(true: Callable[[], bool], within: float, otherwise: str, pause: float = 0.02) -> None:
    """Waits until *true*; raises Problem saying *otherwise* after *within* seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise Problem(otherwise, do="Its console's log is in the lab's run directory")
        time.sleep(pause)


def _short(cmd: str) -> str:
    lines = cmd.strip().splitlines() or [""]
    return lines[0][:100] + (" …" if len(lines) > 1 or len(lines[0]) > 100 else "")
