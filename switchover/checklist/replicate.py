"""Replicate database: a copy to new while visitors keep working, then each change. For `strategy: replicate`.

Visitors: requests wait once for some 300 ms if old's PostgreSQL must restart; none fails.
Undo: new's database is as it was, and nothing is left on old. Visitors notice nothing, nothing is lost.
"""

from ..database import compatibility, hold, host, link, replication
from ..database import copy as copying
from ..database import roles as database_roles
from ..database import switch as switching
from ..database.replication_status import BACK, FORWARD, missing
from ..desired import Desired, Precondition
from ..errors import Problem
from ..findings import blockers
from ..move import Move
from ..resources import File, Role
from ..step import step_by

CATCHES_UP = 900  # seconds: what was written during the copy
FAR = (64, 60)  # megabytes, seconds of lag from which somebody is warned


@step_by("replicate")
def can_replicate(move: Move) -> Desired:
    """old: nothing prevents new's database from replicating this one."""
    if move.journal.active("replicate.subscription"):
        return None

    def blocked() -> None:
        if found := blockers(compatibility.find(host.gather(move))):
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            do = f"{found[0].do}. `inv check` shows everything; or set `strategy: copy`"
            raise Problem(f"new cannot replicate: {found[0].what}{more}", "", do)

    return Precondition(blocked)


@step_by("replicate")
def wal_level(move: Move) -> Desired:
    """old: wal_level is logical; PostgreSQL restarts while PgBouncer holds every query."""
    if replication.is_logical(move.old) and not move.journal.active("replicate.wal-level"):
        return None
    return hold.logical_by_a_restart(move)


@step_by("replicate")
def wal_level_new(move: Move) -> Desired:
    """new: wal_level is logical; its PostgreSQL, which nobody uses yet, restarts."""
    return replication.logical(move.new)


@step_by("replicate")
def limits(move: Move) -> Desired:
    """old: keeps changes for new only as long as its disk can hold them; a broken link is tried again at once."""
    return [setting for server in move.servers for setting in replication.limits(server)]


@step_by("replicate")
def own_role(move: Move) -> Desired:
    """new: has the move's own role too; it may replicate on both servers."""
    own = Role(move.new, link.ROLE, move.new.database.owner, link.password(move))
    return [database_roles.may_replicate(move.old), own, database_roles.may_replicate(move.new)]


@step_by("replicate")
def roles(move: Move) -> Desired:
    """new: has the roles that are used in old's database, with their passwords."""
    return database_roles.carried(move)


@step_by("replicate")
def relay_back(move: Move) -> Desired:
    """new: a port relays only old to PostgreSQL; both databases can log in to each other, over TLS."""
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
    """old: tables without a primary key have another replica identity: a unique index, or the whole row."""
    return replication.identities(move)


@step_by("replicate")
def publication(move: Move) -> Desired:
    """old: publishes the changes of all tables, and has a table for the move's heartbeat."""
    return replication.publication(move.old)


@step_by("replicate")
def database(move: Move) -> Desired:
    """new: has an empty database that nobody can use yet; the one of before is kept."""
    return copying.empty_database(move.new)


@step_by("replicate")
def copy(move: Move) -> Desired:
    """new: the initial copy is complete; old's slot keeps later changes."""
    return copying.first_copy(move)


@step_by("replicate")
def subscription(move: Move) -> Desired:
    """new: its database subscribes to every change of old's."""
    return replication.subscription(move, move.new, FORWARD, enabled=True)


@step_by("replicate")
def switch_sql(move: Move) -> Desired:
    """new: its database and old's have the functions of the switch, which also record late writes."""
    return [switching.functions(server) for server in move.servers]


@step_by("replicate")
def way_back(move: Move) -> Desired:
    """new: all is ready for old to replicate new after the switch; until then it does not."""
    return replication.way_back(move)


@step_by("replicate")
def way_back_timer(move: Move) -> Desired:
    """new: once a minute its slot for old skips the changes that came from old; on old, the other way round."""
    return [*replication.way_back_timer(move.new, BACK), *replication.way_back_timer(move.old, FORWARD)]


@step_by("replicate")
def caught_up(move: Move) -> Desired:
    """new: lags less than a second behind old, and has the same tables."""
    return Precondition(lambda: missing(move), within=CATCHES_UP)


@step_by("replicate")
def monit(move: Move) -> Desired:
    """new: monit watches the lag of replication, until the end of the move."""
    arguments = f"{move.new.database.name} {FAR[0]} {FAR[1]}"
    return move.new.monitor.watches_program("switchover-lag", arguments)
