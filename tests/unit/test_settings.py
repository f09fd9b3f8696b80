"""Settings: what is right is read, and whatever else somebody writes is told in lines that help."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from here import right
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from switchover import settings_file
from switchover.errors import Problem
from switchover.hosts import Host
from switchover.settings import Settings, check, load

ROOT = Path(__file__).parents[2]
INV = Path(sys.executable).with_name("inv")


def faults(data: Any) -> str:
    """What is said about *data*."""
    with pytest.raises(Problem) as caught:
        check(data, "move.yaml")
    return str(caught.value)


def put(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """*data* with *value* at *path* (keys parted by dots)."""
    *way, last = path.split(".")
    inner = data
    for key in way:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return data


def test_the_right_ones(data: dict[str, Any]) -> None:
    settings = check(data, "move.yaml")
    assert settings.domain == "shop.example.org"
    assert settings.old.in_app("log/a.log") == "/home/ofn/current/log/a.log"
    assert Host("old", settings.old.ssh, [str(one) for one in settings.old.address]).main_address == "192.0.2.11"
    assert settings.old.worker.command == "script/delayed_job"


def test_the_database_follows_unless_it_is_said_to_be_copied(data: dict[str, Any]) -> None:
    settings = check(data, "move.yaml")
    assert (settings.strategy, settings.pgbouncer.port, settings.pgbouncer.keep) == ("replicate", 6432, False)
    settings = check(data | {"strategy": "copy", "pgbouncer": {"pool": 5}}, "move.yaml")
    assert (settings.strategy, settings.pgbouncer.pool) == ("copy", 5)
    assert "strategy: 'copy' or 'replicate'" in faults(data | {"strategy": "dump"})
    assert "pgbouncer.pool" in faults(data | {"pgbouncer": {"pool": 0}})
    assert "pgbouncer.ports: unknown key; did you mean 'port'?" in faults(data | {"pgbouncer": {"ports": 1}})


def test_a_key_of_the_name_system_lies_beside_the_settings_or_on_a_server(data: dict[str, Any]) -> None:
    dns = {"kind": "update", "key_file": "keys/dns.key"}
    assert check(data, "move.yaml").dns.kind == "by-hand"
    assert check(data | {"dns": dns}, "move.yaml", Path("/home/anna")).dns.key_file == "/home/anna/keys/dns.key"
    assert (
        check(data | {"dns": dns | {"key_on": "old"}}, "move.yaml", Path("/home/anna")).dns.key_file == "keys/dns.key"
    )


def test_an_address_may_be_ipv6_alone(data: dict[str, Any]) -> None:
    settings = check(put(data, "old.address", ["2001:db8::11"]), "move.yaml")
    assert Host("old", settings.old.ssh, [str(one) for one in settings.old.address]).main_address == "2001:db8::11"


def test_the_example_is_right() -> None:
    assert load(ROOT / "move.example.yaml").domains


FAULTS: list[tuple[str, Any, str]] = [
    ("domans", ["a.org"], "domans: unknown key; did you mean 'domains'?"),
    ("old.app.paht", "/x", "old.app.paht: unknown key; did you mean 'path'?"),
    ("old.databse", {}, "old.databse: unknown key; did you mean 'database'?"),
    ("nonsense", 1, "nonsense: unknown key; known here: domains, pages,"),
    ("old.database.xyz", 1, "old.database.xyz: unknown key; known here: name, owner, config, host, port"),
    ("domains", "shop.org", "domains: a list, like [one, two], not 'shop.org'"),
    ("domains", [], "domains: at least one is needed"),
    ("domains", ["a b"], "domains.0: a domain like shop.org, not 'a b'"),
    ("domains", ["ok.org", 1], "domains.1: a text; in quotes where it looks like something else, not 1"),
    ("old", None, "old: keys with their values, like name: value"),
    ("old.app", [1], "old.app: keys with their values, like name: value"),
    ("old.address", "192.0.2.1", "old.address: a list, like [one, two], not '192.0.2.1'"),
    ("old.address", [1], "old.address.0: an IPv4 or IPv6 address, in quotes, not 1"),
    ("old.address", ['fe80::1%" x'], "old.address.0: an IPv4 or IPv6 address, in quotes, not 'fe80::1%\" x'"),
    ("old.address", ["192.0.2.300"], "old.address.0: an IPv4 or IPv6 address, not '192.0.2.300'"),
    ("old.app.path", "home/ofn", "old.app.path: an absolute path, like /home/app/current, not 'home/ofn'"),
    ("old.app.path", "/a/../b", "old.app.path: a path without '..', not '/a/../b'"),
    ("old.app.path", "/a\nb", r"old.app.path: a path is one line of text, not '/a\nb'"),
    ("old.app.user", "o'fn", 'old.app.user: a name of letters, digits and _ . @ -, not "o\'fn"'),
    ("old.ssh", "a b", "old.ssh: as for ssh: name, user@name or user@name:port, not 'a b'"),
    ("old.ssh", "-oProxyCommand=x", "old.ssh: as for ssh: name, user@name or user@name:port"),
    ("old.worker.kind", "nonesuch", "or 'service', not 'nonesuch'"),
    ("old.worker.longest_job", True, "old.worker.longest_job: a whole number, not True"),
    ("relay", "5433", "relay: a whole number, not '5433'"),
    ("relay", 70000, "relay: less than or equal to 65535, not 70000"),
    ("revision", "abc", "revision: a full commit id, 40 hexadecimal digits, not 'abc'"),
    ("pages", ["about"], "pages.0: a page's path, like /products/1, not 'about'"),
    ("carry", [{"from": "a"}], "carry.0.to: missing; docs/settings.md says what it is"),
    (
        "carry",
        [{"from": "a", "to": "b", "replace": {"": "x"}}],
        "carry.0.replace.'': the text to be replaced, not ''",
    ),
    ("maintenance.texts", {}, "maintenance.texts: at least one is needed"),
    ("maintenance.texts", {"english": "x"}, "maintenance.texts.english: a language like en or pt-BR"),
    ("ssh_config", "~nobody-here/config", "ssh_config: there is no such user here"),
    ("dns.kind", "manual", "dns.kind: 'by-hand', 'update', 'lexicon' or 'none', not 'manual'"),
    ("dns.kind", "update", "dns: kind: update needs key_file"),
    ("dns.kind", "lexicon", "dns: kind: lexicon needs provider"),
    ("dns.ttl", 0, "dns.ttl: greater than or equal to 1, not 0"),
    ("dns.ttl", 7200, "dns.ttl: less than or equal to 3600, not 7200"),
    ("dns.ttl", "5m", "dns.ttl: a whole number, not '5m'"),
    ("dns.zone", "shop org", "dns.zone: a domain like shop.org, not 'shop org'"),
    ("dns.server", "ns1.shop.org", "dns.server: an IPv4 or IPv6 address, not 'ns1.shop.org'"),
    ("dns.algorithm", "hmac-md5", "dns.algorithm: 'hmac-sha1', "),
    ("dns.key_on", "laptop", "dns.key_on: 'here', 'old', 'new' or 'ci'"),
    ("dns.secret", "c2VjcmV0", "dns.secret: unknown key; "),
    ("dns", {"kind": "update", "key_file": "~nobody-here/key"}, "dns.key_file: there is no such user here"),
    ("dns", {"kind": "update", "key_file": "/k", "key_on": "ci"}, "dns.key_on: there is no ci in these settings"),
    ("two\nlines", 1, r"'two\nlines': unknown key"),
    ("pgbouncer.keep", "yes", "pgbouncer.keep: true or false, not 'yes'"),
    ("carry", [{"from": "a", "to": "b", "secret": 1}], "carry.0.secret: true or false, not 1"),
    ("retire.quiet", "1d", "retire.quiet: a whole number, not '1d'"),
    ("carry", [{"source": "a", "target": "b"}], "carry.0.from: missing"),
    ("carry", [{"from": "/var/spool/exim4/input", "to": "b"}], "carry.0.from: not a mail queue"),
    ("third_parties", [{"name": "bank"}], "third_parties.0: either a url, or a host"),
    ("third_parties", [{"name": "bank", "url": "https://a.org", "host": "a.org"}], "third_parties.0: either a url, or"),
    ("old.app.path", " ", "old.app.path: a path is one line of text, not ' '"),
]


@pytest.mark.parametrize(("path", "value", "said"), FAULTS)
def test_a_fault_names_its_key_and_what_to_write(data: dict[str, Any], path: str, value: Any, said: str) -> None:
    found = faults(put(data, path, value))
    assert said in found
    assert found.startswith("move.yaml: ")


@pytest.mark.parametrize("key", ["carry", "uploads"])
def test_what_would_be_put_into_one_place_twice_is_said(data: dict[str, Any], key: str) -> None:
    listed = [{"from": "a", "to": "x/y"}, {"from": "b", "to": "z"}, {"from": "c", "to": "x/y/"}]
    assert f"{key}: x/y is there twice after `to:`; keep one of them" in faults(data | {key: listed})
    listed[2]["to"] = "/home/ofn/current/./x//y"  # the same place on new
    assert f"{key}: x/y is there twice after `to:`; keep one of them" in faults(data | {key: listed})
    data["new"] = {}
    assert "new.ssh: missing" in faults(data | {key: listed})


@pytest.mark.parametrize("path", ["domains", "old", "new.app", "old.ssh", "old.database.name", "new.web.site"])
def test_what_is_missing_is_said(data: dict[str, Any], path: str) -> None:
    *way, last = path.split(".")
    inner = data
    for key in way:
        inner = inner[key]
    del inner[last]
    assert faults(data) == f"move.yaml: 1 to fix:\n  {path}: missing; docs/settings.md says what it is"


def test_all_faults_are_reported_at_once(data: dict[str, Any]) -> None:
    put(data, "old.app.user", 5)
    put(data, "domains", [])
    del data["new"]["database"]
    lines = faults(data).splitlines()
    assert lines[0] == "move.yaml: 3 to fix:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["domains", "old.app.user", "new.database"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("new.ssh", "ofn@prod1.example.org"),
        ("new.ssh", "prod1.example.org"),
        ("new.ssh", "root@PROD1.example.org"),
        ("new.address", ["192.0.2.99", "2001:DB8:0::11"]),
    ],
)
def test_one_machine_for_both_is_refused(data: dict[str, Any], path: str, value: Any) -> None:
    assert faults(put(data, path, value)) == (
        "move.yaml: old and new are the same server (new.ssh, new.address). "
        "Write the new server's own name and addresses"
    )


def test_a_relative_ssh_config_is_beside_the_settings(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "move.yaml").write_text(yaml.safe_dump(put(data, "ssh_config", "ssh/config")))
    assert load(tmp_path / "move.yaml").ssh_config == str(tmp_path / "ssh/config")


def test_a_number_too_long_to_write(data: dict[str, Any]) -> None:
    assert "relay: less than or equal to 65535, not that number" in faults(put(data, "relay", 10**5000))


def test_no_secret_is_repeated(data: dict[str, Any]) -> None:
    found = faults(put(data, "old.certificate.key", "-----BEGIN PRIVATE KEY-----"))
    assert "BEGIN" not in found and "old.certificate.key: an absolute path" in found


# --- whatever YAML can hold -------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates(), st.datetimes(),
    st.sampled_from(["\ud800", "..", "/", "-x", "${x}", "a\nb"]),
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(scalars, inner, max_size=4), st.sets(scalars, max_size=2)
    ),
    max_leaves=12,
)


def paths(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in *data*."""
    found = [at] if at else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += paths(value, (*at, key))
    return found


