"""Every section in turn, on servers where part of it was done by hand:

--dry changes nothing and shows the truth; the section does what was shown; repeated it changes nothing; the recorded
undo scripts, run by hand on the servers, put everything back; done again, the next section follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import yaml
from by_hand import (
    JOURNAL,
    UNCHANGED,
    Ran,
    Recorded,
    differences,
    fetched,
    inv,
    looks,
    order,
    recorded,
    steady,
    thorough,
    upload,
)  # fmt: skip

from lab.judging import dns
from lab.machine.server import until
from lab.servers import Lab
from lab.services import acme, bind
from lab.world import SHOP
from switchover.checklist import WHOLE

OLD, NEW = SHOP.site("old"), SHOP.site("new")
# `replicate` has nothing to do where the database is copied.
ALWAYS = "prepare-old"
*SECTIONS, LAST = [whole.name for whole in WHOLE if whole.name != "replicate"]

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, strategy="copy") as running:
        yield running


# --- what somebody did by hand before, and what is then left to show ---------------------------------------------


def half_prepare_old(lab: Lab) -> None:
    """New's key is there, and the firewall has one of the two rules."""
    lab.new.exec("mkdir -m 700 -p /root/.ssh && ssh-keygen -q -t ed25519 -N '' -C by-hand -f /root/.ssh/switchover")
    lab.old.exec(f"ufw allow from {lab.new.address4} to any port 5433 proto tcp comment 'by hand'")


def half_prepare_new(lab: Lab) -> None:
    """One file was carried over, another one too, and a line of that is wrong."""
    s3 = lab.old.exec(f"cat {OLD.app}/config/s3.yml").stdout
    lab.new.write(f"{NEW.app}/config/s3.yml", s3, mode=0o600, owner=f"{NEW.user}:{NEW.user}")
    bugsnag = lab.old.exec(f"cat {OLD.app}/config/initializers/bugsnag.rb").stdout
    path, owner = f"{NEW.app}/config/initializers/bugsnag.rb", f"{NEW.user}:{NEW.user}"
    lab.new.write(path, "# by hand\n" + bugsnag, mode=0o600, owner=owner)


def half_switch_jobs(lab: Lab) -> None:
    """Monit does not watch the old worker any more."""
    lab.old.exec(f"rm /etc/monit/conf.d/delayed_job_{OLD.name} && monit reload")


def half_switch_app(lab: Lab) -> None:
    """Old's nginx passes visitors already, with a shorter patience; the old application does not start at boot."""
    site = f"/etc/nginx/sites-available/{OLD.name}"
    desired = [line for line in inv(lab, "--dry", "switch-app.proxy").out.splitlines() if line.startswith("      ")]
    start = next(n for n, line in enumerate(desired) if line.startswith("      @@"))
    shown = [line[6:] for line in desired[start + 1 :]]
    rest = lab.old.exec(f"cat {site}").stdout.splitlines()
    content = [line[1:] for line in shown if line[:1] in (" ", "+")]
    assert len(shown) > len(rest)  # the whole file was shown, in one hunk
    text = "\n".join(content).replace("proxy_connect_timeout   10s;", "proxy_connect_timeout   9s;") + "\n"
    lab.old.exec(f"cat >{site} && nginx -t && systemctl reload nginx && systemctl disable unicorn_{OLD.name}", text)


def half_switch_cron(lab: Lab) -> None:
    """Old's crontab is gone."""
    lab.old.exec(f"crontab -r -u {OLD.user}")


def half_expand_cert(lab: Lab) -> None:
    """Somebody has an account with the authority, and nginx takes whatever was renewed."""
    lab.new.exec(f"certbot -q register --agree-tos --register-unsafely-without-email --server {acme.url(SHOP)}")
    lab.new.write("/etc/letsencrypt/renewal-hooks/post/theirs", "#!/bin/sh\nsystemctl reload nginx\n", mode=0o755)


def half_finish(lab: Lab) -> None:
    """The CI host's remote leads to new."""
    ci, new = yaml.safe_load(lab.settings.read_text())["ci"], f"{NEW.user}@prod2.shop.test:{NEW.app}"
    lab.ci.exec(f"runuser -u {ci['user']} -- git -C {ci['checkout']} remote set-url production {new}")


def half_switch_db(lab: Lab) -> None:
    """The old application's role cannot log in any more."""
    lab.old.psql(f"ALTER ROLE {OLD.owner} NOLOGIN")


