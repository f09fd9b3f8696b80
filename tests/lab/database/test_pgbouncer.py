"""PgBouncer between the application and the database, under visitors: it comes in, holds every query while old's
PostgreSQL is restarted, dies, and is taken out again. Nobody is to notice any of it but its death.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from by_hand import JOURNAL, ROOT, fails, inv, works

from lab.machine.server import until
from lab.servers import Lab
from lab.visitors.ledger import RequestOutcome, Response
from lab.visitors.process import Visitors
from lab.world import SHOP
from switchover.database import hold

OLD, NEW = SHOP.site("old"), SHOP.site("new")
RATE = 30
POOL = 20
LONG = 9  # seconds of a transaction, which end before a restart is given up
CONSOLE = "runuser -u postgres -- psql -XAq -P footer=off -h /var/run/postgresql -p 6432 -U pgbouncer pgbouncer"
BY_PGBOUNCER = (
    f"psql -XAtq 'host=127.0.0.1 port=6432 dbname={NEW.database} user=switchover_app "
    "passfile=/etc/switchover/pgpass sslmode=disable'"
)

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5, ci=False, strategy="replicate") as running:
        running.old.psql(f"ALTER ROLE {OLD.owner} SET search_path = public, 'Odd, path'")
        running.old.psql(f"ALTER ROLE {OLD.owner} IN DATABASE {OLD.database} SET statement_timeout = '61s'")
        yield running


@dataclass
class Felt:
    """What visitors felt while something was done."""

    visitors: Visitors
    began: float = field(default_factory=time.time)
    ended: float = 0.0

    @property
    def answers(self) -> list[Response]:
        return [a for a in self.visitors.book().answers if a.ended >= self.began and a.at <= self.ended]

    @property
    def failed(self) -> list[Response]:
        return [answer for answer in self.answers if answer.outcome is not RequestOutcome.OK]

    @property
    def longest(self) -> float:
        return max(answer.ms for answer in self.answers)


@pytest.fixture(scope="module")
def visitors(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitors]:
    with Visitors(lab, tmp_path_factory.mktemp("visitors") / "ledger.jsonl", RATE) as coming:
        coming.wait_for("start", 60)
        yield coming


@contextmanager
def felt(visitors: Visitors) -> Iterator[Felt]:
    """All that is under way in the block, and what came of it a second later."""
    found = Felt(visitors)
    yield found
    time.sleep(1)
    found.ended = time.time()


def pools(lab: Lab) -> dict[str, int]:
    """How many connections of which kind the application's pool has."""
    names, *rows = (line.split("|") for line in lab.new.exec(f"{CONSOLE} -c 'SHOW POOLS'").stdout.splitlines())
    found = next(dict(zip(names, row, strict=True)) for row in rows if row[0] == NEW.database)
    return {key: int(value) for key, value in found.items() if value.isdigit()}


def wal_level(lab: Lab) -> str:
    return lab.old.psql("SHOW wal_level")


# new: the installed package as an archive of its own, since servers of the lab reach no other; and it is purged.
PACKAGE = r"""
set -e; mkdir -p /srv/archive/deb/DEBIAN; cd /srv/archive
dpkg -L pgbouncer | while read -r f; do [ ! -f "$f" ] || echo "$f"; done | tar -cPf - -T - | tar -x -C deb
dpkg-query -s pgbouncer | awk '/^[A-Z]/ { keep = !/^(Status|Conffiles):/ } keep' >deb/DEBIAN/control
for f in /var/lib/dpkg/info/pgbouncer.*; do
  case $f in *.list|*.md5sums) ;; *) cp "$f" "deb/DEBIAN/${f##*/pgbouncer.}" ;; esac
done
dpkg-deb --build -Zgzip deb pgbouncer.deb >/dev/null
{ dpkg-deb -f pgbouncer.deb; echo "Filename: ./pgbouncer.deb"; echo "Size: $(stat -c %s pgbouncer.deb)"
  echo "SHA256: $(sha256sum pgbouncer.deb | cut -d ' ' -f 1)"; } >Packages
rm -rf deb; dpkg --purge pgbouncer >/dev/null 2>&1
mkdir -p /root/apt; mv /etc/apt/sources.list* /root/apt/; rm -rf /var/lib/apt/lists/*
"""
ARCHIVE = "echo 'deb [trusted=yes] file:/srv/archive ./' >/etc/apt/sources.list && apt-get -qq update"


