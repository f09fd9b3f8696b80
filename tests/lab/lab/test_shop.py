"""The shop on both servers of the lab: what a move could lose or double is there, and a row or a file shows it."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.world import SHOP as WORLD

OLD, NEW = WORLD.site("old"), WORLD.site("new")
SHOP, PROD2 = "https://shop.test", "https://prod2.shop.test"

pytestmark = pytest.mark.usefixtures("lab_name")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5) as running:
        yield running


@dataclass
class Visitor:
    """Asks as a browser would: from another server, by name, the certificate checked, with a jar for cookies."""

    server: LabServer
    jar: str

    def ask(self, url: str, *options: str) -> tuple[int, str]:
        """Status and body of *url*, with more *options* of curl (quoted for sh)."""
        jar = f"--cookie {self.jar} --cookie-jar {self.jar}"
        answer = self.server.exec(f"curl -sS {jar} -w '\\n%{{http_code}}' {' '.join(options)} {url}").stdout
        body, _, status = answer.rpartition("\n")
        return int(status), body

    def log_in(self, base: str, name: str) -> int:
        """Fills in the form at *base*/login; the status of the answer."""
        _, form = self.ask(f"{base}/login")
        found = re.search(r'name="authenticity_token"[^>]*value="([^"]+)"', form)
        assert found, form
        fields = f"--data-urlencode 'authenticity_token={found[1]}' --data-urlencode 'name={name}'"
        return self.ask(f"{base}/login", fields)[0]

    def session(self) -> str:
        """The session's cookie, as a browser sends it."""
        return self.server.exec(f'awk \'$6 == "_shop_session" {{print $6 "=" $7}}\' {self.jar}').stdout.strip()


@pytest.fixture
def visitor(lab: Lab) -> Iterator[Visitor]:
    """A visitor of old, who sits on new."""
    jar = f"/tmp/jar-{secrets.token_hex(4)}"
    yield Visitor(lab.new, jar)
    lab.new.exec(f"rm -f {jar}")


@pytest.fixture
def number() -> str:
    """An order's number that nobody had."""
    return f"T-{secrets.token_hex(6)}"


def sql(lab: Lab, query: str) -> str:
    return lab.old.psql(query, db=OLD.database)


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/", "Shop"),
        ("/about", "About the shop"),
        ("/products/1", "Small apples"),
        ("/orders/recent", "Recent orders"),
        ("/login", "Log in"),
    ],
)
def test_pages_answer(visitor: Visitor, path: str, title: str) -> None:
    status, body = visitor.ask(SHOP + path)
    assert status == 200
    assert f"<title>{title}</title>" in body


def test_answers_say_who_served_whom(lab: Lab, visitor: Visitor) -> None:
    status, answer = visitor.ask(f"{SHOP}/up", "--include --http1.1")
    headers = dict(line.lower().split(": ", 1) for line in answer.splitlines() if ": " in line)
    assert (status, answer.splitlines()[-1]) == (200, "ok")
    assert headers["x-served-by"] == lab.old.name
    assert headers["x-client-address"] in (lab.new.address4, lab.new.address6)


def test_the_cache_remembers_the_host_that_filled_it(lab: Lab, visitor: Visitor) -> None:
    assert f"Filled by {lab.old.name}" in visitor.ask(f"{SHOP}/cached")[1]
    assert f"Filled by {lab.new.name}" in Visitor(lab.old, visitor.jar).ask(f"{PROD2}/cached")[1]


def test_an_order_writes_all_its_tables_and_its_job_runs_once(lab: Lab, visitor: Visitor, number: str) -> None:
    stock = int(sql(lab, "SELECT quantity FROM stock WHERE product_id = 7"))
    status, body = visitor.ask(f"{SHOP}/orders", f"-d number={number} -d product_id=7 -d quantity=3")
    answer = json.loads(body)
    assert (status, answer["number"]) == (201, number)

    order = f"WHERE order_id = {answer['id']}"
    assert sql(lab, f"SELECT id FROM orders WHERE number = '{number}'") == str(answer["id"])
    assert sql(lab, f"SELECT product_id, quantity FROM line_items {order}") == "7|3"
    assert sql(lab, f"SELECT count(*) FROM orders_tags {order}") == "1"
    assert sql(lab, f"SELECT event FROM audits WHERE subject = '{number}'") == "ordered"
    assert int(sql(lab, "SELECT quantity FROM stock WHERE product_id = 7")) <= stock - 3

    runs = f"SELECT host FROM job_runs WHERE order_number = '{number}'"
    until(lambda: sql(lab, runs) != "", 20, "the job never ran", pause=0.2)
    until(lambda: sql(lab, "SELECT count(*) FROM delayed_jobs") == "0", 20, "jobs are left", pause=0.2)
    assert sql(lab, runs) == lab.old.name
    assert sql(lab, f"SELECT state FROM orders WHERE number = '{number}'") == "shipped"

    assert visitor.ask(f"{SHOP}/orders", f"-d number={number} -d product_id=7")[0] == 409
    assert sql(lab, f"SELECT count(*) FROM orders WHERE number = '{number}'") == "1"


