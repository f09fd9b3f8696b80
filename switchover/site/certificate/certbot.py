"""A certificate that certbot orders from an ACME authority, and renews."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from ... import certificates, output
from ...certificates import RENEWALS
from ...desired import Desired, Precondition, Resource
from ...errors import Problem
from ...findings import Found, blocker, good, warning
from ...hosts import Host
from ...http import ANSWERS, CHALLENGE, ask, host
from ...outcome import Outcome
from ...programs import program, programs
from ...quote import sh
from ...render import render
from ...resources.command import Command
from ...resources.file import File
from ...resources.package import packages
from ...resources.precondition import succeeds
from ...resources.service import Service
from ...vocabulary import Email, Flag, Form
from .. import certificate
from ..kinds import nothing

LIVE = "/etc/letsencrypt/live"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/nginx"
UNIT = "certbot-renew"
CURRENT = "/opt/certbot"  # the environment of a current release
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
URL = Form(r"""https://[^\s"'\\]+""", "an address like https://acme.example.org/directory")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
Parts = list[Resource | Precondition]


class Settings(certificate.Settings):
    """It is ordered from an ACME authority."""

    certbot: Literal["package", "current"] = "package"
    """`package`: the distribution's; `current`: the current release, in its own Python environment."""
    version: Annotated[str, Form(r"[0-9]+([.][0-9]+)*", "a version, in quotes, like '5.8.0'")] | None = None
    """With `certbot: current`: another release, in quotes."""
    server: Annotated[str, URL] = f"{LETS_ENCRYPT}directory"
    """The authority's directory URL; Let's Encrypt's if it is left out."""
    email: Email | None = None
    """Where the authority may write to you; optional."""
    agree_tos: Flag = False
    """Set it to `true` when you have read the authority's terms and agree to them."""
    staging: Flag = False
    """A trial run with the authority's staging server; nothing is kept."""


