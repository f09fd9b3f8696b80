"""Finish the switch: deploys and monitoring belong to new; undo stays possible.

Visitors: they notice nothing.
Undo: deploys and monitoring are as before. Takes seconds, loses nothing.
"""

from functools import partial

from .. import ci, mail
from ..certificates import SOON, scheduled_once
from ..database import fence
from ..database.replication_status import is_replicated
from ..desired import Desired
from ..move import Move
from ..step import step


@step
def deploy_hook(move: Move) -> Desired:
    """new: the deploy hook is complete; it allows migrations unless old's database replicates new's."""
    if is_replicated(move):
        return move.new.deploys.accepted(move.notice(), cron=True, moved=True)
    return move.new.deploys.complete(move.before(move.new, "prepare-new.deploy-hook"))


@step
def pushes_answered(move: Move) -> Desired:
    """old: a push is refused; it says why, since when, and the new address."""
    return move.old.deploys.refused(move.notice("finish.pushes-answered"), to=move.new.deploys)


@step
def ci_authorized(move: Move) -> Desired:
    """new: the CI host's key may deploy."""
    return ci.where_it_deploys(move, partial(ci.authorized, move.new))


@step
def ci_knows_new(move: Move) -> Desired:
    """ci: knows new's host key, so that ssh does not ask."""
    return ci.where_it_deploys(move, partial(ci.knows, move.new))


@step
def ci_remote(move: Move) -> Desired:
    """ci: its git remote is new."""
    return ci.where_it_deploys(move, move.new.deploys.remote)


@step
def ci_deploys(move: Move) -> Desired:
    """ci: a deploy to new succeeds."""
    return ci.where_it_deploys(move, move.new.deploys.deploys)


@step
def monit(move: Move) -> Desired:
    """new: monit watches the application and the worker."""
    return move.new.monitor.watches(lambda path: move.journal.latest("finish.monit", f"new:{path}") is not None)


@step
def monit_certificate(move: Move) -> Desired:
    """new: monit warns when the certificate that nginx shows expires soon."""
    arguments = f"{SOON} {' '.join(move.settings.domains)}"
    return move.new.monitor.watches_program("certificate-age", arguments)


@step
def one_renewal(move: Move) -> Desired:
    """new: exactly one certificate renewal is scheduled."""
    return scheduled_once(move.new)


@step
def old_database_unused(move: Move) -> Desired:
    """old: nobody is connected to old's database."""
    return fence.nobody_connected(move)


@step
def mail_leaves(move: Move) -> Desired:
    """old: sends the mail that is still queued there: no other server has it."""
    return mail.sent(move.old)


@step
def certificate_renews(move: Move) -> Desired:
    """new: its certificate can be renewed: certbot tries it, and keeps nothing."""
    return move.certificate.renews()
