"""Labs of other worlds: a third server, a second site on the same two servers, other names and another network."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from by_hand import works

from lab import settings
from lab.machine import network
from lab.servers import Lab
from lab.services.authority import Authority
from lab.world import SHOP, Deployment, Host, Pusher, Site, World
from switchover.settings import load

pytestmark = pytest.mark.usefixtures("lab_name")

THREE = replace(SHOP, hosts=SHOP.hosts | {"web2": Host("web2.shop.test", "anna", 15)})
FARM = World(
    hosts={
        "old": Host("lynx.farm.example", "root2", 21, debian="12"),
        "new": Host("wolf.farm.example", "admin", 22),
        "ci": Host("builds.example", "builder", 23),
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
MARKET = Deployment(
    servers={
        "old": Site("market", "market.test", "market", "market_production", "market", "pears' 8"),
        "new": Site("market", "new.market.test", "market", "market", "market_user", "Plums-9"),
    },
    pushers={"dev": Pusher("mara", "/home/mara", "/home/mara/market", "live", ("old", "new"))},
)
TWO = replace(SHOP, sites=(*SHOP.sites, MARKET))


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


@pytest.fixture(scope="module")
def two(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, world=TWO) as lab:
        yield lab


def ask(lab: Lab, domain: str, server: str, path: str = "/about") -> tuple[str, str]:
    """What a visitor who comes from the ci host gets from a server under a name, by https, and who served it."""
    to = f"--resolve {domain}:443:{lab.server(server).address4} --cacert /etc/ssl/certs/ca-certificates.crt"
    shown = lab.ci.exec(f"curl -sSf -D /tmp/head {to} https://{domain}{path}; grep -i ^x-served-by /tmp/head").stdout
    body, _, by = shown.strip().rpartition("\n")
    return body, by.split()[1]


def test_two_sites_on_the_same_two_servers_answer_each_with_its_own_certificate(two: Lab) -> None:
    for domain, role in (
        ("shop.test", "old"),
        ("market.test", "old"),
        ("prod2.shop.test", "new"),
        ("new.market.test", "new"),
    ):
        body, by = ask(two, domain, role)
        assert "About the shop" in body or role == "new", body
        assert by == two.server(role).name
        names = f"openssl s_client -connect 127.0.0.1:443 -servername {domain} </dev/null 2>/dev/null"
        shown = two.server(role).exec(f"{names} | openssl x509 -noout -ext subjectAltName").stdout
        assert f"DNS:{domain}\n" in shown.replace(" ", "") + "\n"


def test_each_has_a_database_an_application_and_a_worker_of_its_own(two: Lab) -> None:
    number = "SELECT count(*) FROM orders"
    for site, before in ((TWO.site("old"), "5000"), (MARKET.servers["old"], "5000"), (MARKET.servers["new"], "0")):
        server = two.new if site is MARKET.servers["new"] else two.old
        assert server.psql(number, site.database) == before
        assert server.exec(f"systemctl is-active unicorn_{site.name}").stdout == "active\n"
        assert server.exec(f"pgrep -f -u {site.user} unicorn").stdout
    order = "curl -sSf -o /dev/null -d number=M-1 -d product_id=7 -d quantity=1 https://market.test/orders"
    two.new.exec(order)
    ordered = "SELECT count(*) FROM orders WHERE number = 'M-1'"
    assert two.old.psql(ordered, MARKET.servers["old"].database) == "1"
    assert two.old.psql(ordered, TWO.site("old").database) == "0"


def test_the_name_servers_have_the_zones_of_both(two: Lab) -> None:
    for server in two.name_servers:
        for name, addresses in (
            ("market.test", two.old.address4),
            ("www.market.test", f"market.test.\n{two.old.address4}"),
            ("new.market.test", two.new.address4),
            ("shop.test", two.old.address4),
        ):
            assert two.new.exec(f"dig +short @{server} {name} A").stdout.strip() == addresses


def test_its_developer_may_deploy_the_second_alone(two: Lab) -> None:
    tell = "cd ~/market && git ls-remote {url} refs/heads/master"
    for site, status in ((MARKET, 0), (TWO.sites[0], 128)):
        here = site.servers["old"]
        line = tell.format(url=f"{here.user}@{two.old.name}:{here.app}")
        done = two.ci.exec(
            f"GIT_SSH_COMMAND='ssh -o BatchMode=yes' runuser -w GIT_SSH_COMMAND -l mara -c '{line}'", check=False
        )
        assert done.returncode == status, done.stderr


def test_the_second_s_settings_are_checked_on_its_servers(two: Lab) -> None:
    file = two.settings.with_name("market.yaml")
    file.write_text(settings.text(TWO, site="market.test"))
    read = load(file)
    assert (read.domain, read.ci) == ("market.test", None)
    assert (read.old.app.service, read.new.database.name) == ("unicorn_market", "market")
    shown = works(two, "check", settings=file).out
    assert "shop.test" in works(two, "check").out
    assert "market.test" in shown and "✗" not in shown
