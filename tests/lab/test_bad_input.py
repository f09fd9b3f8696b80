"""Servers and settings as strange as people have them: talkative logins, fish, German, odd names, crontabs with `%`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import Ran, differences, inv, looks

from lab.machine.server import LabServer
from lab.servers import Lab
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")
ODD = "Größe 1 & \"zwei\" 'drei'; touch pwned"  # of a directory of uploads and of a file to carry
CRONTAB = """\
# by hand: 100 % of it
MAILTO="anna@shop.test, bert@shop.test"
PATH=/usr/local/bin:/usr/bin:/bin

30 4 * * * echo "$(date +\\%F) it's done" >>/home/openfoodweb/apps/openfoodweb/current/log/by-hand.log
15 4 1 * * cat >/dev/null%first line%second 'line'
@reboot  true # Größe
"""

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    """Both servers speak German and greet whoever comes; new's sudo user has fish; old has things with odd names."""
    with Lab(seed_mb=5, ci=False, strategy="copy") as running:
        for host in running.servers:
            german(host)
            greets(host)
        running.new.exec(f"usermod -s /usr/bin/fish {running.new.sudo_user}")
        uploads, carried = f"{OLD.app}/public/{ODD}", f"{OLD.app}/config/{ODD}.yml"
        running.old.exec(f"runuser -u {OLD.user} -- mkdir -p {shlex.quote(uploads + '/ü')}")
        for path, text in ((f"{uploads}/ü/a\nb 'c'.txt", "upload\n"), (carried, "x: 'ü'\n")):
            running.old.exec(f"runuser -u {OLD.user} -- tee {shlex.quote(path)} >/dev/null", text)
        running.old.exec(f"crontab -u {OLD.user} -", CRONTAB)
        yield running


def german(host: LabServer) -> None:
    """The whole server speaks German, PostgreSQL too."""
    host.exec("echo LANG=de_DE.UTF-8 | tee /etc/default/locale >/etc/environment")
    host.psql("ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'")
    host.exec("systemctl restart postgresql ssh cron")


def greets(host: LabServer) -> None:
    """Before and after the login it says something, in every shell that people have."""
    home = f"/home/{host.sudo_user}"
    host.exec(f"""
    printf 'Zutritt nur für Befugte: %%s \\n \036\n' >/etc/issue.net
    echo 'Banner /etc/issue.net' >>/etc/ssh/sshd_config
    echo 'echo "Willkommen"' >>{home}/.profile; echo 'echo "Willkommen"' >>{home}/.bashrc
    mkdir -p {home}/.config/fish; echo 'echo "Hallo, Fisch"' >{home}/.config/fish/config.fish
    chown -R {host.sudo_user}: {home}; systemctl restart ssh
    """)


@pytest.fixture
def settings(lab: Lab, tmp_path: Path) -> Path:
    """The lab's settings and the odd names."""
    return written(lab, tmp_path)


def written(lab: Lab, directory: Path, install: bool = True) -> Path:
    """A move.yaml; without *install* old's crontab is copied."""
    data: dict[str, Any] = yaml.safe_load(lab.settings.read_text())
    data["ssh_config"] = str(lab.ssh_config)
    data["uploads"].append({"from": f"public/{ODD}/", "to": f"public/{ODD}/"})
    data["carry"].append({"from": f"config/{ODD}.yml", "to": f"config/neu {ODD}.yml", "replace": {"ü": "ö"}})
    if not install:
        del data["new"]["schedule"]["install"]
    file = directory / "die Einstellungen.yaml"
    file.write_text(yaml.safe_dump(data, allow_unicode=True))
    return file


def works(lab: Lab, settings: Path, *words: str) -> Ran:
    """`inv`, which must end well."""
    ran = inv(lab, *words, settings=settings)
    assert (ran.status, ran.err) == (0, ""), ran.out + ran.err
    return ran


def test_check_passes(lab: Lab, settings: Path) -> None:
    assert "✗" not in works(lab, settings, "check").out


@pytest.mark.thorough
def test_a_login_on_old_that_would_disturb_rsync_is_reported(lab: Lab, settings: Path) -> None:
    """It speaks where no person listens; on new, whose fish does, that is no matter."""
    file = f"/home/{lab.old.sudo_user}/.bashrc"
    lab.old.exec(f"sed -i '1i echo Guten Tag' {file}")
    try:
        ran = inv(lab, "check", settings=settings)
        assert ran.status == 1 and f"✗ {lab.old}: {lab.old.sudo_user}'s shell prints 'Guten Tag' " in ran.out
        assert "without a terminal, which breaks rsync  (Print it only where $- has an i" in ran.out
    finally:
        lab.old.exec(f"sed -i 1d {file}")