# --- it comes in --------------------------------------------------------------------------------------------------


def test_a_pgbouncer_of_somebody_else_is_left_alone(lab: Lab) -> None:
    works(lab, "prepare-old")
    ini = "/etc/pgbouncer/pgbouncer.ini"
    lab.new.exec(f"cp -p {ini} /root/ini && sed -i 's/^\\[databases\\]/&\\nreports = host=10.0.0.1/' {ini}")
    line = fails(lab, "prepare-new")
    lab.new.exec(f"mv /root/ini {ini}")
    assert "has databases already (reports)" in line and "strategy: copy" in line


def test_it_is_installed_and_goes_again(lab: Lab) -> None:
    lab.new.exec(PACKAGE)
    line = fails(lab, "prepare-new.pgbouncer-package")
    assert "apt-get install pgbouncer python3-psycopg2: E: Unable to locate package pgbouncer" in line
    lab.new.exec(ARCHIVE)
    works(lab, "prepare-new.pgbouncer-package")
    assert lab.new.exec("systemctl is-active pgbouncer").stdout == "active\n"
    works(lab, "undo", "--yes", "prepare-new.pgbouncer-package")
    assert lab.new.exec("dpkg -l pgbouncer | grep ^ii; ls -d /etc/pgbouncer", check=False).stdout == ""


def test_it_comes_in_and_visitors_notice_nothing(lab: Lab, visitors: Visitors) -> None:
    with felt(visitors) as coming_in:
        works(lab, "prepare-new")
    assert coming_in.failed == []
    config = lab.new.exec(f"cat {NEW.app}/config/database.yml").stdout
    assert "port: 6432" in config and "prepared_statements: false" in config and OLD.database not in config


def test_its_secrets_are_for_its_user_alone(lab: Lab) -> None:
    password = lab.new.exec("sed -n 's/.*:switchover_app://p' /etc/switchover/pgpass").stdout.split()
    assert len(set(password)) == 1 and len(password) == 2 and len(password[0]) == 48
    facts = lab.new.exec("stat -c '%U:%G %a' /etc/pgbouncer/userlist.txt /etc/switchover/pgpass").stdout.split("\n")
    assert facts[:2] == ["postgres:postgres 640", "root:root 600"]
    for server in lab.servers:
        anywhere = "grep -rlF -f /dev/stdin /var/log /proc/[0-9]*/cmdline 2>/dev/null"
        assert server.exec(anywhere, input=f"{password[0]}\n".encode(), check=False).stdout == ""


def test_what_was_set_for_the_application_s_role_holds_by_pgbouncer(lab: Lab) -> None:
    shown = lab.new.exec(f"{BY_PGBOUNCER} -c 'SHOW search_path' -c 'SHOW statement_timeout'").stdout.splitlines()
    lab.old.psql(f"ALTER ROLE {OLD.owner} RESET ALL")
    lab.old.psql(f"ALTER ROLE {OLD.owner} IN DATABASE {OLD.database} RESET ALL")
    assert shown == ['public, "Odd, path"', "61s"]


def test_what_the_application_makes_belongs_to_its_own_role(lab: Lab) -> None:
    lab.new.exec(f"{BY_PGBOUNCER} -c 'CREATE TABLE made (id int)'")
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'made'"
    assert lab.old.psql(owner, db=OLD.database) == OLD.owner
    lab.new.exec(f"{BY_PGBOUNCER} -c 'DROP TABLE made'")


