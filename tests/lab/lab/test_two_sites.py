"""A second site on the same two servers: each has all of its own, and settings that `inv check` takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from by_hand import works

from lab import settings
from lab.machine.server import until
from lab.servers import Lab
from lab.world import MARKET, TWO
from switchover.settings import load

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


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
        assert {"old": "About the shop", "new": "Opening soon"}[role] in body
        assert by == two.server(role).name
        names = f"openssl s_client -connect 127.0.0.1:443 -servername {domain} </dev/null 2>/dev/null"
        shown = two.server(role).exec(f"{names} | openssl x509 -noout -ext subjectAltName").stdout
        assert f"DNS:{domain}\n" in shown.replace(" ", "") + "\n"


def test_each_has_a_database_an_application_and_a_worker_of_its_own(two: Lab) -> None:
    count = "SELECT count(*) FROM orders"
    for moved in TWO.sites:
        for role, orders in (("old", "5000"), ("new", "0")):
            server, site = two.server(role), moved.servers[role]
            assert server.psql(count, site.database) == orders
            assert server.exec(f"systemctl is-active unicorn_{site.name}").stdout == "active\n"
            server.exec(f"pgrep -f -u {site.user} unicorn")
        user = moved.servers["old"].user  # monit starts it, some seconds after the boot
        worker = f"pgrep -f -u {user} delayed_job"
        until(lambda: two.old.exec(worker, check=False).returncode == 0, 60, f"{user} has no worker")  # noqa: B023
    two.new.exec("curl -sSf -o /dev/null -d number=M-1 -d product_id=7 -d quantity=1 https://market.test/orders")
    ordered = f"{count} WHERE number = 'M-1'"
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
        assert bool(status) == ("Permission denied" in done.stderr)


def test_the_second_s_settings_are_checked_on_its_servers(two: Lab) -> None:
    file = two.settings.with_name("market.yaml")
    file.write_text(settings.text(TWO, site="market.test"))
    read = load(file)
    assert (read.domain, read.ci) == ("market.test", None)
    assert (read.old.app.service, read.new.database.name) == ("unicorn_market", "market")
    shown = works(two, "check", settings=file).out
    first = works(two, "check").out
    assert "✗" not in first and "market.test" not in first
    assert "market.test" in shown and "✗" not in shown
