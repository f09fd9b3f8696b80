"""How the shop is installed on its two servers, and what a person would write of that in move.yaml.

A site of a world names one (`Deployment.installed`); another is one more instance in `INSTALLATIONS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..world import Site, one_of

Parts = dict[str, dict[str, Any]]

# What every server knows about the app: a file for each path, from a template.
WEB = {
    "/etc/nginx/sites-available/default": "nginx-default.conf.j2",
    "/etc/nginx/sites-available/{site.name}": "nginx-site.conf.j2",
    "/etc/tmpfiles.d/{site.name}.conf": "tmpfiles.conf.j2",
    "/usr/local/lib/{site.name}-web-reload": "web-reload.sh.j2",
}
INIT = {"/etc/init.d/unicorn_{site.name}": "unicorn-init.sh.j2"}
MONIT = {"/etc/systemd/system/monit.service.d/shop.conf": "monit-drop-in.conf.j2"}


@dataclass(frozen=True)
class Installation:
    """*system*: the files outside of the app, paths and the templates that they are made from; *worker*: those that old
    alone has. *start*: the template of what has it all run, after the files are there and the database is filled.
    *behind*: new lacks old's last commit. *parts*: the parts of a server's settings, by their keys.
    """

    system: Mapping[str, str]
    start: str
    parts: Callable[[Site], Parts]
    worker: Mapping[str, str] = field(default_factory=dict)
    behind: bool = True


def installation(name: str) -> Installation:
    """The one that is called so. Raises Problem when there is none."""
    return INSTALLATIONS[one_of("installation", name, INSTALLATIONS)]


def _usual(site: Site) -> Parts:
    monit = "/etc/monit/conf.d"
    return {
        "app": {"service": f"unicorn_{site.name}"},
        "worker": {"kind": "delayed_job"},
        "watch": {"kind": "monit", "app": f"{monit}/unicorn_{site.name}", "worker": f"{monit}/delayed_job_{site.name}"},
        **_by_git(site),
    }


def _by_git(site: Site) -> Parts:
    """The crontab is `whenever`'s, and a push deploys."""
    install = f"whenever --update-crontab {site.name} --set environment=production"
    return {"schedule": {"kind": "crontab", "user": site.user, "install": install}, "deploys": {"kind": "git"}}


def _services(site: Site) -> Parts:
    web, worker = f"{site.name}-web", f"{site.name}-worker"
    return {
        "app": {
            "kind": "service",
            "service": web,
            "listens": "tmp/sockets/unicorn.sock",
            "reload": f"sudo systemctl reload {web}",
            "reloaded": f"systemctl is-active -q {web} && [ ! -e tmp/pids/unicorn.pid.oldbin ]",
        },
        "worker": {
            "kind": "service",
            "service": worker,
            "quiet": f"sudo systemctl kill --kill-who=main --signal=TERM {worker}",
            "drained": f"! systemctl is-active -q {worker}",
            "stop": f"sudo systemctl stop {worker}",
            "start": f"sudo systemctl start {worker}",
            "did_a_job": "grep -q COMPLETED log/delayed_job.log",
            "a_job": "bin/rails runner '%q(switchover).delay.length'",
            "queue_length": "bin/rails runner 'puts Delayed::Job.count'",
        },
        "watch": {"kind": "monit", "app": f"/etc/monit/conf.d/{site.name}_web"},
        **_by_git(site),
    }


def _bare(site: Site) -> Parts:
    none = {part: {"kind": "none"} for part in ("worker", "code", "watch", "schedule", "deploys", "firewall")}
    return {"app": _usual(site)["app"], **none}


INSTALLATIONS = {
    # As ofn-install does it: unicorn by an init script, delayed_job by monit, a crontab, deploys by git.
    "usual": Installation(
        {
            **WEB,
            **INIT,
            **MONIT,
            "/etc/monit/conf.d/unicorn_{site.name}": "monit-app.j2",
            "{site.app}/.git/hooks/post-receive": "post-receive.sh.j2",
        },
        "start.sh.j2",
        _usual,
        worker={"/etc/monit/conf.d/delayed_job_{site.name}": "monit-worker.j2"},
    ),
    # Application and worker are services of systemd, which the application's user may restart by sudo.
    "services": Installation(
        {
            **WEB,
            **MONIT,
            "/etc/systemd/system/{site.name}-web.service": "web.service.j2",
            "/etc/systemd/system/{site.name}-worker.service": "worker.service.j2",
            "/etc/sudoers.d/{site.name}": "sudoers.j2",
            "/etc/monit/conf.d/{site.name}_web": "monit-web.j2",
            "{site.app}/.git/hooks/post-receive": "post-receive-services.sh.j2",
        },
        "start-services.sh.j2",
        _services,
    ),
    # As little as possible: jobs run within requests, and there is no worker, crontab, monit, ufw or git.
    "bare": Installation(
        {**WEB, **INIT, "{site.app}/config/initializers/jobs_in_requests.rb": "jobs-in-requests.rb.j2"},
        "start-bare.sh.j2",
        _bare,
        behind=False,
    ),
}
