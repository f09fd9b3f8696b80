"""What breaks in the week after a move, and is seen before it: names, mail, those who deploy, third parties.

Nothing of it keeps a move from being made. Facts in, findings out; docs/check.md lists them all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import mail
from .dns import resolver, sender_policy
from .dns.resolver import Ask
from .errors import Unreached
from .findings import Checks, Found, note, warning
from .hosts import Host
from .move import Move
from .quote import sh
from .server import Server

SMTP = 25


@dataclass(frozen=True)
class Facts:
    """What `gather` found out. *ask*: the name system; *greets*: whether a mail server greets *role* at an address.

    *known*: by the name of a host, the keys that the CI host has for it; *may_deploy*: by role, the keys that may.
    *answers*: by the name of a third party, what it answers old and new.
    """

    domains: tuple[str, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]
    ask: Ask
    new_name: str = "prod2"
    sendmail: dict[str, bool] = field(default_factory=lambda: {"old": False, "new": False})
    relay: str = ""
    greets: Callable[[str, str], bool] = lambda role, address: True
    web_answers: Callable[[str], bool] = lambda address: True
    queued: tuple[int, str] = (0, "")
    host_keys: tuple[str, ...] = ()
    ci_user: str = ""
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    may_deploy: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"old": (), "new": ()})
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    rules: dict[str, tuple[str, ...] | None] = field(default_factory=lambda: {"old": (), "new": ()})


CHECKS = Checks[[Facts]]("aftercare")


# --- names ----------------------------------------------------------------------------------------------------------


@CHECKS.add
def dns_addresses(facts: Facts) -> Found:
    """The site's names lead to old, and no other name that visitors use does."""
    for domain in facts.domains:
        found = _addresses(facts.ask, domain)
        if not found:
            yield warning(f"{domain} leads nowhere", "Mend domains in the settings")
        if strange := found - {*facts.old, *facts.new}:
            do = "Visitors come by another way (a CDN?): it has to ask new; or mend old.address in the settings"
            yield warning(f"{domain} leads to {', '.join(sorted(strange))}, which is not old's", do)
        www = f"www.{domain}"
        if not domain.startswith("www.") and www not in facts.domains and _addresses(facts.ask, www) & {*facts.old}:
            do = "Add it to domains in the settings, or its visitors find nobody when old goes"
            yield warning(f"{www} leads to old too, and is not among the site's names", do)


@CHECKS.add
def aaaa(facts: Facts) -> Found:
    """Who comes by IPv6 will find new."""
    six = [a for a in facts.new if ":" in a]
    for domain in facts.domains:
        if facts.ask(domain, "AAAA") and not six:
            do = "Give new one and say it in the settings (new.address), or take the AAAA record away with the change"
            yield warning(f"{domain} has an IPv6 address (AAAA), and new has none", do)
    for address in six:
        if not facts.web_answers(address):
            do = "See its firewall and nginx (listen [::]:443), or the provider's"
            yield warning(f"new does not answer old at {address} port 443 (IPv6)", do)


@CHECKS.add
def reverse_dns(facts: Facts) -> Found:
    """New's addresses have a name in reverse that leads back to them, as far as old's have."""
    for address in facts.new:
        called = facts.ask(resolver.reverse(address), "PTR")
        if any(address in _addresses(facts.ask, name) for name in called):
            continue
        what = f"{address} is called {called[0]}, which does not lead back" if called else f"{address} has no name"
        alike = [a for a in facts.old if (":" in a) == (":" in address)]
        had = any(_leads_back(facts.ask, a) for a in alike)
        do = "Have new's provider set its PTR record: mail from there is refused, or taken for spam, by many"
        yield warning(f"reverse DNS: {what}", do) if had else note(f"reverse DNS: {what}")


# --- mail -----------------------------------------------------------------------------------------------------------


@CHECKS.add
def spf(facts: Facts) -> Found:
    """Who may send mail for the site by SPF: new as old."""
    for domain in facts.domains:
        refused = [a for a in facts.new if not sender_policy.passes(facts.ask, domain, a)]
        if refused and any(sender_policy.passes(facts.ask, domain, a) for a in facts.old):
            more = " ".join(f"ip{ipaddress.ip_address(a).version}:{a}" for a in refused)
            what = f"SPF of {domain} lets old send its mail, and not {', '.join(refused)}"
            yield warning(what, f"Add to its TXT record before the jobs move: {more}")


@CHECKS.add
def mail_server(facts: Facts) -> Found:
    """New has a mail server, where old has one."""
    if facts.sendmail["old"] and not facts.sendmail["new"]:
        do = "Install it as on old, or let the application send by somebody else's"
        yield warning("old has a mail server (/usr/sbin/sendmail), new has none", do)


