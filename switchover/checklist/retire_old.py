"""Retire old server: after days of watching, what was opened for the move is closed.

Visitors: they notice nothing on new; old no longer answers whoever still asks there.
Asks: This ends undo. Nothing can go back to the old server afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from .. import mail
from ..certificates import no_renewal
from ..database import link, pgbouncer, replication_status
from ..desired import Desired, Precondition
from ..dns.addresses import NO_NAMES, has_names, old_remembered_until, records_before, to_new
from ..dns.change import Records
from ..dns.records import Addresses, Look
from ..http import host
from ..move import Move
from ..programs import ETC, programs
from ..quote import ident, sh
from ..resources import Command, File, reverted, succeeds
from ..resources.file import before
from ..resources.postgres import PSQL
from ..resources.uploads import KEY, on, ssh
from ..server import Server
from ..step import step, step_by

FINAL = "refuse 'retire-old has ended undo'"


@step
def dns_points_to_new(move: Move) -> Desired:
    """names: they lead to new, at every authoritative server, and nobody remembers old's address any more."""
    if not has_names(move):
        return NO_NAMES

    def otherwise() -> str | None:
        look = move.names.look()
        if missing := look.missing(to_new(move, look)):
            return f"{missing}: first `inv switch-dns`"
        until = old_remembered_until(move)
        over = until is None or until <= datetime.now(UTC)
        return None if over else f"old's address may be remembered until {until:%Y-%m-%d %H:%M:%S} UTC"

    return Precondition(otherwise)


@step
def no_visitors(move: Move) -> Desired:
    """old: no visitor has come by the proxy for a time (retire.quiet seconds)."""
    return move.old.web.nobody_for(move.settings.retire.quiet)


@step
def mail_has_left(move: Move) -> Desired:
    """old: no mail waits there any more; it would be lost with the server."""
    script = f"""
{mail.FUNCTIONS}
no_mail || {{ echo "$(queued) of them: $(why_queued)"; exit 1; }}
"""
    do = "there, `postqueue -p` shows it, `postqueue -f` tries again, `postsuper -d` gives one up"
    return succeeds(move.old, script, f"mail is still queued on old: {do}")


@step
def certificate_of_its_own(move: Move) -> Desired:
    """new: its nginx shows a certificate that is renewed there."""
    return move.certificate.stays()


@step
def undo_ends(move: Move) -> Desired:
    """new: the journal is closed; nothing is undone any more."""
    ended = sh(f"{move.journal.home}/retired")
    return [
        Command(server, f"date -u >{ended}", FINAL, check=f"[ -e {ended} ]", shown="undo ends")
        for server in (move.new, move.old)
    ]


@step
def database_yml(move: Move) -> Desired:
    """new: database.yml leads to new's own database directly, not by PgBouncer any more."""
    new = move.new
    path = new.in_app(new.database.config)
    found = before(move.journal, move.new, "prepare-new.database-yml", path)
    if _pgbouncer_stays(move) or found is None:
        return None
    return File(new, path, found.content or b"", found.owner, found.mode, secret=True)


@step
def restart(move: Move) -> Desired:
    """new: application and worker work with that: each ends what it has under way first."""
    new = move.new
    if _pgbouncer_stays(move):
        return None
    nobody = f"sh -c {sh(_nobody(move))}"
    run = f"""
{new.app.reload()}
{new.worker.restart()}
wait_until 120 {nobody} || refuse "something on new still uses PgBouncer: its console has SHOW CLIENTS"
"""
    shown = f"{new.app.reload_shown}; the worker restarts" if new.worker.there else new.app.reload_shown
    return Command(new, run, FINAL, check=_nobody(move), shown=shown)


@step
def pgbouncer_gone(move: Move) -> Desired:
    """new: PgBouncer is gone, as far as it came for the move."""
    if _pgbouncer_stays(move):
        return None
    # The switch has changed its configuration, which is not somebody's edit.
    first, ini = f"{ETC}/pgbouncer.old.ini", pgbouncer.INI
    run, check = f"cat {first} >{ini}", f"[ ! -e {first} ] || [ ! -e {ini} ] || cmp -s {first} {ini}"
    return [
        Command(move.new, run, FINAL, check, shown=f"{ini} as before the switch"),
        *_taken_back(move, "prepare-new.pgbouncer", "prepare-new.pgbouncer-package"),
    ]


def _pgbouncer_stays(move: Move) -> bool:
    """Whether there is none of the move's, or it leads to new's database by now and the settings keep it."""
    return not move.journal.active("prepare-new.pgbouncer") or (
        replication_status.is_replicated(move) and move.settings.pgbouncer.keep
    )


def _nobody(move: Move) -> str:
    """sh: succeeds where nobody is connected to PgBouncer."""
    port = move.settings.pgbouncer.port
    console = f"runuser -u postgres -- psql -XAtq -h /var/run/postgresql -p {port} -U pgbouncer pgbouncer"
    clients = f"$({console} -c 'SHOW CLIENTS')"
    return f"""! systemctl is-active -q pgbouncer || {{
  clients={clients} && ! printf '%s\\n' "$clients" | grep -qF {sh(f"|{pgbouncer.ROLE}|")}; }}"""


def _taken_back(move: Move, *steps: str) -> list[Command]:
    """What these steps did is taken back, the last change of each step first."""
    return [
        reverted(entry.server, move.journal.path(entry), entry.step)
        for step in steps
        # Those taken back already too: a run that was interrupted there is finished.
        for entry in reversed(move.journal.entries)
        # But for old's wal_level: nobody needs it as it was, and nothing holds queries any more for its restart.
        if entry.step == step and not (step == "replicate.wal-level" and entry.server is move.new)
    ]


