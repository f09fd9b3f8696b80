"""The week after: each check with facts that make it find something, and with sound ones that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from switchover import aftercare
from switchover.aftercare import CHECKS, SiteFacts
from switchover.dns import sender_policy
from switchover.dns.resolver import Unanswered, reverse
from switchover.findings import to_do

OLD, NEW = ("192.0.2.11", "2001:db8::11"), ("198.51.100.12", "2001:db8:1::12")
ZONE: dict[tuple[str, str], tuple[str, ...]] = {
    ("shop.org", "A"): OLD[:1],
    ("shop.org", "AAAA"): OLD[1:],
    ("shop.org", "TXT"): ("something=else", "v=spf1 a ip4:198.51.100.0/24 ip6:2001:db8:1::/64 -all"),
    ("shop.org", "MX"): ("20 backup.mail.org.", "10 mx.mail.org."),
    ("mx.mail.org", "A"): ("192.0.2.99",),
    ("prod1.shop.org", "A"): OLD[:1],
    ("prod1.shop.org", "AAAA"): OLD[1:],
    ("prod2.shop.org", "A"): NEW[:1],
    ("prod2.shop.org", "AAAA"): NEW[1:],
    **{(reverse(a), "PTR"): ("prod1.shop.org",) for a in OLD},
    **{(reverse(a), "PTR"): ("prod2.shop.org",) for a in NEW},
}


def sound(zone: dict[tuple[str, str], tuple[str, ...]] | None = None, **others: Any) -> SiteFacts:
    """Facts without a finding; *zone*: what is otherwise in the name system, () for what is not there."""
    records = ZONE | (zone or {})
    facts = SiteFacts(
        domains=("shop.org",),
        old=OLD,
        new=NEW,
        ask=lambda name, kind: records.get((name, kind), ()),
        new_name="prod2.shop.org",
        sendmail={"old": True, "new": True},
        host_keys=("NEWKEY",),
        ci_user="agent",
        known={"prod2.shop.org": ("NEWKEY",), "shop.org": ()},
        may_deploy={"old": ("ssh-ed25519 AAA anna@laptop",), "new": ("ssh-ed25519 AAA anna",)},
        answers={"payments": ("200", "200")},
        rules={"old": ("allow from 192.0.2.50 to any port 5432",), "new": ("allow from 192.0.2.50 to any port 5432",)},
    )
    return replace(facts, **others)


Rules = tuple[str, ...] | None


def told(facts: SiteFacts, key: str) -> list[str]:
    """What a check asks to be done about, alone."""
    findings = list(CHECKS.find(facts))
    assert {finding.key for finding in findings} == set(CHECKS)
    return [finding.what for finding in to_do(findings) if finding.key == key and finding.do]


def test_nothing_is_in_sight_where_all_is_sound() -> None:
    assert {finding.kind for finding in CHECKS.find(sound())} == {"good"}


FOUND: list[tuple[str, SiteFacts, str]] = [
    ("dns-addresses", sound({("shop.org", "A"): ("203.0.113.1",)}), "resolves to 203.0.113.1, which is not old's"),
    ("dns-addresses", sound({("shop.org", "A"): (), ("shop.org", "AAAA"): ()}), "shop.org does not resolve"),
    ("dns-addresses", sound({("www.shop.org", "A"): OLD[:1]}), "www.shop.org resolves to old too"),
    ("aaaa", sound(new=NEW[:1]), "has an IPv6 address (AAAA), and new has none"),
    ("aaaa", sound(web_answers=lambda address: False), "does not answer at 2001:db8:1::12 port 443"),
    ("reverse-dns", sound({(reverse(NEW[0]), "PTR"): ()}), "198.51.100.12 has no name"),
    ("reverse-dns", sound({(reverse(NEW[0]), "PTR"): ("other.org",)}), "is other.org, which does not resolve back"),
    ("spf", sound({("shop.org", "TXT"): ("v=spf1 a -all",)}), "but not 198.51.100.12, 2001:db8:1::12"),
    ("mail-server", sound(sendmail={"old": True, "new": False}), "new has none"),
    ("mail-port", sound(greets=lambda role, address: role == "old"), "mx.mail.org port 25 does not answer new"),
    ("mail-port", sound(greets=lambda role, address: role == "old", relay="10.0.0.1"), "10.0.0.1 port 25 does not"),
    ("mail-arrives", sound({("shop.org", "MX"): ("10 prod1.shop.org.",)}), "arrives on old (MX prod1.shop.org)"),
    ("mail-queue", sound(queued=(3, "host said: later")), "3 mails are queued on old (host said: later)"),
    ("known-hosts", sound(known={"shop.org": ("OLDKEY",)}), "ssh refuses after the DNS change"),
    ("known-hosts", sound(known={"prod2.shop.org": ("OTHER",)}), "ssh refuses now"),
    ("deploy-keys", sound(may_deploy={"old": ("ssh-rsa BBB bert",), "new": ()}), "old but not to new: bert"),
    ("third-parties", sound(answers={"payments": ("200", "403")}), "payments answers old with 200, new with 403"),
    ("firewall-rules", sound(rules={"old": ("allow from 192.0.2.50 to any port 5432",), "new": ()}), "192.0.2.50"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "facts", "says"), FOUND)
def test_what_is_found_is_said_with_what_to_do(key: str, facts: SiteFacts, says: str) -> None:
    assert any(says in one for one in told(facts, key)), told(facts, key)


@pytest.mark.parametrize(("old", "new", "roles"), [((), None, "new"), (None, (), "old"), (None, None, "old and new")])
def test_rules_that_nobody_can_tell_are_not_compared(old: Rules, new: Rules, roles: str) -> None:
    [finding] = [f for f in CHECKS.find(sound(rules={"old": old, "new": new})) if f.key == "firewall-rules"]
    assert finding.kind == "note" and f"firewall.kind is none on {roles}" in finding.what


def test_each_check_finds_something() -> None:
    assert {key for key, _, _ in FOUND} == set(CHECKS)


QUIET: list[tuple[str, SiteFacts]] = [
    ("reverse-dns", sound({(reverse(a), "PTR"): () for a in (*OLD, *NEW)})),  # old has none either
    ("mail-port", sound(greets=lambda role, address: False)),
    ("mail-port", sound(sendmail={"old": False, "new": False}, greets=lambda role, address: False)),
    ("spf", sound({("shop.org", "TXT"): ()})),
    ("known-hosts", sound(known={"prod2.shop.org": ()})),  # `finish` sees to that
    ("third-parties", sound(answers={})),
]


@pytest.mark.parametrize(("key", "facts"), QUIET)
def test_what_is_no_worse_than_before_asks_for_nothing(key: str, facts: SiteFacts) -> None:
    assert told(facts, key) == []


def test_where_nobody_answers_it_is_not_passed() -> None:
    def silent(name: str, kind: str) -> tuple[str, ...]:
        raise Unanswered("refused")

    found = {finding.key: finding for finding in CHECKS.find(sound(ask=silent))}
    assert found["spf"].kind == "unknown" and "refused" in found["spf"].what and found["spf"].do
    assert found["mail-queue"].kind == "good"


# What others publish: `two.org` lets new send, `none.org` nobody, `round.org` leads back to itself.
OTHERS = {
    ("two.org", "TXT"): ("v=spf1 ip4:198.51.100.12 -all",),
    ("two.org", "MX"): ("10 prod2.shop.org.",),
    ("none.org", "TXT"): ("v=spf1 -all",),
    ("round.org", "TXT"): ("v=spf1 redirect=round.org",),
    ("other.shop.org", "A"): ("198.51.100.99",),
    ("198.51.100.12.listed.org", "A"): ("127.0.0.2",),
}
RECORDS = [
    ("v=spf1 ip4:198.51.100.12 -all", True),
    ("v=spf1 ip4:198.51.100.0/28 ~all", True),
    ("v=spf1 -ip4:198.51.100.12 +all", False),
    ("v=spf1 a:prod2.shop.org -all", True),
    ("v=spf1 a:other.shop.org/24 -all", True),
    ("v=spf1 a:other.shop.org -all", False),
    ("v=spf1 mx -all", False),
    ("v=spf1 mx:two.org -all", True),
    ("v=spf1 include:two.org -all", True),
    ("v=spf1 include:none.org -all", False),
    ("v=spf1 include:none.org +all", True),
    ("v=spf1 redirect=two.org", True),
    ("v=spf1 ?all", False),
    ("v=spf1", False),
    ("v=spf1 exists:%{i}.listed.org -all", True),
    ("v=spf1 exists:%{i}.x.org -all", False),
    ("v=spf10 +all", False),
    # What receivers take for an error, and for no permission:
    (" ".join(["v=spf1", *["include:none.org"] * 11, "+all"]), False),
    ("v=spf1 include:nothing.org +all", False),
    ("v=spf1 nonsense +all", False),
    ("v=spf1 ip4:198.51.100.300 +all", False),
    ("v=spf1 redirect=round.org", False),
]


@pytest.mark.parametrize(("record", "passes"), RECORDS)
def test_spf_is_read_as_receivers_read_it(record: str, passes: bool) -> None:
    ask = sound(OTHERS | {("shop.org", "TXT"): (record,)}).ask
    assert sender_policy.passes(ask, "shop.org", NEW[0]) is passes


def test_spf_of_an_ipv6_address_is_that_family_s() -> None:
    ask = sound({("shop.org", "TXT"): ("v=spf1 a:prod2.shop.org/32//64 -all",)}).ask
    assert sender_policy.passes(ask, "shop.org", NEW[1])
    assert not sender_policy.passes(ask, "shop.org", OLD[1])


def test_two_records_of_spf_let_nobody_send() -> None:
    ask = sound({("shop.org", "TXT"): ("v=spf1 +all", "v=spf1 +all")}).ask
    assert not sender_policy.passes(ask, "shop.org", NEW[0])


def test_spf_that_refers_to_a_silent_domain_is_unknown() -> None:
    records = sound({("shop.org", "TXT"): ("v=spf1 include:two.org -all",)}).ask

    def ask(name: str, kind: str) -> tuple[str, ...]:
        if name == "two.org":
            raise Unanswered(f"{name} {kind}: SERVFAIL")
        return records(name, kind)

    found = next(finding for finding in CHECKS.find(sound(ask=ask)) if finding.key == "spf")
    assert found.kind == "unknown" and "two.org TXT: SERVFAIL" in found.what


def test_keys_and_rules_are_taken_from_what_stands_around_them() -> None:
    lines = [
        "# ssh-rsa X no",
        'restrict,command="x" ssh-ed25519 AAAAC3 switchover',
        "no-pty ecdsa-sha2-nistp256 AAAA= a b",
    ]
    assert list(aftercare._deploy_keys(lines)) == ["ecdsa-sha2-nistp256 AAAA= a b"]
    rules = [
        "allow 22/tcp",
        "allow from 10.0.0.1 to any port 5433 comment 'switchover: the move'",
        "allow from 10.0.0.2",
    ]
    assert list(aftercare._rules(rules, {"10.0.0.3"})) == ["allow from 10.0.0.2"]