def test_it_speaks_tls_with_the_database(lab: Lab) -> None:
    until(lambda: pools(lab)["sv_idle"] + pools(lab)["sv_active"] == POOL, 20, "the pool is not full")
    sessions = "SELECT count(*), bool_and(ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
    assert lab.old.psql(f"{sessions} WHERE usename = 'switchover_app'").split("|") == [str(POOL), "t"]


def test_another_database_s_certificate_is_refused(lab: Lab) -> None:
    """No visitor uses PgBouncer yet."""
    both = "/etc/switchover/old-database.crt"
    stranger = "openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -days 9 -subj /CN=other"
    lab.new.exec(f"cp -p {both} /root/both && {stranger} >{both} 2>/dev/null && systemctl restart pgbouncer")
    asked = lab.new.exec(f"timeout 4 {BY_PGBOUNCER} -c 'SELECT 1'", check=False)
    lab.new.exec(f"mv /root/both {both} && systemctl restart pgbouncer")
    assert (
        asked.returncode != 0
        and "certificate verify failed" in lab.new.exec("cat /var/log/postgresql/pgbouncer.log").stdout
    )
    works(lab, "prepare-new.pgbouncer-answers")


# --- old's PostgreSQL is restarted --------------------------------------------------------------------------------


def test_while_old_proxies_visitors_a_restart_is_refused(lab: Lab, visitors: Visitors) -> None:
    with felt(visitors) as refused:
        line = fails(lab, "replicate.wal-level")
    assert "bypass PgBouncer" in line and "inv switch-app" in line
    assert refused.failed == [] and wal_level(lab) == "replica"
    assert lab.old.exec(f"ls {JOURNAL}").stdout.count("replicate") == 0


def test_the_restart_is_held_and_so_is_its_undo(lab: Lab, visitors: Visitors) -> None:
    with felt(visitors) as switching:
        works(lab, "switch-jobs")
        works(lab, "switch-app")
        works(lab, "switch-cron")
    assert switching.failed == []
    for desired, words in (("logical", ("replicate.wal-level",)), ("replica", ("undo", "--yes", "replicate"))):
        started = lab.old.psql("SELECT pg_postmaster_start_time()")
        with felt(visitors) as restarting:
            works(lab, *words)
        assert restarting.failed == []
        assert wal_level(lab) == desired and lab.old.psql("SELECT pg_postmaster_start_time()") != started
        print(f"{desired}: longest {restarting.longest:.0f} ms")
    left = "ls -d /usr/local/sbin/switchover-restart /etc/systemd/system/switchover-restart* /run/*/*/switchover* "
    left += f"/run/systemd/system/postgresql@* {JOURNAL}/wal_level 2>/dev/null"
    assert lab.old.exec(left, check=False).stdout == ""
    assert "wal_level" not in lab.old.exec("cat /var/lib/postgresql/*/main/postgresql.auto.conf").stdout


def test_a_transaction_that_takes_long_is_waited_for(lab: Lab, visitors: Visitors) -> None:
    """PAUSE would wait for it, and everybody for PAUSE; so it is tried for a moment, and again."""
    lab.new.exec(f"systemd-run -q --collect --unit=long {BY_PGBOUNCER} -c 'SELECT pg_sleep({LONG})'")
    with felt(visitors) as restarting:
        works(lab, "replicate.wal-level")
    assert restarting.failed == [] and wal_level(lab) == "logical"
    assert restarting.longest < LONG * 1000  # nobody waited for it


