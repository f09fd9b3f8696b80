"""Runs one server: mounts its layers, boots it, boots it again when it reboots, ends when it powers off.

Started by `unshare --mount --propagation private` (see `start`): the overlay exists in this process's own mount
namespace, so that nothing stays mounted on the machine however the lab ends. It runs while its control group has it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchover.errors import Problem

from ..place import LabPlace
from ..world import Role
from . import cgroups, network
from .files import UNPACK, ServerFile, archive

REBOOTED = 133  # nspawn's exit status when the server inside asked for a reboot and --keep-unit is set
NSPAWN = [
    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--capability=CAP_NET_ADMIN", "--console=pipe",
    "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--boot",
]  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """What a supervisor needs to know. *layers* are read-only, the uppermost first."""

    place: LabPlace
    role: Role
    addresses: tuple[str, str]
    layers: list[str]

    @property
    def folder(self) -> Path:
        return folder(self.place, self.role)

    @property
    def files(self) -> Path:
        """A tar of the files that are written before the first boot; gone when they are."""
        return self.folder / "files.tar"


def cgroup(place: LabPlace, role: Role) -> str:
    """The group of a server's processes; all of a lab's are below its prefix."""
    return f"{place.prefix}/{role}"


def folder(place: LabPlace, role: Role) -> Path:
    """Holds the server's own layer, its mount point and its console's log."""
    return place.run / role


def start(spec: Spec, files: Iterable[ServerFile]) -> None:
    """Starts the supervisor of *spec* as a process that outlives this one; the server has these *files* at boot."""
    if not is_off(spec.place, spec.role):
        raise Problem("is running already", spec.role, "End the lab: inv lab.down")
    shutil.rmtree(spec.folder / "work", ignore_errors=True)  # an earlier volatile mount would be refused
    for name in ("upper", "work", "root"):
        (spec.folder / name).mkdir(parents=True, exist_ok=True)
    spec.files.touch(0o600)
    spec.files.write_bytes(archive(files))
    command = ["unshare", "--mount", "--propagation=private", "--", sys.executable, "-m", "lab.machine.supervisor"]
    command += [str(spec.place.root), spec.place.name, spec.role, *spec.addresses, *spec.layers]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": Path(__file__).parents[2]}
    with (spec.folder / "console.log").open("ab") as log:
        supervisor = subprocess.Popen(command, stdout=log, stderr=log, **given)
    with contextlib.suppress(ProcessLookupError):  # it has ended already: then it is off
        for group in cgroups.make(_own_cgroup(spec.place, spec.role)):
            group.write_text(str(supervisor.pid))


def is_off(place: LabPlace, role: Role) -> bool:
    """Whether the server's supervisor has ended, its mounts with it."""
    return not cgroups.pids(_own_cgroup(place, role))


def _own_cgroup(place: LabPlace, role: Role) -> str:
    return f"{place.prefix}/{role}-supervisor"


def main(spec: Spec) -> int:
    """Until the server powers off; gives nspawn's exit status."""
    _mount(spec)
    with spec.files.open("rb") as files:
        subprocess.run(["chroot", spec.folder / "root", *UNPACK], stdin=files, check=True)
    spec.files.unlink()
    while True:
        network.plug(spec.place, spec.role, spec.addresses)
        status = _boot(spec)
        network.unplug(spec.place, spec.role)
        cgroups.end(cgroup(spec.place, spec.role))
        if status != REBOOTED:
            return status
        _forget_firewall(spec)


def _mount(spec: Spec) -> None:
    # volatile: fsync returns at once. A lab that crashes is thrown away, and a layer that is kept is synced whole.
    layers = ":".join(spec.layers)
    options = f"lowerdir={layers},upperdir={spec.folder}/upper,workdir={spec.folder}/work,redirect_dir=on,volatile"
    name = f"{spec.place.prefix}-{spec.role}"
    subprocess.run(["mount", "-t", "overlay", name, "-o", options, spec.folder / "root"], check=True)
    # nspawn keeps notes about machines here, and forgets them when it is killed.
    Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", name, "/run/systemd/nspawn"], check=True)


def _boot(spec: Spec) -> int:
    joins = cgroups.make(cgroup(spec.place, spec.role))
    command = [*NSPAWN, f"--network-namespace-path={network.NAMESPACES / spec.place.netns(spec.role)}"]
    command += [f"--machine={spec.place.netns(spec.role)}", f"--directory={spec.folder / 'root'}"]
    # In its own group before it begins, since it takes the group it finds itself in.
    enter = "".join(f"echo 0 > {join}; " for join in joins)
    environment = {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "TERM": "dumb"}
    return subprocess.run(["sh", "-ec", enter + 'exec "$@"', "switchover", *command], env=environment).returncode


def _forget_firewall(spec: Spec) -> None:
    """Empties the namespace's rules, as a reboot does: what is not in a configuration is gone."""
    rules = "*nat\nCOMMIT\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
    inside = [*network.entry(spec.place.netns(spec.role)), "chroot", str(spec.folder / "root")]
    for program in ("iptables-restore", "ip6tables-restore"):
        subprocess.run([*inside, f"/usr/sbin/{program}"], input=rules.encode(), check=True)


if __name__ == "__main__":
    root, name, role, address4, address6, *layers = sys.argv[1:]
    ended = main(Spec(LabPlace(Path(root), name), role, (address4, address6), layers))
    print(f"switchover: ended with status {ended}", flush=True)
    sys.exit(ended)
