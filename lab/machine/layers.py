"""Overlay layers that are kept: prepared servers, made once a recipe, and saved states of a running lab."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from switchover.errors import Problem

from ..place import LabPlace
from ..services.authority import Authority
from ..world import Role, World
from . import cache, images, supervisor
from .files import write_file

LAB = Path(__file__).parents[1]
# What a prepared server is made from, beside its image, its world and the authority's certificate.
RECIPE = [LAB / name for name in ("machine/base.py", "machine/files.py", "machine/setup.sh", "world.py", "texts.py")]
SHOP_RECIPE = [LAB / "sites", *(LAB / "services" / name for name in ("postfix.py", "mail-sends.sh"))]
CI_RECIPE = [LAB / "services"]
DESCRIPTION = "lab.json"  # of the running lab, in its directory; its world has the sites' passwords
RUN_FILES = ("ssh/operator", "ssh/operator.pub", "ssh/known_hosts", "ssh/dns.key", "ca.pem", "move.yaml")


@dataclass(frozen=True)
class Described:
    """What a running lab or a saved state is made of. *layers*: the uppermost first, the image last."""

    world: World
    releases: dict[Role, str]
    layers: dict[Role, list[str]]

    def write(self, file: Path, **more: Any) -> None:
        """Writes it to *file*, which only root may read, beside *more*."""
        write_file(file, json.dumps(asdict(self) | more), 0o600)

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `write` wrote. Raises Problem when another version did."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(file.read_text())
        except ValidationError:
            raise Problem("was made by another version", str(file), "Make it again") from None


@dataclass(frozen=True)
class Variant:
    """What may differ from one lab to the next: old's data in MB, servers without the shop, old without a firewall."""

    seed_mb: int = 300
    plain: bool = False
    firewall: bool = True

    def has_firewall(self, role: Role) -> bool:
        """Whether this server has one on: a ci host never does."""
        return self.firewall if role == "old" else role != "ci"

    def name(self, role: Role) -> str:
        """Tells apart what has to be prepared apart."""
        if role != "old":
            return "plain" if self.plain else "shop"
        return ("plain" if self.plain else f"shop-{self.seed_mb}mb") + ("" if self.firewall else "-open")


def prepared(place: LabPlace, world: World, role: Role, release: str, variant: Variant) -> Path:
    """Where the prepared layer of this server is kept: its name holds a hash of all that it is made from."""
    authority = Authority.at(place.authority(world.authority))
    files = [*RECIPE, *(CI_RECIPE if role == "ci" else []), *([] if variant.plain else SHOP_RECIPE)]
    parts = [images.release(release).key, repr(world), authority.certificate.read_text()]
    return place.prepared / f"{role}-{release}-{variant.name(role)}-{cache.digest(*parts, files=files)}"


def keep(upper: Path, target: Path) -> None:
    """Moves the layer of a server that is off to *target*, and has it on disk before it has its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sync", "--file-system", upper], check=True)
    upper.rename(target)


def save(place: LabPlace, states: Path, name: str, running: Described) -> Described:
    """Keeps the layers of all servers, which are off, and the run's files under *name* in the directory *states*.

    Gives what they run on now.
    """
    token = f"{time.time_ns():x}"
    layers: dict[Role, list[str]] = {}
    for role in running.releases:
        target = states / "layers" / f"{token}-{role}"
        keep(supervisor.folder(place, role) / "upper", target)
        layers[role] = [str(target), *running.layers[role]]
    described = Described(running.world, running.releases, layers)
    files = {file: (place.run / file).read_text() for file in RUN_FILES if (place.run / file).exists()}
    described.write(_state(states, name), files=files)
    _collect(states, described)
    return described


def load(states: Path, name: str) -> Described:
    """What the state *name* is made of. Raises Problem when there is none, or a layer of it is gone."""
    file = _state(states, name)
    if not file.exists():
        known = ", ".join(sorted(f.stem for f in states.glob("*.json"))) or "none yet"
        raise Problem(f"there is no saved state '{name}'", "lab", f"Saved: {known}")
    described = Described.read(file)
    for layer in (Path(path) for layers in described.layers.values() for path in layers):
        if not layer.is_dir():
            raise Problem(f"{layer}, a layer of the state '{name}', is gone", "lab", "Save that state again")
        if layer.parent != states / "layers":
            cache.used(layer)
    return described


def restore_files(place: LabPlace, states: Path, name: str) -> None:
    """Puts the files of the run that the state *name* was saved in (keys, settings) into this one."""
    for path, text in json.loads(_state(states, name).read_text())["files"].items():
        file = place.run / path
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_file(file, text, 0o600)


def running(place: LabPlace) -> Described:
    """What the running lab is made of. Raises Problem when none is up."""
    file = place.run / DESCRIPTION
    if not file.exists():
        raise Problem("no lab is up", "lab", "Start one: inv lab.up")
    return Described.read(file)


def _state(states: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
        raise Problem(f"'{name}' is no name for a state", "lab", "Use letters, digits and . _ -")
    return states / f"{name}.json"


def _collect(states: Path, running: Described) -> None:
    """Removes the layers that no saved state and no running server stands on."""
    referred = {path for layers in running.layers.values() for path in layers}
    for file in states.glob("*.json"):
        referred.update(path for layers in json.loads(file.read_text())["layers"].values() for path in layers)
    for layer in (states / "layers").iterdir():
        if str(layer) not in referred:
            shutil.rmtree(layer)
