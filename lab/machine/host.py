"""What this machine must offer to hold a lab, checked first."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from switchover.errors import Problem

from ..place import LabPlace
from ..texts import last_line
from . import cgroups

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ssh": "openssh-client",
}
FREE_GB = 5  # two images, two prepared layers with a shop's data, and a running lab


def check_root() -> None:
    """Raises Problem for anybody but root."""
    if os.geteuid() != 0:
        raise Problem("its servers and networks take root", "lab", "Run it as root (sudo)")


def check(place: LabPlace) -> None:
    """Raises Problem with the first thing that is missing, and what to do about it."""
    check_root()
    missing = {program: package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise Problem(f"{', '.join(missing)} not found", "lab", f"Install it: apt install {packages}")
    if not Path("/proc/sys/net/ipv6").exists():
        raise Problem("this kernel has no IPv6", "lab", "Boot it without ipv6.disable=1")
    cgroups.hierarchies()
    try:
        place.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"cannot be made ({error.strerror})", str(place.root), "Set SWITCHOVER_LAB elsewhere") from None
    free = shutil.disk_usage(place.root).free / 1e9
    if free < FREE_GB:
        room = f"{free:.1f} GB free, {FREE_GB} GB needed"
        raise Problem(room, str(place.root), "Make room, or set SWITCHOVER_LAB elsewhere")
    _check_overlay(place)


def _check_overlay(place: LabPlace) -> None:
    """Mounts an overlay as a server's, in a namespace of mounts that ends with the attempt."""
    with tempfile.TemporaryDirectory(prefix=".switchover-", dir=place.root) as folder:
        for name in ("lower", "upper", "work", "root"):
            Path(folder, name).mkdir()
        options = "lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=on,volatile"
        mount = ["mount", "-t", "overlay", "-o", options, "none", "root"]
        command = ["unshare", "--mount", "--propagation=private", *mount]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        failed = f"overlayfs cannot be mounted here ({last_line(done.stderr)})"
        do = "Set SWITCHOVER_LAB to a directory on ext4 or xfs; the kernel must be 5.10 or later"
        raise Problem(failed, str(place.root), do)