@pytest.mark.thorough
def test_the_worker_ends_its_job_before_it_stops_and_monit_starts_it_again(lab: Lab, visitor: Visitor) -> None:
    pidfile = f"{OLD.app}/tmp/pids/delayed_job.pid"
    until(lambda: lab.old.exec(f"test -s {pidfile}", check=False).returncode == 0, 30, "no worker", pause=0.2)
    slow = json.loads(visitor.ask(f"{SHOP}/slow_jobs", "-d seconds=4")[1])["number"]
    mine = f"handler LIKE '%{slow}%' AND locked_by LIKE '%host:{lab.old.name} pid:%'"
    locked = f"SELECT count(*) FROM delayed_jobs WHERE {mine}"
    until(lambda: sql(lab, locked) == "1", 10, "the job did not start", pause=0.1)
    pid = lab.old.exec(f"cat {pidfile}").stdout.strip()
    lab.old.exec(f"kill -TERM {pid}")
    until(lambda: lab.old.exec(f"kill -0 {pid}", check=False).returncode != 0, 10, "it does not stop", pause=0.1)
    assert sql(lab, f"SELECT count(*) FROM job_runs WHERE order_number = '{slow}'") == "1"
    until(lambda: lab.old.exec(f"test -s {pidfile}", check=False).returncode == 0, 30, "monit sleeps", pause=0.5)


@pytest.mark.thorough
def test_cron_records_each_minute(lab: Lab) -> None:
    crontab = lab.old.exec(f"crontab -l -u {OLD.user}").stdout
    assert f"cd {OLD.app} && RAILS_ENV=production ruby script/record_minute" in crontab
    recent = f"SELECT count(*) FROM cron_runs WHERE host = '{lab.old.name}' AND minute > now() - interval '2 minutes'"
    until(lambda: sql(lab, recent) != "0", 75, "cron did not record this minute", pause=1)


def test_a_login_needs_its_token_and_makes_a_session(visitor: Visitor) -> None:
    assert visitor.ask(f"{SHOP}/me")[0] == 401
    assert visitor.ask(f"{SHOP}/login", "-d name=eve")[0] == 422
    assert visitor.log_in(SHOP, "anna") == 302
    assert visitor.ask(f"{SHOP}/me") == (200, '{"name":"anna"}')


def test_an_upload_is_kept_and_served_by_nginx(lab: Lab, visitor: Visitor, number: str) -> None:
    lab.new.exec(f"head -c 3000000 /dev/urandom >/tmp/{number}")
    sha256 = lab.new.exec(f"sha256sum </tmp/{number}").stdout.split()[0]
    status, body = visitor.ask(f"{SHOP}/uploads", f"-F name={number}.bin -F file=@/tmp/{number}")
    assert (status, json.loads(body)) == (201, {"name": f"{number}.bin", "sha256": sha256})
    lab.new.exec(f"rm /tmp/{number}")

    url = f"{SHOP}/system/uploads/{number}.bin"
    assert lab.new.exec(f"curl -sSf {url} | sha256sum").stdout.split()[0] == sha256
    headers = visitor.ask(url, "--head")[1].lower()
    assert f"x-served-by: {lab.old.name}" in headers
    assert "x-runtime" not in headers  # Rails sends one


