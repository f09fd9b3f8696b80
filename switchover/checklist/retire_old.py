"""Retire old server: after some quiet days, what was opened for the move is closed.

Visitors: they notice nothing on new; old no longer answers anybody who still asks it.
Asks: After this nothing can be undone: there is no way back to the old server.
"""

from dataclasses import replace
from datetime import UTC, datetime

from .. import mail
from ..certificates import no_renewal
from ..database import application, copy, replication
from ..database import pgbouncer as pool
from ..desired import Desired, Precondition
from ..dns.addresses import needs_names, old_remembered_until, records_before, to_new
from ..dns.change import Records
from ..dns.records import Addresses, Look
from ..http import host
from ..move import Move
from ..quote import ident, sh
from ..resources import Command, succeeds
from ..resources.command import FINAL, reverted
from ..resources.postgres import PSQL
from ..resources.uploads import KEY, on, ssh
from ..step import step, step_by


@step
@needs_names
def dns_points_to_new(move: Move) -> Desired:
    """dns: every domain points to new, at every authoritative server, and no resolver gives old's address any more."""

    def otherwise() -> str | None:
        look = move.names.look()
        if missing := look.missing(to_new(move, look)):
            return f"{missing}: first `inv switch-dns`"
        until = old_remembered_until(move)
        over = until is None or until <= datetime.now(UTC)
        return None if over else f"resolvers may give old's address until {until:%Y-%m-%d %H:%M:%S} UTC"

    return Precondition(otherwise)


@step
def no_visitors(move: Move) -> Desired:
    """old: has proxied no visitor for some time (retire.quiet seconds)."""
    return move.old.web.nobody_for(move.settings.retire.quiet)


@step
def mail_has_left(move: Move) -> Desired:
    """old: no mail is queued there, which would be lost with the server."""
    return mail.none_left(move.old)


@step
def certificate_of_its_own(move: Move) -> Desired:
    """new: nginx uses a certificate that is renewed there."""
    return move.certificate.stays()


@step
def undo_ends(move: Move) -> Desired:
    """new: the journal is closed; nothing can be undone any more."""
    ended = sh(f"{move.journal.home}/retired")
    run, check = f"date -u >{ended}", f"[ -e {ended} ]"
    return [Command(server, run, FINAL, check, "undo ends") for server in (move.new, move.old)]


@step
def database_yml(move: Move) -> Desired:
    """new: database.yml names new's own database directly, not through PgBouncer any more."""
    return None if pool.stays(move) else application.uses_own_database(move)


@step
def restart(move: Move) -> Desired:
    """new: application and worker use that: each finishes its present work first."""
    new, unused = move.new, pool.unused(move)
    if pool.stays(move):
        return None
    reload = new.app.reload()
    run = f"""
{reload.sh}
{new.worker.restart()}
wait_until 120 sh -c {sh(unused)} || refuse "something on new still uses PgBouncer: its console has SHOW CLIENTS"
"""
    shown = f"{reload.shown}; the worker restarts" if new.worker.there else reload.shown
    return Command(new, run, FINAL, check=unused, shown=shown)


@step
def pgbouncer_gone(move: Move) -> Desired:
    """new: PgBouncer is removed, if the move installed it."""
    return None if pool.stays(move) else [pool.as_before_the_switch(move, FINAL), *_reverted(move, *pool.STEPS)]


def _reverted(move: Move, *steps: str) -> list[Command]:
    """What these steps did is reverted, the last change of each step first."""
    return [
        reverted(entry.server, move.journal.path(entry), entry.step)
        for step in steps
        # Reverted ones too: a run that was interrupted there is finished.
        for entry in reversed(move.journal.entries)
        # But not old's wal_level: it does no harm, and nothing holds queries any more for its restart.
        if entry.step == step and not (step == "replicate.wal-level" and entry.server is move.new)
    ]


@step_by("replicate")
def way_back_ends(move: Move) -> Desired:
    """old: its database no longer replicates new's, and neither server keeps changes for the other."""
    # PgBouncer needs its role where it stays.
    pool_role = () if move.settings.pgbouncer.keep else ("switch-db.pool-role",)
    return [
        *_reverted(move, "replicate.monit", "replicate.way-back-timer"),
        *replication.ended(move, FINAL),
        *_reverted(move, "switch-db.program", *pool_role, "replicate.switch-sql"),
        # The roles of others stay.
        *_reverted(move, "replicate.relay-back", "replicate.limits", "replicate.own-role"),
        *replication.identities_as_before(move, FINAL),
    ]


@step_by("replicate")
def deploy_hook(move: Move) -> Desired:
    """new: deploys may run migrations again."""
    return move.new.deploys.complete(move.before(move.new, "prepare-new.deploy-hook"))


@step
def access_closed(move: Move) -> Desired:
    """old: what was opened for new is closed: key, role, relay and firewall rule."""
    ways = ("prepare-old.database-certificate", "prepare-old.firewall", "prepare-old.database-relay")
    pool = ("replicate.wal-level", "prepare-new.pool-role", "prepare-new.pool-password")
    role = ("prepare-old.database-role", "prepare-old.database-password")
    return _reverted(move, *ways, *pool, *role, "prepare-old.access", "prepare-old.key")


@step
def closed_from_outside(move: Move) -> Desired:
    """new: can reach neither old's database nor its files any more."""
    address, port = move.old.main_address, move.settings.relay
    url = sh(f"telnet://{host(move.old)}:{port}")
    # A key made by hand stays; it must open nothing.
    fetch = f"rsync -s -e {sh(ssh(move.old))} {sh(on(move.old, move.old.app.path))} >/dev/null 2>&1"
    # 7: refused, 28: no answer; both are closed.
    script = f"""
curl -s --connect-timeout 2 -m 2 {url} </dev/null || closed=$?
[ "${{closed:-0}}" = 7 ] || [ "${{closed:-0}}" = 28 ] || {{ echo {sh(f"port {port} of {address} answers")}; exit 1; }}
[ ! -e {KEY} ] || ! {fetch} || {{ echo "the key {KEY} still opens old's files"; exit 1; }}
"""
    return succeeds(move.new, script, "old is still open to new", within=10)


@step
def copies_removed(move: Move) -> Desired:
    """new: the database of before the move is removed."""
    drop = f"DROP DATABASE IF EXISTS {ident(copy.before_move(move.new))}"
    dropped = Command(move.new, f"{PSQL} -c {sh(drop)}", FINAL, shown=drop)
    return [dropped, *_reverted(move, "prepare-new.copy-package")]


@step
def renewals_end(move: Move) -> Desired:
    """old: no longer renews the site's certificates, which would fail from now on."""
    return no_renewal(move.old, move.settings.domains, FINAL)


@step
def proxy_gone(move: Move) -> Desired:
    """old: nginx no longer answers for the site."""
    return move.old.web.gone(move.front(move.old))


@step
@needs_names
def old_ttl(move: Move) -> Desired:
    """dns: the TTL is the one of before the move."""
    entries = move.journal.active("dns-prepare.ttl")
    if not entries:
        return None
    ttls = {record.key: record.ttl for entry in entries for record in records_before(entry) if record.data}
    by_name = {name: ttl for (name, _), ttl in ttls.items()}  # for an address of a kind that there was none of

    def as_before(look: Look) -> list[Addresses]:
        records = [record for record in look.found if record.data]
        return [replace(r, ttl=ttls.get(r.key, by_name.get(r.name, r.ttl))) for r in records]

    return Records(move, as_before, ends_undo=FINAL)
