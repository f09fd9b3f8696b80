"""Looks at servers, with texts in hand as the programs print them."""

from __future__ import annotations

import subprocess

from lab.judging.allowed import Allowed
from lab.judging.inventory import LEFT_OUT, compare, ports, processes, roles, schema, take, young
from lab.world import SHOP

ROLES = """--
-- PostgreSQL database cluster dump
--
\\restrict nMXbYtB4

CREATE ROLE openfoodweb;
ALTER ROLE openfoodweb WITH NOSUPERUSER LOGIN PASSWORD 'md5abc';
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
GRANT pg_monitor TO openfoodweb GRANTED BY postgres;
\\unrestrict nMXbYtB4
"""


def test_equal_looks_have_no_difference() -> None:
    seen = {"file /etc/hosts": "f 644 root:root aa"}
    assert compare("old", seen, dict(seen)) == []


def test_new_gone_and_changed() -> None:
    found = compare(
        "old",
        {"file /etc/a": "f 644 root:root aa", "service nginx.service": "at boot enabled, now active"},
        {"file /etc/b": "f 600 root:root bb", "service nginx.service": "at boot enabled, now failed"},
    )
    assert [str(difference) for difference in found] == [
        "old: file /etc/a is gone, was: f 644 root:root aa",
        "old: file /etc/b is new: f 600 root:root bb",
        "old: service nginx.service was at boot enabled, now active, is at boot enabled, now failed",
    ]


def test_only_what_the_list_names_is_left_out() -> None:
    before: dict[str, str] = {}
    after = {
        "file /home/openfoodweb/apps/openfoodweb/current/log/production.log": "f",
        "file /home/openfoodweb/apps/openfoodweb/current/public/system/uploads/a.bin": "f",
        "file /home/openfoodweb/apps/openfoodweb/current/public/system/seed.png": "f",
        "file /home/openfoodweb/apps/openfoodweb/current/config/database.yml": "f",
    }
    assert [difference.what.rpartition("/")[2] for difference in compare("old", before, after)] == [
        "database.yml",
        "seed.png",
    ]
    assert len(compare("old", before, after, left_out=[])) == 4


def test_every_rule_has_a_reason() -> None:
    assert all(rule.why and rule.what for rule in LEFT_OUT)
    assert Allowed(("file /etc/x*",), "why").covers("file /etc/xy")


def test_roles_are_compared_with_their_passwords() -> None:
    seen = roles(ROLES)
    assert seen["role openfoodweb"].endswith("PASSWORD 'md5abc';")
    assert seen["roles"] == "GRANT pg_monitor TO openfoodweb GRANTED BY postgres;"
    fenced = roles(ROLES.replace("LOGIN", "NOLOGIN", 1).replace("nMXbYtB4", "other"))
    assert [difference.what for difference in compare("old", seen, fenced)] == ["role openfoodweb"]


def test_the_key_that_pg_dump_makes_up_is_no_difference() -> None:
    dump = "\\restrict abc\n-- Name: t\nCREATE TABLE t ();\n\\unrestrict abc\n"
    assert schema(dump) == schema(dump.replace("abc", "xyz")) == "CREATE TABLE t ();"


def test_of_a_long_text_the_lines_that_differ_are_shown() -> None:
    before = "\n".join(f"CREATE TABLE t{number} ();" for number in range(50))
    [difference] = compare("new", {"schema of shop": before}, {"schema of shop": before + "\nCREATE TABLE x ();"})
    assert str(difference) == "new: schema of shop was without, is CREATE TABLE x ();"


def test_ports_without_process_numbers() -> None:
    text = (
        'tcp 0.0.0.0:443\tusers:(("nginx",pid=812,fd=6),("nginx",pid=811,fd=6))\n'
        'tcp 127.0.0.1:5432\tusers:(("postgres",pid=300,fd=5))\n'
        "udp 0.0.0.0:68\t\n"
    )
    assert ports(text) == {
        "port tcp 0.0.0.0:443": "nginx",
        "port tcp 127.0.0.1:5432": "postgres",
        "port udp 0.0.0.0:68": "",
    }


def test_processes_without_numbers_and_states() -> None:
    text = (
        "  70 www-data  90 nginx: worker process\n"
        "  70 www-data  91 nginx: worker process is shutting down\n"
        "  70 root      92 [certificate-age] <defunct>\n"
        "   1 openfoodweb 300 unicorn worker[0] -D -c config/unicorn.rb\n"
        "   1 openfoodweb 300 /usr/bin/ruby2.7 script/delayed_job\n"
        "   1 root 2 sleep 1\n"
        "   1 root 4123168608 date\n"
        "   0 root 9 ps -e\n"
    )
    assert set(processes(text)) == {
        "process www-data nginx",
        "process openfoodweb unicorn",
        "process openfoodweb ruby",
    }


def test_those_that_are_too_young_for_a_look() -> None:
    text = (
        "   1 root 5 sleep 9\n"
        "   1 bert 4 sleep 9\n"
        "   1 anna 4123168608 date\n"
        "  70 root 1 [sh] <defunct>\n"
        "   0 root 1 ps -e\n"
    )
    assert young(Talking({"ps -e": text})) == ["process bert sleep", "process anna date"]


class Talking:
    """A machine that answers by part of the command."""

    world, role = SHOP, "old"

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def exec(self, cmd: str, input: bytes | None = None, check: bool = True):
        answer = next((text for part, text in self.answers.items() if part in cmd), "")
        return subprocess.CompletedProcess(cmd, 0, answer, "")


def test_a_look_puts_everything_together() -> None:
    machine = Talking(
        {
            "sha256sum": "abc  /etc/hosts\n",
            "-printf": "/etc/hosts\tf 644 root:root \n/etc/link\tl 777 root:root /etc/hosts\n",
            "list-units": "nginx.service\tat boot enabled\nnginx.service\tnow active\n",
            "ufw status": "ufw\tStatus: active\nipv4\t-P INPUT DROP\nipv4\t-A INPUT -j ACCEPT\n",
            "roles-only": ROLES,
            "UNION ALL": "database shop\towner\n",
            "datallowconn ORDER": "shop\n",
            "schema-only": "CREATE TABLE t ();\n",
        }
    )
    seen = take(machine)
    assert seen["file /etc/hosts"] == "f 644 root:root abc"
    assert seen["file /etc/link"] == "l 777 root:root /etc/hosts"
    assert seen["service nginx.service"] == "at boot enabled, now active"
    assert seen["firewall ipv4"] == "-P INPUT DROP\n-A INPUT -j ACCEPT"
    assert seen["database shop"] == "owner"
    assert seen["schema of shop"] == "CREATE TABLE t ();"
