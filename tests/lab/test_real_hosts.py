"""Two ssh hosts as anybody has them: names in an ssh configuration, known keys, users with sudo; nothing of the lab.

`inv` runs in the visitors' network, from where both servers are reached by their addresses.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import UNCHANGED, Operator, Ran, differences, order, recorded, sections, steady

from lab.judging.inventory import Inventory
from lab.machine import network
from lab.machine.server import LabServer
from lab.servers import Lab
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="copy") as running:
        yield running


@dataclass(frozen=True)
class Laptop:
    """The operator's machine: a home with `.ssh`, and a move.yaml with its settings."""

    lab: Lab
    home: Path

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh/known_hosts"

    @property
    def config(self) -> Path:
        return self.home / ".ssh/config"

    @property
    def settings(self) -> Path:
        return self.home / "move.yaml"

    def put(self, path: str, value: Any) -> Laptop:
        """Changes the settings at *path* (keys parted by dots)."""
        data = inner = yaml.safe_load(self.settings.read_text())
        *way, last = path.split(".")
        for key in way:
            inner = inner[key]
        inner[last] = value
        self.settings.write_text(yaml.safe_dump(data, sort_keys=False))
        return self

    @property
    def operator(self) -> Operator:
        """Who sits at it."""
        home = ("env", "-u", "SSH_AUTH_SOCK", f"HOME={self.home}")
        return Operator(self.lab, self.settings, (*network.entry(self.lab.netns_visitors), *home))

    def inv(self, *words: str) -> Ran:
        """`inv` there."""
        return self.operator.run(*words)

    def fails(self, *words: str) -> str:
        """`inv` there, which must end with one line: that line."""
        return self.operator.fails(*words)


@pytest.fixture
def laptop(lab: Lab, tmp_path: Path) -> Laptop:
    """One that knows both servers: old by a name of its own, new as user@address; known_hosts hashed, as on Debian."""
    made = Laptop(lab, tmp_path / "home")
    made.known_hosts.parent.mkdir(parents=True, mode=0o700)
    shutil.copy(lab.ssh_config.with_name("operator"), made.home / ".ssh/id_ed25519")
    addresses = {"prod1.shop.test": lab.old.address4, "prod2.shop.test": lab.new.address4}
    known = [line.split() for line in lab.ssh_config.with_name("known_hosts").read_text().splitlines()]
    made.known_hosts.write_text(
        "".join(f"{addresses[name]} {kind} {key}\n" for name, kind, key, *_ in known if name in addresses)
    )
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", made.known_hosts], check=True, stderr=subprocess.DEVNULL)
    assert "10.77" not in made.known_hosts.read_text()
    made.config.write_text(f"Host shop-old\n  HostName {lab.old.address4}\n  User {lab.old.sudo_user}\n")
    settings = yaml.safe_load(lab.settings.read_text())
    del settings["ssh_config"]
    made.settings.write_text(yaml.safe_dump(settings, sort_keys=False))
    return made.put("old.ssh", "shop-old").put("new.ssh", f"{lab.new.sudo_user}@{lab.new.address4}")


def crossed(ran: Ran) -> list[str]:
    """The findings of `check` that stand in the way."""
    return [line.removeprefix("  ✗ ") for line in ran.out.splitlines() if line.startswith("  ✗ ")]


# --- all is well --------------------------------------------------------------------------------------------------


def test_check_passes(laptop: Laptop) -> None:
    ran = laptop.inv("check")
    assert (ran.status, ran.err) == (0, "")
    assert "✓ old (shop-old): reached, its host key is known, sudo works" in ran.out
    assert "✓ new (10.77.0.12): reached, its host key is known, sudo works" in ran.out
    assert crossed(ran) == [] and ran.out.count("✓") > 15


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, Inventory]:
    """All hosts, before anything is done."""
    return steady(lab)


def test_status_in_its_three_forms(laptop: Laptop, lab: Lab, before: dict[str, Inventory]) -> None:
    table, data, text = laptop.inv("status"), laptop.inv("status", "--json"), laptop.inv("status", "--markdown")
    assert {ran.status for ran in (table, data, text)} == {0} and table.err == data.err == text.err == ""
    found = json.loads(data.out)["sections"]
    assert [one["section"] for one in found] == sections(lab)
    steps = [step for one in found for step in one["steps"]]
    assert {"open", "true"} <= {step["state"] for step in steps} <= {"open", "true", "nothing"}
    assert not any(step["undoable"] for step in steps)
    assert any("in_the_way" in step for step in steps)
    for step in steps:
        assert step["doc"] in " ".join(table.out.split()) or len(step["doc"]) > 80
        if step["state"] == "nothing":
            assert f"- ~~{step['doc']}~~ (nothing to do" in text.out
            continue
        tick = "x" if step["state"] == "true" else " "
        if step["step"] == "prepare-new.restart":  # whether it started within the second of its last change
            tick = "x" if f"- [x] {step['doc']}\n" in text.out else " "
        assert f"- [{tick}] {step['doc']}\n" in text.out
    assert differences(lab, before, within=8) == []


