"""Pushes to the shop's servers from the ci host, as its builds and its developers do them.

    deploys.push(lab, to="old", change="harmless", by="dev").ok
    deploys.title(lab.old)

The title of /about tells from which commit the running application is.
"""

import re
import secrets
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from ..judging.observer import Observer
from ..machine.server import LabServer
from ..sections import FINISH, PREPARE_OLD
from ..servers import Lab
from ..services.ci import url
from ..sites.provision import render
from ..texts import last_line
from ..world import By, Pusher

To = Literal["old", "new", "remote"]
Change = Literal["harmless", "broken", "migration", "slow"]
REASON = r"\[\w{3} \d{1,2} \w{3} \d{4}\] .+ is moving"  # by which old refuses a push


@dataclass(frozen=True)
class Pushed:
    """What came of a push."""

    ok: bool  # git's exit status was 0, which says nothing of what the deploy did: only a pre-receive hook can refuse
    output: str  # all that the person at the terminal saw
    commit: str  # what was pushed; empty when the server did not even let its present commit be fetched
    title: str  # what /about is called where this commit runs


def push(lab: Lab, to: To = "old", change: Change = "harmless", by: By = "ci", *, seconds: float = 5) -> Pushed:
    """Commits *change* on top of what *to* has (`remote`: where the remote of *by* leads) and pushes it there.

    Every change gives /about a title of its own. `broken`: the application cannot boot; `slow`: it takes *seconds*
    longer to; `migration`: a table more; `harmless`: nothing else. A push takes back what the last one broke or slowed.
    Raises Problem when the lab has no ci host or the change cannot be made there.
    """
    pusher = lab.world.sites[0].pushers[by]
    target = pusher.remote if to == "remote" else url(lab.world, to)
    token = secrets.token_hex(4)
    title = f"About the shop ({token})"
    output, ok = _run(lab, pusher, f"git fetch --quiet {target} master && git reset --quiet --hard FETCH_HEAD")
    if not ok:
        return Pushed(False, output, "", title)
    lab.ci.exec(_as(pusher, render("change.sh.j2", change=change, title=title, token=token, seconds=seconds)))
    commit = lab.ci.exec(_as(pusher, "git rev-parse HEAD")).stdout.strip()
    output, ok = _run(lab, pusher, f"git push {target} HEAD:master")
    return Pushed(ok, output, commit, title)


def title(server: LabServer) -> str:
    """The title of /about as the application on *server* answers now, past nginx; empty when it does not answer."""
    site = server.world.site(server.role)
    ask = f"curl --silent --max-time 10 --unix-socket {site.app}/tmp/sockets/unicorn.sock http://{site.domain}/about"
    return server.exec(f"{ask} | sed -n 's:.*<title>\\(.*\\)</title>.*:\\1:p'").stdout.strip()


class DeployAudit(Observer):
    """What became of their pushes; they push in a *quiet* stretch, in which nobody moves anything."""

    name = "deploys"

    def __init__(self, lab: Lab, quiet: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(lab)
        self.quiet = quiet

    def after(self, section: str) -> None:
        if section in (PREPARE_OLD, FINISH):
            with self.quiet("pushes"):
                new = re.escape(url(self.lab.world, "new").partition(":")[0])
                self._refused(section, rf"git remote set-url \S+ {new}:\S+" if section == FINISH else REASON)
                if section == FINISH:
                    self._by_ci()

    def _refused(self, section: str, reason: str) -> None:
        before = _commit(self.lab.old)
        pushed = push(self.lab, to="old", change="harmless", by="dev")
        if pushed.ok or _commit(self.lab.old) != before:
            self.problems.append(f"after {section} old accepted a push")
        elif not re.search(reason, pushed.output):
            self.problems.append(f"after {section} old refused a push without the reason: {last_line(pushed.output)}")
        else:
            self.report["refused"] += 1

    def _by_ci(self) -> None:
        pushed = push(self.lab, to="remote", change="harmless", by="ci")
        running = title(self.lab.new)
        if not pushed.ok:
            self.problems.append(f"the CI host could not push to new: {last_line(pushed.output)}")
        elif running != pushed.title:
            self.problems.append(f"the CI host pushed, and new still runs the code before: {running or 'no answer'}")
        else:
            self.report["by_ci"] += 1


def _commit(server: LabServer) -> str:
    site = server.world.site(server.role)
    return server.exec(f"runuser -u {site.user} -- git -C {site.app} rev-parse master").stdout.strip()


def _run(lab: Lab, pusher: Pusher, command: str) -> tuple[str, bool]:
    """What *command* says in the pusher's checkout, and whether it ended well. It is never asked a question."""
    done = lab.ci.exec(_as(pusher, f"export GIT_SSH_COMMAND='ssh -o BatchMode=yes'; exec 2>&1; {command}"), check=False)
    return done.stdout, done.returncode == 0


def _as(pusher: Pusher, script: str) -> str:
    return f"runuser -l {pusher.user} -c {shlex.quote(f'cd {pusher.checkout} && {script}')}"