def one_clear_message(read: Callable[[], Settings]) -> Settings | None:
    """The settings that *read* gives, or None where it raised a Problem as a person should see it."""
    try:
        return read()
    except Problem as problem:
        text = str(problem)
        text.encode()
        assert text.startswith("move.yaml: ") and problem.code == 1
        assert all(len(line) < 400 and line.replace("\t", "").isprintable() for line in text.splitlines())
        return None


@given(st.dictionaries(scalars, junk, max_size=5))
@hypothesis(max_examples=300, deadline=None)
def test_any_mapping_is_settings_or_a_problem(data: dict[Any, Any]) -> None:
    assert one_clear_message(lambda: check(data, "move.yaml")) is None


@given(st.data())
@hypothesis(max_examples=600, deadline=None)
def test_right_settings_with_anything_in_one_place_are_settings_or_a_problem(draw: st.DataObject) -> None:
    data = put(put(right(), "carry", {}), "maintenance", {"texts": {"en": "x"}})
    data |= {"relay": 1, "pages": [], "uploads": {}, "revision": "", "ssh_config": ""}
    way = draw.draw(st.sampled_from(paths(data)), label="way")
    data = right() | {key: data[key] for key in way[:1] if key not in right()}
    inner: Any = data
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = draw.draw(junk, label="value")
    settings = one_clear_message(lambda: check(copy.deepcopy(data), "move.yaml"))
    assert settings is None or isinstance(settings, Settings)


