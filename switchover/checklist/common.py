"""What several sections share: where things of the move lie, and nginx's way of taking a configuration."""

from __future__ import annotations

from ..hosts import Server
from ..move import Move
from ..programs import ETC
from ..quote import sh, under
from ..render import render
from ..resources import Absent, File
from ..resources.file import before

PROXY_LOG = "/var/log/nginx/switchover.log"  # on old: who came by the proxy
PAGE = "switchover-maintenance.html"
NGINX_TEST = "nginx -t"
NGINX_RELOAD = "systemctl reload nginx"
MONIT_RELOAD = "monit reload >/dev/null 2>&1"
# Which renewals of certificates are scheduled. Debian's /etc/cron.d/certbot does nothing where systemd runs.
SCHEDULED = r"""{
for f in /var/spool/cron/crontabs/* /etc/crontab /etc/cron.d/* /etc/cron.daily/*; do
  [ ! -f "$f" ] || grep -v '^[[:space:]]*#' "$f" | grep -v '/run/systemd/system' |
    grep -E '(certbot|letsencrypt|acme).*renew' | sed "s|^|$f: |"
done
systemctl list-timers --no-legend | grep -oE '[^ ]*certbot[^ ]*[.]timer' || :
}"""
RENEWALS = f"{SCHEDULED} | grep -c ."  # how many
ANSWERS = "/.well-known/switchover/server"
SITE = "/etc/nginx/sites-enabled/switchover"  # on new
# sh for old: `ago` is how many seconds ago the last visitor came by the proxy, empty where nobody did. Those who only
# ask who answers are the move's own; yesterday's visitors are in the log that was put aside.
AGO = rf"""
at=$(tac {PROXY_LOG} {PROXY_LOG}.1 2>/dev/null | grep -m 1 -vF ' {ANSWERS} ' |
  sed -n 's|^[^"]*\[\([0-9]*\)/\([A-Za-z]*\)/\([0-9]*\):\([^]"]*\)\] ".*|\1 \2 \3 \4|p')
ago=; [ -z "$at" ] || ago=$(( $(date +%s) - $(date -d "$at" +%s) ))
"""


def fullchain(move: Move) -> str:
    """new: where the site's certificate lies, as copied from old."""
    return f"{ETC}/{move.settings.domain}.fullchain.pem"


def key(move: Move) -> str:
    """new: where the certificate's key lies."""
    return f"{ETC}/{move.settings.domain}.key.pem"


def monit_file(server: Server, name: str) -> str:
    """Where *server*'s monit finds another check, beside its others."""
    known = server.watch.app or server.watch.worker or "/etc/monit/conf.d/none"
    return f"{known.rpartition('/')[0]}/{name}"


def remote(move: Move) -> str:
    """The address that people push to from now on."""
    return f"{move.new.app.user}@{move.new.name}:{move.new.app.path}"


def last_visitor(move: Move) -> str:
    """sh for old: succeeds where the last visitor came by the proxy longer ago than settings say."""
    quiet = move.settings.retire.quiet
    return f"""{AGO}
[ -z "$ago" ] || [ "$ago" -ge {quiet} ] || {{ echo "the last one $ago s ago; wanted: {quiet} s"; exit 1; }}
"""


def last_by_old(move: Move) -> int | None:
    """How many seconds ago the last visitor came by the proxy; None where nobody did."""
    said = move.old.look(f'{AGO}\necho "$ago"').out
    return int(said) if said.strip() else None


