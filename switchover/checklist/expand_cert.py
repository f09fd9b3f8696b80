"""Expand certificate: new gets its own for the production domain, before DNS points there.

Visitors: they notice nothing: new shows old's certificate until it has its own.
Undo: new's nginx shows the copy of old's certificate again. Takes seconds, loses nothing.
Fails: The move continues: new shows the copy of old's certificate. Run this again when that is fixed.
"""

from ..desired import Desired
from ..move import Move
from ..step import step


@step
def certbot(move: Move) -> Desired:
    """new: certbot is installed."""
    return move.certificate.installed()


@step
def challenge_passes(move: Move) -> Desired:
    """old: proxies the certificate authority's HTTP challenge to new."""
    return move.certificate.challenge_passes()


@step
def order(move: Move) -> Desired:
    """new: has its own certificate for every production domain."""
    return move.certificate.ordered()


@step
def old_trusts_it(move: Move) -> Desired:
    """old: its nginx, which proxies visitors to new, trusts the authority of that certificate."""
    return move.certificate.trusted()


@step
def renewed(move: Move) -> Desired:
    """new: exactly one timer or cron job renews it, and then reloads nginx."""
    return move.certificate.renewed()


@step
def site(move: Move) -> Desired:
    """new: nginx uses that certificate."""
    return move.certificate.shown()


@step
def visitors_see_it(move: Move) -> Desired:
    """new: serves every domain with a valid certificate; old proxies the rest."""
    return move.certificate.seen()
