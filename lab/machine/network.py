"""The lab's network: a bridge in a namespace of its own, all servers and the visitors on it.

Nothing is in the machine's own network. 10.77.0.0/24 and fd77::/64, the same in every lab, since each has
its own bridge.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from switchover.errors import Problem

from ..place import Place

NUMBERS = {"old": 11, "new": 12, "ci": 13, "visitors": 100}
PARTS = ("hub", *NUMBERS)
NAMESPACES = Path("/run/netns")


def address4(part: str) -> str:
    """The IPv4 address of `old`, `new`, `ci` or `visitors`."""
    return f"10.77.0.{NUMBERS[part]}"


def address6(part: str) -> str:
    """The IPv6 address of `old`, `new`, `ci` or `visitors`."""
    return f"fd77::{NUMBERS[part]}"


def up(place: Place) -> None:
    """Makes the namespaces, the bridge and the cables, all plugged in.

    Raises Problem when one exists already or the kernel refuses.
    """
    for part in PARTS:
        _ip("netns", "add", place.netns(part))
        # A machine that has IPv6 switched off hands that down to new namespaces.
        _inside(place, part, "echo 0 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 >/dev/null")
    hub = place.netns("hub")
    _ip("-n", hub, "link", "add", "switchover", "type", "bridge")
    _ip("-n", hub, "link", "set", "switchover", "up")
    for part in NUMBERS:
        end = ("name", "eth0", "netns", place.netns(part))
        _ip("link", "add", *end, "type", "veth", "peer", "name", part, "netns", hub)
        _ip("-n", hub, "link", "set", part, "master", "switchover", "up")
        plug(place, part)


def plug(place: Place, part: str) -> None:
    """The cable of *part* is in, with its addresses: usable at once, without duplicate address detection."""
    commands = [
        "link set lo up",
        "link set eth0 up",
        f"address replace {address4(part)}/24 dev eth0",
        f"address replace {address6(part)}/64 dev eth0 nodad",
    ]
    _ip("-n", place.netns(part), "-batch", "-", input="\n".join(commands))


def unplug(place: Place, part: str) -> None:
    """The cable of *part* is out, as that of a server which is off: nobody answers there, not even with a refusal."""
    _ip("-n", place.netns(part), "link", "set", "eth0", "down")


def down(place: Place) -> None:
    """Ends every process in the namespaces and removes these. Nothing happens when there are none."""
    for part in PARTS:
        name = place.netns(part)
        if not (NAMESPACES / name).exists():
            continue
        for pid in _ip("netns", "pids", name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", name)
    if NAMESPACES.exists() and not any(NAMESPACES.iterdir()):
        # `ip netns` mounts this directory on itself for the first namespace and never unmounts it.
        subprocess.run(["umount", NAMESPACES], stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            NAMESPACES.rmdir()


def left(place: Place) -> list[str]:
    """The namespaces of this lab that exist."""
    return [place.netns(part) for part in PARTS if (NAMESPACES / place.netns(part)).exists()]


def entry(name: str) -> list[str]:
    """The beginning of a command line that runs the rest in the network namespace *name*."""
    return ["nsenter", f"--net={NAMESPACES / name}", "--"]


def _inside(place: Place, part: str, script: str) -> None:
    subprocess.run([*entry(place.netns(part)), "sh", "-c", script], check=True)


def _ip(*arguments: str, input: str | None = None, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], input=input, capture_output=True, text=True)
    if check and done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise Problem(f"`ip {' '.join(arguments)}` failed: {said}", "network", "Run `inv lab.down`, then try again")
    return done.stdout