@given(st.one_of(st.binary(), st.text().map(lambda t: t.encode("utf-8", "replace")), junk))
@hypothesis(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_settings_or_a_problem(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "move.yaml"
    if not isinstance(content, bytes):
        content = yaml.safe_dump(content).encode("utf-8", "replace")
    file.write_bytes(content)

    def read() -> Settings:
        return check(settings_file.read(file) if file.exists() else {}, "move.yaml")

    try:
        one_clear_message(read)
    except AssertionError:
        with pytest.raises(Problem, match=f"^{file}: (has no settings|is not YAML|cannot be read|.* is there )"):
            settings_file.read(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no settings"),
        (b"- a\n", "has no settings"),
        (b"just words", "has no settings"),
        (b"a: b: c", "is not YAML in line 1"),
        (b"domains: [a\nold: {", "is not YAML in line 2"),
        (b"a:\n\t- b", "is not YAML in line 2 (found character '\\t' that cannot start any token)"),
        (b"a: !!python/object:os.system x", "is not YAML in line 1"),
        (b"a: &x [*x, *y]", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 3000, "is not YAML"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "move.yaml"
    file.write_bytes(content)
    with pytest.raises(Problem) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_directory(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"there is no such file\. Copy move\.example\.yaml to move\.yaml"):
        load(tmp_path / "move.yaml")
    with pytest.raises(Problem, match=r"cannot be read"):
        load(tmp_path)


# --- as `inv` says it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("run: 5\ntasks: x\nsudo: null\n", "run: unknown key"),  # what Invoke has settings of its own for
        ("1: 2\n", "1: keys should be strings"),
        ("&a\nold: *a\n", "old.old: unknown key"),
        ('"\\ud800": 1\n', "unable to parse raw data as a unicode string"),
        ("a:\n\t- b\n", "is not YAML in line 2"),
    ],
)
@pytest.mark.parametrize("name", ["move.yaml", "other.txt"])
def test_inv_says_it_without_a_traceback(tmp_path: Path, name: str, content: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    done = subprocess.run([INV, "-f", file, "status"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"{file}: ")


def test_inv_looks_for_move_yaml_where_one_stands(tmp_path: Path) -> None:
    words = [INV, "--search-root", ROOT, "status"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "move.yaml: there is no such file. Copy move.example.yaml to move.yaml and describe your servers there\n"
    )