class Certbot(certificate.Certificate[Settings]):
    """A certificate for every production domain, by the HTTP challenge at port 80."""

    def __new__(cls, server: Host, settings: Settings, *_: Any) -> Certbot:
        """The same, or a trial run."""
        return super().__new__(Trial if settings.staging else cls)

    def __post_init__(self) -> None:
        settings, self._domains = self.settings, self.front.domains
        self._domain = self._domains[0]
        # It trusts the authorities that new itself trusts.
        certbot = f"{CURRENT}/bin/certbot" if settings.certbot == "current" else "certbot"
        self.program = f"env REQUESTS_CA_BUNDLE={BUNDLE} {certbot}"
        # certbot's options for a trial run, which keeps nothing; for Let's Encrypt that is its staging server.
        authority, self.trial = settings.server, f"--dry-run --server {sh(settings.server)}"
        if authority.startswith(LETS_ENCRYPT):
            authority, self.trial = STAGING if settings.staging else authority, "--dry-run"
        # sh: prints the accounts that certbot has with the authority.
        self._accounts = f"ls -d /etc/letsencrypt/accounts/{sh(authority.removeprefix('https://'))}/*/ 2>/dev/null"
        # sh, with renewals.sh: prints the name of a valid certificate for every domain, as certbot calls it.
        self._named = f"named {sh(settings.server)} {' '.join(sh(domain) for domain in self._domains)}"

    @property
    def _old(self) -> certificates.CertificateFacts:
        """Old's certificate."""
        return certificates.read_on(self.front.other, self.old_fullchain)

    def name(self) -> str:
        """The name of that certificate in certbot; empty where there is none. It only looks."""
        return self.server.look(f"{RENEWALS}\n{self._named}").out.strip()

    def live(self) -> str:
        """The directory of that certificate; under --dry where it will be. Raises Problem where there is none."""
        name = self.name()
        if not name and not self.server.dry:
            raise Problem("there is no certificate of its own yet", str(self.server), "Run: inv expand-cert.order")
        return f"{LIVE}/{name or self._domain}"

    def installed(self) -> Parts:
        """certbot is there, however it was installed; or a current release in its own Python environment."""
        if self.settings.certbot == "current":
            return [packages(self.server, "python3-venv", "/etc/letsencrypt"), self._environment()]
        return [packages(self.server, "certbot", "/etc/letsencrypt", installed="command -v certbot >/dev/null")]

    def _environment(self) -> Command:
        version = self.settings.version
        what = f"certbot=={version}" if version else "certbot"
        run, undo = (f"sh after/certbot-environment {verb} {CURRENT}" for verb in ("make", "remove"))
        check = f"{CURRENT}/bin/certbot --version 2>/dev/null | grep -qx 'certbot {version or '.*'}'"
        shown, files = f"pip install {what} in {CURRENT}", programs("certbot-environment")
        return Command(self.server, f"{run} {sh(what)}", undo, check, shown, files=files, part="environment")

    def challenge_passes(self) -> Parts:
        """old: proxies the authority's challenge, which is plain HTTP, to new."""
        lines = []
        for domain in self._domains:
            at = f"--resolve {sh(f'{domain}:80:{host(self.front.other)}')}"
            lines.append(f"answer=$(curl -sS -m 10 {at} {sh(f'http://{domain}{CHALLENGE}')} 2>&1)")
            failed = f"""echo {sh(domain)}": $(printf '%s' "$answer" | head -n 1)"; exit 1"""
            lines.append(f'[ "$answer" = new ] || {{ {failed}; }}')
        otherwise = "old does not proxy the authority's challenge to new. Run: inv switch-app"
        return [succeeds(self.server, "\n".join(lines), otherwise, within=3)]

    def ordered(self) -> Command:
        """certbot orders it, or has it. Raises Problem where the authority's terms are not agreed to."""
        ours, domain, new = self.settings, self._domain, self.server
        if not (ours.agree_tos or self.server.dry or self.name() or new.look(self._accounts, check=False).out):
            do = "Read them, then set `certificate: {agree_tos: true}`"
            raise Problem(f"the terms of {ours.server} are not agreed to", str(new), do)
        command = self._order()
        # Undone while nginx uses it, the order would leave nginx without a certificate.
        used = f"grep -rqsF {sh(f'{LIVE}/{domain}/')} /etc/nginx/sites-enabled /etc/nginx/conf.d"
        undo = f"""
[ -e before/live/{sh(domain)} ] || ! {used} || refuse "nginx uses the certificate of {domain}"
sh after/order-certificate back {sh(domain)}
"""
        run = f"sh after/order-certificate order {sh(domain)} {self.program} {command}"
        check = "" if ours.staging else f'{RENEWALS}\n[ -n "$({self._named})" ]'
        return Command(new, run, undo, check, f"certbot {command}", files=programs("order-certificate"))

    def _order(self) -> str:
        ours, domain = self.settings, self._domain
        names = " ".join(f"-d {sh(name)}" for name in self._domains)
        who = f"--no-eff-email --email {sh(ours.email)}" if ours.email else "--register-unsafely-without-email"
        where = self.trial if ours.staging else f"--server {sh(ours.server)}"
        how = f"--expand --keep-until-expiring {self._old.key} {'--agree-tos ' * ours.agree_tos}"
        webroot = sh(self.web.app.within("public"))
        return f"certonly --non-interactive --webroot -w {webroot} --cert-name {sh(domain)} {names} {how}{who} {where}"

    def trusted(self) -> Desired:
        """old: its web server would accept the certificate, by the list of authorities that it has read."""
        old, web, domain = self.front.other, self.old_web, self._domain
        chain = "" if self.server.dry else self.server.look(f"cat {sh(self.live())}/fullchain.pem").out
        trusts = f"{program('trusts.sh').decode()}\ntrusts {sh(domain)} {BUNDLE} {sh(chain)}"
        reload = f"{web.test} -q\nsleep 1\n{web.reload}\nsleep 1"
        otherwise = "old does not trust the authority: run `apt-get install ca-certificates` there"
        read = Command(old, reload, check=web.reads_again(BUNDLE), shown=web.reload_shown)
        return [succeeds(old, trusts, otherwise), read]

    def renewed(self) -> Desired:
        """A hook makes the web server load the renewed certificate; and one timer or cron job renews it."""
        live = self.live()
        hooks = f"{RENEWALS}\nhooks {sh(live.rpartition('/')[2])} {HOOK}"
        if "nginx" in self.server.look(hooks).out:  # somebody's own hook
            return self._scheduled()
        content = render("templates/renewed.sh.j2", domain=self._domain, live=live)
        return [File(self.server, HOOK, content, "root:root", "755", test_file="sh -n"), *self._scheduled()]

    def _scheduled(self) -> Parts:
        """What shall start renewals; nothing where exactly one thing does already. Raises Problem where more do."""
        new = self.server
        others = [line.strip() for line in certificates.scheduled(new) if UNIT not in line]
        if len(others) > 1:
            what = f"renewals are scheduled {len(others)} times: {'; '.join(others)}"
            raise Problem(what, str(new), "Remove all but one")
        if self.settings.certbot == "package":
            return [] if others else [Service(new, "certbot.timer", running=True, at_boot=True)]
        if others and not others[0].endswith("certbot.timer"):
            return []  # somebody's own cron job
        return self._own_timer()

    def _own_timer(self) -> Parts:
        new, units, reload = self.server, "/etc/systemd/system", "systemctl daemon-reload"
        packaged = new.look("systemctl cat certbot.timer >/dev/null 2>&1", check=False).status == 0
        service = render("templates/certbot.service.j2", certbot=f"{CURRENT}/bin/certbot", bundle=BUNDLE)
        timer = render("templates/certbot.timer.j2", seconds=43200)
        return [
            File(new, f"{units}/{UNIT}.service", service, "root:root", "644", then=reload),
            File(new, f"{units}/{UNIT}.timer", timer, "root:root", "644", then=reload),
            Service(new, f"{UNIT}.timer", running=True, at_boot=True),
            *([Service(new, "certbot.timer", running=False, at_boot=False)] if packaged else []),
        ]

    def _answered(self, domain: str, server: Host, how: str) -> str:
        """sh: succeeds where *server* answers for *domain* with new's page; *how*: curl's options."""
        return f'[ "$({ask(domain, server.main_address, ANSWERS, how)})" = new ]'

    def shown(self) -> Desired:
        """The site's file names it; it is reverted at once where old then no longer proxies visitors."""
        live, old, web = self.live(), self.front.other, self.web
        asked = [self._answered(domain, old, "-fk") for domain in self._domains]
        # Visitors who are proxied by old must not wait until a person reverts it.
        shows = f"sh after/certificate-shown {sh(self._domain)} {sh(live)}/cert.pem"
        passed_on = f"sh -c {sh('{ ' + ' && '.join(asked) + '; } 2>/dev/null')}"
        then = f"""{web.reload}
if [ "${{0##*/}}" = apply ]; then
  wait_until 10 {shows} || refuse "nginx does not serve it"
  wait_until 5 {passed_on} || refuse "old does not proxy visitors to a server with that certificate"
fi
"""
        front = replace(self.front, fullchain=f"{live}/fullchain.pem", key=f"{live}/privkey.pem")
        return [replace(web.answers(front, then), files=programs("certificate-shown"))]

    def seen(self) -> Desired:
        """old: new serves it, and it is valid; old proxies visitors as before."""
        live = sh(self.live())
        serial = self.server.look(f"openssl x509 -in {live}/cert.pem -noout -serial", check=False).out.strip()
        lines = []
        for domain in self._domains:
            checked = f"-CAfile {BUNDLE} -verify_hostname {sh(domain)} -verify_return_error"
            at = f"-connect {host(self.server)}:443 -servername {sh(domain)}"
            asks = f"openssl s_client {at} {checked} </dev/null 2>/dev/null"
            shown = f'"$({asks} | openssl x509 -noout -serial)" = {sh(serial)}'
            lines.append(f"[ {shown} ] || {{ echo {sh(f'{domain} by new')}; exit 1; }}")
            # Old's own certificate may lack a name, so it is not checked.
            for server, how in ((self.server, "-f"), (self.front.other, "-fk")):
                failed = f"{{ echo {sh(f'{domain} by {server.role}')}; exit 1; }}"
                lines.append(f"{self._answered(domain, server, how)} || {failed}")
        return [succeeds(self.front.other, "\n".join(lines), "visitors do not get it", within=15)]

    def renews(self) -> Desired:
        """certbot tests its renewal; where new still serves old's certificate, a note says that nobody renews that."""
        name = self.name()
        if not name:
            return [Precondition(self._nobody_renews)]
        command = f"renew --cert-name {sh(name)} --no-random-sleep-on-renew {self.trial}"
        run = f"sh after/order-certificate try {self.program} {command}"
        return [Command(self.server, run, shown=f"certbot {command}", files=programs("order-certificate"))]

    def _nobody_renews(self) -> None:
        ends = self._old.ends
        what = f"new serves {self._domain} with old's certificate, which is not renewed there and ends on {ends}"
        if self.server.look(f"[ -e {sh(self.web.site)} ]", check=False).status == 0:
            output.outcome(Outcome.NOTE, f"{what}. Run: inv expand-cert")

    def stays(self) -> Desired:
        """The web server serves one that certbot renews, and exactly one timer or cron job runs certbot."""

        def missing() -> str | None:
            name = self.name()
            used = self.server.look(f"grep -qF {sh(f'{LIVE}/{name}/')} {sh(self.web.site)}", check=False)
            if name and used.status == 0 and len(certificates.scheduled(self.server)) == 1:
                return None
            return f"{self._domain} has no certificate on new that is renewed there. Run: inv expand-cert"

        return [Precondition(missing)]

    def check(self) -> Found:
        """The authority's terms are agreed to, and it will be for every name that old's is for."""
        ours = self.settings
        agreed = ours.agree_tos or bool(self.server.look(self._accounts, check=False).out)
        do = "Read them and set `certificate: {agree_tos: true}`; or `certificate: {kind: copied}`"
        terms = f"the terms of {ours.server}"
        yield good(f"{terms} are agreed to") if agreed else blocker(f"{terms} are not agreed to", do)
        if names := [name for name in self._old.names if name not in self._domains]:
            what = f"old's certificate is also for {', '.join(names)}, new's will not be"
            yield warning(what, "Add what visitors use to `domains:`")


class Trial(Certbot):
    """A trial run: the order is tried, and as it brings no certificate, nothing follows."""

    trusted = renewed = shown = seen = renews = stays = nothing(
        "a trial run brings no certificate, as certificate.staging is true"
    )
