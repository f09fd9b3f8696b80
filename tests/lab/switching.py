"""What the tests of the switch share: who orders meanwhile, where the application's way leads, what was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from by_hand import JOURNAL

from lab.machine.server import until
from lab.servers import Lab
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")
SECTIONS = ("prepare-old", "prepare-new", "switch-jobs", "switch-app", "switch-cron", "replicate")
BEFORE = ("pause", "fence", "sessions", "heartbeat", "sequences", "snapshots", "intent")  # the commit
HELD = (*BEFORE, "commit", "resume")
POINTS = (*HELD, "release", "follow")  # at which the program of the switch can be told to die
DROP_IN = "/etc/systemd/system/switchover-switch.service.d/dies.conf"

# Somebody who orders by the application's way, one order a connection; what was acknowledged is in a file.
# A boot would empty /tmp. Debian's psql is a script that looks for the right one: that takes longer than the order.
WRITER = r"""
n=0 PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH
while [ ! -e /var/tmp/writer-ends ]; do
  n=$(( n + 1 ))
  order="INSERT INTO orders (number, total, created_at) VALUES ('s-$$-$n', 1, now()) RETURNING number"
  psql -XAtq "WAY" -c "$order" >>/var/tmp/acknowledged || echo "order $n"
  sleep 0.01
done 2>&1
"""


WAY = f"host=127.0.0.1 port=6432 dbname={NEW.database} user=switchover_app passfile=/etc/switchover/pgpass"


def at(*sample: str, points: tuple[str, ...] = POINTS) -> pytest.MarkDecorator:
    """At each of the *points*; but for the *sample* only in a campaign."""
    campaign = {one: () if one in sample else (pytest.mark.campaign,) for one in points}
    return pytest.mark.parametrize("part", [pytest.param(one, marks=marks) for one, marks in campaign.items()])


@contextmanager
def ordering(lab: Lab, *, errors: bool = False) -> Iterator[None]:
    """Somebody orders meanwhile, and each order that was acknowledged is there in the end, once, on both servers.

    *errors*: some may have been answered with one; what became of those nobody was told.
    """
    lab.new.write("/var/tmp/writer", WRITER.replace("WAY", f"{WAY} sslmode=disable"))
    lab.new.exec("rm -f /var/tmp/writer-ends; : >/var/tmp/acknowledged")
    lab.new.exec("setsid sh /var/tmp/writer >/var/tmp/writer.log </dev/null 2>&1 &")
    until(lambda: int(lab.new.exec("wc -l </var/tmp/acknowledged").stdout) > 5, 30, "nobody can order", pause=0.1)
    yield
    lab.new.exec("touch /var/tmp/writer-ends; while pgrep -f '^sh /var/tmp/writer' >/dev/null; do sleep 0.1; done")
    assert errors or lab.new.exec("cat /var/tmp/writer.log").stdout == ""
    promised = lab.new.exec("cat /var/tmp/acknowledged").stdout.split()
    lab.new.exec("cat /var/tmp/acknowledged >>/var/tmp/all-acknowledged")
    promised = sorted(lab.new.exec("cat /var/tmp/all-acknowledged").stdout.split())
    until(lambda: kept(lab, promised, errors), 10, "an order is missing, or there twice")


def kept(lab: Lab, promised: list[str], errors: bool = False) -> bool:
    """Whether these orders are there once, on both servers; *errors*: and more, if the same on both."""
    ask = "SELECT number FROM orders WHERE number LIKE 's-%'"
    old, new = (sorted(server.psql(ask, site.database).split()) for server, site in ((lab.old, OLD), (lab.new, NEW)))
    more = set(new) >= set(promised) and len(set(new)) == len(new)
    return old == new and (more if errors else new == promised)


def told(lab: Lab) -> list[dict[str, Any]]:
    """What the program of the switch said, each time."""
    lines = lab.new.exec(f"cat {JOURNAL}/*switch-db.switch/said").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"event"')]


def carried_over(lab: Lab, server: str) -> None:
    """A person has carried over what somebody wrote there past the fence, and says so."""
    getattr(lab, server).psql("DELETE FROM switchover_own.late_writes", SHOP.site(server).database)


def leads_to(lab: Lab) -> str:
    """The port of the database that the application's way leads to tells which one it is."""
    version = lab.new.exec(f"psql -XAtq '{WAY} sslmode=disable' -c 'SHOW server_version_num'").stdout
    return "old" if version.startswith("13") else "new"


def enters(lab: Lab, server: str) -> bool:
    """Whether the application's own role gets into the application's database there."""
    site = SHOP.site(server)
    role = "openfoodweb" if server == "old" else "ofn_user"
    sql = f"SELECT has_database_privilege('{role}', '{site.database}', 'CONNECT') AND datconnlimit <> 0"
    return getattr(lab, server).psql(f"{sql} FROM pg_database WHERE datname = '{site.database}'") == "t"
