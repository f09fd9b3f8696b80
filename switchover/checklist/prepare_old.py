"""Configure old server: the new server, and nobody else, may fetch files and reach the database.

Visitors: they notice nothing.
Undo: closes all of it again. Takes seconds, loses nothing.
"""

from __future__ import annotations

from ..database import link
from ..desired import Desired
from ..errors import Problem
from ..move import Move
from ..programs import ETC, program
from ..quote import pgpass, sh
from ..render import render
from ..resources import Command, File, Role, succeeds
from ..resources.file import read
from ..resources.uploads import KEY, KNOWN_HOSTS, on, ssh
from ..step import step


@step
def key(move: Move) -> Desired:
    """new: has a key of its own for the move, and knows old's host key."""
    generate = f"ssh-keygen -q -t ed25519 -N '' -C switchover -f {KEY}"
    hosts = move.old.look("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines()
    known = "".join(f"{a} {' '.join(line.split()[:2])}\n" for a in move.old.addresses for line in hosts)
    return [
        Command(
            move.new,
            check=f"[ -s {KEY} ] && [ -s {KEY}.pub ]",
            run=f"[ -d /root/.ssh ] || mkdir -m 700 /root/.ssh\nrm -f {KEY} {KEY}.pub; {generate}",
            undo=f"rm -f {KEY} {KEY}.pub",
        ),
        File(move.new, KNOWN_HOSTS, known.encode(), "root:root", "600"),
    ]


@step
def access(move: Move) -> Desired:
    """old: lets the new server fetch files with that key, by rsync alone and from its address alone."""
    path = "/usr/local/sbin/switchover-rsync"
    user = move.old.user
    home = move.old.look(f"getent passwd {sh(user)} | cut -d: -f6").out.strip()
    public = move.new.look(f"cat {KEY}.pub 2>/dev/null", check=False).out.strip()
    if not public and not move.dry:
        raise Problem("the new server has no key yet", str(move.new), "Run: inv prepare-old.key")
    authorized = f"{home}/.ssh/authorized_keys"
    found = read(move.old, authorized)
    others = [line for line in (found.content or b"").decode().splitlines() if path not in line]
    public = public or "(the key of new, which does not exist yet)"
    line = f'restrict,from="{",".join(move.new.addresses)}",command="{path}" {public}'
    content = "\n".join([*others, line, ""])
    return [
        File(move.old, path, program("only-rsync"), "root:root", "755"),
        File(move.old, authorized, content.encode(), found.owner or f"{user}:{user}", found.mode or "600"),
    ]


@step
def files_pass(move: Move) -> Desired:
    """new: reaches old's files."""
    script = f"rsync -s -e {sh(ssh(move.old))} {sh(on(move.old, move.old.app.path))} >/dev/null"
    return succeeds(move.new, script, "new cannot fetch files from old", within=5)


@step
def database_password(move: Move) -> Desired:
    """new: has a password for the way to old's database, made here and kept root's alone."""
    where = f"{pgpass(move.old.main_address)}:{move.settings.relay}:*:{link.ROLE}:"
    make = f"""
mkdir -p {ETC}; umask 077
printf '%s%s\\n' {sh(where)} "$(head -c 32 /dev/urandom | sha256sum | cut -c 1-48)" >{link.PGPASS}.new
mv {link.PGPASS}.new {link.PGPASS}
"""
    undo = f"rm -f {link.PGPASS}; rmdir {ETC} 2>/dev/null || :"
    return Command(
        move.new,
        check=f"grep -qF {sh(where)} {link.PGPASS}",
        run=make,
        undo=undo,
        shown=f"a random password into {link.PGPASS} (not shown)",
    )


@step
def database_role(move: Move) -> Desired:
    """old: PostgreSQL has a role for the move, with the application's rights."""
    return Role(move.old, link.ROLE, move.old.database.owner, link.password(move))


@step
def firewall_on(move: Move) -> Desired:
    """old: the firewall is on, ssh first; it takes itself back unless a second login succeeds."""
    return move.old.firewall.on()


@step
def firewall(move: Move) -> Desired:
    """old: the firewall lets the new server reach that port, and nobody else."""
    return move.old.firewall.lets_in(move.new.addresses, move.settings.relay)


@step
def database_relay(move: Move) -> Desired:
    """old: a port leads to PostgreSQL, which listens on localhost and is not restarted."""
    return link.relay(move.old, move.settings.relay, move.new.addresses)


@step
def database_certificate(move: Move) -> Desired:
    """new: knows the certificate of old's database and has the way there written down (psql service=old)."""
    found = link.certificate(move.old)
    service = render(
        "templates/pg_service.conf.j2",
        host=move.old.main_address,
        port=move.settings.relay,
        database=move.old.database.name,
        username=link.ROLE,
        passfile=link.PGPASS,
        certificate=link.OLD_CERTIFICATE,
    )
    return [
        File(move.new, link.OLD_CERTIFICATE, found, "root:root", "644"),
        File(move.new, link.SERVICES, service, "root:root", "644"),
    ]


@step
def database_answers(move: Move) -> Desired:
    """new: logs in to old's database over TLS, the certificate checked."""
    script = f"[ \"$({link.ON_OLD} -c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')\" = t ]"
    return succeeds(move.new, script, "new cannot log in to old's database", within=15)


@step
def pushes_refused(move: Move) -> Desired:
    """old: a push to deploy is refused, with the reason, the date and who is moving."""
    return move.old.deploys.refused(move.notice())


@step
def pushes_ended(move: Move) -> Desired:
    """old: a push that was running has ended."""
    return move.old.deploys.ended()
