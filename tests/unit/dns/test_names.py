"""The site's names: what is read from name servers, what they shall be, and changes by hand and by an API."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import right
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from name_servers import NameServer, Net

from switchover.dns import records, writers
from switchover.dns.addresses import to_new
from switchover.dns.records import Addresses, Look, Names, as_json, from_json
from switchover.dns.writers import lexicon, update
from switchover.errors import Problem
from switchover.http import ANSWERS
from switchover.move import Move
from switchover.programs import program
from switchover.settings import Settings, check


def named(host: Any, settings: Settings) -> Names:
    """The names of these settings, asked for from there."""
    return Names(host, settings.domains, settings.dns.zone)


ZONE = "example.org"
SHOP = "shop.example.org"
OLD = f"shop 3600 IN A 192.0.2.11\nshop 3600 IN AAAA 2001:db8::11\nwww 600 IN CNAME shop\n"  # noqa: F541
A, AAAA = Addresses(SHOP, "A", 3600, ("192.0.2.11",)), Addresses(SHOP, "AAAA", 3600, ("2001:db8::11",))
ROOT = Path(__file__).parents[3]


def said(**dns: Any) -> Settings:
    """Settings of a move whose names are changed in this way."""
    return check(right() | {"dns": dns}, "move.yaml", Path("/nowhere"))


@pytest.fixture
def net() -> Iterator[Net]:
    """Two name servers that agree."""
    with ExitStack() as stack:
        yield Net({f"192.0.2.{n}": stack.enter_context(NameServer(ZONE, OLD)) for n in (1, 2)})


@pytest.fixture
def moved(net: Net) -> Callable[..., Move]:
    """A move whose names these servers have."""

    def make(**dns: Any) -> Move:
        settings = said(**dns)
        move = Move(settings)
        move.names = named(net, settings)  # type: ignore[misc]
        return move

    return make


# --- looking --------------------------------------------------------------------------------------------------------


def test_every_server_is_asked_by_itself(net: Net) -> None:
    look = named(net, said()).look()
    assert look.answers == {f"ns{n}.example.org": {A.key: A, AAAA.key: AAAA} for n in (1, 2)}
    assert (look.found, look.silent, look.missing([A, AAAA])) == ([A, AAAA], {}, None)
    net.servers["192.0.2.2"].records = OLD.replace("192.0.2.11", "192.0.2.12")
    look = named(net, said()).look()
    assert look.missing([A, AAAA]) == "ns2.example.org: shop.example.org A is 192.0.2.12 (TTL 3600)"
    net.servers["192.0.2.2"].records = OLD.partition("\n")[2]
    look = named(net, said()).look()
    assert look.missing(look.found) == "ns2.example.org: shop.example.org A is not there"


def test_a_server_that_does_not_answer_or_knows_nothing_is_reported(net: Net) -> None:
    net.servers["192.0.2.2"].authoritative = False
    look = named(net, said()).look()
    assert look.silent == {"ns2.example.org": "it is not authoritative for shop.example.org"}
    del net.servers["192.0.2.2"]
    look = named(net, said()).look()
    assert look.missing(look.found) == "ns2.example.org does not answer (nobody is at 192.0.2.2)"


def test_an_alias_is_distinguished_from_what_it_stands_for(net: Net) -> None:
    settings = check(right() | {"domains": [SHOP, f"www.{SHOP[5:]}"]}, "move.yaml")
    look = named(net, settings).look()
    assert look.aliases == {"www.example.org": SHOP}
    assert look.found == [A, AAAA]


def test_a_server_of_two_zones_is_asked_for_the_names_of_both(net: Net) -> None:
    for server in net.servers.values():
        server.records += "shop 60 IN NS ns1\nmarket 60 IN A 192.0.2.11\n"
    market = Addresses("market.example.org", "A", 60, ("192.0.2.11",))
    names = named(net, check(right() | {"domains": [SHOP, market.name]}, "move.yaml"))
    names.zones = {SHOP: [SHOP], ZONE: [market.name]}  # each with its own SOA
    assert {record for record in names.look().found if record.data} == {A, AAAA, market}


def test_the_zone_is_found_or_given(net: Net) -> None:
    assert named(net, said()).zones == {ZONE: [SHOP]}
    assert named(net, said(zone=SHOP)).zones == {SHOP: [SHOP]}
    net.servers.clear()
    with pytest.raises(Problem, match=r"new \(prod2\): cannot look up names: .* or set `dns: \{kind: none\}`"):
        named(net, said()).look()


def test_who_takes_changes_is_the_primary_that_the_zone_names(net: Net) -> None:
    assert named(net, said()).primary(ZONE) == ("ns1.example.org", ["192.0.2.1"])


addresses4 = st.sets(st.ip_addresses(v=4).map(str), max_size=5)
addresses6 = st.sets(st.ip_addresses(v=6).map(str), max_size=5)
ttls = st.integers(0, 2**31 - 1)


@given(addresses4, addresses6, ttls)
@hypothesis(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_zone_has_both_readers_read_it(
    net: Net, tmp_path: Path, four: set[str], six: set[str], ttl: int
) -> None:
    """Ours, and the one that a person's undo on the server runs."""
    records = "".join(f"shop {ttl} IN {k} {a}\n" for k, several in (("A", four), ("AAAA", six)) for a in several)
    for server in net.servers.values():
        server.records = records
    desired = [Addresses(SHOP, kind, ttl if several else 0, tuple(sorted(several)))
              for kind, several in (("A", four), ("AAAA", six))]  # fmt: skip
    assert named(net, said()).look().found == desired
    assert names_are(net, tmp_path, desired) == 0
    others = [Addresses(SHOP, "A", ttl, (*desired[0].data, "198.51.100.7")), desired[1]]
    assert names_are(net, tmp_path, others) == ("198.51.100.7" not in four)


