"""What would break in the week after a move, found before it: DNS, mail, deploys, third parties.

None of it blocks a move. Facts in, findings out; docs/check.md lists them all.
"""

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
from .findings import Checks, Found, listed, note, warning
from .hosts import Host
from .move import Move
from .quote import sh
from .server import Server

SMTP = 25


@dataclass(frozen=True)
class SiteFacts:
    """What `gather` found out. *ask*: DNS; *greets*: whether a mail server greets *role* at an address.

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


CHECKS = Checks[[SiteFacts]]("aftercare")


# --- names ----------------------------------------------------------------------------------------------------------


@CHECKS.add
def dns_addresses(facts: SiteFacts) -> Found:
    """The site's domains resolve to old, and no other name that visitors use does."""
    for domain in facts.domains:
        addresses = _addresses(facts.ask, domain)
        if not addresses:
            yield warning(f"{domain} does not resolve", "Fix `domains:`; to leave DNS alone set `dns: {kind: none}`")
        if strange := addresses - {*facts.old, *facts.new}:
            do = "If visitors pass a proxy (a CDN?), it has to ask new; or fix `old.address`"
            yield warning(f"{domain} resolves to {', '.join(sorted(strange))}, which is not old's", do)
        www = f"www.{domain}"
        if not domain.startswith("www.") and www not in facts.domains and _addresses(facts.ask, www) & {*facts.old}:
            do = "Add it to `domains:`, or its visitors get no answer once old is gone"
            yield warning(f"{www} resolves to old too, and is not in `domains:`", do)


@CHECKS.add
def aaaa(facts: SiteFacts) -> Found:
    """Visitors with IPv6 will reach new."""
    six = [address for address in facts.new if ":" in address]
    for domain in facts.domains:
        if facts.ask(domain, "AAAA") and not six:
            do = "Give new one and add it to `new.address`, or remove the AAAA record at the switch"
            yield warning(f"{domain} has an IPv6 address (AAAA), and new has none", do)
    for address in six:
        if not facts.web_answers(address):
            do = "Check its firewall and nginx (listen [::]:443), or the provider's firewall"
            yield warning(f"new does not answer at {address} port 443 (IPv6; asked from old)", do)


@CHECKS.add
def reverse_dns(facts: SiteFacts) -> Found:
    """new's addresses have reverse DNS that resolves back to them, as far as old's have."""
    for address in facts.new:
        if _resolves_back(facts.ask, address):
            continue
        names = facts.ask(resolver.reverse(address), "PTR")
        what = f"{address} is {names[0]}, which does not resolve back" if names else f"{address} has no name"
        alike = [other for other in facts.old if (":" in other) == (":" in address)]
        do = "Ask new's provider to set its PTR record: many servers refuse mail from there or take it for spam"
        if any(_resolves_back(facts.ask, other) for other in alike):
            yield warning(f"reverse DNS: {what}", do)
        else:
            yield note(f"reverse DNS: {what}")


# --- mail -----------------------------------------------------------------------------------------------------------


@CHECKS.add
def spf(facts: SiteFacts) -> Found:
    """SPF allows new to send the site's mail, as it allows old."""
    for domain in facts.domains:
        refused = [address for address in facts.new if not sender_policy.passes(facts.ask, domain, address)]
        if refused and any(sender_policy.passes(facts.ask, domain, address) for address in facts.old):
            more = " ".join(f"ip{ipaddress.ip_address(address).version}:{address}" for address in refused)
            what = f"SPF of {domain} allows old to send its mail, but not {', '.join(refused)}"
            yield warning(what, f"Before `switch-jobs` add to its TXT record: {more}")


@CHECKS.add
def mail_server(facts: SiteFacts) -> Found:
    """new has a mail server if old has one."""
    if facts.sendmail["old"] and not facts.sendmail["new"]:
        do = "Install it as on old, or let the application send through another one"
        yield warning("old has a mail server (/usr/sbin/sendmail), new has none", do)


