"""Finish the switch: deploys and monitoring are new's; what going back needs stays.

Visitors: they notice nothing.
Undo: deploys and monitoring are as before. Takes seconds, loses nothing.
"""

from __future__ import annotations

from .. import certificates, mail, say
from ..database import following, sessions
from ..desired import Wanted
from ..errors import Problem
from ..move import Move
from ..outcome import Outcome
from ..programs import programs
from ..quote import sh
from ..render import render
from ..resources import Command, Compared, File, Seen
from ..resources.file import Found, read
from ..resources.postgres import PSQL
from ..step import step
from . import common

MAIL = 20  # seconds for queued mail to go out


@step
def deploy_hook(move: Move) -> Wanted:
    """new: the deploy hook is complete; migrations are allowed, unless old's database follows new's."""
    if following.shall_follow(move):
        return common.deploy_hook(move, cron=True, migrate=False, moved=True)
    return common.complete_deploy_hook(move)


@step
def pushes_answered(move: Move) -> Wanted:
    """old: a push is refused, with the reason, the date and the new address."""
    old = move.old
    if old.deploys.kind != "git":
        return None
    when, who = move.journal.date("finish.pushes-answered")
    content = render(
        "hooks/old-pre-receive.j2",
        moved=True,
        date=when,
        who=who,
        domain=move.settings.domain,
        remote=move.new.deploys.name,
        url=common.remote(move),
    )
    owner = f"{old.app.user}:{old.app.user}"
    return File(old, f"{old.repository}/hooks/pre-receive", content, owner, "755", test_file="sh -n")


@step
def ci_authorized(move: Move) -> Wanted:
    """new: the CI host's key may deploy."""
    if move.ci is None or move.settings.ci is None:
        return None
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
def ci_knows_new(move: Move) -> Wanted:
    """ci: knows new's host key, so that nobody is asked."""
    if move.ci is None or move.settings.ci is None:
        return None
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
def ci_remote(move: Move) -> Wanted:
    """ci: its remote leads to new."""
    if move.ci is None or move.settings.ci is None:
        return None
    ci = move.settings.ci
    git = f"runuser -u {sh(ci.user)} -- git -C {sh(ci.checkout)} remote"
    url, remote = sh(common.remote(move)), sh(ci.remote)
    return Command(
        move.ci,
        f"[ -s before/url ] || {git} get-url {remote} >before/url\n{git} set-url {remote} {url}",
        f'[ ! -s before/url ] || {git} set-url {remote} "$(cat before/url)"',
        check=f'[ "$({git} get-url {remote})" = {url} ]',
        shown=f"git remote set-url {ci.remote} {common.remote(move)}",
    )


@step
def ci_deploys(move: Move) -> Wanted:
    """ci: a deploy to new succeeds."""
    if move.ci is None or move.settings.ci is None:
        return None
    ci = move.settings.ci
    branch = move.new.deploys.branch
    push = f"GIT_SSH_COMMAND='ssh -o BatchMode=yes' git -C {sh(ci.checkout)} push {sh(ci.remote)} HEAD:{sh(branch)}"
    # A deploy that fails is no failed push for git: its hook comes when the push is over. It says so by itself.
    run = f"""
s=0; said=$(runuser -u {sh(ci.user)} -- sh -c {sh(push)} 2>&1) || s=$?
why=$(printf '%s\\n' "$said" | sed -n 's/^remote: *\\[ERROR\\] *//p' | head -n 1)
{{ [ "$s" -eq 0 ] && [ -z "$why" ]; }} || refuse "${{why:-$(printf '%s\\n' "$said" | tail -n 1)}}"
"""
    return Command(move.ci, run, shown=f"git push {ci.remote} HEAD:{branch}")


