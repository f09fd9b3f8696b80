"""nginx, as Debian packages it."""

from __future__ import annotations

from typing import Any, Literal

from ...desired import Precondition
from ...findings import Found, blocker
from ...hosts import Host
from ...http import ANSWERS, host
from ...programs import ETC, program
from ...quote import sh
from ...render import render
from ...resources.file import File
from ...resources.precondition import succeeds
from ...vocabulary import Absolute
from .. import web
from ..app import Application
from ..web import PAGE

LOG = "/var/log/nginx/switchover.log"  # on old: who came by the proxy
ERRORS = "/var/log/nginx/error.log"
_RELOAD = "systemctl reload nginx"
_MASTER = "$(systemctl show -p MainPID --value nginx)"  # another nginx, of a container, is none of ours


class Settings(web.Settings):
    """nginx, and the file of the application's site."""

    kind: Literal["nginx"] = "nginx"
    """The program."""
    site: Absolute
    """The file of the application's site, from the root."""

    def on(self, server: Host, app: Application[Any]) -> Nginx:
        """nginx on *server*."""
        return Nginx(server, self, app)


class Nginx(web.Web[Settings]):
    """nginx of one server."""

    tools = ("nginx",)
    test = "nginx -t"
    # The command returns when nginx was asked; both configurations answer until the workers from before shut down.
    reload = f"""workers=$(pgrep -d , -P "{_MASTER}" -f '^nginx: worker process') || :
{_RELOAD} || refuse "nginx cannot reload: see its log"
wait_until 30 not sh -c "ps -o args= -p '$workers' 2>/dev/null | grep -q '^nginx: worker process *$'" ||
  refuse "nginx did not take its configuration within 30 s: see its log"
"""
    reload_shown = _RELOAD
    site = "/etc/nginx/sites-enabled/switchover"
    drained = f"""not pgrep -P "{_MASTER}" -f '^nginx: worker process is shutting down' >/dev/null"""

    @property
    def paths(self) -> dict[str, str]:
        """The file of the site."""
        return {"web.site": self.settings.site}

    def answers(self, front: web.Front, then: str = "") -> File:
        """new: a site of its own for the production domains, beside what is there."""
        content = render(
            "nginx/new-site.conf.j2",
            domains=front.domains,
            listens=self.app.listens,
            fullchain=front.fullchain,
            key=front.key,
            public=self.app.within("public"),
            old_addresses=front.other.addresses,
            old_host=host(front.other),
            page_directory=ETC,
            page_name=PAGE,
            retry_after=front.retry_after,
            uploads=front.uploads,
        )
        return File(self.server, self.site, content, "root:root", "644", test=self.test, then=then or self.reload)

    def passes_on(self, front: web.Front) -> File:
        """old: the site's file is a proxy's."""
        content = render(
            "nginx/old-proxy.conf.j2",
            domains=front.domains,
            fullchain=front.fullchain,
            key=front.key,
            uploads=front.uploads,
            new_addresses=front.other.addresses,
            new_host=host(front.other),
            log=LOG,
        )
        return self._old_site(content)

    def gone(self, front: web.Front) -> File:
        """old: the site's file answers nobody."""
        values = {"domains": front.domains, "fullchain": front.fullchain, "key": front.key}
        return self._old_site(render("nginx/old-gone.conf.j2", **values))

    def _old_site(self, content: bytes) -> File:
        return File(self.server, self.settings.site, content, test=self.test, then=self.reload)

    def drains(self, within: int) -> Precondition:
        """The workers from before its last reload have ended."""
        otherwise = f"requests from before are still under way on {self.server.role}"
        return succeeds(self.server, self.drained, otherwise, within=within)

    def reads_again(self, file: str) -> str:
        """sh: it has read *file* when it started, or was told to read its configuration again."""
        return f"""
worker=$(pgrep -n -f '^nginx: worker process') || exit 1
[ "$(stat -L -c %Z {sh(file)})" -lt $(( $(date +%s) - $(ps -o etimes= -p "$worker") )) ]
"""

    def nobody_for(self, seconds: int) -> Precondition:
        """old: by its log of the proxy."""
        script = f"""{self._ago}
[ -z "$ago" ] || [ "$ago" -ge {seconds} ] || {{ echo "the last one $ago s ago; wanted: {seconds} s"; exit 1; }}
"""
        return succeeds(self.server, script, f"visitors still come by {self.server.name}: see inv watch")

    def last_visitor(self) -> int | None:
        """old: by its log of the proxy."""
        answer = self.server.look(f'{self._ago}\necho "$ago"').out
        return int(answer) if answer.strip() else None

    @property
    def _ago(self) -> str:
        """sh: `ago` is how many seconds ago the last visitor came by the proxy, empty where nobody did."""
        return f"{program('proxy-log.sh').decode()}\nago=$(last_seconds_ago {LOG} {ANSWERS})"

    def visitors(self) -> dict[str, Any]:
        """old: by its log of the proxy."""
        answer = self.server.look(f"{program('proxy-log.sh').decode()}\nvisitors {LOG}")
        numbers = [int(word) for word in answer.out.split()]
        if len(numbers) != 3:
            return {"last_minute": 0, "last_seconds_ago": None, "addresses": 0}
        return dict(zip(("last_seconds_ago", "addresses", "last_minute"), numbers, strict=True))

    def errors(self) -> dict[str, Any]:
        """By its log of errors."""
        bad = f"tail -n 5000 {ERRORS} 2>/dev/null | grep -E '\\[(error|crit|alert|emerg)\\]'"
        number, _, last = self.server.look(f"{bad} | wc -l\n{bad} | tail -n 1 | cut -c 1-160").out.partition("\n")
        return {"recent": int(number), "last": last.strip()}

    def check(self) -> Found:
        """Its configuration is sound."""
        answer = self.server.look(f"{self.test} 2>&1", check=False)
        if answer.status:
            first = next(iter(answer.out.strip().splitlines()), f"exit status {answer.status}")  # the last sums up
            yield blocker(f"nginx refuses its configuration ({first})", f"Mend it: {self.test}")