@pytest.mark.thorough
def test_the_application_reloads_and_every_request_is_answered(lab: Lab, visitor: Visitor, number: str) -> None:
    """Also one that the old workers have in hand: an order, which waits for a lock while the new ones start."""
    many = f"for i in $(seq 150); do curl -sS -o /dev/null -w '%{{http_code}}\\n' {SHOP}/up; done"
    locks = "SELECT count(*) FROM pg_locks WHERE relation = 'stock'::regclass AND "
    pid = lab.old.exec(f"cat {OLD.app}/tmp/pids/unicorn.pid").stdout
    with ThreadPoolExecutor() as pool:
        pool.submit(sql, lab, "BEGIN; LOCK TABLE stock; SELECT pg_sleep(5); COMMIT")
        until(lambda: sql(lab, locks + "mode = 'AccessExclusiveLock' AND granted") == "1", 4, "no lock")
        answers = pool.submit(lab.new.exec, many)
        order = pool.submit(visitor.ask, f"{SHOP}/orders", f"-d number={number} -d product_id=8")
        until(lambda: sql(lab, locks + "NOT granted") != "0", 4, "no order waits")
        lab.old.exec(f"systemctl reload unicorn_{OLD.name}")
        assert order.result()[0] == 201
        assert set(answers.result().stdout.split()) == {"200"}
    assert lab.old.exec(f"cat {OLD.app}/tmp/pids/unicorn.pid").stdout != pid
    assert lab.old.exec(f"systemctl is-active unicorn_{OLD.name}").stdout.strip() == "active"


@pytest.mark.thorough
def test_a_push_deploys(lab: Lab, visitor: Visitor) -> None:
    change = f"""set -e
        rm -rf work && git clone -q {OLD.app} work && cd work
        git config user.name Maikel && git config user.email maikel@shop.test
        sed -i 's/About the shop/About us/' app/controllers/pages_controller.rb
        git commit -qam 'Shorten a title' && git push -q && cd && rm -rf work"""
    as_user = f"runuser -l {OLD.user} -c "
    commit = lab.old.exec(as_user + f"'git -C {OLD.app} rev-parse HEAD'").stdout.strip()
    try:
        lab.old.exec(as_user + shlex.quote(change))
        until(lambda: "<title>About us</title>" in visitor.ask(f"{SHOP}/about")[1], 20, "not deployed", pause=0.2)
        assert lab.old.exec(f"stat -c %U {OLD.app}/log/logrotate-status").stdout.strip() == OLD.user
    finally:
        lab.old.exec(as_user + f"'git -C {OLD.app} reset -q --hard {commit}'")
        lab.old.exec(f"systemctl reload unicorn_{OLD.name}")


def test_new_is_installed_and_does_nothing_yet(lab: Lab, visitor: Visitor) -> None:
    asks = Visitor(lab.old, visitor.jar)
    assert "<title>Opening soon</title>" in asks.ask(f"{PROD2}/about")[1]  # one commit behind
    rows = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM cron_runs)"
    assert lab.new.psql(rows, db=NEW.database) == "0"
    assert lab.new.exec(f"crontab -l -u {NEW.user}", check=False).returncode != 0
    assert lab.new.exec("pgrep -f '[d]elayed_job'", check=False).stdout == ""
    assert asks.ask(f"{SHOP}/", f"--insecure --resolve shop.test:443:{lab.new.address4}")[0] == 404


@pytest.fixture
def same_secret(lab: Lab) -> Iterator[None]:
    """New has old's secrets, for a while."""
    secret, service = f"{NEW.app}/config/secrets.yml", f"unicorn_{NEW.name}"
    lab.new.exec(f"cp -p {secret} {secret}.before")
    try:
        lab.new.exec(f"cat >{secret}", input=lab.old.exec(f"cat {OLD.app}/config/secrets.yml").stdout)
        lab.new.exec(f"systemctl reload {service}")
        yield
    finally:
        lab.new.exec(f"mv {secret}.before {secret} && systemctl reload {service}")


@pytest.mark.usefixtures("same_secret")
def test_a_session_made_on_old_is_good_on_new(lab: Lab, visitor: Visitor) -> None:
    assert visitor.log_in(SHOP, "anna") == 302
    asks = Visitor(lab.old, visitor.jar)
    assert asks.ask(f"{PROD2}/me", f"--header 'Cookie: {visitor.session()}'") == (200, '{"name":"anna"}')


@pytest.mark.thorough
def test_a_session_is_worth_nothing_where_the_secret_differs(lab: Lab, visitor: Visitor) -> None:
    assert visitor.log_in(SHOP, "anna") == 302
    asks = Visitor(lab.old, visitor.jar)
    assert asks.ask(f"{PROD2}/me", f"--header 'Cookie: {visitor.session()}'")[0] == 401
