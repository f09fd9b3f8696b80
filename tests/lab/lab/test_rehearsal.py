"""The rehearsal in the lab: it fails when something was lost or done twice, and sees what a move can leave behind.

A rehearsal that cannot fail proves nothing: so here something is spoilt by hand after the visitors have gone, and
the servers are changed by hand between two looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from by_hand import thorough

from lab.judging.inventory import compare, left_out, take
from lab.rehearsal import Plan, Rehearsal, run_move
from lab.servers import Lab
from lab.services import postfix
from lab.visitors import mail
from lab.world import SHOP

OLD = SHOP.site("old")

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5) as running:
        yield running


def traffic(lab: Lab, folder: Path, spoil: Callable[[Lab], object] | None = None) -> Rehearsal:
    """Some seconds of visitors, no section, and the audit."""
    return run_move(lab, Plan(folder, rate=20, sections=[], quiet=3, spoil=spoil))


def delete_an_order(lab: Lab) -> None:
    lab.old.psql(
        """WITH gone AS (SELECT id FROM orders WHERE number LIKE 'V-%' ORDER BY id DESC LIMIT 1),
                lines AS (DELETE FROM line_items WHERE order_id IN (SELECT id FROM gone)),
                tags AS (DELETE FROM orders_tags WHERE order_id IN (SELECT id FROM gone))
           SELECT 1; """,
        db=OLD.database,
    )
    lab.old.psql("DELETE FROM orders o WHERE number LIKE 'V-%' AND NOT EXISTS "
                 "(SELECT FROM line_items l WHERE l.order_id = o.id)", db=OLD.database)  # fmt: skip


def double_a_job(lab: Lab) -> None:
    lab.old.psql(
        "INSERT INTO job_runs (order_number, host, started_at, finished_at) SELECT order_number, 'prod2.shop.test',"
        " now(), now() FROM job_runs WHERE order_number LIKE 'V-%' ORDER BY id DESC LIMIT 1",
        db=OLD.database,
    )


def drop_an_upload(lab: Lab) -> None:
    lab.old.exec(f"cd {OLD.app}/public/system/uploads && rm $(ls -t upload-* | head -n 1)")


NEWEST = f"cd {postfix.CUSTOMERS}/new && until mail=$(ls -t | head -n 1) && [ $mail ]; do sleep 0.1; done"


def double_a_mail(lab: Lab) -> None:
    lab.ci.exec(f"{NEWEST}; cp -a $mail $mail.again")


def lose_a_mail(lab: Lab) -> None:
    lab.ci.exec(f"{NEWEST}; rm $mail")


def leave_a_secret(lab: Lab) -> None:
    lab.old.exec("(umask 077; cat >/root/.bash_history); chmod 644 /etc/ssl/private/*.key", input=OLD.password)
    lab.new.exec("password=$(cat); PGPASSWORD=$password setsid sleep 3 >/dev/null 2>&1 &", input=OLD.password)
    time.sleep(1)


def test_with_nothing_spoilt_it_is_content(lab: Lab, tmp_path: Path) -> None:
    found = traffic(lab, tmp_path)
    assert found.problems == []
    data = found.as_json()
    assert data["secrets_found"] == []
    assert "old's password in database.yml" in data["secrets"]["names"]
    assert data["secrets"]["processes_seen"] >= 100
    assert data["orders"]["acknowledged"] >= 20
    assert data["uploads"]["acknowledged"] >= 3
    assert data["jobs"]["expected"] == data["orders"]["acknowledged"]
    assert data["sessions"]["checked"] >= 2
    assert data["mail"] == {"queued": 0, "never_sent": 0, "sent_twice": 0} and mail.received(lab)


@pytest.mark.parametrize(
    ("spoil", "key", "count", "says"),
    [
        (delete_an_order, "orders", "lost", "1 order(s) lost: V-"),
        thorough(double_a_job, "jobs", "ran_twice", "1 job(s) ran twice: V-"),
        thorough(drop_an_upload, "uploads", "lost", "1 upload(s) lost: upload-"),
        thorough(double_a_mail, "mail", "sent_twice", "1 mail(s) sent twice: V-"),
        thorough(lose_a_mail, "mail", "never_sent", "1 mail(s) never sent: V-"),
    ],
)
def test_it_fails_and_says_what_was_lost_or_doubled(
    lab: Lab, tmp_path: Path, spoil: Callable[[Lab], None], key: str, count: str, says: str
) -> None:
    data = traffic(lab, tmp_path, spoil).as_json()
    assert not data["ok"]
    assert data[key][count] == 1
    assert any(problem.startswith(says) for problem in data["problems"])


@pytest.mark.thorough
def test_it_finds_a_secret_where_none_may_be(lab: Lab, tmp_path: Path) -> None:
    found = traffic(lab, tmp_path, leave_a_secret).as_json()["secrets_found"]
    lab.old.exec("rm /root/.bash_history; chmod 640 /etc/ssl/private/*.key")
    [environment, key, history] = sorted(found, key=lambda place: ("environment" not in place, place))
    assert environment == "old's password in database.yml: in the environment of a process on new: sleep 3"
    assert history == "old's password in database.yml: in /root/.bash_history of old"
    assert key.startswith(
        "/etc/ssl/private/ssl-cert-snakeoil.key of old holds a secret and everybody there may read it"
    )


@pytest.mark.thorough
def test_two_looks_with_visitors_between_them_are_equal(lab: Lab, tmp_path: Path) -> None:
    before = take(lab.old)
    traffic(lab, tmp_path)
    assert [str(difference) for difference in compare("old", before, take(lab.old), left_out(lab.world))] == []


def test_a_look_sees_what_a_move_could_leave_behind(lab: Lab) -> None:
    before = take(lab.old)
    lab.old.exec(
        f"""set -e
        chmod 664 /etc/logrotate.conf
        echo '# x' >> /etc/nginx/nginx.conf
        ln -s /etc/hosts /root/link
        echo '{OLD.user} ALL=(ALL) ALL' >/etc/sudoers.d/left
        crontab -u {OLD.user} -r
        ufw allow from 10.77.0.12 to any port 5432 proto tcp >/dev/null
        systemctl disable -q unicorn_{OLD.name}
        systemctl stop cron
        cd / && runuser -u postgres -- psql -qc 'ALTER ROLE {OLD.owner} NOLOGIN; CREATE ROLE left_over'
        runuser -u postgres -- psql -qc 'CREATE TABLE left_over (); ' {OLD.database}
        runuser -u postgres -- psql -qc 'ALTER DATABASE {OLD.database} CONNECTION LIMIT 0'
        """
    )
    changed = {difference.what for difference in compare("old", before, take(lab.old), left_out(lab.world))}
    assert {
        "file /etc/logrotate.conf",
        "file /etc/nginx/nginx.conf",
        "file /root/link",
        "file /etc/sudoers.d/left",
        f"file /var/spool/cron/crontabs/{OLD.user}",
        "firewall ipv4",
        f"file /etc/rc3.d/S01unicorn_{OLD.name}",
        "service cron.service",
        f"role {OLD.owner}",
        "role left_over",
        f"schema of {OLD.database}",
        f"database {OLD.database}",
    } <= changed