@CHECKS.add
def mail_port(facts: SiteFacts) -> Found:
    """new reaches other mail servers at port 25 if old does."""
    if not facts.sendmail["old"]:
        return
    to = facts.relay or next((mx for d in facts.domains for mx in _mail_servers(facts.ask, d)), "")
    if to and not facts.greets("new", to):
        what = f"{to} port {SMTP} does not answer new"
        do = "Ask new's provider to open port 25 (many close it), or send through a mail relay at port 587"
        yield warning(what, do) if facts.greets("old", to) else note(what)


@CHECKS.add
def mail_arrives(facts: SiteFacts) -> Found:
    """Mail to the site's domains does not arrive on old."""
    for domain in facts.domains:
        for server in _mail_servers(facts.ask, domain):
            if _addresses(facts.ask, server) & {*facts.old}:
                do = "Receive it elsewhere before old is switched off"
                yield warning(f"mail to {domain} arrives on old (MX {server})", do)


@CHECKS.add
def mail_queue(facts: SiteFacts) -> Found:
    """No mail waits on old."""
    number, why = facts.queued
    if number:
        what = f"{number} mails are queued on old" + (f" ({why})" if why else "")
        yield warning(what, "See `postqueue -p` there: `retire-old` waits for them")


# --- deploys --------------------------------------------------------------------------------------------------------


@CHECKS.add
def known_hosts(facts: SiteFacts) -> Found:
    """Whoever deploys knows the host key that ssh expects."""
    for name, keys in facts.known.items():
        if not keys and name == facts.new_name:
            yield note(f"ci: {facts.ci_user} does not know new's host key yet; `finish` adds it")
        elif keys and not {*keys} & {*facts.host_keys}:
            when = "now" if name == facts.new_name else "after the DNS change"
            do = f"On ci, as {facts.ci_user}, {when}: ssh-keygen -R {name}"
            yield warning(f"ci: {facts.ci_user} knows another host key for {name} than new's: ssh refuses {when}", do)


@CHECKS.add
def deploy_keys(facts: SiteFacts) -> Found:
    """Everybody who may deploy to old may deploy to new."""
    lacking = [key for key in facts.may_deploy["old"] if key.split()[1:2] not in _bare(facts.may_deploy["new"])]
    if lacking:
        who = listed([*key.split(), "a key without a name"][2] for key in lacking)
        do = "Add their keys to ~/.ssh/authorized_keys of new.app.user if they should deploy"
        yield warning(f"may deploy to old but not to new: {who}", do)


# --- third parties --------------------------------------------------------------------------------------------------


@CHECKS.add
def third_parties(facts: SiteFacts) -> Found:
    """Third parties answer new as they answer old."""
    for name, (old, new) in facts.answers.items():
        if old != new:
            do = f"Ask them to allow {', '.join(facts.new)}"
            yield warning(f"{name} answers old with {old}, new with {new}", do)
    if not facts.answers:
        yield note("the settings name no third party that allows by address (third_parties)")


@CHECKS.add
def firewall_rules(facts: SiteFacts) -> Found:
    """new's firewall has every rule of old's that allows an address."""
    old, new = facts.rules["old"], facts.rules["new"]
    if old is None or new is None:
        roles = " and ".join(role for role, rules in facts.rules.items() if rules is None)
        yield note(f"firewall rules are not compared: firewall.kind is none on {roles}")
        return
    for rule in old:
        if rule not in new:
            yield warning(f"old's firewall has a rule that new's lacks: {rule}", f"If new needs it, run there: {rule}")


# --- what the checks share ------------------------------------------------------------------------------------------


def _addresses(ask: Ask, name: str) -> set[str]:
    """All addresses of a name, as the settings write them."""
    return {str(ipaddress.ip_address(address)) for kind in ("A", "AAAA") for address in ask(name, kind)}


def _resolves_back(ask: Ask, address: str) -> bool:
    return any(address in _addresses(ask, name) for name in ask(resolver.reverse(address), "PTR"))


def _mail_servers(ask: Ask, domain: str) -> list[str]:
    """The mail servers of a domain, the preferred one first."""
    records = sorted((int(record.split()[0]), record.split()[1].rstrip(".")) for record in ask(domain, "MX"))
    return [name for _, name in records if name]


