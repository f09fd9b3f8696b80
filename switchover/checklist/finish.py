"""Finish the switch: deploys and monitoring are new's; what going back needs stays.

Visitors: they notice nothing.
Undo: deploys and monitoring are as before. Takes seconds, loses nothing.
"""

from __future__ import annotations

from .. import mail, output
from ..certificates import SOON, scheduled_once
from ..database import fence as fencing
from ..database import replication_status
from ..desired import Desired, Nothing, Precondition
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..quote import sh
from ..resources import Command, File, succeeds
from ..resources.file import read
from ..resources.postgres import PSQL
from ..step import step

NO_CI = Nothing("no host deploys here, as the settings have no ci")
MAIL = 20  # seconds for queued mail to go out


@step
def deploy_hook(move: Move) -> Desired:
    """new: the deploy hook is complete; migrations are allowed, unless old's database follows new's."""
    if replication_status.is_replicated(move):
        return move.new.deploys.accepted(move.notice(), cron=True, moved=True)
    return move.new.deploys.complete(move.before(move.new, "prepare-new.deploy-hook"))


@step
def pushes_answered(move: Move) -> Desired:
    """old: a push is refused, with the reason, the date and the new address."""
    return move.old.deploys.refused(move.notice("finish.pushes-answered"), to=move.new.deploys)


@step
def ci_authorized(move: Move) -> Desired:
    """new: the CI host's key may deploy."""
    if move.ci is None or move.settings.ci is None:
        return NO_CI
    user, new = move.settings.ci.user, move.new
    public = move.ci.look(f"cat {_home(user)}/.ssh/id_*.pub 2>/dev/null | head -n 1", check=False).out.strip()
    if not public:
        raise Problem(f"{user} has no ssh key", str(move.ci), f"Make one: sudo -u {user} ssh-keygen -t ed25519")
    home = new.look(f"getent passwd {sh(new.app.user)} | cut -d: -f6").out.strip()
    path = f"{home}/.ssh/authorized_keys"
    found = read(new, path)
    lines = (found.content or b"").decode().splitlines()
    if public not in lines:
        lines.append(public)
    owner = found.owner or f"{new.app.user}:{new.app.user}"
    return File(new, path, ("\n".join(lines) + "\n").encode(), owner, found.mode or "600")


@step
def ci_knows_new(move: Move) -> Desired:
    """ci: knows new's host key, so that nobody is asked."""
    if move.ci is None or move.settings.ci is None:
        return NO_CI
    user, name = move.settings.ci.user, move.new.name
    keys = move.new.look("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines()
    home = move.ci.look(f"getent passwd {sh(user)} | cut -d: -f6").out.strip()
    path = f"{home}/.ssh/known_hosts"
    found = read(move.ci, path)
    lines = (found.content or b"").decode().splitlines()
    lines += [line for k in keys if (line := f"{name} {' '.join(k.split()[:2])}") not in lines]
    content = ("\n".join(lines) + "\n").encode()
    return File(move.ci, path, content, found.owner or f"{user}:{user}", found.mode or "600")


@step
def ci_remote(move: Move) -> Desired:
    """ci: its remote leads to new."""
    if move.ci is None or move.settings.ci is None:
        return NO_CI
    return move.new.deploys.remote(move.settings.ci, move.ci)


@step
def ci_deploys(move: Move) -> Desired:
    """ci: a deploy to new succeeds."""
    if move.ci is None or move.settings.ci is None:
        return NO_CI
    return move.new.deploys.deploys(move.settings.ci, move.ci)


@step
def monit(move: Move) -> Desired:
    """new: monit watches the application and the worker."""
    return move.new.monitor.watches(lambda path: move.journal.latest("finish.monit", f"new:{path}") is not None)


@step
def monit_certificate(move: Move) -> Desired:
    """new: monit says when the certificate that nginx shows ends soon."""
    arguments = f"{SOON} {' '.join(move.settings.domains)}"
    return move.new.monitor.watches_program("certificate-age", arguments)


@step
def one_renewal(move: Move) -> Desired:
    """new: exactly one renewal of certificates is scheduled."""
    return scheduled_once(move.new)


@step
def old_database_unused(move: Move) -> Desired:
    """old: nobody is connected to the old database."""
    query = fencing.strangers(move)
    return succeeds(
        move.old, f'[ "$({PSQL} -c {sh(query)})" = 0 ]', "somebody is still connected to the old database", 30
    )


@step
def mail_leaves(move: Move) -> Desired:
    """old: mail that is still queued there goes out, from there: nothing else sends it."""
    old = move.old
    if not mail.queued(old)[0]:
        return None
    run = f"{mail.FUNCTIONS}\ntry_mail_again\nwait_until {MAIL} no_mail || :"

    def left() -> None:
        number, why = mail.queued(old)
        if number:
            what = f"{number} mails are still queued on old ({why or 'not tried yet'})"
            output.outcome(Outcome.NOTE, f"{what}; old tries them again, and `retire-old` waits for them")

    return [Command(old, run, shown="the mail queue is tried again"), Precondition(left)]


@step
def certificate_renews(move: Move) -> Desired:
    """new: its certificate renews: certbot tries it, and nothing is kept of that."""
    return move.certificate.renews()


def _home(user: str) -> str:
    return f'"$(getent passwd {sh(user)} | cut -d: -f6)"'
