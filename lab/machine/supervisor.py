"""Runs one server: mounts its layers, boots it, boots it again when it reboots, ends when it powers off.

`unshare --mount --propagation private python -m lab.machine.supervisor SPEC` (see `start`): the overlay exists in this
process's own mount namespace, so that nothing stays mounted on the machine however the lab ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.errors import Problem

from ..place import LabPlace
from ..world import Role
from . import cgroups, network
from .locks import lock_for_a_child, try_lock
from .ssh import File

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
    files: list[File]

    @property
    def folder(self) -> Path:
        return folder(self.place, self.role)

    @property
    def cgroup(self) -> str:
        """The group of the server's processes."""
        return cgroup(self.place, self.role)

    def dump(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def load(cls, text: str) -> Spec:
        data = json.loads(text)
        place = LabPlace(Path(data["place"]["root"]), data["place"]["name"])
        four, six = data["addresses"]
        return cls(place, data["role"], (four, six), data["layers"], [File(**f) for f in data["files"]])


def cgroup(place: LabPlace, role: Role) -> str:
    """The group of a server's processes; all of a lab's are below its prefix."""
    return f"{place.prefix}/{role}"


def folder(place: LabPlace, role: Role) -> Path:
    """Holds the server's own layer, its mount point and its console's log."""
    return place.run / role


def start(spec: Spec) -> None:
    """Starts the supervisor of *spec* as a process that outlives this one, and holds a lock while it lives."""
    shutil.rmtree(spec.folder / "work", ignore_errors=True)  # an earlier volatile mount would be refused
    for name in ("upper", "work", "root"):
        (spec.folder / name).mkdir(parents=True, exist_ok=True)
    file = spec.folder / "spec.json"
    file.touch(0o600)
    file.write_text(spec.dump())
    lock = lock_for_a_child(spec.folder / "on")
    if lock is None:
        raise Problem("is running already", spec.role, "End the lab: inv lab.down")
    command = [
        "unshare",
        "--mount",
        "--propagation=private",
        "--",
        sys.executable,
        "-m",
        "lab.machine.supervisor",
        str(file),
    ]
    with (spec.folder / "console.log").open("ab") as log:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock],
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
    os.close(lock)


def is_off(place: LabPlace, role: Role) -> bool:
    """Whether the server's supervisor has ended, its mounts with it."""
    lock = try_lock(folder(place, role) / "on")
    if lock is not None:
        lock.release()
    return lock is not None


def main(spec: Spec) -> int:
    """Until the server powers off; gives nspawn's exit status."""
    cgroups.join(f"{spec.place.prefix}/control")
    _mount(spec)
    for file in spec.files:
        _write(spec.folder / "root", file)
    while True:
        network.plug(spec.place, spec.role, spec.addresses)
        status = _boot(spec)
        network.unplug(spec.place, spec.role)
        cgroups.end(spec.cgroup)
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


def _write(root: Path, file: File) -> None:
    """Writes *file*, its directory made with the same owner where it is missing."""
    path = root / file.path.lstrip("/")
    owner = _ids(root, file.owner)
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700)
        os.chown(path.parent, *owner)
    path.unlink(missing_ok=True)
    path.touch(0o600)
    os.chown(path, *owner)
    path.write_text(file.text)
    path.chmod(file.mode)


def _ids(root: Path, user: str) -> tuple[int, int]:
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == user:
            return int(uid), int(gid)
    raise SystemExit(f"no user {user} in {root}/etc/passwd")


def _boot(spec: Spec) -> int:
    joins = cgroups.make(spec.cgroup)
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
    began = time.monotonic()
    ended = main(Spec.load(Path(sys.argv[1]).read_text()))
    print(f"switchover: ended with status {ended} after {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(ended)
