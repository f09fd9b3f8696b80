"""The lab's network: a bridge in a namespace of its own, all servers and the visitors on it.

Nothing is in the machine's own network, and labs may have the same addresses, since each has its own bridge.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from switchover.errors import Problem

from ..place import LabPlace
from ..texts import last_line
from ..world import VISITORS, World

HUB = "hub"
NAMESPACES = Path("/run/netns")


def up(place: LabPlace, world: World) -> None:
    """Makes the namespaces, the bridge and the cables of all of *world*'s hosts and the visitors, all plugged in.

    Raises Problem when one exists already or the kernel refuses.
    """
    parts = (*world.hosts, VISITORS)
    for part in (HUB, *parts):
        _ip("netns", "add", place.netns(part))
        # A machine that has IPv6 switched off hands that down to new namespaces.
        enable = "echo 0 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 >/dev/null"
        subprocess.run([*entry(place.netns(part)), "sh", "-c", enable], check=True)
    hub = place.netns(HUB)
    _ip("-n", hub, "link", "add", "switchover", "type", "bridge")
    _ip("-n", hub, "link", "set", "switchover", "up")
    for part in parts:
        end = ("name", "eth0", "netns", place.netns(part))
        _ip("link", "add", *end, "type", "veth", "peer", "name", part, "netns", hub)
        _ip("-n", hub, "link", "set", part, "master", "switchover", "up")
        plug(place, part, world.addresses(part))


def plug(place: LabPlace, part: str, addresses: tuple[str, str]) -> None:
    """The cable of *part* is in, with its *addresses* (IPv4, IPv6): usable at once, without looking for duplicates."""
    commands = [
        "link set lo up",
        "link set eth0 up",
        f"address replace {addresses[0]}/24 dev eth0",
        f"address replace {addresses[1]}/64 dev eth0 nodad",
    ]
    _ip("-n", place.netns(part), "-batch", "-", input="\n".join(commands))


def unplug(place: LabPlace, part: str) -> None:
    """The cable of *part* is out, as that of a server which is off: nobody answers there, not even with a refusal."""
    _ip("-n", place.netns(part), "link", "set", "eth0", "down")


def down(place: LabPlace) -> None:
    """Ends every process in the namespaces and removes these. Nothing happens when there are none."""
    for name in left(place):
        for pid in _ip("netns", "pids", name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", name)
    if NAMESPACES.exists() and not any(NAMESPACES.iterdir()):
        # `ip netns` mounts this directory on itself for the first namespace and never unmounts it.
        subprocess.run(["umount", NAMESPACES], stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            NAMESPACES.rmdir()


def left(place: LabPlace) -> list[str]:
    """The namespaces of this lab that exist, whatever world it has or had."""
    # The name of no lab and of no part of one has a dash in it.
    found = NAMESPACES.glob(place.netns("*")) if NAMESPACES.exists() else ()
    return sorted(path.name for path in found if "-" not in path.name.removeprefix(place.netns("")))


def entry(name: str) -> list[str]:
    """The beginning of a command line that runs the rest in the network namespace *name*."""
    return ["nsenter", f"--net={NAMESPACES / name}", "--"]


def _ip(*arguments: str, input: str | None = None, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], input=input, capture_output=True, text=True)
    if check and done.returncode != 0:
        failed = f"`ip {' '.join(arguments)}` failed: {last_line(done.stderr)}"
        raise Problem(failed, "network", "Run `inv lab.down`, then try again")
    return done.stdout