def deploy_hook(move: Move, *, cron: bool, migrate: bool, moved: bool = False) -> list[File]:
    """new: the hooks of a deploy; *cron*: it installs the crontab; *migrate*: it may change the database's schema.

    *moved*: where it may not, that is because old's database follows new's.
    """
    new = move.new
    if new.deploys.kind != "git":
        return []
    when, who = move.journal.date()
    owner = f"{new.app.user}:{new.app.user}"
    after = render(
        "hooks/new-post-receive.j2",
        branch=new.deploys.branch,
        path=new.app.path,
        pidfile=new.in_app(new.app.pidfile),
        environment=new.app.environment,
        build=new.app.build,
        migrate=migrate,
        rails="bin/rails",
        worker_pidfile=new.in_app(new.worker.pidfile),
        worker_command=new.worker.command,
        cron=new.schedule.install if cron else None,
    )
    domain = move.settings.domain
    values = {"branch": new.deploys.branch, "date": when, "who": who, "domain": domain, "moved": moved}
    refusing = render("hooks/new-pre-receive.j2", **values)
    hooks = [File(new, f"{new.repository}/hooks/post-receive", after, owner, "755", test_file="sh -n")]
    if not migrate:
        hooks.append(File(new, f"{new.repository}/hooks/pre-receive", refusing, owner, "755", test_file="sh -n"))
    return hooks


def complete_deploy_hook(move: Move) -> list[File | Absent]:
    """new: the hooks of a deploy that does all: cron jobs, logrotate and migrations."""
    if move.new.deploys.kind != "git":
        return []
    path = f"{move.new.repository}/hooks/pre-receive"
    was = before(move.journal, move.new, "prepare-new.deploy-hook", path)
    if was is None or was.content is None:
        free: Absent | File = Absent(move.new, path)
    else:
        free = File(move.new, path, was.content, was.owner, was.mode)
    return [*deploy_hook(move, cron=True, migrate=True), free]


def upload_urls(move: Move, server: Server) -> list[dict[str, str]]:
    """The uploads that visitors fetch from below public/: their URL's path and their directory on *server*."""
    urls = []
    for upload in move.settings.uploads:
        path = upload.source if server is move.old else upload.target
        if path.startswith("public/"):
            urls.append({"url": path.removeprefix("public"), "directory": server.in_app(path)})
    return urls


def nginx_site(move: Move, live: str = "") -> bytes:
    """new: the nginx site for the production domain; with the certificate in the directory *live*, else old's copy."""
    new = move.new
    return render(
        "nginx/new-site.conf.j2",
        domains=move.settings.domains,
        socket=new.in_app(new.app.socket),
        fullchain=f"{live}/fullchain.pem" if live else fullchain(move),
        key=f"{live}/privkey.pem" if live else key(move),
        public=under(new.app.path, "public"),
        old_addresses=move.old.addresses,
        old_host=host(move.old),
        page_directory=ETC,
        page_name=PAGE,
        retry_after=move.settings.maintenance.retry_after,
        uploads=upload_urls(move, new),
    )


def host(server: Server) -> str:
    """*server*'s main address as it stands in a URL."""
    address = server.settings.main_address
    return f"[{address}]" if ":" in address else address


def graceful_restart(move: Move) -> str:
    """sh for new: unicorn's master is replaced by a new one, and each process ends its request first."""
    new = move.new
    pid, service = sh(new.in_app(new.app.pidfile)), sh(new.app.service)
    return f"""
if alive {pid}; then
  old=$(cat {pid}); kill -USR2 "$old"
  gone() {{ [ ! -d "/proc/$old" ]; }}
  wait_until 120 gone || refuse {service}" does not restart: see its log"
  wait_until 10 alive {pid} || refuse {service}" does not run: see its log"
fi
"""


def ask(domain: str, address: str, path: str, more: str = "") -> str:
    """sh: asks *address* for *path* of the site *domain*, the certificate checked."""
    url = sh(f"https://{domain}{path}")
    at = f"[{address}]" if ":" in address else address
    return f"curl -sS -m 20 --resolve {sh(f'{domain}:443:{at}')} {url} {more}"


def comes_to_new(move: Move) -> bool:
    """Whether visitors who ask old are answered by new already: somebody may have switched by hand."""
    answer = ask(move.settings.domain, move.old.settings.main_address, ANSWERS, "-f")
    return move.old.look(answer, check=False).out.strip() == "new"
