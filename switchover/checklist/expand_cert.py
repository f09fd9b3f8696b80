"""Expand certificate: new has one of its own for the production domain, before the name leads there.

Visitors: they notice nothing: they are shown new's own certificate, and old's as before while there is none.
Undo: new's nginx shows old's certificate again, as copied. Takes seconds, loses nothing.
Fails: The move goes on: visitors are shown old's certificate, as copied to new. Run it again when that is mended.
"""

from __future__ import annotations

from .. import certificates
from ..desired import Wanted
from ..errors import Problem
from ..move import Move
from ..programs import programs
from ..quote import sh
from ..render import render
from ..resources import Command, File, Packages, Seen, Service
from ..step import step
from . import common

CHALLENGE = "/.well-known/acme-challenge/switchover"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/nginx"
UNIT = "certbot-renew"


@step
def certbot(move: Move) -> Wanted:
    """new: certbot is installed."""
    if not certificates.wanted(move):
        return None
    if move.settings.certificate.certbot == "current":
        return [Packages(move.new, "python3-venv", "/etc/letsencrypt"), _environment(move)]
    return Packages(move.new, "certbot", "/etc/letsencrypt", installed="command -v certbot >/dev/null")


def _environment(move: Move) -> Command:
    """new: certbot in an environment of its own."""
    version = move.settings.certificate.version
    what, home = f"certbot=={version}" if version else "certbot", certificates.CURRENT
    names = f"find {home} -mindepth 1 -maxdepth 1 -printf '%f\\n'"
    run = f"""
mkdir -p {home}
[ -e before/list ] || {{ {names} >before/list.new; mv before/list.new before/list; }}
python3 -m venv {home} >venv.log 2>&1 || refuse "python3 -m venv: $(tail -n 1 venv.log)"
{home}/bin/pip install -q --disable-pip-version-check {sh(what)} >pip.log 2>&1 ||
  refuse "pip install {what}: $(grep -m 1 '^ERROR' pip.log)"
"""
    undo = f"""
[ ! -e before/list ] || [ ! -d {home} ] || {{
  {names} | while IFS= read -r name; do grep -qxF "$name" before/list || rm -rf {home}/"$name"; done
  rmdir {home} 2>/dev/null || :
}}
"""
    check = f"{home}/bin/certbot --version 2>/dev/null | grep -qx 'certbot {version or '.*'}'"
    return Command(move.new, run, undo, check, shown=f"pip install {what} in {home}", part="environment")


@step
def challenge_passes(move: Move) -> Wanted:
    """old: passes what the authority asks by plain HTTP on to new."""
    if not certificates.wanted(move):
        return None
    lines = []
    for domain in move.settings.domains:
        at = f"--resolve {sh(f'{domain}:80:{common.host(move.old)}')}"
        lines.append(f"said=$(curl -sS -m 10 {at} {sh(f'http://{domain}{CHALLENGE}')} 2>&1)")
        lines.append(f"""[ "$said" = new ] || {{ echo {sh(domain)}": $(printf '%s' "$said" | head -n 1)"; exit 1; }}""")
    return Seen(
        move.new, "\n".join(lines), "the authority would not find new's answer by old: inv switch-app", within=3
    )


@step
def order(move: Move) -> Wanted:
    """new: has a certificate of its own, of every production domain."""
    if not certificates.wanted(move):
        return None
    ours, domain, new = move.settings.certificate, move.settings.domain, move.new
    known = ours.agree_tos or any(
        new.look(script, check=False).out for script in (certificates.lookup(move), certificates.account(move))
    )
    if not known and not move.dry:
        raise Problem(
            f"nobody has agreed to the terms of {ours.server}",
            str(new),
            "Read them, then say in the settings: certificate: {agree_tos: true}",
        )
    names = " ".join(f"-d {sh(name)}" for name in move.settings.domains)
    who = f"--no-eff-email --email {sh(ours.email)}" if ours.email else "--register-unsafely-without-email"
    where = certificates.trial(move) if ours.staging else f"--server {sh(ours.server)}"
    command = (
        f"certonly --non-interactive --webroot -w {sh(new.in_app('public'))} --cert-name {sh(domain)} {names} --expand "
        f"--keep-until-expiring {certificates.of_old(move).key} {'--agree-tos ' * ours.agree_tos}{who} {where}"
    )
    undo = f"""
[ -e before/live/{sh(domain)} ] ||
  ! grep -rqsF {sh(f"{certificates.LIVE}/{domain}/")} /etc/nginx/sites-enabled /etc/nginx/conf.d ||
  refuse "nginx uses the certificate of {domain}"
sh after/order-certificate back {sh(domain)}
"""
    return Command(
        new,
        f"sh after/order-certificate order {sh(domain)} {certificates.program(move)} {command}",
        undo,
        check="" if ours.staging else f'[ -n "$({certificates.lookup(move)})" ]',
        shown=f"certbot {command}",
        files=programs("order-certificate"),
    )


@step
def old_trusts_it(move: Move) -> Wanted:
    """old: its nginx, which passes visitors on, trusts whoever gave that certificate."""
    if not certificates.kept(move):
        return None
    old, domain = move.old, move.settings.domain
    chain = "" if move.dry else move.new.look(f"cat {sh(certificates.live(move))}/fullchain.pem").out
    bundle = certificates.BUNDLE
    trusts = f"""
certificate=$(mktemp); trap 'rm -f "$certificate"' EXIT
cat >"$certificate" <<'END'
{chain}END
said=$(openssl verify -purpose sslserver -verify_hostname {sh(domain)} -CAfile {bundle} -untrusted "$certificate" \
  "$certificate" 2>&1) || {{ printf '%s\n' "$said" | grep -m 1 -i error; exit 1; }}
"""
    # It has read them when it started, or was told to read its configuration again.
    read = f"""
worker=$(pgrep -n -f '^nginx: worker process') || exit 1
[ "$(stat -L -c %Z {bundle})" -lt $(( $(date +%s) - $(ps -o etimes= -p "$worker") )) ]
"""
    return [
        Seen(old, trusts, "old would refuse visitors: update ca-certificates there"),
        Command(
            old,
            f"{common.NGINX_TEST} -q\nsleep 1\n{common.NGINX_RELOAD}\nsleep 1",
            check=read,
            shown=common.NGINX_RELOAD,
        ),
    ]