@CHECKS.add
def mail_port(facts: Facts) -> Found:
    """New reaches other mail servers at port 25, where old does."""
    if not facts.sendmail["old"]:
        return
    to = facts.relay or next((mx for d in facts.domains for mx in _mail_servers(facts.ask, d)), "")
    if to and not facts.greets("new", to):
        what = f"new is not answered by {to} port {SMTP}"
        do = "Have new's provider open it (it is shut at many), or relay mail by port 587"
        yield warning(what, do) if facts.greets("old", to) else note(what)


@CHECKS.add
def mail_arrives(facts: Facts) -> Found:
    """Mail to the site's names does not arrive on old."""
    for domain in facts.domains:
        for server in _mail_servers(facts.ask, domain):
            if _addresses(facts.ask, server) & {*facts.old}:
                do = "Have it arrive elsewhere before old is switched off"
                yield warning(f"mail to {domain} arrives on old (MX {server})", do)


@CHECKS.add
def mail_queue(facts: Facts) -> Found:
    """No mail waits on old."""
    number, why = facts.queued
    if number:
        said = f" ({why})" if why else ""
        yield warning(
            f"{number} mails wait on old{said}", "See postqueue -p there: what is stuck keeps old from retiring"
        )


# --- those who deploy -----------------------------------------------------------------------------------------------


@CHECKS.add
def known_hosts(facts: Facts) -> Found:
    """Who deploys meets the host key that ssh expects."""
    for name, keys in facts.known.items():
        if not keys:
            if name == facts.new_name:
                yield note(f"ci: {facts.ci_user} does not know new's host key yet; `finish` sees to that")
        elif not {*keys} & {*facts.host_keys}:
            when = "now" if name == facts.new_name else "after the change of DNS"
            do = f"There, as {facts.ci_user}, {when}: ssh-keygen -R {name}"
            yield warning(f"ci: {facts.ci_user} knows {name} by another host key than new's: ssh refuses {when}", do)


@CHECKS.add
def deploy_keys(facts: Facts) -> Found:
    """Who may deploy to old may deploy to new."""
    lacking = [key for key in facts.may_deploy["old"] if key.split()[1:2] not in _bare(facts.may_deploy["new"])]
    if lacking:
        who = ", ".join([*key.split(), "a key without a name"][2] for key in lacking[:5])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        do = "Add their keys to ~/.ssh/authorized_keys of new.app.user, if they shall"
        yield warning(f"may deploy to old and not to new: {who}{more}", do)


# --- third parties --------------------------------------------------------------------------------------------------


@CHECKS.add
def third_parties(facts: Facts) -> Found:
    """Third parties answer new as they answer old."""
    for name, (old, new) in facts.answers.items():
        if old != new:
            do = f"Ask them to allow {', '.join(facts.new)}"
            yield warning(f"{name} answers old with {old}, and new with {new}", do)
    if not facts.answers:
        yield note("no third party is named that allows by address (third_parties in the settings)")


@CHECKS.add
def firewall_rules(facts: Facts) -> Found:
    """Whom old's firewall lets in by address, new's lets in as well."""
    old, new = facts.rules["old"], facts.rules["new"]
    if old is None or new is None:
        roles = " and ".join(role for role, rules in facts.rules.items() if rules is None)
        yield note(f"whom both firewalls let in is not compared: on {roles} firewall.kind is none")
        return
    for rule in old:
        if rule not in new:
            yield warning(f"old's firewall has a rule that new's has not: {rule}", f"On new, if it shall be: {rule}")


# --- what the checks share ------------------------------------------------------------------------------------------


def _addresses(ask: Ask, name: str) -> set[str]:
    """All addresses of a name, as the settings write them."""
    return {str(ipaddress.ip_address(a)) for kind in ("A", "AAAA") for a in ask(name, kind)}


def _leads_back(ask: Ask, address: str) -> bool:
    return any(address in _addresses(ask, name) for name in ask(resolver.reverse(address), "PTR"))


def _mail_servers(ask: Ask, domain: str) -> list[str]:
    """Who takes mail for a domain, the preferred one first."""
    found = sorted((int(one.split()[0]), one.split()[1].rstrip(".")) for one in ask(domain, "MX"))
    return [name for _, name in found if name]


def _bare(keys: Iterable[str]) -> list[list[str]]:
    return [key.split()[1:2] for key in keys]


# --- looking --------------------------------------------------------------------------------------------------------


