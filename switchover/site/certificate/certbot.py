"""A certificate that certbot orders from an ACME authority, and renews."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from ... import certificates, output
from ...desired import Nothing, Precondition, Resource
from ...errors import Problem
from ...findings import Found, blocker, good, warning
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

LIVE = "/etc/letsencrypt/live"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/nginx"
UNIT = "certbot-renew"
CURRENT = "/opt/certbot"  # where a current release has its environment
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
RENEWALS = program("renewals.sh").decode()
Parts = list[Resource | Precondition]


class Settings(certificate.Settings):
    """It is ordered from an ACME authority."""

    kind: Literal["certbot"] = "certbot"
    """It is ordered from an ACME authority."""
    certbot: Literal["package", "current"] = "package"
    """`package`: the distribution's; `current`: the current release, in an environment of its own."""
    version: Annotated[str, Form(r"[0-9]+([.][0-9]+)*", "a version, in quotes, like '5.8.0'")] | None = None
    """With `certbot: current`: this release instead, in quotes."""
    server: Annotated[str, Form(r"""https://[^\s"'\\]+""", "an address like https://acme.example.org/directory")] = (
        f"{LETS_ENCRYPT}directory"
    )
    """The authority's directory; Let's Encrypt's unless it is given."""
    email: Email | None = None
    """Where the authority writes to before the certificate ends; optional."""
    agree_tos: Flag = False
    """Say `true` when you have read the authority's terms and agree to them."""
    staging: Flag = False
    """A trial with the authority's staging, of which nothing is kept."""

    def on(self, place: certificate.Place) -> Certbot:
        """The certificate that goes there."""
        return Certbot(place, self)


