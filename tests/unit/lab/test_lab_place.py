"""Names and files of the lab that need no server."""

from __future__ import annotations

import itertools
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import settings
from lab.machine import cache, layers
from lab.machine.locks import locked, try_lock
from lab.place import LabPlace, place
from lab.services.authority import Authority
from lab.world import SHOP
from switchover.errors import Problem
from switchover.settings import load

ROOT = Path(__file__).parents[3]


def test_labs_of_different_names_share_only_what_is_cached() -> None:
    one, other = LabPlace(Path("/lab")), LabPlace(Path("/lab"), "b")
    assert (one.netns("hub"), other.netns("hub")) == ("switchover-hub", "switchover-b-hub")
    assert one.images == other.images and one.prepared == other.prepared
    assert one.run != other.run and one.lock != other.lock and one.states != other.states


@pytest.mark.parametrize(("root", "name"), [("/a:b", ""), ("/a,b", ""), ("/a b", ""), ("/a", "B!"), ("/a", "x" * 13)])
def test_names_that_cannot_be_mounted_are_refused(monkeypatch: pytest.MonkeyPatch, root: str, name: str) -> None:
    monkeypatch.setenv("SWITCHOVER_LAB", root)
    monkeypatch.setenv("SWITCHOVER_LAB_NAME", name)
    with pytest.raises(Problem, match="SWITCHOVER_LAB"):
        place()


def test_the_generated_settings_are_valid(tmp_path: Path) -> None:
    (tmp_path / "move.yaml").write_text(settings.text(SHOP))
    read = load(tmp_path / "move.yaml")
    assert read.old.app.service == "unicorn_openfoodweb"
    assert read.ci and read.ci.ssh == "ci.shop.test"
    (tmp_path / "move.yaml").write_text(settings.text(SHOP, ci=False))
    assert load(tmp_path / "move.yaml").ci is None


def test_what_is_prepared_apart_has_a_name_of_its_own() -> None:
    usual, open_ = layers.Variant(), layers.Variant(firewall=False)
    assert {variant.name("old") for variant in (usual, open_, layers.Variant(20), layers.Variant(plain=True))} == {
        "shop-300mb", "shop-300mb-open", "shop-20mb", "plain",
    }  # fmt: skip
    assert usual.name("new") == open_.name("new") == layers.Variant(20).name("ci") == "shop"


def test_the_authoritys_certificates_are_good_and_it_stays_the_same(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path / "ca")
    first = authority.certificate.read_text()
    assert Authority.at(tmp_path / "ca").certificate.read_text() == first
    chain, key = authority.issue(["shop.test", "*.shop.test", "10.77.0.11"])
    (tmp_path / "chain.pem").write_text(chain)
    in_a_year = str(int(time.time()) + 366 * 86400)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", authority.certificate]
    for names in (
        ["-verify_hostname", "shop.test"],
        ["-verify_hostname", "www.shop.test"],
        ["-verify_ip", "10.77.0.11"],
    ):
        subprocess.run([*verify, "-attime", in_a_year, *names, tmp_path / "chain.pem"], check=True, capture_output=True)
    assert subprocess.run(
        [*verify, "-verify_hostname", "other.test", tmp_path / "chain.pem"], capture_output=True
    ).returncode
    # Servers and visitors are given both as they are: the key is this certificate's, an elliptic one.
    (tmp_path / "key.pem").write_text(key)
    ssl.create_default_context().load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert key.startswith("-----BEGIN EC PRIVATE KEY-----") and chain.endswith(first)
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_digest_changes_with_each_name_content_and_mode(tmp_path: Path) -> None:
    seen = {cache.digest("a", files=[tmp_path])}
    (tmp_path / "one").write_text("1")
    seen.add(cache.digest("a", files=[tmp_path]))
    (tmp_path / "one").write_text("2")
    seen.add(cache.digest("a", files=[tmp_path]))
    (tmp_path / "one").chmod(0o700)
    seen.add(cache.digest("a", files=[tmp_path]))
    (tmp_path / "one").rename(tmp_path / "two")
    seen.add(cache.digest("a", files=[tmp_path]))
    seen.add(cache.digest("b", files=[tmp_path]))
    assert len(seen) == 6
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("x")
    assert cache.digest("b", files=[tmp_path]) in seen


HOLDER = """
import sys
from pathlib import Path
from lab.machine.locks import try_lock
held = try_lock(Path(sys.argv[1]), "its holder")
print(held is not None, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_one_processes_until_it_is_killed_and_waiting_for_it_can_be_given_up(tmp_path: Path) -> None:
    lock, asked = tmp_path / "some" / "lock", itertools.count()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout and holder.stdout.readline() == b"True\n"
        assert try_lock(lock, "another") is None
        assert lock.read_text() == "its holder"  # who asked in vain has left it
        with pytest.raises(Problem, match="lock: stopped while it waited"), locked(lock, lambda: next(asked) == 2):
            pytest.fail("held by two")
    finally:
        holder.kill()
        holder.wait()
    with locked(lock):
        pass
    held = try_lock(lock, "me")
    assert held is not None and lock.read_text() == "me"
    held.release()
    with locked(lock):
        pass


def test_a_state_that_was_never_saved_is_named_with_those_there_are(tmp_path: Path) -> None:
    where = LabPlace(tmp_path)
    where.states.mkdir()
    (where.states / "after-app.json").write_text("{}")
    with pytest.raises(Problem, match=r"no saved state 'x'\. Saved: after-app"):
        layers.load(where.states, "x")
    with pytest.raises(Problem, match="no name for a state"):
        layers.load(where.states, "../x")