def test_prepare_old_and_its_undo(lab: Lab, settings: Path) -> None:
    before = looks(lab)
    works(lab, settings, "prepare-old")
    works(lab, settings, "undo", "--yes", "prepare-old")
    assert differences(lab, before, journal=False, within=12, but=("process ", "rows of ")) == []
    works(lab, settings, "prepare-old")


def test_odd_names_travel(lab: Lab, settings: Path) -> None:
    works(lab, settings, "prepare-new")
    upload, carried = f"{NEW.app}/public/{ODD}/ü/a\nb 'c'.txt", f"{NEW.app}/config/neu {ODD}.yml"
    assert lab.new.exec(f"cat {shlex.quote(upload)} {shlex.quote(carried)}").stdout == "upload\nx: 'ö'\n"
    assert lab.new.exec("find / -xdev -name pwned").stdout == lab.old.exec("find / -xdev -name pwned").stdout == ""


def crontab(host: LabServer, user: str) -> str:
    """The user's crontab."""
    return host.exec(f"crontab -l -u {user}", check=False).stdout


def test_a_crontab_is_copied_as_it_is(lab: Lab, tmp_path: Path) -> None:
    """Its `%`, MAILTO, comments and all; old's paths become new's."""
    settings = written(lab, tmp_path, install=False)
    works(lab, settings, "switch-cron")
    assert (crontab(lab.old, OLD.user), crontab(lab.new, NEW.user)) == ("", CRONTAB.replace(OLD.app, NEW.app))
    listed = lab.new.exec(f"stat -c '%U:%G %a' /var/spool/cron/crontabs/{NEW.user}").stdout
    assert listed == f"{NEW.user}:crontab 600\n"
    works(lab, settings, "undo", "--yes", "switch-cron")
    assert (crontab(lab.old, OLD.user), crontab(lab.new, NEW.user)) == (CRONTAB, "")


@pytest.mark.thorough
def test_a_crontab_is_installed_by_its_command(lab: Lab, settings: Path) -> None:
    works(lab, settings, "switch-cron")
    assert crontab(lab.old, OLD.user) == "" and "record_minute" in crontab(lab.new, NEW.user)
    works(lab, settings, "undo", "--yes", "switch-cron")
    assert (crontab(lab.old, OLD.user), crontab(lab.new, NEW.user)) == (CRONTAB, "")


@pytest.mark.thorough
@pytest.mark.parametrize("role", ["old", "new"])
def test_a_sudo_that_asks_for_a_password_is_reported(lab: Lab, settings: Path, role: str) -> None:
    host = lab.old if role == "old" else lab.new
    host.exec("cp -a /etc/sudoers.d /root/sudoers.kept && sed -i 's/NOPASSWD://' /etc/sudoers.d/* /etc/sudoers")
    try:
        for words in (["status"], ["prepare-old"], ["undo", "--yes"]):
            ran = inv(lab, *words, settings=settings)
            assert ran.status == 1 and "Traceback" not in ran.out + ran.err
            assert len(ran.err.splitlines()) == 1
            assert ran.err.startswith(f"{host}: sudo does not work without a password (sudo: ")
            assert "NOPASSWD in /etc/sudoers.d" in ran.err
        assert f"✗ {host}: sudo does not work without a password (sudo: " in inv(lab, "check", settings=settings).out
    finally:
        host.exec("rm -r /etc/sudoers.d && mv /root/sudoers.kept /etc/sudoers.d")
    works(lab, settings, "status")


@pytest.mark.thorough
def test_a_login_shell_that_lets_nobody_work_is_reported(lab: Lab, settings: Path) -> None:
    lab.new.exec(f"usermod -s /usr/sbin/nologin {lab.new.sudo_user}")
    try:
        ran = inv(lab, "status", settings=settings)
        assert ran.status == 1 and len(ran.err.splitlines()) == 1
        assert ran.err.startswith(f"{lab.new}: ")
    finally:
        lab.new.exec(f"usermod -s /usr/bin/fish {lab.new.sudo_user}")
