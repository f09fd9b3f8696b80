"""nginx, as Debian packages it."""

from typing import Any

from ...desired import Precondition
from ...findings import Found, blocker
from ...http import ANSWERS, host
from ...programs import ETC, program
from ...quote import sh
from ...render import render
from ...resources.file import File
from ...resources.precondition import succeeds
from ...vocabulary import Absolute
from .. import web
from ..web import PAGE

LOG = "/var/log/nginx/switchover.log"  # on old: the requests that it proxies
PROXY_LOG = program("proxy-log.sh").decode()  # sh: functions that read it
ERRORS = "/var/log/nginx/error.log"
_RELOAD = "systemctl reload nginx"
_MASTER = "$(systemctl show -p MainPID --value nginx)"  # not the nginx of a container


class Settings(web.Settings):
    """nginx, and the file of the application's site."""

    site: Absolute
    """The file of the application's site, from the root."""


class Nginx(web.Web[Settings]):
    """nginx of one server."""

    tools = ("nginx",)
    test = "nginx -t"
    # The command does not wait for nginx: until the old workers shut down, both configurations answer.
    reload = f"""workers=$(pgrep -d , -P "{_MASTER}" -f '^nginx: worker process') || :
{_RELOAD} || refuse "nginx cannot reload: see its log"
wait_until 30 not sh -c "ps -o args= -p '$workers' 2>/dev/null | grep -q '^nginx: worker process *$'" ||
  refuse "nginx did not load its configuration within 30 s: see its log"
"""
    reload_shown = _RELOAD
    site = "/etc/nginx/sites-enabled/switchover"
    # The workers from before its last reload have exited.
    drained = f"""not pgrep -P "{_MASTER}" -f '^nginx: worker process is shutting down' >/dev/null"""

    def __post_init__(self) -> None:
        self.paths = {"web.site": self.settings.site}
        # sh: sets `ago`: how many seconds ago it proxied a visitor last; empty where it never did
        self._ago = f"{PROXY_LOG}\nago=$(last_seconds_ago {LOG} {ANSWERS})"

    def answers(self, front: web.Front, then: str = "") -> File:
        """new: a site of its own for the production domains, beside what is there."""
        content = self._rendered("nginx/new-site.conf.j2", front)
        return File(self.server, self.site, content, "root:root", "644", test=self.test, then=then or self.reload)

    def passes_on(self, front: web.Front) -> File:
        """old: the site's file is the proxy's."""
        return self._old_site("nginx/old-proxy.conf.j2", front)

    def gone(self, front: web.Front) -> File:
        """old: the site's file answers nobody."""
        return self._old_site("nginx/old-gone.conf.j2", front)

    def _old_site(self, template: str, front: web.Front) -> File:
        content = self._rendered(template, front)
        return File(self.server, self.settings.site, content, test=self.test, then=self.reload)

    def _rendered(self, template: str, front: web.Front) -> bytes:
        """Any of its templates."""
        other = front.other
        values = {f"{other.role}_addresses": other.addresses, f"{other.role}_host": host(other), "log": LOG}
        values |= {"listens": self.app.listens, "public": self.app.within("public")}
        return render(template, page_directory=ETC, page_name=PAGE, **vars(front), **values)

    def reads_again(self, file: str) -> str:
        """sh: its workers, which read *file* when they start, are younger than the file."""
        return f"""
worker=$(pgrep -n -f '^nginx: worker process') || exit 1
[ "$(stat -L -c %Z {sh(file)})" -lt $(( $(date +%s) - $(ps -o etimes= -p "$worker") )) ]
"""

    def nobody_for(self, seconds: int) -> Precondition:
        """old: by its log of the proxy."""
        script = f"""{self._ago}
[ -z "$ago" ] || [ "$ago" -ge {seconds} ] || {{ echo "the last one $ago s ago, not {seconds} s"; exit 1; }}
"""
        return succeeds(self.server, script, f"{self.server.name} still proxies visitors: see inv watch")

    def last_visitor(self) -> int | None:
        """old: by its log of the proxy."""
        answer = self.server.look(f'{self._ago}\necho "$ago"').out
        return int(answer) if answer.strip() else None

    def visitors(self) -> dict[str, Any]:
        """old: by its log of the proxy."""
        numbers = [int(word) for word in self.server.look(f"{PROXY_LOG}\nvisitors {LOG}").out.split()]
        ago, addresses, last_minute = numbers or (None, 0, 0)
        return {"last_seconds_ago": ago, "addresses": addresses, "last_minute": last_minute}

    def errors(self) -> dict[str, Any]:
        """By its error log."""
        bad = f"tail -n 5000 {ERRORS} 2>/dev/null | grep -E '\\[(error|crit|alert|emerg)\\]'"
        number, _, last = self.server.look(f"{bad} | wc -l\n{bad} | tail -n 1 | cut -c 1-160").out.partition("\n")
        return {"recent": int(number), "last": last.strip()}

    def check(self) -> Found:
        """Its configuration is valid."""
        answer = self.server.look(f"{self.test} 2>&1", check=False)
        if answer.status:
            first = next(iter(answer.out.strip().splitlines()), f"exit status {answer.status}")  # the last is a summary
            yield blocker(f"nginx refuses its configuration ({first})", f"Fix it: {self.test}")