@step
def monit(move: Move) -> Wanted:
    """new: monit watches the application and the worker."""
    new = move.new
    if new.watch.kind != "monit":
        return None
    command = f"cd {sh(new.app.path)} && RAILS_ENV={new.app.environment} {sh(new.worker.command)}"
    values = {
        "service": new.app.service,
        "pidfile": new.in_app(new.app.pidfile),
        "start": f"/bin/su - {new.app.user} -c {sh(command + ' start')}",
        "stop": f"/bin/su - {new.app.user} -c {sh(command + ' stop')}",
        "worker_pidfile": new.in_app(new.worker.pidfile),
    }
    wanted, files = list[File](), dict[str, list[str]]()
    for path, template in ((new.watch.app, "monit-app"), (new.watch.worker, "monit-worker")):
        if path:  # one file may have both
            files.setdefault(path, []).append(template)
    for path, templates in files.items():
        found = read(new, path)
        if found.content is None or move.journal.latest("finish.monit", f"new:{path}"):
            content = b"\n".join(render(f"templates/{template}.j2", **values) for template in templates)
            found = Found(content, "root:root", "600")
        # Else somebody wrote it: it is wanted as it is.
        content = found.content or b""
        wanted.append(File(new, path, content, found.owner, found.mode, test="monit -t", then=common.MONIT_RELOAD))
    return wanted


@step
def monit_certificate(move: Move) -> Wanted:
    """new: monit says when the certificate that nginx shows ends soon."""
    new, program = move.new, "/usr/local/sbin/certificate-age"
    if new.watch.kind != "monit":
        return None
    domains = " ".join(move.settings.domains)
    check = render("templates/monit-certificate.j2", program=f"{program} {certificates.SOON} {domains}")
    path = common.monit_file(new, "certificate_age")
    content = programs("certificate-age")["certificate-age"]
    return [
        File(new, program, content, "root:root", "755"),
        File(new, path, check, "root:root", "600", test="monit -t", then=common.MONIT_RELOAD),
    ]


@step
def one_renewal(move: Move) -> Wanted:
    """new: exactly one renewal of certificates is scheduled."""
    script = f'count=$({common.RENEWALS}); [ "$count" = 1 ] || {{ echo "$count found"; exit 1; }}'
    return Seen(move.new, script, "not exactly one renewal of certificates is scheduled on new")


@step
def old_database_is_left(move: Move) -> Wanted:
    """old: nobody is connected to the old database."""
    query = sessions.strangers(move)
    return Seen(move.old, f'[ "$({PSQL} -c {sh(query)})" = 0 ]', "somebody is still connected to the old database", 30)


@step
def mail_leaves(move: Move) -> Wanted:
    """old: mail that is still queued there goes out, from there: nothing else sends it."""
    old = move.old
    if not mail.queued(old)[0]:
        return None
    run = f"{mail.FUNCTIONS}\ntry_mail_again\nwait_until {MAIL} no_mail || :"

    def left() -> None:
        number, why = mail.queued(old)
        if number:
            what = f"{number} mails are still queued on old ({why or 'not tried yet'})"
            say.outcome(Outcome.NOTE, f"{what}; old tries them again, and `retire-old` waits for them")

    return [Command(old, run, shown="the mail queue is tried again"), Compared(left)]


@step
def certificate_renews(move: Move) -> Wanted:
    """new: its certificate renews: certbot tries it, and nothing is kept of that."""
    if not certificates.kept(move):
        return None
    name = certificates.found(move)
    if not name:
        return Compared(lambda: _nobody_renews(move))
    command = f"renew --cert-name {sh(name)} --no-random-sleep-on-renew {certificates.trial(move)}"
    run = f"sh after/order-certificate try {certificates.program(move)} {command}"
    return Command(move.new, run, shown=f"certbot {command}", files=programs("order-certificate"))


def _nobody_renews(move: Move) -> None:
    ends = certificates.of_old(move).ends
    what = f"{move.settings.domain} has old's certificate on new, which nobody renews there and which ends on {ends}"
    say.outcome(Outcome.NOTE, f"{what}: inv expand-cert")


def _home(user: str) -> str:
    return f'"$(getent passwd {sh(user)} | cut -d: -f6)"'
