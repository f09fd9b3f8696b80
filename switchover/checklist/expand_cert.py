"""Expand certificate: new has one of its own for the production domain, before the name leads there.

Visitors: they notice nothing: they are shown new's own certificate, and old's as before while there is none.
Undo: new's nginx shows old's certificate again, as copied. Takes seconds, loses nothing.
Fails: The move goes on: visitors are shown old's certificate, as copied to new. Run it again when that is mended.
"""

from __future__ import annotations

from ..desired import Desired
from ..move import Move
from ..step import step


@step
def certbot(move: Move) -> Desired:
    """new: certbot is installed."""
    return move.certificate.installed()


@step
def challenge_passes(move: Move) -> Desired:
    """old: passes what the authority asks by plain HTTP on to new."""
    return move.certificate.challenge_passes()


@step
def order(move: Move) -> Desired:
    """new: has a certificate of its own, of every production domain."""
    return move.certificate.ordered()


@step
def old_trusts_it(move: Move) -> Desired:
    """old: its nginx, which passes visitors on, trusts whoever gave that certificate."""
    return move.certificate.trusted()


@step
def renewed(move: Move) -> Desired:
    """new: exactly one timer or cron job renews it, and then nginx takes the renewed one."""
    return move.certificate.renewed()


@step
def site(move: Move) -> Desired:
    """new: nginx shows that certificate."""
    return move.certificate.shown()


@step
def visitors_see_it(move: Move) -> Desired:
    """new: who asks new for the production domain is shown it, and who comes by old is passed on as before."""
    return move.certificate.seen()
