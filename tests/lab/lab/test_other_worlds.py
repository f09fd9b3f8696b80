"""Labs of other worlds: with a third server; with other names, in another network."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
import yaml

from lab.machine import network
from lab.servers import Lab
from lab.services.authority import Authority
from lab.world import SHOP, Deployment, LabHost, Site, World
from switchover.settings import load

pytestmark = pytest.mark.usefixtures("lab_name")

THREE = replace(SHOP, hosts=SHOP.hosts | {"web2": LabHost("web2.shop.test", "anna", 15)})
FARM = World(
    hosts={
        "old": LabHost("lynx.farm.example", "root2", 21, debian="12"),
        "new": LabHost("wolf.farm.example", "admin", 22),
        "ci": LabHost("builds.example", "builder", 23),
    },
    sites=(
        Deployment(
            {
                "old": Site("farm", "farm.example", "farm", "farm_production", "farm", "one"),
                "new": Site("farm", "wolf.farm.example", "farm", "farm", "farmer", "two"),
            },
        ),
    ),
    ipv4="10.88.5.",
    ipv6="fd88:5::",
    visitors=200,
    second_name_server=24,
    authority="authority-farm",
)


def by_ssh(lab: Lab, host: str, command: str) -> str:
    done = subprocess.run(["ssh", "-F", lab.ssh_config, host, command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_third_server(lab_name: str) -> None:
    with Lab(plain=True, world=THREE) as lab:
        web2 = lab.server("web2")
        assert [host.role for host in lab.hosts] == ["old", "new", "ci", "web2"]
        assert web2.exec("hostname").stdout == "web2.shop.test\n"
        shown = web2.exec("ip -o address show eth0").stdout
        assert "inet 10.77.0.15/24" in shown and "inet6 fd77::15/64" in shown
        assert by_ssh(lab, "web2.shop.test", "id -un; sudo -n id -u") == "anna\n0"
        for host, other in ((lab.old, web2), (lab.ci, web2), (web2, lab.new)):
            for address in (*lab.world.addresses(other.role), other.name):
                host.exec(f"bash -c 'exec 3<>/dev/tcp/{address}/22'")
        assert Lab.running().world == THREE  # so that `inv lab.ssh web2` finds it
        assert f"{lab.place.prefix}-web2" in network.left(lab.place)
        lab.save("test-three")
        assert lab.has_state("test-three")
        assert not Lab(plain=True).has_state("test-three")
    assert network.left(lab.place) == []


def test_a_lab_under_other_names_and_in_another_network(lab_name: str) -> None:
    with Lab(plain=True, world=FARM) as lab:
        for role, user in (("old", "root2"), ("new", "admin"), ("ci", "builder")):
            name = FARM.hosts[role].name
            assert by_ssh(lab, name, "hostname; sudo -n id -u; id -un") == f"{name}\n0\n{user}"
        assert lab.old.exec("cut -d. -f1 /etc/debian_version").stdout == "12\n"
        assert "10.88.5.22/24" in lab.new.exec("ip -o address show eth0").stdout
        assert lab.new.exec("getent hosts farm.example").stdout.split()[0] == "fd88:5::21"
        for address in ("10.88.5.22", "fd88:5::22"):
            lab.old.exec(f"bash -c 'exec 3<>/dev/tcp/{address}/22'")
        read = load(lab.settings)
        assert (read.domain, read.old.ssh, read.new.ssh) == ("farm.example", "lynx.farm.example", "wolf.farm.example")
        assert [str(address) for address in read.old.address] == ["10.88.5.21", "fd88:5::21"]
        everything = lab.settings.read_text() + lab.ssh_config.read_text() + lab.old.exec("cat /etc/hosts").stdout
        assert "shop.test" not in everything and "10.77" not in everything
        assert yaml.safe_load(lab.settings.read_text())["certificate"]["server"] == "https://builds.example:14000/dir"
        its, usual = (Authority.at(lab.place.authority(world.authority)) for world in (FARM, SHOP))
        assert lab.ca.read_text() == its.certificate.read_text() != usual.certificate.read_text()