def gather(move: Move) -> Facts:
    """Asks both servers, the CI host and the name system; changes nothing. Raises Problem where a server fails."""
    old, new, ci = move.old, move.new, move.settings.ci
    seen = {server.role: _seen(server) for server in move.servers}
    known: dict[str, tuple[str, ...]] = {}
    may_deploy = {role: tuple(_deploy_keys(found["key"])) for role, found in seen.items()}
    if ci and move.ci:
        with suppress(Unreached):  # which is a finding of its own
            known, own = _ci(move.ci, ci.user, [new.name, *move.settings.domains])
            may_deploy["old"] = tuple(k for k in may_deploy["old"] if k.split()[1:2] not in _bare(own))
    answers = {p.name: (_answer(old, p), _answer(new, p)) for p in move.settings.third_parties}
    servers = {"old": old, "new": new}
    ours = {*old.addresses, *new.addresses}
    return Facts(
        domains=move.settings.domains,
        old=tuple(old.addresses),
        new=tuple(new.addresses),
        ask=resolver.by(new),
        new_name=new.name,
        sendmail={role: bool(found["sendmail"]) for role, found in seen.items()},
        relay=next(iter(seen["new"]["relay"]), "").strip("[]").partition(":")[0].rstrip("]"),
        greets=lambda role, address: _greets(servers[role], address),
        web_answers=partial(_connects, old, port=443),
        queued=mail.queued(old),
        host_keys=tuple(line.split()[1] for line in seen["new"]["host"]),
        ci_user=ci.user if ci else "",
        known=known,
        may_deploy=may_deploy,
        answers=answers,
        rules={
            server.role: tuple(_rules(seen[server.role]["rule"], ours)) if server.firewall.rules else None
            for server in move.servers
        },
    )


def _seen(server: Server) -> dict[str, list[str]]:
    """Lines of the server's answer, by what they are about."""
    rules = f"{{ {server.firewall.rules or ':'}; }} | sed 's/^/rule /'"
    script = f"""
[ ! -x /usr/sbin/sendmail ] || echo 'sendmail yes'
! command -v postconf >/dev/null || echo "relay $(postconf -h relayhost)"
home=$(getent passwd {sh(server.app.user)} | cut -d: -f6)
sed 's/^/key /' "$home/.ssh/authorized_keys" 2>/dev/null
sed 's/^/host /' /etc/ssh/ssh_host_*_key.pub
"""
    found: dict[str, list[str]] = {name: [] for name in ("sendmail", "relay", "key", "host", "rule")}
    for line in server.look(f"{script}\n{rules}\n:").out.splitlines():
        name, _, value = line.partition(" ")
        if value.strip() and name in found:
            found[name].append(value.strip())
    return found


def _deploy_keys(lines: Iterable[str]) -> Iterator[str]:
    """Keys as `kind key comment`, without what stands before them; not those of the move."""
    for line in lines:
        found = re.search(r"((?:sk-)?(?:ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+.*)$", line)
        if found and not line.startswith("#") and "switchover" not in line:
            yield found[1]


def _rules(lines: Iterable[str], ours: set[str]) -> Iterator[str]:
    """What lets in somebody by address; not the move's own."""
    for line in lines:
        rule = line.partition(" comment ")[0]
        source = re.search(r"\bfrom (\S+)", rule)
        if source and source[1] not in ours and "switchover" not in line:
            yield rule


def _ci(ci: Host, user: str, hosts: list[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The keys that *user* of the CI host knows each of *hosts* by, and the user's own."""
    ask = "\n".join(f'ssh-keygen -F {sh(h)} -f "$known" 2>/dev/null | sed -n {sh(f"s/^[^#]/{h} &/p")}' for h in hosts)
    home = f'home=$(getent passwd {sh(user)} | cut -d: -f6); known="$home/.ssh/known_hosts"'
    out = ci.look(f'{home}\n{ask}\necho --\ncat "$home"/.ssh/id_*.pub 2>/dev/null || :').out
    lines, _, own = out.partition("--\n")
    known: dict[str, tuple[str, ...]] = dict.fromkeys(hosts, ())
    for host, _, _, key, *_ in (line.split() for line in lines.splitlines()):
        known[host] += (key,)
    return known, own.splitlines()


def _answer(server: Server, party: Any) -> str:
    """What a third party answers *server*: the status of a page, or that a port is open."""
    if party.url:
        return server.look(f"curl -sS -o /dev/null -m 15 -w '%{{http_code}}' {sh(party.url)}", check=False).out or "000"
    return "a connection" if _connects(server, party.host, party.port) else "silence"


def _connects(server: Server, address: str, port: int) -> bool:
    try:
        server.dial(address, port).close()
    except OSError:
        return False
    return True


def _greets(server: Server, address: str) -> bool:
    try:
        with closing(server.dial(address, SMTP)) as line:
            return bytes(line.recv(3)) == b"220"
    except OSError:
        return False