def half_dns_prepare(lab: Lab) -> None:
    """The IPv6 address may be remembered for a short time already."""
    change(lab, "-shop.test. 20 IN AAAA fd77::11", "+shop.test. 5 IN AAAA fd77::11")


def half_switch_dns(lab: Lab) -> None:
    """The IPv4 address is new's already."""
    change(lab, "-shop.test. 5 IN A 10.77.0.11", "+shop.test. 5 IN A 10.77.0.12")


def change(lab: Lab, *records: str) -> None:
    """What a person does with the records that a diff shows (- goes, + comes)."""
    lines = sorted(f"{'del' if record[0] == '-' else 'add'} {record[1:]}" for record in records)
    lab.ci.exec(f"nsupdate -k {bind.KEY}", input="\n".join(["server 127.0.0.1", *reversed(lines), "send", ""]))
    until(
        lambda: len({str(dns.records(lab, server)) for server in lab.name_servers}) == 1,
        10,
        "the second name server does not hear of it",
        pause=0.1,
    )


HALF: dict[str, tuple[Callable[[Lab], None], list[str], list[str]]] = {
    "dns-prepare": (half_dns_prepare, ["+shop.test. 5 IN A 10.77.0.11"], ["IN AAAA"]),
    "switch-dns": (half_switch_dns, ["+shop.test. 5 IN AAAA fd77::12", "reload nginx"], ["IN A 10"]),
    "prepare-old": (
        half_prepare_old,
        ["ufw allow from fd77::12 to any port 5433 proto tcp"],
        ["ssh-keygen", "ufw allow from 10.77.0.12 "],
    ),
    "prepare-new": (half_prepare_new, ["-# by hand"], ["s3.yml", "bugsnag.rb: absent"]),
    "switch-jobs": (half_switch_jobs, ["kill -TERM"], ["rm /etc/monit/conf.d/delayed_job"]),
    "switch-app": (
        half_switch_app,
        ["-        proxy_connect_timeout   9s;", "+        proxy_connect_timeout   10s;", "systemctl stop unicorn_"],
        ["+        proxy_send_timeout", "systemctl disable unicorn_"],
    ),
    "switch-cron": (half_switch_cron, ["whenever"], ["crontab -r"]),
    "expand-cert": (half_expand_cert, ["certbot certonly", "+    ssl_certificate "], ["renewal-hooks"]),
    "finish": (half_finish, ["git push production HEAD:"], ["remote set-url production"]),
    "switch-db": (half_switch_db, ["…_before_move)"], ["NOLOGIN"]),
}


class Course:
    """How far the move is: what was seen before a section, what --dry printed, what a section recorded."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.entries: list[Recorded] = []
        self.dry = Ran(0, "", "", 0)
        self.orders: list[str] = []
        self.uploads: list[str] = []


@pytest.fixture(scope="module")
def course() -> Course:
    return Course()


@pytest.fixture(scope="class", params=[one if one == ALWAYS else thorough(one) for one in SECTIONS])
def section(request: pytest.FixtureRequest) -> str:
    return str(request.param)


LIFE = ("rows of ",)  # once new's own database is in use, visitors and cron write there


def living(section: str) -> tuple[str, ...]:
    """What life changes while *section* is done and undone."""
    return LIFE if SECTIONS.index(section) > SECTIONS.index("switch-db") else ()


def told(lines: Iterable[str]) -> list[str]:
    """What was shown to change, without rsync's names: under --dry a second step sees what the first would bring."""
    return [line.rstrip() for line in lines if not line.startswith(("on ", ">f", "cd+"))]


