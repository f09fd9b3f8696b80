"""The move.yaml of a lab's site: what a person would write about its servers."""

from pathlib import Path
from typing import Any

import yaml

from .services import acme, bind
from .sites.installations import installation
from .world import Deployment, Pusher, Role, World

STRATEGIES = ("replicate", "copy")
SECRET = {"secret": True}
CARRIED = {"config/secrets.yml": SECRET, "config/initializers/bugsnag.rb": {}, "config/s3.yml": SECRET}
CARRIED |= {"log/logrotate.conf": {"adapt": True}}


def text(world: World, *, site: str = "", ci: bool = True, strategy: str = "replicate") -> str:
    """The settings as YAML; paths in them are relative to the running lab's directory, where the file lies."""
    data = yaml.safe_dump(settings(world, site=site, ci=ci, strategy=strategy), sort_keys=False, allow_unicode=True)
    return f"# Written by the lab: it describes the lab's own servers.\n{data}"


def settings(world: World, *, site: str = "", ci: bool = True, strategy: str = "replicate") -> dict[str, Any]:
    """The settings of *site*, by its domain (the first unless it is given), as data; with or without the ci host."""
    moved = world.deployment(site)
    agent = moved.pushers.get("ci") if ci else None
    dns = {"kind": "update", "key_file": bind.OPERATORS, "ttl": bind.LOWERED, "within": 30}
    return {
        "domains": [moved.domain],
        "pages": ["/", "/products/1", "/products/2", "/login", "/about"],
        "ssh_config": "ssh/config",
        "strategy": strategy,
        "old": _server(world, moved, "old"),
        "new": _server(world, moved, "new"),
        **({"ci": _ci(world, agent)} if agent else {}),
        "carry": [{"from": path, "to": path, **more} for path, more in CARRIED.items()],
        "uploads": [{"from": "public/system/", "to": "public/system/"}],
        "dns": dns if ci else {"kind": "none"},
        "certificate": acme.settings(world) if ci else {"kind": "copied"},
        "retire": {"quiet": 1},
    }


def has(file: Path, part: str) -> bool:
    """Whether the site that *file* describes has this part on new: of a kind that is not `none`."""
    kind: str = yaml.safe_load(file.read_text())["new"][part]["kind"]
    return kind != "none"


def _server(world: World, moved: Deployment, role: Role) -> dict[str, Any]:
    site, developer = moved.servers[role], moved.pushers.get("dev")
    parts = installation(moved.installed).parts(site)
    parts["app"] |= {"path": site.app, "user": site.user}
    if developer:
        parts["deploys"] |= {"name": developer.remote}
    live = f"/etc/letsencrypt/live/{site.domain}"
    return {
        "ssh": world.hosts[role].name,
        "address": [*world.addresses(role)],
        **parts,
        "database": {"name": site.database, "owner": site.owner},
        "web": {"kind": "nginx", "site": f"/etc/nginx/sites-available/{site.name}"},
        "certificate": {"fullchain": f"{live}/fullchain.pem", "key": f"{live}/privkey.pem"},
    }


def _ci(world: World, agent: Pusher) -> dict[str, Any]:
    return {"ssh": world.hosts["ci"].name, "user": agent.user, "checkout": agent.checkout, "remote": agent.remote}