def test_a_broken_configuration_is_found_before_the_restart(lab: Lab, visitors: Visitors) -> None:
    conf = "/etc/postgresql/13/main/conf.d/broken.conf"
    lab.old.exec(f"echo 'shared_buffers = lots' >{conf}")
    started = lab.old.psql("SELECT pg_postmaster_start_time()")
    with felt(visitors) as refused:
        ran = inv(lab, "undo", "--yes", "replicate.wal-level")
    lab.old.exec(f"rm {conf}")
    assert ran.status == 1 and "cannot be restarted now" in ran.err
    assert refused.failed == [] and lab.old.psql("SELECT pg_postmaster_start_time()") == started
    assert "shared_buffers" in lab.old.exec("journalctl -u switchover-restart -o cat").stdout
    works(lab, "replicate.wal-level")


# --- and when something dies --------------------------------------------------------------------------------------


def test_a_hold_whose_program_died_ends_by_itself(lab: Lab, visitors: Visitors) -> None:
    for name in hold.PROGRAMS:
        lab.new.write(f"/root/{name}", (ROOT / "scripts/server" / name).read_text())
    config = {"port": 6432, "pool": POOL, "database": NEW.database}
    held = f"from hold import Hold; import os; Hold({config}).begin(10, 3); os.kill(os.getpid(), 9)"
    with felt(visitors) as dying:
        lab.new.exec(f"cd /root && python3 -B -c {shlex.quote(held)}", check=False)
        assert lab.new.exec(f"{BY_PGBOUNCER} -c 'SELECT 1'", timeout=30).stdout == "1\n"  # it waits with all others
    lab.new.exec(f"cd /root && rm {' '.join(hold.PROGRAMS)}")
    assert dying.failed == []
    assert 1000 < dying.longest < 6000  # held, and let go by the dead man after 3 s: that time is the subject here


def test_a_killed_pgbouncer_is_there_again_at_once(lab: Lab, visitors: Visitors) -> None:
    """Who asked at that moment gets an error, which cannot be otherwise; nobody does a little later."""
    before = lab.new.exec("systemctl show -P MainPID pgbouncer").stdout
    lab.new.exec("systemctl kill -s KILL pgbouncer")
    until(lambda: lab.new.exec(f"{BY_PGBOUNCER} -c 'SELECT 1'", check=False).stdout == "1\n", 10, "no answer")
    assert lab.new.exec("systemctl show -P MainPID pgbouncer").stdout != before
    time.sleep(3)
    with felt(visitors) as later:
        time.sleep(4)
    assert later.failed == []


def test_a_killed_postgresql_is_found_again(lab: Lab, visitors: Visitors) -> None:
    lab.old.exec("systemctl restart postgresql@13-main")  # held by nobody
    time.sleep(3)
    with felt(visitors) as later:
        time.sleep(4)
    assert later.failed == []


# --- it goes ------------------------------------------------------------------------------------------------------


def test_it_is_taken_out_and_visitors_notice_nothing(lab: Lab, visitors: Visitors) -> None:
    """What the switch will have done before is done by hand here: new's own database has everything."""
    works(lab, "undo", "--yes", "replicate")
    here = f"PGPASSWORD={NEW.password!r} psql -XAtq -v ON_ERROR_STOP=1 -h localhost -U {NEW.owner} {NEW.database}"
    dump = "PGSERVICEFILE=/etc/switchover/pg_service.conf pg_dump --no-owner --no-acl --clean --if-exists service=old"
    lab.new.exec(f"{dump} | {here} >/dev/null")
    with felt(visitors) as going:
        works(lab, "retire-old.database-yml", "retire-old.restart", "retire-old.pgbouncer-gone")
    assert going.failed == []
    left = "ls -d /etc/pgbouncer /etc/systemd/system/pgbouncer.service.d; pgrep pgbouncer"
    assert lab.new.exec(f"{left} 2>/dev/null", check=False).stdout == ""
    sessions = "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'ofn_user'"
    assert lab.new.psql(sessions) == "t"
    again = works(lab, "retire-old.database-yml", "retire-old.restart", "retire-old.pgbouncer-gone")
    assert again.outcomes and set(again.outcomes.values()) <= {"already", "nothing"}