@step_by("replicate")
def way_back_ends(move: Move) -> Desired:
    """old: its database no longer follows new's, and neither server keeps changes for the other."""
    old, new = move.old, move.new
    files = programs("follow-database")
    # Old's fence stays, but for the move's own role, which goes.
    revoke = f"{PSQL} -c {sh(f'REVOKE CONNECT ON DATABASE {ident(old.database.name)} FROM {link.ROLE}')}"

    def end(server: Server, *modes: str, then: str = "") -> Command:
        name, owner = sh(server.database.name), sh(server.database.owner)
        lines = [f"sh after/follow-database {mode.format(name=name, owner=owner)}" for mode in modes]
        part = modes[0].partition(" ")[0]
        return Command(server, "\n".join([*lines, then]), FINAL, shown="; ".join(modes), files=files, part=part)

    # PgBouncer needs its role where it stays.
    pool_role = () if move.settings.pgbouncer.keep else ("switch-db.pool-role",)
    return [
        *_taken_back(move, "replicate.monit", "replicate.way-back-timer"),
        end(old, "unsubscribed {name} switchover_back"),
        end(new, "unsubscribed {name} switchover", "no-way-back {name} {owner}", "unpublished {name} {owner}"),
        end(old, "slot-gone {name} {owner}", "unpublished {name} {owner}", then=revoke),
        *_taken_back(move, "switch-db.program", *pool_role, "replicate.switch-sql"),
        # The roles of others stay.
        *_taken_back(move, "replicate.relay-back", "replicate.limits", "replicate.own-role"),
        *_identities_as_before(move),
    ]


@step_by("replicate")
def deploy_hook(move: Move) -> Desired:
    """new: deploys may change the database's schema again."""
    return move.new.deploys.complete(move.before(move.new, "prepare-new.deploy-hook"))


def _identities_as_before(move: Move) -> list[Command]:
    """new: the tables that came with an identity for the time of the move have the one of before."""
    new, entries = move.new, move.journal.active("replicate.identities")
    paths = " ".join(sh(f"{move.journal.path(entry)}/after/back.sql") for entry in entries)
    back = move.old.look(f"cat {paths} 2>/dev/null", check=False).out if paths else ""
    if not back:
        return []
    run = f"sh after/follow-database one-by-one {sh(new.database.name)} {sh(new.database.owner)} <after/back.sql"
    files = programs("follow-database")
    return [Command(new, run, FINAL, shown=back.strip(), files=files | {"back.sql": back.encode()}, part="identities")]


@step
def access_closed(move: Move) -> Desired:
    """old: what was opened for the new server is closed: key, role, port and firewall rule."""
    return _taken_back(
        move,
        "prepare-old.database-certificate",
        "prepare-old.firewall",
        "prepare-old.database-relay",
        "replicate.wal-level",
        "prepare-new.pool-role",
        "prepare-new.pool-password",
        "prepare-old.database-role",
        "prepare-old.database-password",
        "prepare-old.access",
        "prepare-old.key",
    )


@step
def closed_from_outside(move: Move) -> Desired:
    """new: reaches neither old's database nor its files any more."""
    address, port = move.old.main_address, move.settings.relay
    url = sh(f"telnet://{host(move.old)}:{port}")
    # 7: refused, 28: no answer; both are closed.
    open_ = f"port {port} of {address} answers"
    # A key made by hand stays; it must open nothing.
    fetch = f"rsync -s -e {sh(ssh(move.old))} {sh(on(move.old, move.old.app.path))} >/dev/null 2>&1"
    script = f"""
curl -s --connect-timeout 2 -m 2 {url} </dev/null || closed=$?
[ "${{closed:-0}}" = 7 ] || [ "${{closed:-0}}" = 28 ] || {{ echo {sh(open_)}; exit 1; }}
[ ! -e {KEY} ] || ! {fetch} || {{ echo "the key {KEY} still opens old's files"; exit 1; }}
"""
    return succeeds(move.new, script, "old is still open to new", within=10)


@step
def copies_removed(move: Move) -> Desired:
    """new: the database from before the move is gone."""
    drop = f"DROP DATABASE IF EXISTS {ident(f'{move.new.database.name}_before_move')}"
    return [
        Command(move.new, f"{PSQL} -c {sh(drop)}", FINAL, shown=drop),
        *_taken_back(move, "prepare-new.copy-package"),
    ]


@step
def renewals_end(move: Move) -> Desired:
    """old: no longer renews certificates of the site, which would fail from now on."""
    return no_renewal(move.old, move.settings.domains, FINAL)


@step
def proxy_gone(move: Move) -> Desired:
    """old: nginx no longer answers for the site."""
    return move.old.web.gone(move.front(move.old))


@step
def old_ttl(move: Move) -> Desired:
    """names: their addresses may be remembered for as long as before the move."""
    entries = move.journal.active("dns-prepare.ttl")
    if not has_names(move) or not entries:
        return None
    ttls = {one.key: one.ttl for entry in entries for one in records_before(entry) if one.data}
    by_name = {name: ttl for (name, _), ttl in ttls.items()}  # for an address of a kind that there was none of

    def as_before(look: Look) -> list[Addresses]:
        found = [one for one in look.found if one.data]
        return [replace(one, ttl=ttls.get(one.key, by_name.get(one.name, one.ttl))) for one in found]

    return Records(move, as_before, ends_undo=FINAL)
