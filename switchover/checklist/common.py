"""What several sections share: where things of the move lie, and nginx's way of taking a configuration."""

from __future__ import annotations

from ..errors import Problem
from ..hosts import Server
from ..move import Move
from ..quote import sh, under
from ..render import render
from ..resources.file import read
from ..resources.uploads import Synchronised

HOME = "/etc/switchover"  # on both servers: what the move adds
PAGE = "switchover-maintenance.html"
ROLE = "switchover"  # the role of the move in old's PostgreSQL
PGPASS = f"{HOME}/pgpass"
OLD_CERTIFICATE = f"{HOME}/old-database.crt"
NGINX_TEST = "nginx -t"
NGINX_RELOAD = "systemctl reload nginx"
MONIT_RELOAD = "monit reload >/dev/null 2>&1"
ANSWERS = "/.well-known/switchover/server"


def fullchain(move: Move) -> str:
    """new: where the site's certificate lies, as copied from old."""
    return f"{HOME}/{move.settings.domain}.fullchain.pem"


def key(move: Move) -> str:
    """new: where the certificate's key lies."""
    return f"{HOME}/{move.settings.domain}.key.pem"


def upload_urls(move: Move, server: Server) -> list[dict[str, str]]:
    """The uploads that visitors fetch from below public/: their URL's path and their directory on *server*."""
    urls = []
    for upload in move.settings.uploads:
        path = upload.source if server is move.old else upload.target
        if path.startswith("public/"):
            urls.append({"url": path.removeprefix("public"), "directory": server.in_app(path)})
    return urls


def uploads(move: Move, *, deleting: bool = False, first: bool = False, always: bool = False) -> list[Synchronised]:
    """new: every directory of uploads as on old. Nothing is deleted where visitors come to new already."""
    old, new = move.old, move.new
    if deleting:  # somebody may have switched by hand
        answer = ask(move.settings.domain, old.settings.main_address, ANSWERS, "-f")
        deleting = old.look(answer, check=False).out.strip() != "new"
    pairs = [(old.in_app(_slash(u.source)), new.in_app(_slash(u.target))) for u in move.settings.uploads]
    return [Synchronised(old, new, source, target, deleting, first, always) for source, target in pairs]


def nginx_site(move: Move) -> bytes:
    """new: the nginx site for the production domain."""
    new = move.new
    return render(
        "nginx/new-site.conf.j2",
        domains=move.settings.domains,
        socket=new.in_app(new.app.socket),
        fullchain=fullchain(move),
        key=key(move),
        public=under(new.app.path, "public"),
        old_addresses=move.old.addresses,
        old_host=host(move.old),
        page_directory=HOME,
        page_name=PAGE,
        retry_after=move.settings.maintenance.retry_after,
        uploads=upload_urls(move, new),
    )


def host(server: Server) -> str:
    """*server*'s main address as it stands in a URL."""
    address = server.settings.main_address
    return f"[{address}]" if ":" in address else address


def password(move: Move) -> str:
    """The password of the move's role, which lies on new. Raises Problem where there is none yet."""
    content = read(move.new, PGPASS).content
    if not content:
        raise Problem(
            "there is no password for the old database yet", str(move.new), "Run: inv prepare-old.database-password"
        )
    return content.decode().strip().rpartition(":")[2]


def ask(domain: str, address: str, path: str, more: str = "") -> str:
    """sh: asks *address* for *path* of the site *domain*, the certificate checked."""
    url = sh(f"https://{domain}{path}")
    at = f"[{address}]" if ":" in address else address
    return f"curl -sS -m 20 --resolve {sh(f'{domain}:443:{at}')} {url} {more}"


def _slash(path: str) -> str:
    return path if path.endswith("/") else path + "/"
