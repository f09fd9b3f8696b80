"""The move.yaml of a lab: what a person would write about the shop's servers."""

from __future__ import annotations

from typing import Any

import yaml

from .machine import network
from .place import HOSTS, SITE, Role
from .services import acme, bind
from .services.ci import PUSHERS

STRATEGIES = ("replicate", "copy")


def text(*, ci: bool = True, strategy: str = "replicate") -> str:
    """The settings as YAML; paths in them are relative to the running lab's directory, where the file lies."""
    return "# Written by the lab: it describes the lab's own servers.\n" + yaml.safe_dump(
        settings(ci=ci, strategy=strategy), sort_keys=False, allow_unicode=True
    )


def settings(*, ci: bool = True, strategy: str = "replicate") -> dict[str, Any]:
    """The settings as data, with or without the host that deploys."""
    return {
        "domains": [SITE],
        "pages": ["/", "/products/1", "/products/2", "/login", "/about"],
        "ssh_config": "ssh/config",
        "strategy": strategy,
        "old": _server("old", "openfoodweb", "openfoodweb", "openfoodweb_production", "openfoodweb", SITE),
        "new": _server("new", "openfoodnetwork", "openfoodnetwork", "openfoodnetwork", "ofn_user", HOSTS["new"]),
        **({"ci": _ci()} if ci else {}),
        "carry": [
            {"from": "config/secrets.yml", "to": "config/secrets.yml", "secret": True},
            {"from": "config/initializers/bugsnag.rb", "to": "config/initializers/bugsnag.rb"},
            {"from": "config/s3.yml", "to": "config/s3.yml", "secret": True},
            {"from": "log/logrotate.conf", "to": "log/logrotate.conf", "adapt": True},
        ],
        "uploads": [{"from": "public/system/", "to": "public/system/"}],
        "dns": {"kind": "update", "key_file": bind.OPERATORS, "ttl": bind.LOWERED, "within": 30}
        if ci
        else {"kind": "none"},
        "certificate": acme.SETTINGS if ci else {"kind": "copied"},
        "retire": {"quiet": 1},
    }


def _server(role: Role, user: str, app: str, database: str, owner: str, certificate: str) -> dict[str, Any]:
    live = f"/etc/letsencrypt/live/{certificate}"
    return {
        "ssh": HOSTS[role],
        "address": [network.address4(role), network.address6(role)],
        "app": {
            "path": f"/home/{user}/apps/{app}/current",
            "user": user,
            "service": f"unicorn_{app}",
            "environment": "production",
            "socket": "tmp/sockets/unicorn.sock",
            "pidfile": "tmp/pids/unicorn.pid",
        },
        "worker": {
            "kind": "delayed_job",
            "command": "script/delayed_job",
            "pidfile": "tmp/pids/delayed_job.pid",
            "log": "log/delayed_job.log",
        },
        "watch": {
            "kind": "monit",
            "app": f"/etc/monit/conf.d/unicorn_{app}",
            "worker": f"/etc/monit/conf.d/delayed_job_{app}",
        },
        "schedule": {
            "kind": "crontab",
            "user": user,
            "install": f"whenever --update-crontab {app} --set environment=production",
        },
        "deploys": {"kind": "git", "branch": "master", "repository": ".git", "name": PUSHERS["dev"].remote},
        "database": {
            "name": database,
            "owner": owner,
            "config": "config/database.yml",
            "host": "localhost",
            "port": 5432,
        },
        "web": {"kind": "nginx", "site": f"/etc/nginx/sites-available/{app}"},
        "certificate": {"fullchain": f"{live}/fullchain.pem", "key": f"{live}/privkey.pem"},
    }


def _ci() -> dict[str, Any]:
    agent = PUSHERS["ci"]
    return {"ssh": HOSTS["ci"], "user": agent.user, "checkout": agent.checkout, "remote": agent.remote}