def names_are(net: Net, folder: Path, desired: list[Addresses]) -> int:
    """The exit status of scripts/server/names-are."""
    path = str(ROOT / "scripts/server/names-are")
    loader = importlib.machinery.SourceFileLoader("names_are", path)
    spec = importlib.util.spec_from_loader("names_are", loader)
    assert spec
    program = importlib.util.module_from_spec(spec)
    loader.exec_module(program)
    program.socket = SimpleNamespace(create_connection=net.create_connection)
    servers = [{"name": f"ns{n}", "addresses": ["192.0.2.9", f"192.0.2.{n}"], "names": [SHOP]} for n in (1, 2)]
    file = folder / "wanted"
    file.write_text(json.dumps({"servers": servers, "records": as_json(desired)}))
    return int(program.main(str(file)))


def test_the_reader_on_the_server_says_what_is_otherwise(net: Net, tmp_path: Path, capsys) -> None:
    assert names_are(net, tmp_path, [Addresses(SHOP, "A", 300, A.data), AAAA]) == 1
    assert capsys.readouterr().out == "ns1: shop.example.org A is 192.0.2.11 (TTL 3600)\n"
    net.servers["192.0.2.2"].records = ""
    assert names_are(net, tmp_path, [A, AAAA]) == 1
    assert capsys.readouterr().out == "ns2: shop.example.org A is not there\n"
    del net.servers["192.0.2.2"]
    assert names_are(net, tmp_path, [A, AAAA]) == 1
    assert capsys.readouterr().out == "ns2 does not answer (nobody is at 192.0.2.2)\n"


# --- what they shall be ---------------------------------------------------------------------------------------------


def look(*found: Addresses, **more: Any) -> Look:
    return Look({"ns1": {one.key: one for one in found}}, **more)


def none(kind: str) -> Addresses:
    return Addresses(SHOP, kind)


NEW4, NEW6 = ("192.0.2.12",), ("2001:db8::12",)


@pytest.mark.parametrize(
    ("new", "found", "desired"),
    [
        ((*NEW4, *NEW6), (A, AAAA), [("A", 3600, NEW4), ("AAAA", 3600, NEW6)]),
        (NEW4, (A, AAAA), [("A", 3600, NEW4), ("AAAA", 3600, ())]),
        ((*NEW4, *NEW6), (A, none("AAAA")), [("A", 3600, NEW4), ("AAAA", 3600, NEW6)]),
        (NEW4, (A, none("AAAA")), [("A", 3600, NEW4), ("AAAA", 3600, ())]),
        (NEW6, (none("A"), AAAA), [("A", 3600, ()), ("AAAA", 3600, NEW6)]),
    ],
)
def test_the_name_gets_all_of_news_addresses_and_no_other(
    new: tuple[str, ...], found: tuple[Addresses, ...], desired: list[tuple[str, int, tuple[str, ...]]]
) -> None:
    data = right()
    data["new"]["address"] = list(new)
    move = Move(check(data, "move.yaml"))
    assert [(o.kind, o.ttl, o.data) for o in to_new(move, look(*found))] == desired


def test_an_ipv4_address_is_not_given_up(data: dict[str, Any]) -> None:
    data["new"]["address"] = list(NEW6)
    with pytest.raises(Problem, match="has an IPv4 address, and new has none"):
        to_new(Move(check(data, "move.yaml")), look(A, AAAA))


def test_an_alias_is_left(settings: Settings) -> None:
    assert to_new(Move(settings), look(aliases={SHOP: "other.example.org"})) == []


addresses = st.builds(Addresses, st.just(SHOP), st.sampled_from(records.KINDS), ttls,
                      st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple))  # fmt: skip