class TestEach:
    """Each section, in the checklist's order."""

    def test_dry_changes_nothing_and_shows_what_is_left(self, lab: Lab, course: Course, section: str) -> None:
        half, left, done = HALF[section]
        half(lab)
        self.write(lab, course, f"{section}-0")
        course.before, course.entries = steady(lab), recorded(lab)
        course.dry = inv(lab, "--dry", section)
        assert course.dry.status == 0, course.dry.err
        assert differences(lab, course.before, within=8, but=living(section)) == []
        for text in left:
            assert text in course.dry.out
        for text in done:
            assert text not in course.dry.out

    def test_the_section_does_what_was_shown(self, lab: Lab, course: Course, section: str) -> None:
        ran = inv(lab, section)
        assert ran.status == 0, ran.out + ran.err
        new = recorded(lab)[len(course.entries) :]
        assert new and all(entry.state == "done" and entry.step.startswith(f"{section}.") for entry in new)
        dry = [line[6:] for line in course.dry.out.splitlines() if line.startswith("      ")]
        assert told(dry) == told(line for entry in new for line in entry.diff.splitlines())
        assert "failed" not in ran.out and not {"failed", "would"} & set(ran.outcomes.values())
        assert {entry.step for entry in new} == {step for step, outcome in ran.outcomes.items() if outcome == "done"}

    def test_repeated_it_changes_nothing(self, lab: Lab, course: Course, section: str) -> None:
        before, entries = looks(lab), recorded(lab)
        ran = inv(lab, section)
        assert ran.status == 0, ran.out + ran.err
        assert ran.outcomes and set(ran.outcomes.values()) <= UNCHANGED
        assert recorded(lab) == entries
        assert differences(lab, before, within=8, but=("process ", *LIFE)) == []

    def test_its_undo_scripts_put_everything_back_by_hand(self, lab: Lab, course: Course, section: str) -> None:
        self.write(lab, course, f"{section}-1")
        for entry in reversed(recorded(lab)[len(course.entries) :]):
            if entry.step in ("dns-prepare.ttl", "switch-dns.records"):  # nobody's key is on a server
                change(lab, *(f"{'+' if line[0] == '-' else '-'}{line[1:]}" for line in entry.diff.splitlines()))
            done = entry.server.exec(f"sh {JOURNAL}/{entry.name}/undo", check=False)
            assert (done.returncode, done.stderr) == (0, ""), f"{entry.name}: {done.stdout}{done.stderr}"
        assert differences(lab, course.before, journal=False, within=25, but=living(section)) == []
        self.nothing_is_lost(lab, course)

    def test_undone_scripts_do_nothing_more(self, lab: Lab, course: Course, section: str) -> None:
        undone = recorded(lab)[len(course.entries) :]
        assert {entry.state for entry in undone} == {"undone"}
        for entry in reversed(undone):
            entry.server.exec(f"sh {JOURNAL}/{entry.name}/undo")
        assert differences(lab, course.before, journal=False, within=8, but=living(section)) == []

    def test_it_is_done_again_and_the_next_one_follows(self, lab: Lab, course: Course, section: str) -> None:
        """The last one by `inv move`, which goes on from wherever it is."""
        ran = inv(lab, "move", "--yes") if section == SECTIONS[-1] else inv(lab, section)
        assert ran.status == 0, ran.out + ran.err
        self.write(lab, course, f"{section}-2")
        self.nothing_is_lost(lab, course)

    @staticmethod
    def write(lab: Lab, course: Course, name: str) -> None:
        """What a visitor leaves meanwhile."""
        order(lab, name)
        upload(lab, name)
        course.orders.append(name)
        course.uploads.append(name)

    @staticmethod
    def nothing_is_lost(lab: Lab, course: Course) -> None:
        """Every order is there once, in the database that is in use; every upload is answered."""
        config = lab.new.exec(f"cat {NEW.app}/config/database.yml").stdout
        moved = "5433" not in config and any(e.step == "switch-db.copy" and e.state == "done" for e in recorded(lab))
        server, database = (lab.new, NEW.database) if moved else (lab.old, OLD.database)
        names = ", ".join(f"'{name}'" for name in course.orders)
        found = server.psql(f"SELECT number FROM orders WHERE number IN ({names}) ORDER BY id", database).split()
        assert found == course.orders
        assert [fetched(lab, name) for name in course.uploads] == course.uploads


@pytest.mark.thorough
def test_retiring_is_shown_asked_for_done_once_and_ends_undo(lab: Lab, course: Course) -> None:
    before, entries = steady(lab), recorded(lab)
    assert inv(lab, "--dry", LAST).status == 0
    asked = inv(lab, LAST)
    assert (asked.status, asked.err) == (1, f"{LAST}: nothing was done. Answer y, or give --yes\n")
    assert differences(lab, before, within=8, but=LIFE) == []

    ran = inv(lab, LAST, "--yes")
    assert ran.status == 0, ran.out + ran.err
    assert {entry.step.partition(".")[0] for entry in recorded(lab)[len(entries) :]} == {LAST}
    done = looks(lab)
    again = inv(lab, LAST, "--yes")
    assert again.status == 0 and again.outcomes and set(again.outcomes.values()) <= UNCHANGED
    undo = inv(lab, "undo", "--yes")
    assert undo.status == 1 and len(undo.err.splitlines()) == 1
    assert differences(lab, done, within=8, but=("process ", *LIFE)) == []
