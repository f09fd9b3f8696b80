"""The name moves: bind9 is the authority; by update, by hand, by dns-lexicon; what can be wrong with it; the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import JOURNAL, Operator, fails, recorded, works

from lab.judging import dns
from lab.machine.server import until
from lab.servers import Lab
from lab.services import bind
from lab.world import SHOP
from switchover.dns.resolver import SERVERS

SITE, (FIRST, SECOND) = SHOP.domain, SHOP.name_servers
NS1, NS2 = (f"ns{number}.{SITE}" for number in (1, 2))
CONFIG = "/etc/bind/named.conf"
LOWERED = 2  # sooner than the lab's own move

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, strategy="copy") as running:
        running.settings.write_text(changed(running, "quick", ttl=LOWERED).read_text())
        yield running


def changed(lab: Lab, name: str, **dns: Any) -> Path:
    """The lab's settings with other words about the name."""
    data = yaml.safe_load(lab.settings.read_text())
    file = lab.settings.with_name(f"{name}.yaml")
    file.write_text(yaml.safe_dump(data | {"dns": dns.pop("only", data["dns"]) | dns}))
    return file


def said(lab: Lab, server: str = FIRST, name: str = SITE) -> dict[str, tuple[int, tuple[str, ...]]]:
    """What a name server says now."""
    return dns.records(lab, server, name)


def everywhere(lab: Lab, ttl: int, to: Any, name: str = SITE) -> None:
    """Both name servers say this, as long as the addresses are concerned."""
    desired = {"A": (ttl, (to.address4,)), "AAAA": (ttl, (to.address6,))}
    assert [said(lab, server, name) for server in (FIRST, SECOND)] == [desired, desired]


def standing(lab: Lab) -> list[tuple[str, str]]:
    """The changes of names that are not undone."""
    return [(one.step, one.state) for one in recorded(lab) if "dns" in one.step and one.state != "undone"]


def update(lab: Lab, *lines: str) -> None:
    """Changes the records by hand."""
    text = "".join(f"{line}\n" for line in ("server 127.0.0.1", *lines, "send"))
    lab.ci.exec(f"nsupdate -k {bind.KEY}", input=text)


# --- what can be wrong ----------------------------------------------------------------------------------------------


def test_new_asks_the_labs_name_servers_and_so_do_visitors(lab: Lab) -> None:
    assert tuple(lab.new.exec(SERVERS).stdout.split()) == (FIRST, SECOND) == lab.name_servers
    everywhere(lab, bind.TTL, lab.old)


def test_before_old_passes_visitors_on_the_name_stays(lab: Lab) -> None:
    assert f"dns: the TTL is {bind.TTL} s. First: inv dns-prepare" in fails(lab, "switch-dns")
    assert "new does not answer every domain" in fails(lab, "switch-dns.new-answers")
    assert f"{NS1}: {SITE} A is 10.77.0.11 (TTL 20): first `inv switch-dns`" in fails(
        lab, "retire-old.dns-points-to-new"
    )
    assert standing(lab) == []


KEYS = [
    (
        'key "operator" { algorithm hmac-sha256; secret "c29tZWJvZHkncyBvd24gc2VjcmV0Cg=="; };',
        "the server has another secret",
    ),
    (
        'key "nobody" { algorithm hmac-sha256; secret "c29tZWJvZHkncyBvd24gc2VjcmV0Cg=="; };',
        "the server does not know this key",
    ),
]


@pytest.mark.parametrize(("key", "says"), KEYS)
def test_a_wrong_key_changes_nothing(lab: Lab, key: str, says: str) -> None:
    file = lab.settings.with_name("wrong.key")
    file.write_text(key)
    line = fails(lab, "dns-prepare", settings=changed(lab, "wrong", key_file="wrong.key"))
    assert says in line and "The change was undone" in line and NS1 in line and "c29t" not in line
    everywhere(lab, bind.TTL, lab.old)
    assert standing(lab) == []


def test_a_server_that_refuses_or_does_not_answer_changes_nothing(lab: Lab) -> None:
    lab.ci.exec(f"sed -i.kept 's/allow-update {{ key operator; }}/allow-update {{ none; }}/' {CONFIG}; rndc reconfig")
    assert "did not accept the update: REFUSED (key operator)" in fails(lab, "dns-prepare")
    lab.ci.exec(f"mv {CONFIG}.kept {CONFIG}; rndc reconfig; systemctl stop named-second")
    try:
        assert fails(lab, "dns-prepare").startswith(f"{NS2}: does not answer (")
    finally:
        lab.ci.exec("systemctl start named-second")
    everywhere(lab, bind.TTL, lab.old)
    assert standing(lab) == []


