"""The lab's servers: as real ones boot, are reached, reboot, and keep their state."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from lab.machine import clean, network
from lab.servers import Lab
from switchover import settings
from switchover.errors import Problem

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(plain=True) as running:
        yield running


def by_ssh(lab: Lab, host: str, command: str) -> str:
    done = subprocess.run(["ssh", "-F", lab.ssh_config, host, command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def visitors(lab: Lab, script: str) -> int:
    entry = network.entry(lab.netns_visitors)
    return subprocess.run([*entry, "timeout", "3", "bash", "-c", script], capture_output=True).returncode


def test_they_are_debian_with_their_own_postgresql(lab: Lab) -> None:
    assert lab.old.exec("cut -d. -f1 /etc/debian_version").stdout == "11\n"
    assert lab.new.exec("cut -d. -f1 /etc/debian_version").stdout == "12\n"
    assert int(lab.old.psql("SHOW server_version_num")) // 10000 == 13
    assert int(lab.new.psql("SHOW server_version_num")) // 10000 == 15
    for server in lab.servers:
        assert server.exec("systemctl is-system-running").stdout == "running\n"
        assert server.exec("hostname").stdout.strip() == server.name


def test_ssh_reaches_them_by_name_with_known_keys_and_sudo(lab: Lab) -> None:
    for server, user in ((lab.old, "ubuntu"), (lab.new, "ofn-admin"), (lab.ci, "ubuntu")):
        assert by_ssh(lab, server.name, "id -un; sudo -n id -u") == f"{user}\n0"
    keys = {host.exec("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout for host in lab.hosts}
    assert len(keys) == 3
    known = (lab.ssh_config.parent / "known_hosts").read_text()
    assert all(key.split()[1] in known for key in keys)


def test_they_know_each_other_by_name_over_both_protocols(lab: Lab) -> None:
    for server, other in ((lab.old, lab.new), (lab.new, lab.old)):
        for address in (other.address4, other.address6, other.name):
            server.exec(f"bash -c 'exec 3<>/dev/tcp/{address}/22'")
    assert lab.new.exec("getent hosts shop.test").stdout.split()[0] == lab.old.address6
    assert lab.new.exec("getent ahostsv4 shop.test").stdout.split()[0] == lab.old.address4


def test_the_firewall_lets_in_ssh_and_the_web_alone(lab: Lab) -> None:
    lab.old.exec("systemd-run --unit=listener python3 -m http.server 8080 --bind ::")
    for address in (lab.old.address4, lab.old.address6):
        assert visitors(lab, f"exec 3<>/dev/tcp/{address}/80") == 0
        assert visitors(lab, f"exec 3<>/dev/tcp/{address}/22") == 0
        assert visitors(lab, f"exec 3<>/dev/tcp/{address}/8080") != 0
    lab.old.exec("ufw allow 8080/tcp")
    for address in (lab.old.address4, lab.old.address6):
        assert visitors(lab, f"exec 3<>/dev/tcp/{address}/8080") == 0
    lab.old.exec("ufw delete allow 8080/tcp; systemctl stop listener")


def test_the_authority_is_trusted_inside(lab: Lab) -> None:
    for server in lab.servers:
        server.write("/tmp/ca.pem", lab.ca.read_text())
        assert "OK" in server.exec("openssl verify -CApath /etc/ssl/certs /tmp/ca.pem").stdout


def test_nothing_is_in_the_machines_own_network(lab: Lab) -> None:
    shown = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True).stdout
    assert "10.77.0." not in shown and "fd77:" not in shown and "switchover" not in shown


def test_a_command_inside_fails_in_one_line(lab: Lab) -> None:
    with pytest.raises(Exception, match=r"old \(prod1.shop.test\): `ls /nowhere` ended with status 2") as caught:
        lab.old.exec("ls /nowhere")
    assert "\n" not in str(caught.value)
    assert lab.old.exec("cat; exit 3", input=b"given", check=False).stdout == "given"


def test_the_settings_are_ones_the_program_takes(lab: Lab) -> None:
    read = settings.load(lab.settings)
    assert read.domain == "shop.test"
    assert read.ssh_config == str(lab.ssh_config)
    assert str(read.new.address[1]) == lab.new.address6


def test_a_reboot_keeps_files_and_forgets_loose_firewall_rules(lab: Lab) -> None:
    lab.new.exec("echo kept >/etc/kept; iptables -I INPUT -p tcp --dport 1234 -j ACCEPT; echo gone >/run/gone")
    boot = lab.new.exec("cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1").stdout
    lab.new.reboot()
    assert lab.new.exec("cat /etc/kept").stdout == "kept\n"
    assert lab.new.exec("test -e /run/gone", check=False).returncode == 1
    assert "1234" not in lab.new.exec("iptables -S").stdout
    assert "80/tcp" in lab.new.exec("ufw status").stdout
    assert lab.new.exec("cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1").stdout != boot
    assert by_ssh(lab, lab.new.name, "cat /etc/kept") == "kept"


def test_a_saved_state_is_started_from(lab: Lab, lab_name: str) -> None:
    lab.old.psql("CREATE TABLE saved AS SELECT 1 AS one")
    lab.new.exec("mkdir /srv/a; touch /srv/a/f; rm /etc/ufw/after.init; mv /etc/skel /etc/skel-moved; mkdir /etc/skel")
    keys = (lab.ssh_config.parent / "known_hosts").read_text()
    lab.ci.exec("touch /srv/kept")
    lab.save("test-state")
    assert lab.has_state("test-state") and not lab.has_state("test-other")
    assert not Lab(plain=True, firewall=False).has_state("test-state")
    lab.old.psql("INSERT INTO saved VALUES (2)")
    lab.down()
    assert clean.left() == []
    with Lab(state="test-state") as again:
        assert again.old.psql("SELECT one FROM saved") == "1"
        assert (
            again.new.exec("ls /srv/a /etc/skel; test -e /etc/skel-moved/.profile").stdout
            == "/etc/skel:\n\n/srv/a:\nf\n"
        )
        assert again.new.exec("test -e /etc/ufw/after.init", check=False).returncode == 1
        assert (again.ssh_config.parent / "known_hosts").read_text() == keys
        assert by_ssh(again, again.old.name, "hostname") == again.old.name
        assert by_ssh(again, again.ci.name, "ls /srv") == "kept"


@pytest.mark.thorough
def test_a_lab_without_the_host_that_deploys(lab_name: str) -> None:
    with Lab(plain=True, ci=False) as lab:
        assert [host.role for host in lab.hosts] == ["old", "new"]
        assert settings.load(lab.settings).ci is None
        assert "ci.shop.test" not in lab.ssh_config.read_text()
        with pytest.raises(Problem, match=r"ci \(ci.shop.test\): is not running"):
            lab.ci.exec("true")
        lab.save("test-two")
    with Lab(state="test-two") as again:
        assert [host.role for host in again.hosts] == ["old", "new"]
        assert [host.role for host in Lab.running().hosts] == ["old", "new"]