@given(st.lists(addresses))
def test_a_journal_gives_back_what_it_kept(several: list[Addresses]) -> None:
    assert from_json(json.loads(json.dumps(as_json(several)))) == several


@given(addresses, addresses)
def test_a_diff_names_every_record_that_goes_or_comes(before: Addresses, after: Addresses) -> None:
    kept = {*before.lines} - {line[1:] for line in writers.shown([(before, after)]).splitlines() if line[0] == "-"}
    came = {line[1:] for line in writers.shown([(before, after)]).splitlines() if line[0] == "+"}
    assert kept | came == {*after.lines} and not kept & came


# --- changes --------------------------------------------------------------------------------------------------------

TO_NEW = [Addresses(SHOP, "A", 3600, NEW4), Addresses(SHOP, "AAAA")]
FACTS = {"before": as_json([A, AAAA]), "after": as_json(TO_NEW)}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(writers, "EVERY", 0.01)


def test_by_hand_the_exact_records_are_printed_and_then_seen(net: Net, moved: Any, capsys) -> None:
    def people(line: str) -> None:
        lines.append(line)
        if len(lines) == 4:
            net.servers["192.0.2.1"].records = "shop 3600 IN A 192.0.2.12\n"
        if len(lines) == 8:
            net.servers["192.0.2.2"].records = "shop 3600 IN A 192.0.2.12\n"

    lines: list[str] = []
    writers.carry_out(moved(), FACTS, people)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == [
        "-shop.example.org. 3600 IN A 192.0.2.11",
        "+shop.example.org. 3600 IN A 192.0.2.12",
        "-shop.example.org. 3600 IN AAAA 2001:db8::11",
    ]
    assert lines[0] == "doing ns1.example.org: shop.example.org A is 192.0.2.11 (TTL 3600)"
    assert lines[-2] == "doing ns2.example.org: shop.example.org A is 192.0.2.11 (TTL 3600)"
    writers.carry_out(moved(), FACTS, people)  # done already: nobody is told anything
    assert capsys.readouterr().out == ""


def test_what_is_not_seen_in_time_is_no_failure_but_not_yet(moved: Any) -> None:
    with pytest.raises(writers.NotYet, match=r"waited 1 s: not every name server has the change yet: ns1.example.org"):
        writers.carry_out(moved(within=1), FACTS, lambda line: None)


def test_what_somebody_else_changed_is_left(net: Net, moved: Any) -> None:
    for server in net.servers.values():
        server.records = OLD.replace("192.0.2.11", "192.0.2.99")
    for back in (False, True):
        with pytest.raises(Problem, match=r"A is 192.0.2.99 \(TTL 3600\): somebody has changed it"):
            writers.carry_out(moved(), FACTS, lambda line: None, back=back)


def test_under_dry_nothing_is_changed(settings: Settings) -> None:
    with pytest.raises(Problem, match="a change was tried under --dry"):
        writers.carry_out(Move(settings, dry=True), FACTS, lambda line: None)


ZONE_FILE = """$TTL 600
@ IN SOA ns1.example.org. root.example.org. 1 60 60 60 60
@ IN NS ns1.example.org.
shop IN A 192.0.2.11
shop IN AAAA 2001:db8::11
other IN A 192.0.2.11
"""


@pytest.fixture
def zone_file(tmp_path: Path, monkeypatch: Any) -> Path:
    """A zone's file, which dns-lexicon knows how to change."""
    file = tmp_path / "zone"
    file.write_text(ZONE_FILE)
    monkeypatch.setenv("LEXICON_LOCALZONE_FILENAME", str(file))
    monkeypatch.chdir(tmp_path)
    return file


def test_a_providers_api_adds_before_it_takes_away(moved: Any, zone_file: Path, monkeypatch: Any) -> None:
    from lexicon._private.providers.localzone import Provider

    api = lexicon.Kind(moved(kind="lexicon", provider="localzone"))
    assert (api.present(SHOP, "A"), api.present(SHOP, "MX").data) == (Addresses(SHOP, "A", 600, A.data), ())
    counts = []
    for method in ("create_record", "delete_record"):
        whole = getattr(Provider, method)

        def counting(self: Any, *given: Any, whole: Any = whole) -> Any:
            done = whole(self, *given)
            counts.append(len(self.list_records("A", SHOP)))
            return done

        monkeypatch.setattr(Provider, method, counting)
    desired = Addresses(SHOP, "A", 300, NEW4)
    api.write([(api.present(SHOP, "A"), desired), (api.present(SHOP, "AAAA"), Addresses(SHOP, "AAAA"))])
    assert (api.present(SHOP, "A"), api.present(SHOP, "AAAA").data) == (desired, ())
    assert counts[:2] == [2, 1]
    assert "other 600 IN A 192.0.2.11" in zone_file.read_text()