@step
def renewed(move: Move) -> Wanted:
    """new: exactly one timer or cron job renews it, and then nginx takes the renewed one."""
    if not certificates.kept(move):
        return None
    new, live = move.new, certificates.live(move)
    wanted: list[File | Service] = []
    if not _reloads(move, live):
        content = render("templates/renewed.sh.j2", domain=move.settings.domain, live=live)
        wanted.append(File(new, HOOK, content, "root:root", "755", test_file="sh -n"))
    return [*wanted, *_scheduled(move)]


def _reloads(move: Move, live: str) -> bool:
    """Whether somebody else's hook has nginx take what was renewed."""
    name = live.rpartition("/")[2]
    options = "^(renew_hook|post_hook|deploy-hook|post-hook|renew-hook) *="
    script = f"""
cd /etc/letsencrypt
grep -hsE '{options}' renewal/{sh(name)}.conf cli.ini
for hook in renewal-hooks/deploy/* renewal-hooks/post/*; do
  [ "$PWD/$hook" = {HOOK} ] || [ ! -x "$hook" ] || cat "$hook"
done
{common.SCHEDULED}
"""
    return "nginx" in move.new.look(script).out


def _scheduled(move: Move) -> list[File | Service]:
    """What shall start renewals; nothing where exactly one thing does."""
    new = move.new
    there = new.look(common.SCHEDULED).out.splitlines()
    others = [line.strip() for line in there if UNIT not in line]
    if len(others) > 1:
        raise Problem(f"renewals are scheduled {len(others)} times: {'; '.join(others)}", str(new), "Leave one of them")
    if move.settings.certificate.certbot == "package":
        return [] if others else [Service(new, "certbot.timer", running=True, at_boot=True)]
    if others and not others[0].endswith("certbot.timer"):
        return []  # a cron job, which somebody wrote
    units = "/etc/systemd/system"
    packaged = new.look("systemctl cat certbot.timer >/dev/null 2>&1", check=False).status == 0
    service = render(
        "templates/certbot.service.j2", certbot=f"{certificates.CURRENT}/bin/certbot", bundle=certificates.BUNDLE
    )
    reload = "systemctl daemon-reload"
    return [
        File(new, f"{units}/{UNIT}.service", service, "root:root", "644", then=reload),
        File(
            new,
            f"{units}/{UNIT}.timer",
            render("templates/certbot.timer.j2", seconds=43200),
            "root:root",
            "644",
            then=reload,
        ),
        Service(new, f"{UNIT}.timer", running=True, at_boot=True),
        *([Service(new, "certbot.timer", running=False, at_boot=False)] if packaged else []),
    ]


@step
def site(move: Move) -> Wanted:
    """new: nginx shows that certificate."""
    if not certificates.kept(move):
        return None
    live, old = certificates.live(move), move.old.settings.main_address
    asked = [f'[ "$({common.ask(domain, old, common.ANSWERS, "-fk")})" = new ]' for domain in move.settings.domains]
    # Who comes by old must not wait for a person to put it back. (A reload returns before its nginx answers by it.)
    then = f"""{common.NGINX_RELOAD}
shown() {{
  echo | openssl s_client -connect 127.0.0.1:443 -servername {sh(move.settings.domain)} 2>/dev/null |
    openssl x509 -noout -serial 2>/dev/null | grep -qxF "$(openssl x509 -in {sh(live)}/cert.pem -noout -serial)"
}}
passed_on() {{ {" && ".join(asked)}; }} 2>/dev/null
case $0 in
  */apply)
    wait_until 10 shown || refuse "nginx does not show it"
    wait_until 5 passed_on || refuse "old does not pass visitors on to a server with that certificate"
    ;;
esac
"""
    content = common.nginx_site(move, live)
    return File(move.new, common.SITE, content, "root:root", "644", test=common.NGINX_TEST, then=then)


@step
def visitors_see_it(move: Move) -> Wanted:
    """new: who asks new for the production domain is shown it, and who comes by old is passed on as before."""
    if not certificates.kept(move):
        return None
    new, live = move.new, certificates.live(move)
    serial = new.look(f"openssl x509 -in {sh(live)}/cert.pem -noout -serial", check=False).out.strip()
    lines = []
    for domain in move.settings.domains:
        checked = f"-CAfile {certificates.BUNDLE} -verify_hostname {sh(domain)} -verify_return_error"
        at = f"-connect {common.host(new)}:443 -servername {sh(domain)}"
        ask = f"openssl s_client {at} {checked} </dev/null 2>/dev/null"
        shown = f'"$({ask} | openssl x509 -noout -serial)" = {sh(serial)}'
        lines.append(f"[ {shown} ] || {{ echo {sh(f'{domain} by new')}; exit 1; }}")
        # What old itself shows is as it was, for a name that its certificate lacks too.
        for server, how in ((new, "-f"), (move.old, "-fk")):
            answer = common.ask(domain, server.settings.main_address, common.ANSWERS, how)
            lines.append(f'[ "$({answer})" = new ] || {{ echo {sh(f"{domain} by {server.role}")}; exit 1; }}')
    return Seen(move.old, "\n".join(lines), "visitors are not answered with it", within=15)