def test_dry_shows_a_section_and_changes_nothing(laptop: Laptop, lab: Lab, before: dict[str, Inventory]) -> None:
    ran = laptop.inv("--dry", "prepare-old")
    assert (ran.status, ran.err) == (0, "")
    assert "+ListenStream=5433" in ran.out and "ufw allow from fd77::12 to any port 5433 proto tcp" in ran.out
    assert differences(lab, before, within=8) == []


@pytest.mark.thorough
@pytest.mark.parametrize("relative", [True, False])
def test_another_ssh_configuration_may_be_named(laptop: Laptop, relative: bool) -> None:
    other = laptop.home / "other-config"
    other.write_text(
        laptop.config.read_text()
        + f"Host *\n  IdentityFile {laptop.home}/key\n  UserKnownHostsFile {laptop.home}/known /dev/null\n"
    )
    laptop.config.unlink()
    laptop.known_hosts.rename(laptop.home / "known")
    (laptop.home / ".ssh/id_ed25519").rename(laptop.home / "key")
    assert laptop.inv("status").status == 1
    laptop.put("ssh_config", "other-config" if relative else str(other))
    assert laptop.inv("status").status == 0


# --- the way there ------------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_and_not_learned(laptop: Laptop) -> None:
    laptop.known_hosts.write_text("")
    said = laptop.fails("status")
    assert said.startswith("old (shop-old): no ssh connection (") and said.endswith(
        "Its host key is unknown here: connect once with `ssh shop-old` and compare the key"
    )
    assert laptop.known_hosts.read_text() == ""
    laptop.known_hosts.unlink()
    assert laptop.fails("--dry", "prepare-old") == said
    ran = laptop.inv("check")
    assert ran.status == 1
    assert [line.split(":")[0] for line in crossed(ran)] == ["old (shop-old)", "new (10.77.0.12)"]
    assert all("compare the key" in line for line in crossed(ran))


def test_a_changed_host_key_is_refused(laptop: Laptop, tmp_path: Path) -> None:
    for kind in ("ed25519", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / kind], check=True)
    keys = [(tmp_path / f"{kind}.pub").read_text().split()[:2] for kind in ("ed25519", "ecdsa")]
    laptop.known_hosts.write_text("".join(f"{laptop.lab.old.address4} {kind} {key}\n" for kind, key in keys))
    said = "its host key is not the one you know"
    assert laptop.fails("status") == f"old (shop-old): {said}. Find out why before you continue (ssh shop-old)"
    assert f"old (shop-old): {said}  (Find out why before you continue" in laptop.inv("check").out


@pytest.mark.thorough
def test_a_line_that_is_no_key_is_passed_over(laptop: Laptop) -> None:
    good = laptop.known_hosts.read_text()
    laptop.known_hosts.write_text(f"# a comment\n\nnonsense\n10.77.0.11 ssh-ed25519 !!!\n@revoked\n{good}")
    assert laptop.inv("status").status == 0


def test_a_wrong_user(laptop: Laptop) -> None:
    laptop.put("old.ssh", "anna@shop-old")
    assert re.fullmatch(
        r"old \(shop-old\): no ssh connection \(.*[Aa]uthentication.*\)\. Try `ssh anna@shop-old true`",
        laptop.fails("status"),
    )


@pytest.mark.thorough
def test_no_key(laptop: Laptop) -> None:
    (laptop.home / ".ssh/id_ed25519").unlink()
    assert re.match(r"old \(shop-old\): no ssh connection \(.+\)\. Try `ssh shop-old true`", laptop.fails("status"))


@pytest.mark.thorough
def test_a_name_or_an_address_that_nobody_has(laptop: Laptop) -> None:
    assert "Try `ssh no-such-host true`" in laptop.put("old.ssh", "no-such-host").fails("status")
    assert "Try `ssh x@10.77.0.99 true`" in laptop.put("old.ssh", "x@10.77.0.99").fails("status")


@pytest.fixture
def bert(lab: Lab) -> Iterator[str]:
    """A user of old without sudo."""
    home, keys = "/home/bert/.ssh", f"/home/{lab.old.sudo_user}/.ssh/authorized_keys"
    lab.old.exec(f"useradd -m bert && install -d -o bert {home} && install -o bert -m 600 {keys} {home}")
    yield "bert"
    lab.old.exec("userdel -r bert 2>/dev/null")


