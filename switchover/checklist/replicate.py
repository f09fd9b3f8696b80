"""Let new's database follow old's: copied while visitors go on, then every change at once. For `strategy: replicate`.

Visitors: requests wait for a moment, once, if old's PostgreSQL must restart (some 300 ms); none fails.
Undo: new's database is as it was, and nothing is left on old. Visitors notice nothing, nothing is lost.
"""

from __future__ import annotations

from ..database import compatibility, hold, host, link, replication
from ..database import roles as their_roles
from ..database import switch as switching
from ..database.replication_status import BACK, FORWARD, missing
from ..desired import Desired, Precondition
from ..errors import Problem
from ..findings import blockers
from ..move import Move
from ..resources import File, Role
from ..step import step_by

CATCHES_UP = 900  # seconds: what was written during the copy
FAR = (64, 60)  # megabytes, seconds: further behind somebody has to know


@step_by("replicate")
def can_replicate(move: Move) -> Desired:
    """old: nothing stands in the way of new's database following this one."""
    if move.journal.active("replicate.subscription"):
        return None

    def hindrance() -> str | None:
        found = blockers(compatibility.find(host.gather(move)))
        if not found:
            return None
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        first = found[0]
        raise Problem(
            f"new cannot follow: {first.what}{more}",
            "",
            f"{first.do}. `inv check` says it all. Or say in the settings: strategy: copy",
        )

    return Precondition(hindrance)


@step_by("replicate")
def wal_level(move: Move) -> Desired:
    """old: wal_level is logical; its PostgreSQL was restarted while PgBouncer held every query."""
    if hold.is_logical(move.old) and not move.journal.active("replicate.wal-level"):
        return None
    return hold.logical_in_use(move)


@step_by("replicate")
def wal_level_new(move: Move) -> Desired:
    """new: wal_level is logical; its PostgreSQL, which nobody uses yet, was restarted."""
    return hold.logical(move.new)


@step_by("replicate")
def limits(move: Move) -> Desired:
    """old: keeps changes for new only as long as its disk can take it; a link that broke is tried again at once."""
    return [setting for server in move.servers for setting in hold.limits(server)]


@step_by("replicate")
def own_role(move: Move) -> Desired:
    """new: has the move's own role too; on both servers it may replicate."""
    own = Role(move.new, link.ROLE, move.new.database.owner, link.password(move))
    return [their_roles.may_replicate(move.old), own, their_roles.may_replicate(move.new)]


@step_by("replicate")
def roles(move: Move) -> Desired:
    """new: has the roles that have something to do in old's database, with their passwords."""
    return their_roles.carried(move)


@step_by("replicate")
def relay_back(move: Move) -> Desired:
    """new: a port leads old, and nobody else, to PostgreSQL; both databases can log in to each other, over TLS."""
    old, new, port = move.old, move.new, move.settings.relay
    return [
        new.firewall.lets_in(old.addresses, port),
        *link.relay(new, port, old.addresses),
        File(old, link.NEW_CERTIFICATE, link.certificate(new), "root:root", "644"),
        *link.postgres_passwords(move),
        *link.both_ways(move),
    ]


@step_by("replicate")
def identities(move: Move) -> Desired:
    """old: every table's rows can be told apart: by a unique index, or whole, where there is no primary key."""
    return replication.identities(move)


@step_by("replicate")
def publication(move: Move) -> Desired:
    """old: offers the changes of all tables to new, and has a table for the move's own marks."""
    return replication.publication(move.old)


@step_by("replicate")
def database(move: Move) -> Desired:
    """new: an empty database is there, open to nobody; the one that was there is kept."""
    return replication.empty_database(move.new)


@step_by("replicate")
def copy(move: Move) -> Desired:
    """new: has every row as it was on old at one moment, and old keeps for it what changes from then on."""
    return replication.first_copy(move)


@step_by("replicate")
def subscription(move: Move) -> Desired:
    """new: its database takes over every change from old's, at once."""
    return replication.subscription(move, move.new, FORWARD, enabled=True)


@step_by("replicate")
def switch_sql(move: Move) -> Desired:
    """new: its database, and old's, answer what the switch asks, and note who writes to them while they follow."""
    return [switching.asks(server) for server in move.servers]


@step_by("replicate")
def way_back(move: Move) -> Desired:
    """new: all is ready for old to follow new after the switch; until then it does not."""
    return replication.way_back(move)


@step_by("replicate")
def way_back_timer(move: Move) -> Desired:
    """new: each minute while its database follows, what came from old is not kept for old; and the other way round."""
    return [*replication.passing_over(move.new, BACK), *replication.passing_over(move.old, FORWARD)]


@step_by("replicate")
def caught_up(move: Move) -> Desired:
    """new: has all that old has, less than a second later, and the same tables."""
    return Precondition(lambda: missing(move), within=CATCHES_UP)


@step_by("replicate")
def monit(move: Move) -> Desired:
    """new: monit watches how far the database that follows is behind, until the end of the move."""
    arguments = f"{move.new.database.name} {FAR[0]} {FAR[1]}"
    return move.new.monitor.watches_program("switchover-lag", arguments)
