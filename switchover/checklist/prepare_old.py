"""Configure old server: only the new server may fetch files and reach the database.

Visitors: they notice nothing.
Undo: closes all of it again. Takes seconds, loses nothing.
"""

from ..database import link
from ..desired import Desired
from ..errors import Problem
from ..move import Move
from ..programs import program
from ..quote import pgpass, sh
from ..resources import Command, File, Role, succeeds
from ..resources.file import with_lines
from ..resources.uploads import KEY, KNOWN_HOSTS, on, ssh
from ..step import step


@step
def key(move: Move) -> Desired:
    """new: has an ssh key for the move, and knows old's host key."""
    generate = f"ssh-keygen -q -t ed25519 -N '' -C switchover -f {KEY}"
    keys = [" ".join(line.split()[:2]) for line in move.old.look("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines()]
    known = "".join(f"{address} {key}\n" for address in move.old.addresses for key in keys)
    remove, check = f"rm -f {KEY} {KEY}.pub", f"[ -s {KEY} ] && [ -s {KEY}.pub ]"
    make = Command(move.new, f"[ -d /root/.ssh ] || mkdir -m 700 /root/.ssh\n{remove}; {generate}", remove, check)
    return [make, File(move.new, KNOWN_HOSTS, known.encode(), "root:root", "600")]


@step
def access(move: Move) -> Desired:
    """old: new may fetch files with that key, only with rsync and only from its own address."""
    path, user = "/usr/local/sbin/switchover-rsync", move.old.user
    home = move.old.look(f"getent passwd {sh(user)} | cut -d: -f6").out.strip()
    public = move.new.look(f"cat {KEY}.pub 2>/dev/null", check=False).out.strip()
    if not public and not move.dry:
        raise Problem("the new server has no key yet", str(move.new), "Run: inv prepare-old.key")
    public = public or "(the key of new, which does not exist yet)"
    line = f'restrict,from="{",".join(move.new.addresses)}",command="{path}" {public}'
    opened = with_lines(move.old, f"{home}/.ssh/authorized_keys", [line], user, replaces=path)
    return [File(move.old, path, program("only-rsync"), "root:root", "755"), opened]


@step
def files_pass(move: Move) -> Desired:
    """new: can fetch files from old."""
    script = f"rsync -s -e {sh(ssh(move.old))} {sh(on(move.old, move.old.app.path))} >/dev/null"
    return succeeds(move.new, script, "new cannot fetch files from old", within=5)


@step
def database_password(move: Move) -> Desired:
    """new: has a password for old's database, made there, readable only by root."""
    return link.made_password(move, link.ROLE, f"{pgpass(move.old.main_address)}:{move.settings.relay}")


@step
def database_role(move: Move) -> Desired:
    """old: PostgreSQL has a role for the move, with the application's rights."""
    return Role(move.old, link.ROLE, move.old.database.owner, link.password(move))


@step
def firewall_on(move: Move) -> Desired:
    """old: the firewall is on, ssh allowed first; it turns itself off unless a second login succeeds."""
    return move.old.firewall.on()


@step
def firewall(move: Move) -> Desired:
    """old: the firewall allows only new to reach the port of the relay."""
    return move.old.firewall.lets_in(move.new.addresses, move.settings.relay)


@step
def database_relay(move: Move) -> Desired:
    """old: a port relays to PostgreSQL, which listens on localhost and is not restarted."""
    return link.relay(move.old, move.settings.relay, move.new.addresses)


@step
def database_certificate(move: Move) -> Desired:
    """new: has the certificate of old's database, and how to reach it (psql service=old)."""
    return link.known_to_new(move)


@step
def database_answers(move: Move) -> Desired:
    """new: can log in to old's database over TLS, with the certificate checked."""
    script = f"[ \"$({link.ON_OLD} -c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')\" = t ]"
    return succeeds(move.new, script, "new cannot log in to old's database", within=15)


@step
def pushes_refused(move: Move) -> Desired:
    """old: a push to deploy is refused; it says why, since when, and who is moving the site."""
    return move.old.deploys.refused(move.notice())


@step
def pushes_ended(move: Move) -> Desired:
    """old: no deploy is running any more."""
    return move.old.deploys.ended()