def test_a_user_without_sudo(laptop: Laptop, bert: str) -> None:
    laptop.put("old.ssh", f"{bert}@shop-old")
    found = crossed(laptop.inv("check"))
    assert len(found) == 1
    assert re.fullmatch(
        r"old \(shop-old\): sudo does not work without a password \(sudo: .+\)  "
        r"\(Allow it for the time of the move: NOPASSWD in /etc/sudoers\.d\)",
        found[0],
    )
    assert "sudo does not work without a password (sudo: " in laptop.fails("status")


@pytest.mark.thorough
def test_a_talkative_login_does_no_harm(laptop: Laptop, lab: Lab) -> None:
    """What a shell's start prints is no answer of ours."""
    lab.new.exec(f"sed -i '1i echo Welcome' /home/{lab.new.sudo_user}/.bashrc")
    try:
        assert "Welcome" in lab.new.exec(f"head -n 1 /home/{lab.new.sudo_user}/.bashrc").stdout
        ran = laptop.inv("check")
        assert ran.status == 0 and crossed(ran) == []
    finally:
        lab.new.exec(f"sed -i 1d /home/{lab.new.sudo_user}/.bashrc")


# --- check: each finding with what to do -------------------------------------------------------------------------


def test_one_machine_under_two_names(laptop: Laptop, lab: Lab) -> None:
    laptop.config.write_text(laptop.config.read_text().replace("Host shop-old", "Host shop-old shop-new"))
    found = crossed(laptop.put("new.ssh", "shop-new").inv("check"))
    assert "old and new are the same machine  (Fix old.ssh or new.ssh in the settings)" in found


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        ("old.app.path", "/nowhere", "old: /nowhere does not exist  (Fix old.app.path in the settings)"),
        ("new.web.site", "/etc/nginx/x y", "new: /etc/nginx/x y does not exist  (Fix new.web.site in the settings)"),
        ("old.certificate.key", "/x.pem", "old: /x.pem does not exist  (Fix old.certificate.key in the settings)"),
        ("old.app.service", "thin", "old: no service thin  (Fix old.app.service in the settings)"),
        ("new.app.user", "anna", "new: no user anna  (Fix new.app.user in the settings)"),
        ("old.database.name", "shop", "old: no database shop  (Fix old.database.name in the settings)"),
        (
            "new.database.owner",
            "anna",
            f"new: database {NEW.database} belongs to {NEW.owner}  (The settings say anna: fix new.database.owner)",
        ),
        (
            "carry",
            [{"from": "config/none.yml", "to": "config/none.yml"}],
            f"old: {OLD.app}/config/none.yml does not exist  (Fix carry.0.from in the settings)",
        ),
        (
            "uploads",
            [{"from": "public/none/", "to": "public/none/"}],
            f"old: {OLD.app}/public/none/ does not exist  (Fix uploads.0.from in the settings)",
        ),
    ],
)
def test_what_the_settings_name_and_is_not_there(laptop: Laptop, key: str, value: Any, finding: str) -> None:
    ran = laptop.put(key, value).inv("check")
    assert ran.status == 1 and "Traceback" not in ran.err
    assert finding in crossed(ran)
    assert re.fullmatch(r"\d+ blockers?\. Fix every line marked ✗, then run `inv check` again\.\n", ran.err)
    assert ran.err.startswith(f"{len(crossed(ran))} ")


@dataclass(frozen=True)
class Fault:
    """Something wrong with a server: *make* and *fix* (sh there), and what `check` says."""

    server: str
    make: str
    fix: str
    finding: str


def instead(program: str, script: str) -> str:
    """sh that puts *script* in a program's place for our scripts: /usr/local/sbin is first in their path."""
    path = f"/usr/local/sbin/{program}"
    return f"printf '#!/bin/sh\\n%s\\n' {shlex.quote(script)} >{path}; chmod +x {path}"


FAULTS = [
    Fault("new", "mv /usr/bin/rsync /usr/bin/rsync.off", "mv /usr/bin/rsync.off /usr/bin/rsync",
          r"new: lacks rsync  \(Install the packages of rsync\)"),
    Fault("old", "runuser -u postgres -- psql -qc 'ALTER SYSTEM SET ssl = off' -c 'SELECT pg_reload_conf()'",
          "runuser -u postgres -- psql -qc 'ALTER SYSTEM RESET ssl' -c 'SELECT pg_reload_conf()'",
          r"old: PostgreSQL does not have TLS  \(Set ssl = on .*reload PostgreSQL\)"),
    Fault("new", "echo 'nonsense on;' >/etc/nginx/conf.d/x.conf", "rm /etc/nginx/conf.d/x.conf",
          r"new: nginx refuses its configuration \(.*nonsense.*\)  \(Fix it: nginx -t\)"),
    Fault("old", instead("date", 'exec /bin/date -d "+60 sec" "$@"'), "rm /usr/local/sbin/date",
          r"the clocks are \d\d\.\d\d s apart  \(Set them: timedatectl set-ntp true, on both\)"),
    Fault("new", instead("df", '/bin/df "$@" | sed "2s/ [0-9]*  *[0-9]*%/ 9000 99%/"'), "rm /usr/local/sbin/df",
          r"new: 0\.0 GB free for the journal  \(Free some space below /var/lib\)"),
    Fault("new", "true", "true",
          r"the database \(\d+ MB\) and uploads \(\d+ MB\) fit on new \(0\.0 GB free\)  \(Free .*\)"),
]  # fmt: skip