def test_a_provider_lowers_the_ttl_or_a_message_says_that_it_does_not(moved: Any, zone_file: Path) -> None:
    """This one gives a record that it changes the zone's own, which is 60."""
    api = lexicon.Kind(moved(kind="lexicon", provider="localzone"))
    desired = Addresses(SHOP, "A", 60, A.data)
    api.write([(api.present(SHOP, "A"), desired)])
    assert api.present(SHOP, "A") == desired
    says = r"localzone: did not change the TTL of shop.example.org A: it is 60. Set it there by hand to 90"
    with pytest.raises(Problem, match=says):
        api.write([(desired, Addresses(SHOP, "A", 90, A.data))])


def test_what_a_providers_module_raises_is_one_line(moved: Any, zone_file: Path, monkeypatch: Any, caplog) -> None:
    with pytest.raises(Problem, match=r"nosuch: its API failed: This provider \(nosuch\) is not supported"):
        lexicon.Kind(moved(kind="lexicon", provider="nosuch")).present(SHOP, "A")
    zone_file.unlink()
    with pytest.raises(Problem, match=r"localzone: its API failed: .*No such file.*LEXICON_"):
        lexicon.Kind(moved(kind="lexicon", provider="localzone")).present(SHOP, "A")
    assert not [one for one in caplog.records if one.name.startswith("tldextract")]


# --- the key of an update -------------------------------------------------------------------------------------------

KEYS = [
    ('key "op" {\n\talgorithm hmac-sha512;\n\tsecret "c2VjcmV0";\n};\n', {}, ("op", "hmac-sha512", "c2VjcmV0")),
    ("key op.example.org. { secret c2VjcmV0; };", {}, ("op.example.org.", "hmac-sha256", "c2VjcmV0")),
    ("c2Vj\ncmV0\n", {"key": "op", "algorithm": "hmac-sha1"}, ("op", "hmac-sha1", "c2VjcmV0")),
]


@pytest.mark.parametrize(("text", "more", "found"), KEYS)
def test_a_key_is_read_as_tsig_keygen_writes_it_or_bare(
    moved: Any, tmp_path: Path, text: str, more: dict[str, Any], found: tuple[str, str, str]
) -> None:
    (tmp_path / "key").write_text(text)
    assert update.Kind(moved(kind="update", key_file=str(tmp_path / "key"), **more))._key() == found


@pytest.mark.parametrize(
    ("text", "says"),
    [("c2VjcmV0", "has no name of the key"), ("key op { };", "has no secret"), (None, "cannot be read")],
)
def test_a_key_that_is_none_is_reported(moved: Any, tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    with pytest.raises(Problem, match=says) as caught:
        update.Kind(moved(kind="update", key_file=str(tmp_path / "key")))._key()
    assert "c2VjcmV0" not in str(caught.value)


def test_a_secret_that_is_not_base64_is_reported_without_it(moved: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text('key "op" { secret "not*base64"; };')
    with pytest.raises(Problem, match="the key's secret is not base64") as caught:
        update.Kind(moved(kind="update", key_file=str(tmp_path / "key"))).write([(A, TO_NEW[0])])
    assert "not*" not in str(caught.value)


# --- who still comes by old -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "yesterday", "ago"),
    [
        ([], [], None),
        ([(30, "/"), (10, "/orders"), (2, ANSWERS)], [], 10),
        ([(2, ANSWERS)], [(90_000, "/"), (80_000, "/about")], 80_000),
        ([(2, ANSWERS)], [], None),
    ],
)
def test_the_last_visitor_by_old_is_known_from_the_moves_own_looks(
    tmp_path: Path, today: list[tuple[int, str]], yesterday: list[tuple[int, str]], ago: int | None
) -> None:
    """As nginx writes it; also from the log that was put aside in the night."""
    log = tmp_path / "switchover.log"
    now = datetime.now(UTC).replace(microsecond=0)
    for file, visits in ((log, today), (Path(f"{log}.1"), yesterday)):
        times = [(f"{now - timedelta(seconds=before):%d/%b/%Y:%H:%M:%S +0000}", path) for before, path in visits]
        lines = [f'192.0.2.7 - [x] [{at}] "GET {path} HTTP/1.1" 200 1 "-" "[{at}]"\n' for at, path in times]
        file.write_text("".join(lines))
    script = f"{program('proxy-log.sh').decode()}\nlast_seconds_ago '{log}' {ANSWERS}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    )
    assert done.stderr == ""
    said = done.stdout.strip()
    assert (said == "") == (ago is None)
    assert ago is None or ago <= int(said) < ago + 30
