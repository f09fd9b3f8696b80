"""The host that deploys, pushes of all kinds from there, and an old server that has no firewall."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from lab.machine import clean, network
from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.visitors import deploys
from lab.world import SHOP
from switchover import settings

OLD, NEW = SHOP.site("old"), SHOP.site("new")

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, firewall=False) as running:
        yield running
    assert clean.left() == []


def head(server: LabServer) -> str:
    """The commit that the server's checkout is at."""
    site = SHOP.site(server.role)
    return server.exec(f"runuser -l {site.user} -c 'git -C {site.app} rev-parse HEAD'").stdout.strip()


def until_it_runs(server: LabServer, pushed: deploys.Pushed) -> None:
    until(lambda: deploys.title(server) == pushed.title, 30, f"{server}: '{pushed.title}' is not deployed", pause=0.3)


def test_the_ci_host_is_light_and_everybody_knows_everybody(lab: Lab) -> None:
    assert lab.ci.exec("systemctl is-system-running; cut -d. -f1 /etc/debian_version").stdout == "running\n12\n"
    assert lab.ci.exec("pgrep -l 'postgres|pgbouncer|nginx|monit|ruby'", check=False).stdout == ""
    used = lab.ci.exec("cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {s += $2} END {print s}'").stdout
    assert int(used) / 1024 < 100  # MB; two name servers are half of that
    for host in lab.hosts:
        for other in lab.hosts:
            for address in (other.address4, other.address6, other.name):
                host.exec(f"bash -c 'exec 3<>/dev/tcp/{address}/22'")


def test_the_operator_reaches_it_and_the_settings_name_it(lab: Lab) -> None:
    read = settings.load(lab.settings)
    agent = SHOP.sites[0].pushers["ci"]
    assert read.ci is not None
    assert (read.ci.user, read.ci.checkout, read.ci.remote) == (agent.user, agent.checkout, agent.remote)
    where = f"git -C {read.ci.checkout} remote get-url {read.ci.remote}"
    command = ["ssh", "-F", lab.ssh_config, read.ci.ssh, f"sudo -H -u {read.ci.user} {where}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert shown.stdout == f"{OLD.user}@{lab.old.name}:apps/{OLD.name}/current\n", shown.stderr


def test_its_agent_deploys_to_old_by_its_remote(lab: Lab) -> None:
    before = head(lab.old)
    pushed = deploys.push(lab, "remote", by="ci")
    assert pushed.ok, pushed.output
    until_it_runs(lab.old, pushed)
    assert pushed.commit == head(lab.old) != before


def test_old_is_not_yet_told_from_new_by_the_agent_but_by_the_developer(lab: Lab) -> None:
    refused = deploys.push(lab, "new", by="ci")
    assert not refused.ok and refused.commit == ""
    assert "Host key verification failed" in refused.output
    pushed = deploys.push(lab, "new", by="dev")
    assert pushed.ok, pushed.output
    until_it_runs(lab.new, pushed)


def test_a_key_that_nobody_knows_is_refused(lab: Lab) -> None:
    developer, before = SHOP.sites[0].pushers["dev"], head(lab.old)
    new_key = f"rm {developer.key} && runuser -u {developer.user} -- ssh-keygen -q -t ed25519 -N '' -f {developer.key}"
    lab.ci.exec(f"cp -a {developer.home}/.ssh {developer.home}/kept && {new_key}")
    try:
        refused = deploys.push(lab, "old", by="dev")
    finally:
        lab.ci.exec(f"cd {developer.home} && rm -r .ssh && mv kept .ssh")
    assert not refused.ok
    assert "Permission denied (publickey" in refused.output
    assert head(lab.old) == before


def test_a_broken_push_leaves_what_runs_and_the_next_one_fixes_it(lab: Lab) -> None:
    """As in 2018: the hook dies on the way, and git says that all went well."""
    running = deploys.title(lab.old)
    broken = deploys.push(lab, "old", "broken", by="dev")
    assert broken.ok and "Broken on purpose" in broken.output
    assert head(lab.old) == broken.commit
    assert deploys.title(lab.old) == running
    fixed = deploys.push(lab, "old", "migration", by="ci")
    assert fixed.ok, fixed.output
    until_it_runs(lab.old, fixed)
    assert lab.old.psql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pushed_%'", db=OLD.database) == "1"


def test_a_slow_push_takes_its_time(lab: Lab) -> None:
    began = float(lab.old.exec("cut -d' ' -f1 /proc/uptime").stdout)
    pushed = deploys.push(lab, "old", "slow", by="dev", seconds=4)
    assert pushed.ok, pushed.output
    assert float(lab.old.exec("cut -d' ' -f1 /proc/uptime").stdout) - began > 4
    until_it_runs(lab.old, pushed)
    assert deploys.push(lab, "old", by="dev").ok  # quick again, for the tests that follow


def test_old_without_a_firewall_answers_on_every_port(lab: Lab) -> None:
    for server in lab.servers:
        server.exec("systemd-run --unit=listener python3 -m http.server 8080 --bind ::")
        until(lambda: "8080" in server.exec("ss -ltn").stdout, 10, "nobody listens", pause=0.1)  # noqa: B023
    try:
        for address in (lab.old.address4, lab.old.address6):
            assert answers(lab, address, 8080)
        for address in (lab.new.address4, lab.new.address6):
            assert answers(lab, address, 443) and not answers(lab, address, 8080)
    finally:
        for server in lab.servers:
            server.exec("systemctl stop listener")
    assert lab.old.exec("ufw status").stdout == "Status: inactive\n"
    assert "ufw" not in lab.old.exec("iptables -S; ip6tables -S").stdout


def answers(lab: Lab, address: str, port: int) -> bool:
    """Whether somebody answers visitors there."""
    entry = network.entry(lab.netns_visitors)
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    return subprocess.run([*entry, "timeout", "2", "bash", "-c", script], capture_output=True).returncode == 0


def test_each_server_renews_its_certificates_by_one_timer(lab: Lab) -> None:
    for server in lab.servers:
        timers = server.exec("systemctl list-timers --no-legend --no-pager | grep -c certbot").stdout
        assert timers == "1\n"
        assert server.exec("systemctl start certbot.service && test -e /etc/cron.d/certbot").returncode == 0
    assert lab.ci.exec("systemctl is-active certbot.timer", check=False).stdout == "inactive\n"


def test_a_long_log_rotates_as_the_applications_user(lab: Lab) -> None:
    conf = lab.old.exec(f"cat {OLD.app}/log/logrotate.conf").stdout
    for server, site in ((lab.old, OLD), (lab.new, NEW)):
        server.write(f"{site.app}/log/probe.conf", conf.replace(OLD.app, site.app), owner=f"{site.user}:{site.user}")
        script = (
            f"cd {site.app}/log && yes | head -c 2000000 >probe.log"
            " && /usr/sbin/logrotate -s probe-status probe.conf && wc -c <probe.log && wc -c <probe.log.1; rm -f probe*"
        )
        assert server.exec(f"runuser -l {site.user} -c '{script}'").stdout.split() == ["0", "2000000"]