@contextmanager
def meanwhile(server: LabServer, make: str, fix: str) -> Iterator[None]:
    """Something is otherwise on the server for the time of it."""
    server.exec(make)
    try:
        yield
    finally:
        server.exec(fix)


def test_a_firewall_that_lets_everybody_in(laptop: Laptop, lab: Lab) -> None:
    with meanwhile(lab.old, "ufw default allow incoming", "ufw default deny incoming"):
        found = crossed(laptop.inv("check"))
    assert found == ["old: the firewall lets everybody reach every port  (Run: ufw default deny incoming)"]


@pytest.mark.thorough
def test_a_firewall_that_is_off_is_no_fault(laptop: Laptop, lab: Lab) -> None:
    with meanwhile(lab.old, "ufw --force disable", "ufw --force enable"):
        ran = laptop.inv("check")
    assert crossed(ran) == []
    assert "old: the firewall (ufw) is off: `prepare-old` turns it on, with ssh allowed first" in ran.out


@pytest.fixture
def faults(lab: Lab) -> Iterator[list[Fault]]:
    """All of them at once."""
    for fault in FAULTS:
        getattr(lab, fault.server).exec(fault.make)
    yield FAULTS
    for fault in FAULTS:
        getattr(lab, fault.server).exec(fault.fix)


def test_what_is_wrong_with_the_servers_is_found_each_with_what_to_do(laptop: Laptop, faults: list[Fault]) -> None:
    ran = laptop.inv("check")
    found = crossed(ran)
    for fault in faults:
        assert any(re.fullmatch(fault.finding, line) for line in found), f"{fault.finding}\n{ran.out}"
    assert len(found) == len(faults) and ran.status == 1


def test_what_could_not_be_checked_is_not_passed(laptop: Laptop, lab: Lab) -> None:
    back = "systemctl start postgresql && until pg_isready -q; do sleep 0.1; done"
    with meanwhile(lab.new, "systemctl stop postgresql", back):
        ran = laptop.inv("check")
    found = crossed(ran)
    assert ran.status == 1
    assert [line.split("(")[0].strip() for line in found] == [
        "could not be checked: new: the database exists and belongs to its owner",
        "could not be checked: new's PostgreSQL is no older than old's",
        "could not be checked: the database and uploads fit on new",
        "could not be checked: whether new's database can replicate old's",
    ]
    assert not any(
        "database" in line and "new" in line for line in ran.out.splitlines() if "✓" in line and "fit" in line
    )


# --- and a whole move -----------------------------------------------------------------------------------------------


@pytest.fixture
def ipv6(laptop: Laptop, lab: Lab) -> Laptop:
    """The two servers reach each other by IPv6 alone."""
    return laptop.put("old.address", [lab.old.address6]).put("new.address", [lab.new.address6])


@pytest.mark.thorough
def test_a_whole_move_by_one_command_between_ipv6_addresses(ipv6: Laptop, lab: Lab) -> None:
    order(lab, "before")
    ran = ipv6.inv("move", "--yes")
    assert ran.status == 0, ran.out + ran.err
    assert [e["section"] for e in ran.events if e["event"] == "section-ended" and e["ok"]] == sections(lab)[:-1]
    order(lab, "after")
    assert lab.new.psql("SELECT number FROM orders WHERE number IN ('before', 'after') ORDER BY id", NEW.database) == (
        "before\nafter"
    )
    assert {entry.state for entry in recorded(lab)} == {"done"}
    again = ipv6.inv("move", "--yes")
    assert again.status == 0 and again.outcomes and set(again.outcomes.values()) <= UNCHANGED
    found = json.loads(ipv6.inv("status", "--json").out)["sections"]
    states = {step["step"]: step["state"] for one in found for step in one["steps"] if one["section"] != "retire-old"}
    assert set(states.values()) <= {"done", "true", "nothing"}, states
    text = ipv6.inv("status", "--markdown").out.partition("(`inv retire-old`)")[0]
    assert "- [ ]" not in text and text.count("- [x]") > 30
    assert re.search(r"- \[x\] old: nginx proxies .* \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, \S+@\S+\)", text)