@contextmanager
def lagging(lab: Lab) -> Iterator[None]:
    """The second name server has what it has, and does not hear of changes."""
    config = bind.SECOND_CONFIG
    again = "systemctl restart named-second; until dig +short @10.77.0.14 shop.test | grep -q .; do sleep 0.1; done"
    lab.ci.exec(f"sed -i.kept 's/masters {{[^}}]*}}/masters {{ 10.77.0.99; }}/' {config}; {again}")
    try:
        yield
    finally:
        lab.ci.exec(f"mv {config}.kept {config}; {again}")


def test_a_server_that_lags_is_waited_for_and_the_command_continues_later(lab: Lab) -> None:
    with lagging(lab):
        line = fails(lab, "dns-prepare", settings=changed(lab, "short", within=1))
        assert f"not every name server has the change yet: {NS2}: {SITE} A is 10.77.0.11 (TTL 20)" in line
        assert (said(lab)["A"][0], standing(lab)) == (LOWERED, [("dns-prepare.ttl", "recorded")])
    assert works(lab, "dns-prepare").outcomes["dns-prepare.ttl"] == "finished"
    everywhere(lab, LOWERED, lab.old)


# --- the way, and back ----------------------------------------------------------------------------------------------


def test_the_old_ttl_is_remembered_and_put_back(lab: Lab) -> None:
    """Whatever came since, as long as the name has not switched."""
    works(lab, "prepare-old", "prepare-new", "switch-app")
    ran = works(lab, "dns-prepare")
    assert re.search(r"Until 20\d\d-.* UTC resolvers may use the old TTL", ran.out)
    works(lab, "undo", "--yes", "dns-prepare")
    everywhere(lab, bind.TTL, lab.old)
    works(lab, "dns-prepare")
    everywhere(lab, LOWERED, lab.old)


def test_the_name_switches_when_the_old_ttl_is_over(lab: Lab) -> None:
    [until_] = re.findall(r"Until (20\d\d-\S+ \S+) UTC resolvers", works(lab, "dns-prepare").out)
    while_waiting = works(lab, "switch-dns")
    assert datetime.now(UTC).replace(tzinfo=None) >= datetime.fromisoformat(until_)
    everywhere(lab, LOWERED, lab.new)
    assert "Old can be retired now" in while_waiting.out
    shown = works(lab, "--dry", "undo").out
    assert "-shop.test. 2 IN A 10.77.0.12" in shown and "+shop.test. 2 IN A 10.77.0.11" in shown


def test_www_is_left_an_alias_of_it(lab: Lab) -> None:
    assert lab.ci.exec(f"dig +short @{FIRST} www.{SITE} A").stdout.split() == [f"{SITE}.", lab.new.address4]


def test_the_undo_script_on_the_server_names_the_records_and_sees_them(lab: Lab) -> None:
    [entry] = [one for one in recorded(lab) if one.step == "switch-dns.records"]
    done = lab.new.exec(f"sh {JOURNAL}/{entry.name}/undo", check=False)
    assert done.returncode == 3
    for text in ("shop.test. 2 IN A 10.77.0.11; shop.test. 2 IN AAAA fd77::11", f"now: {NS1}: {SITE} A is 10.77.0.12"):
        assert text in done.stderr
    update(
        lab, "del shop.test A", "del shop.test AAAA", "add shop.test 2 A 10.77.0.11", "add shop.test 2 AAAA fd77::11"
    )
    until(lambda: said(lab, SECOND) == said(lab), 10, "the second does not hear of it", pause=0.2)
    assert lab.new.exec(f"sh {JOURNAL}/{entry.name}/undo").returncode == 0
    works(lab, "undo", "--yes", "switch-dns")
    everywhere(lab, LOWERED, lab.old)