def _bare(keys: Iterable[str]) -> list[list[str]]:
    return [key.split()[1:2] for key in keys]


# --- looking --------------------------------------------------------------------------------------------------------


def gather(move: Move) -> SiteFacts:
    """Asks both servers, the CI host and DNS; changes nothing. Raises Problem where a server fails."""
    old, new, ci = move.old, move.new, move.settings.ci
    answers = {server.role: _ask(server) for server in move.servers}
    known: dict[str, tuple[str, ...]] = {}
    may_deploy = {role: tuple(_deploy_keys(answer["key"])) for role, answer in answers.items()}
    if ci and move.ci:
        with suppress(Unreached):  # that is a finding of its own
            known, own = _ci(move.ci, ci.user, [new.name, *move.settings.domains])
            may_deploy["old"] = tuple(key for key in may_deploy["old"] if key.split()[1:2] not in _bare(own))
    parties = {party.name: (_of_party(old, party), _of_party(new, party)) for party in move.settings.third_parties}
    servers = {"old": old, "new": new}
    ours = {*old.addresses, *new.addresses}
    rules = {role: tuple(_rules(answer["rule"], ours)) for role, answer in answers.items()}
    return SiteFacts(
        domains=move.settings.domains,
        old=tuple(old.addresses),
        new=tuple(new.addresses),
        ask=resolver.by(new),
        new_name=new.name,
        sendmail={role: bool(answer["sendmail"]) for role, answer in answers.items()},
        relay=next(iter(answers["new"]["relay"]), "").strip("[]").partition(":")[0].rstrip("]"),
        greets=lambda role, address: _answers(servers[role], address, SMTP, b"220"),
        web_answers=partial(_answers, old, port=443),
        queued=mail.queued(old),
        host_keys=tuple(line.split()[1] for line in answers["new"]["host"]),
        ci_user=ci.user if ci else "",
        known=known,
        may_deploy=may_deploy,
        answers=parties,
        rules={server.role: rules[server.role] if server.firewall.rules else None for server in move.servers},
    )


def _ask(server: Server) -> dict[str, list[str]]:
    """Lines of the server's answer, by what they are about."""
    rules = f"{{ {server.firewall.rules or ':'}; }} | sed 's/^/rule /'"
    script = f"""
[ ! -x /usr/sbin/sendmail ] || echo 'sendmail yes'
! command -v postconf >/dev/null || echo "relay $(postconf -h relayhost)"
home=$(getent passwd {sh(server.app.user)} | cut -d: -f6)
sed 's/^/key /' "$home/.ssh/authorized_keys" 2>/dev/null
sed 's/^/host /' /etc/ssh/ssh_host_*_key.pub
"""
    answers: dict[str, list[str]] = {name: [] for name in ("sendmail", "relay", "key", "host", "rule")}
    for line in server.look(f"{script}\n{rules}\n:").out.splitlines():
        name, _, value = line.partition(" ")
        if value.strip() and name in answers:
            answers[name].append(value.strip())
    return answers


def _deploy_keys(lines: Iterable[str]) -> Iterator[str]:
    """Keys as `kind key comment`, without what stands before them; not those of the move."""
    for line in lines:
        key = re.search(r"((?:sk-)?(?:ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+.*)$", line)
        if key and not line.startswith("#") and "switchover" not in line:
            yield key[1]


def _rules(lines: Iterable[str], ours: set[str]) -> Iterator[str]:
    """Rules that allow an address; not the move's own."""
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


def _of_party(server: Server, party: Any) -> str:
    """What a third party answers *server*: the status of a page, or that a port is open."""
    if party.url:
        return server.look(f"curl -sS -o /dev/null -m 15 -w '%{{http_code}}' {sh(party.url)}", check=False).out or "000"
    return "a connection" if _answers(server, party.host, party.port) else "silence"


def _answers(server: Server, address: str, port: int, greeting: bytes = b"") -> bool:
    """Whether *server* gets a connection to *address*, which begins with *greeting*, where one is expected."""
    try:
        with closing(server.dial(address, port)) as line:
            return not greeting or bytes(line.recv(len(greeting))) == greeting
    except OSError:
        return False
