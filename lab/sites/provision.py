"""Turns a booted plain Debian server into the shop's old or new server, as ofn-install would leave it.

Old (profile of 2018) sells: the app from its git repository, seed data, the worker, cron. New is installed: the same
app one commit behind, secrets of its own, an empty database; no worker runs and there is no crontab. What runs it all,
and what there is beside, is the site's `Installation`.
"""

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import texts
from ..machine.files import UNPACK, ServerFile, archive
from ..machine.server import LabServer
from ..world import Deployment, Site
from .installations import Installation, installation

HERE = Path(__file__).parent


def provision(server: LabServer, moved: Deployment, certificate: tuple[str, str], seed_mb: int) -> None:
    """Installs the shop as *server*, old or new, has it of *moved*. One after the other where a server has several
    (needs: Debian's packages, the host's name, nothing else running). *certificate*: fullchain.pem and privkey.pem, as
    text; *seed_mb*: about how large old's database is, in MB.

    Run it once, then shut the machine down cleanly. Raises what `server.exec` raises when a command fails.
    """
    role, site, installed = server.role, moved.servers[server.role], installation(moved.installed)
    given = {"site": site, "role": role, "host": server.name, "behind": role == "new" and installed.behind}
    server.exec(f"useradd --create-home --shell /bin/bash {site.user} && chmod 755 {site.home}")
    files = (*source(site.app), *_config(given), *_system(given, installed), *_certificate(site.domain, certificate))
    server.exec(" ".join(UNPACK), input=archive(files))
    server.exec(render("provision.sh.j2", **given))
    if role == "old":
        seed = ["psql", "-q", "-v", f"owner={site.owner}", "-v", f"seed_mb={seed_mb}", "-d", site.database]
        server.exec(f"runuser -u postgres -- {shlex.join(seed)}", input=(HERE / "templates/seed.sql").read_bytes())
    server.exec(render(installed.start, **given))


def source(folder: str) -> Iterator[ServerFile]:
    """The app itself, to be put into *folder*."""
    shop = HERE / "shop"
    for path in sorted(shop.rglob("*")):
        if path.is_file():
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            yield ServerFile(f"{folder}/{path.relative_to(shop)}", path.read_text(), mode)


def _config(given: Mapping[str, Any]) -> Iterator[ServerFile]:
    """The app's configuration, which is not in its repository. Old keeps it in `shared/config` and links to it."""
    site, old = given["site"], given["role"] == "old"
    secret = hashlib.sha512(f"the secret of {site.name} on {given['host']}".encode()).hexdigest()
    config = {"config/database.yml": render("database.yml.j2", **given)}
    config["config/secrets.yml"] = f"production:\n  secret_key_base: {secret}\n"
    if old:
        config["config/s3.yml"] = "production:\n  bucket: shop-images\n  secret_access_key: b9d1f0c2\n"
        config["config/initializers/bugsnag.rb"] = 'Rails.configuration.x.bugsnag_api_key = "4e0d8a"\n'
        yield ServerFile(f"{site.app}/log/logrotate.conf", render("logrotate.conf.j2", **given))
    for path, text in config.items():
        if old:
            shared = f"{site.shared}/config/{Path(path).name}"
            yield ServerFile(shared, text, 0o600)
            yield ServerFile(f"{site.app}/{path}", link=shared)
        else:
            yield ServerFile(f"{site.app}/{path}", text, 0o600)


def _system(given: Mapping[str, Any], installed: Installation) -> Iterator[ServerFile]:
    """What the rest of the server knows about the app."""
    site: Site = given["site"]
    for path, template in {**installed.system, **(installed.worker if given["role"] == "old" else {})}.items():
        mode = 0o755 if template.endswith(".sh.j2") else 0o644
        yield ServerFile(path.format(site=site), render(template, **given), mode)
    yield ServerFile(f"/etc/nginx/sites-enabled/{site.name}", link=f"/etc/nginx/sites-available/{site.name}")


def _certificate(domain: str, certificate: tuple[str, str]) -> Iterator[ServerFile]:
    """The site's certificate as certbot keeps it."""
    for name, text, mode in zip(("fullchain", "privkey"), certificate, (0o644, 0o600), strict=True):
        yield ServerFile(f"/etc/letsencrypt/archive/{domain}/{name}1.pem", text, mode)
        link = f"../../archive/{domain}/{name}1.pem"
        yield ServerFile(f"/etc/letsencrypt/live/{domain}/{name}.pem", link=link)


def render(template: str, **values: object) -> str:
    """A template of `lab/sites/templates`, filled in."""
    return texts.render(HERE / "templates" / template, **values)