class Certbot(certificate.Certificate[Settings]):
    """A certificate of every production domain, by the challenge that comes to port 80."""

    @property
    def _domains(self) -> tuple[str, ...]:
        return self.place.front.domains

    @property
    def _domain(self) -> str:
        return self._domains[0]

    @property
    def _old(self) -> certificates.Shown:
        """What old shows."""
        return certificates.shown_by(self.place.front.other, self.place.old_fullchain)

    @property
    def program(self) -> str:
        """certbot, as new runs it; by the authorities that new itself trusts."""
        where = f"{CURRENT}/bin/certbot" if self.settings.certbot == "current" else "certbot"
        return f"env REQUESTS_CA_BUNDLE={BUNDLE} {where}"

    @property
    def trial(self) -> str:
        """What certbot is told for a trial, of which nothing is kept: it asks Let's Encrypt's staging by itself."""
        ours = self.settings.server.startswith(LETS_ENCRYPT)
        return "--dry-run" if ours else f"--dry-run --server {sh(self.settings.server)}"

    @property
    def account(self) -> str:
        """sh: the accounts of the authority that certbot has already."""
        trial = self.settings.staging and self.settings.server.startswith(LETS_ENCRYPT)
        server = STAGING if trial else self.settings.server
        return f"ls -d /etc/letsencrypt/accounts/{sh(server.removeprefix('https://'))}/*/ 2>/dev/null"

    def _named(self, domains: tuple[str, ...]) -> str:
        """sh, with renewals.sh at hand: the name that certbot gave to a certificate of every domain, if it is good."""
        return f"named {sh(self.settings.server)} {' '.join(sh(domain) for domain in domains)}"

    def name(self) -> str:
        """That name; empty without such a certificate. It only looks."""
        return self.server.look(f"{RENEWALS}\n{self._named(self._domains)}").out.strip()

    def live(self) -> str:
        """The directory of that certificate; under --dry the one where it will be. Raises Problem without one."""
        name = self.name()
        if not name and not self.server.dry:
            raise Problem("it has no certificate of its own yet", str(self.server), "Run: inv expand-cert.order")
        return f"{LIVE}/{name or self._domain}"

    @property
    def _trial(self) -> Nothing | None:
        """Why nothing more is wanted after a trial."""
        return (
            Nothing("a trial brings no certificate, as certificate.staging is true") if self.settings.staging else None
        )

    def installed(self) -> Parts:
        """certbot is there, by whatever way it came; or a current release in an environment of its own."""
        if self.settings.certbot == "current":
            return [packages(self.server, "python3-venv", "/etc/letsencrypt"), self._environment()]
        return [packages(self.server, "certbot", "/etc/letsencrypt", installed="command -v certbot >/dev/null")]

    def _environment(self) -> Command:
        version = self.settings.version
        what = f"certbot=={version}" if version else "certbot"
        return Command(
            self.server,
            f"sh after/certbot-environment make {CURRENT} {sh(what)}",
            f"sh after/certbot-environment remove {CURRENT}",
            f"{CURRENT}/bin/certbot --version 2>/dev/null | grep -qx 'certbot {version or '.*'}'",
            shown=f"pip install {what} in {CURRENT}",
            files=programs("certbot-environment"),
            part="environment",
        )

    def challenge_passes(self) -> Parts:
        """new: is asked by old what the authority asks, by plain HTTP."""
        lines = []
        for domain in self._domains:
            at = f"--resolve {sh(f'{domain}:80:{host(self.place.front.other)}')}"
            lines.append(f"said=$(curl -sS -m 10 {at} {sh(f'http://{domain}{CHALLENGE}')} 2>&1)")
            lines.append(
                f"""[ "$said" = new ] || {{ echo {sh(domain)}": $(printf '%s' "$said" | head -n 1)"; exit 1; }}"""
            )
        otherwise = "the authority would not find new's answer by old: inv switch-app"
        return [succeeds(self.server, "\n".join(lines), otherwise, within=3)]

    def ordered(self) -> Parts:
        """certbot orders it, or has it. Raises Problem where nobody has agreed to the authority's terms."""
        ours, domain, new = self.settings, self._domain, self.server
        if not (ours.agree_tos or self.server.dry or self.name() or new.look(self.account, check=False).out):
            what = f"nobody has agreed to the terms of {ours.server}"
            do = "Read them, then say in the settings: certificate: {agree_tos: true}"
            raise Problem(what, str(new), do)
        command = self._order()
        # An order that is taken back while nginx uses it would leave that without a certificate.
        used = f"grep -rqsF {sh(f'{LIVE}/{domain}/')} /etc/nginx/sites-enabled /etc/nginx/conf.d"
        undo = f"""
[ -e before/live/{sh(domain)} ] || ! {used} || refuse "nginx uses the certificate of {domain}"
sh after/order-certificate back {sh(domain)}
"""
        return [
            Command(
                new,
                f"sh after/order-certificate order {sh(domain)} {self.program} {command}",
                undo,
                check="" if ours.staging else f'{RENEWALS}\n[ -n "$({self._named(self._domains)})" ]',
                shown=f"certbot {command}",
                files=programs("order-certificate"),
            )
        ]

    def _order(self) -> str:
        ours, domain = self.settings, self._domain
        names = " ".join(f"-d {sh(name)}" for name in self._domains)
        who = f"--no-eff-email --email {sh(ours.email)}" if ours.email else "--register-unsafely-without-email"
        where = self.trial if ours.staging else f"--server {sh(ours.server)}"
        how = f"--expand --keep-until-expiring {self._old.key} {'--agree-tos ' * ours.agree_tos}"
        webroot = sh(self.place.app.within("public"))
        return f"certonly --non-interactive --webroot -w {webroot} --cert-name {sh(domain)} {names} {how}{who} {where}"

    def trusted(self) -> Nothing | Parts:
        """old: its web server would take the certificate for new's, by the authorities that it has read."""
        if self._trial:
            return self._trial
        old, web, domain = self.place.front.other, self.place.old_web, self._domain
        chain = "" if self.server.dry else self.server.look(f"cat {sh(self.live())}/fullchain.pem").out
        trusts = f"{program('trusts.sh').decode()}\ntrusts {sh(domain)} {BUNDLE} {sh(chain)}"
        reload = f"{web.test} -q\nsleep 1\n{web.reload}\nsleep 1"
        return [
            succeeds(old, trusts, "old would refuse visitors: update ca-certificates there"),
            Command(old, reload, check=web.reads_again(BUNDLE), shown=web.reload_shown),
        ]

    def renewed(self) -> Nothing | Parts:
        """A hook has the web server take what was renewed; and one timer or cron job renews."""
        if self._trial:
            return self._trial
        live = self.live()
        hooks = f"{RENEWALS}\nhooks {sh(live.rpartition('/')[2])} {HOOK}"
        if "nginx" in self.server.look(hooks).out:  # somebody else's
            return self._scheduled()
        content = render("templates/renewed.sh.j2", domain=self._domain, live=live)
        return [File(self.server, HOOK, content, "root:root", "755", test_file="sh -n"), *self._scheduled()]

    def _scheduled(self) -> Parts:
        """What shall start renewals; nothing where exactly one thing does. Raises Problem where more do."""
        new = self.server
        others = [line.strip() for line in certificates.scheduled(new) if UNIT not in line]
        if len(others) > 1:
            what = f"renewals are scheduled {len(others)} times: {'; '.join(others)}"
            raise Problem(what, str(new), "Leave one of them")
        if self.settings.certbot == "package":
            return [] if others else [Service(new, "certbot.timer", running=True, at_boot=True)]
        if others and not others[0].endswith("certbot.timer"):
            return []  # a cron job, which somebody wrote
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

    def shown(self) -> Nothing | Parts:
        """The site's file names it; where visitors who come by old would not be passed on any more it goes back."""
        if self._trial:
            return self._trial
        live, old, web = self.live(), self.place.front.other.main_address, self.place.web
        asked = [f'[ "$({ask(domain, old, ANSWERS, "-fk")})" = new ]' for domain in self._domains]
        # Who comes by old must not wait for a person to put it back.
        shows = f"sh after/certificate-shown {sh(self._domain)} {sh(live)}/cert.pem"
        passed_on = f"sh -c {sh('{ ' + ' && '.join(asked) + '; } 2>/dev/null')}"
        then = f"""{web.reload}
if [ "${{0##*/}}" = apply ]; then
  wait_until 10 {shows} || refuse "nginx does not show it"
  wait_until 5 {passed_on} || refuse "old does not pass visitors on to a server with that certificate"
fi
"""
        front = replace(self.place.front, fullchain=f"{live}/fullchain.pem", key=f"{live}/privkey.pem")
        site = web.answers(front, then)
        return [replace(site, files=programs("certificate-shown"))]

    def seen(self) -> Nothing | Parts:
        """old: by new's address it is shown and good, by old's visitors are passed on as before."""
        if self._trial:
            return self._trial
        live = sh(self.live())
        serial = self.server.look(f"openssl x509 -in {live}/cert.pem -noout -serial", check=False).out.strip()
        lines = []
        for domain in self._domains:
            checked = f"-CAfile {BUNDLE} -verify_hostname {sh(domain)} -verify_return_error"
            at = f"-connect {host(self.server)}:443 -servername {sh(domain)}"
            asks = f"openssl s_client {at} {checked} </dev/null 2>/dev/null"
            shown = f'"$({asks} | openssl x509 -noout -serial)" = {sh(serial)}'
            lines.append(f"[ {shown} ] || {{ echo {sh(f'{domain} by new')}; exit 1; }}")
            # What old itself shows is as it was, for a name that its certificate lacks too.
            for server, how in ((self.server, "-f"), (self.place.front.other, "-fk")):
                answer = ask(domain, server.main_address, ANSWERS, how)
                lines.append(f'[ "$({answer})" = new ] || {{ echo {sh(f"{domain} by {server.role}")}; exit 1; }}')
        return [succeeds(self.place.front.other, "\n".join(lines), "visitors are not answered with it", within=15)]

    def renews(self) -> Nothing | Parts:
        """certbot tries its renewal; where old's is still shown it says who renews that: nobody."""
        if self._trial:
            return self._trial
        name = self.name()
        if not name:
            return [Precondition(self._nobody_renews)]
        command = f"renew --cert-name {sh(name)} --no-random-sleep-on-renew {self.trial}"
        run = f"sh after/order-certificate try {self.program} {command}"
        return [Command(self.server, run, shown=f"certbot {command}", files=programs("order-certificate"))]

    def _nobody_renews(self) -> None:
        ends = self._old.ends
        what = f"{self._domain} has old's certificate on new, which nobody renews there and which ends on {ends}"
        output.outcome(Outcome.NOTE, f"{what}: inv expand-cert")

    def stays(self) -> Nothing | Parts:
        """The web server shows one that certbot renews, and exactly one thing has it do that."""
        if self._trial:
            return self._trial

        def missing() -> str | None:
            name = self.name()
            uses = f"grep -qF {sh(f'{LIVE}/{name}/')} {sh(self.place.web.site)}"
            if (
                name
                and self.server.look(uses, check=False).status == 0
                and len(certificates.scheduled(self.server)) == 1
            ):
                return None
            return f"{self._domain} has no certificate on new that is renewed there: inv expand-cert"

        return [Precondition(missing)]

    def check(self) -> Found:
        """The authority's terms are agreed to, and it will be of every name that old's is of."""
        ours = self.settings
        agreed = ours.agree_tos or bool(self.server.look(self.account, check=False).out)
        do = "Read them and say in the settings: certificate: {agree_tos: true}; or {kind: copied}"
        what = f"the terms of {ours.server} are agreed to"
        yield good(what) if agreed else blocker(what, do)
        if names := [name for name in self._old.names if name not in self._domains]:
            what = f"old's certificate is of {', '.join(names)} too, new's will not be"
            yield warning(what, "Where visitors use it: add it to domains")