def test_what_somebody_changed_since_is_left(lab: Lab) -> None:
    works(lab, "switch-dns")
    update(lab, "add shop.test 2 A 10.77.0.77")
    assert "somebody has changed it" in fails(lab, "undo", "--yes", "switch-dns")
    assert said(lab)["A"] == (LOWERED, ("10.77.0.12", "10.77.0.77"))
    update(lab, "del shop.test A 10.77.0.77")
    works(lab, "undo", "--yes", "switch-dns")
    everywhere(lab, LOWERED, lab.old)


def test_by_hand_the_printed_records_are_looked_for(lab: Lab) -> None:
    settings = changed(lab, "by-hand", only={"kind": "by-hand", "ttl": LOWERED, "within": 30})
    ran = Operator(lab, settings).start("switch-dns")
    assert ran.stdout
    lines: list[str] = []
    while len(records := [line.split() for line in lines if re.match(r" +[-+]shop.test", line)]) < 4:
        lines.append(line := ran.stdout.readline())
        assert line, "".join(lines) + ran.communicate()[1]
    for name, ttl, _, kind, address in records:
        change = f"del {name[1:]} {kind} {address}" if name[0] == "-" else f"add {name[1:]} {ttl} {kind} {address}"
        update(lab, change)
    rest, err = ran.communicate()
    assert ran.returncode == 0, "".join(lines) + rest + err
    everywhere(lab, LOWERED, lab.new)
    works(lab, "undo", "--yes", "switch-dns")  # by whoever may now
    everywhere(lab, LOWERED, lab.old)


PUBLISH = f"""n=$(date +%s); while sleep 0.2; do
  cmp -s /tmp/zone /tmp/published || {{ cp /tmp/zone /tmp/published
    n=$(( n + 1 )); awk -v n=$n '$4 == "SOA" {{$7 = n}} {{print}}' /tmp/published >/tmp/new
    cp /tmp/new /var/lib/bind/{SITE}; rndc reload {SITE}; }}
done"""


def test_by_dns_lexicon(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is a zone's file, which the name server publishes whenever it is another.

    A name below the zone's own, since dns-lexicon's module for files knows no other. Its TTL for what is changed is the
    zone's last number.
    """
    name = f"moved.{SITE}"
    update(lab, f"add {name} 20 A 10.77.0.11", f"add {name} 20 AAAA fd77::11")
    lab.ci.exec(f"""set -e
    dig +noall +answer axfr {SITE} @127.0.0.1 | sed '$d; 1s/ 20$/ {LOWERED}/' >/tmp/zone; cp /tmp/zone /tmp/published
    rndc sync -clean; sed -i.kept 's/allow-update {{ key operator; }}/allow-update {{ none; }}/' {CONFIG}
    rndc reconfig""")
    lab.ci.exec("cat >/tmp/publish; systemd-run -q --unit=publishes sh /tmp/publish", input=PUBLISH)
    monkeypatch.setenv("LEXICON_LOCALZONE_FILENAME", f"/proc/{lab.ci.pid}/root/tmp/zone")
    data = yaml.safe_load(lab.settings.read_text()) | {"domains": [name]}
    settings = lab.settings.with_name("api.yaml")
    dns = {"kind": "lexicon", "provider": "localzone", "ttl": LOWERED, "within": 30}
    settings.write_text(yaml.safe_dump(data | {"dns": dns}))
    try:
        for words, ttl, to in (
            (["dns-prepare"], LOWERED, lab.old),
            (["switch-dns.records"], LOWERED, lab.new),
            (["undo", "--yes", "switch-dns"], LOWERED, lab.old),
        ):
            assert works(lab, *words, settings=settings).err == ""
            everywhere(lab, ttl, to, name)
        monkeypatch.setenv("LEXICON_LOCALZONE_FILENAME", "/nowhere")
        line = fails(lab, "switch-dns.records", settings=settings)
        assert (
            "localzone: switch-dns.records failed: its API failed: [Errno 2]" in line and "Nothing was changed." in line
        )
    finally:
        lab.ci.exec(f"systemctl stop publishes; mv {CONFIG}.kept {CONFIG}; rndc reconfig")


# --- the end --------------------------------------------------------------------------------------------------------


def test_in_the_end_the_old_ttl_is_back(lab: Lab) -> None:
    works(lab, "switch-dns")
    works(lab, "retire-old.dns-points-to-new", "retire-old.no-visitors", "retire-old.old-ttl")
    everywhere(lab, bind.TTL, lab.new)
    assert works(lab, "retire-old.old-ttl").outcomes == {"retire-old.old-ttl": "already"}
