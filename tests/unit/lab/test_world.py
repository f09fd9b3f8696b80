"""Worlds: what follows from one, and that two of them share nothing that is prepared."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lab import settings
from lab.judging import inventory
from lab.machine import base, layers, network, ssh
from lab.machine.files import ServerFile
from lab.place import LabPlace
from lab.services import bind, ci
from lab.services.authority import Authority
from lab.sites.installations import installation
from lab.texts import render, script
from lab.world import BARE, MARKET, SERVICES, SHOP, TWO, LabHost, World
from switchover.errors import Problem
from switchover.settings import check

THREE = replace(SHOP, hosts=SHOP.hosts | {"web2": LabHost("web2.farm.example", "anna", 15)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda hosts: {"old": hosts["old"]}, "no ci, new among its hosts"),
        (lambda hosts: hosts | {"web-2": LabHost("web2", "anna", 15)}, "'web-2' is no name for a host"),
        (lambda hosts: hosts | {"visitors": LabHost("web2", "anna", 15)}, "'visitors' is no name for a host"),
        (lambda hosts: hosts | {"web2": LabHost("web2", "anna", 12)}, "two of its addresses are the same"),
        (lambda hosts: hosts | {"web2": LabHost("web2", "anna", 14)}, "two of its addresses are the same"),
    ],
)
def test_hosts_that_no_lab_can_have_are_refused(
    change: Callable[[dict[str, LabHost]], dict[str, LabHost]], says: str
) -> None:
    with pytest.raises(Problem, match=says):
        replace(SHOP, hosts=change(SHOP.hosts))


def test_what_is_prepared_for_one_world_is_no_other_s(tmp_path: Path) -> None:
    where = LabPlace(tmp_path)
    worlds = [
        SHOP,
        TWO,
        THREE,
        replace(SHOP, ipv4="10.88.0."),
        replace(SHOP, customers="others.test"),
        replace(SHOP, authority="other"),
        SERVICES,
        BARE,
        replace(SHOP, hosts=SHOP.hosts | {"ci": replace(SHOP.hosts["ci"], sudo_user="anna")}),
    ]
    for role in SHOP.hosts:
        for variant in (layers.Variant(), layers.Variant(plain=True)):
            found = {layers.prepared(where, world, role, "12", variant) for world in worlds}
            assert len(found) == len(worlds)
            assert layers.prepared(where, replace(SHOP), role, "12", variant) in found


def test_what_a_server_is_prepared_from_is_in_its_recipe() -> None:
    """What `base.setup`, and for a shop `provision` and `postfix.sends`, send to it."""
    recipe = {path.relative_to(layers.LAB).as_posix() for path in (*layers.RECIPE, *layers.SHOP_RECIPE)}
    assert {"machine/setup.sh", "world.py", "sites", "services/mail-sends.sh", "services/postfix.py"} <= recipe
    assert all(path.exists() for path in (*layers.RECIPE, *layers.SHOP_RECIPE, *layers.CI_RECIPE))


def test_a_running_lab_s_description_has_its_world(tmp_path: Path) -> None:
    described = layers.Described(TWO, {"old": "11"}, {"old": ["/upper", "/image"]})
    described.write(tmp_path / "lab.json", files={})
    assert layers.Described.read(tmp_path / "lab.json") == described
    (tmp_path / "lab.json").write_text('{"releases": {}, "layers": {}}')
    with pytest.raises(Problem, match=r"lab\.json: was made by another version"):
        layers.Described.read(tmp_path / "lab.json")


def test_the_settings_of_each_site_name_its_own(tmp_path: Path) -> None:
    first, second = (check(settings.settings(TWO, site=site), "move.yaml") for site in ("", "market.test"))
    assert (first.domain, second.domain) == ("shop.test", "market.test")
    assert first.ci and not second.ci  # no agent deploys it
    assert second.old.app.path == "/home/market/apps/market/current"
    assert (second.old.database.name, second.new.database.owner) == ("market_production", "market_user")
    assert second.old.deploys.name == "live" and first.old.ssh == second.old.ssh
    assert "/live/new.market.test/" in second.new.certificate.fullchain
    with pytest.raises(Problem, match=r"no site 'farm\.test'.*Choose among shop\.test, market\.test"):
        settings.text(TWO, site="farm.test")


def test_a_third_host_is_known_to_all_and_by_ssh(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path / "ca")
    for role in THREE.hosts:
        name, hosts, _ = base.files(THREE, role, authority)
        assert name.text == THREE.hosts[role].name + "\n"
        assert "10.77.0.15 web2.farm.example web2\nfd77::15 web2.farm.example web2\n" in hosts.text
    assert "10.77.0.11 prod1.shop.test prod1 shop.test\n" in hosts.text
    config = ssh.config(LabPlace(tmp_path), THREE, THREE.hosts)
    assert "Host web2.farm.example\n    User anna\n" in config and "10.77.0.15 22\n" in config


def test_the_zones_have_every_name_once_and_where_it_belongs() -> None:
    found = bind.zones(replace(TWO, hosts=THREE.hosts))
    assert [*found][:2] == ["shop.test", "market.test"]
    assert "farm.example" in found and "0.77.10.in-addr.arpa" in found
    assert "ns2 A 10.77.0.14\n" in found["shop.test"] and "prod2.shop.test. AAAA fd77::12\n" in found["shop.test"]
    assert "market.test. A 10.77.0.11\nmarket.test. AAAA fd77::11\n" in found["market.test"]
    assert "new.market.test. A 10.77.0.12\n" in found["market.test"] and "shop.test. A" not in found["market.test"]
    assert "web2.farm.example. A 10.77.0.15\n" in found["farm.example"]
    assert "15.0.77.10.in-addr.arpa. PTR web2.farm.example.\n" in found["0.77.10.in-addr.arpa"]
    below = replace(MARKET, servers=MARKET.servers | {"old": replace(MARKET.servers["old"], domain="fish.shop.test")})
    nested = bind.zones(replace(SHOP, sites=(*SHOP.sites, below)))
    assert "fish.shop.test. A" in nested["fish.shop.test"] and "fish.shop.test. A" not in nested["shop.test"]


def test_the_first_name_server_has_all_zones_and_the_second_those_of_the_sites() -> None:
    given = {"first": "10.77.0.13", "second": "10.77.0.14", "key": bind.KEY, "config": bind.SECOND_CONFIG}
    given |= {"zones": bind.zones(TWO), "sites": ["shop.test", "market.test"]}
    named, second = (render(bind.TEMPLATES / name, **given) for name in ("named.conf.j2", "second.conf.j2"))
    assert named.count('zone "') == 4 and second.count('zone "') == 2
    assert "listen-on { 10.77.0.13; 127.0.0.1; };" in named and "masters { 10.77.0.13; };" in second


def test_a_look_s_records_are_those_of_both_name_servers(tmp_path: Path) -> None:
    """The sh reads the second's configuration, whatever world it is of."""
    second = {"first": "10.88.0.13", "second": "10.88.0.99", "sites": ["shop.test", "market.test"]}
    (tmp_path / "second.conf").write_text(render(bind.TEMPLATES / "second.conf.j2", **second))
    for name, text in (("systemctl", "exit 0"), ("dig", 'echo "$5. 20 IN A ${3#@}"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    text = (inventory.HERE / "records.sh").read_text().replace("/etc/bind/second.conf", str(tmp_path / "second.conf"))
    done = subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH\n{text}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{zone}. A\t20 {server}" for server in ("127.0.0.1", "10.88.0.99") for zone in ("shop.test", "market.test")
    ]


def test_keys_let_each_pusher_in_where_it_is_known() -> None:
    mara = replace(MARKET.pushers["dev"], known_by=("old",))
    world = replace(TWO, sites=(*SHOP.sites, replace(MARKET, pushers={"dev": mara})))
    files: dict[str, list[ServerFile]] = {role: ssh.identity() for role in world.hosts}
    ci.authorise(world, files)
    found = {(role, file.path): file.text for role, several in files.items() for file in several}
    assert "mara@ci" in found["old", "/home/market/.ssh/authorized_keys"]
    assert ("new", "/home/market/.ssh/authorized_keys") not in found
    assert "mara@ci" not in found["old", "/home/openfoodweb/.ssh/authorized_keys"]
    assert found["ci", "/home/mara/.ssh/known_hosts"].startswith("prod1.shop.test ssh-ed25519 ")


def test_a_comparison_leaves_out_what_the_world_s_sites_write() -> None:
    after = {"rows of market_production.orders": "1", "rows of other.orders": "1", "file /home/mara/market/a": "f"}
    assert [d.what for d in inventory.compare("old", {}, after, inventory.left_out(TWO))] == ["rows of other.orders"]
    assert len(inventory.compare("old", {}, after, inventory.left_out(SHOP))) == 3


def test_namespaces_of_another_lab_or_world_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NAMESPACES", tmp_path)
    assert network.left(LabPlace(tmp_path)) == []
    for name in ("switchover-hub", "switchover-web2", "switchover-b-hub", "switchover-b-old", "other"):
        (tmp_path / name).touch()
    assert network.left(LabPlace(tmp_path)) == ["switchover-hub", "switchover-web2"]
    assert network.left(LabPlace(tmp_path, "b")) == ["switchover-b-hub", "switchover-b-old"]


def test_a_script_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text('printf "%s\\n" "$#" "$@"\n')
    text = script(tmp_path / "a.sh", "it's", "$HOME a", 7)
    assert subprocess.run(["sh", "-c", text], capture_output=True, text=True).stdout == "3\nit's\n$HOME a\n7\n"


def test_the_usual_world_s_settings_are_as_ever() -> None:
    """They are what the documentation shows, and what states of a lab were saved with."""
    data = yaml.safe_load(settings.text(SHOP))
    assert data["old"]["certificate"]["fullchain"] == "/etc/letsencrypt/live/shop.test/fullchain.pem"
    assert data["ci"]["ssh"] == "ci.shop.test" and data["old"]["deploys"]["name"] == "aus-production"
    assert SHOP.names("old") == ["prod1.shop.test", "shop.test"]


@pytest.mark.parametrize(
    ("world", "kinds"), [(SHOP, ["delayed_job", "git"]), (SERVICES, ["service"]), (BARE, ["none"])]
)
def test_the_settings_say_how_a_site_is_installed(world: World, kinds: list[str], tmp_path: Path) -> None:
    file = tmp_path / "move.yaml"
    file.write_text(settings.text(world))
    read = check(yaml.safe_load(file.read_text()), "move.yaml")
    assert {read.old.worker.kind, read.new.worker.kind} & {*kinds}
    bare = world is BARE
    for part in ("worker", "schedule", "deploys"):
        assert settings.has(file, part) is not bare
    assert (read.ci is None) is bare


def test_what_nobody_installs_is_refused() -> None:
    with pytest.raises(Problem, match="there is no installation 'docker'"):
        installation("docker")
    with pytest.raises(Problem, match="Choose among usual, services, bare"):
        settings.settings(replace(SHOP, sites=(replace(SHOP.sites[0], installed="docker"),)))
