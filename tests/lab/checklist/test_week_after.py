"""The week after: what `check` sees of it before the move; deploys, mail and monitoring while it is made, on the same
servers; a CI host that is off; and the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import fails, inv, order, recorded, works

from lab.machine.server import LabServer, until
from lab.servers import Lab
from lab.services import bind
from lab.visitors import deploys, mail
from lab.world import SHOP
from switchover import aftercare
from switchover.dns import resolver

OLD, NEW = SHOP.site("old"), SHOP.site("new")
WORKER = f"{NEW.app}/tmp/pids/delayed_job.pid"
RUNS = "The version from before"

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(seed_mb=5) as running:
        yield running


# --- check: each finding appears, and vanishes when it is fixed ---------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Something that would break: *make* and *fix* (sh on *server*), and what `check` says meanwhile."""

    key: str
    server: str
    make: str
    fix: str
    says: str


def update(line: str) -> str:
    """sh for ci: changes the name system."""
    return f"printf 'server 127.0.0.1\\n%s\\nsend\\n' '{line}' | nsupdate -k {bind.KEY}"


def shut(address: str, port: int) -> tuple[str, str]:
    """sh: refuses who comes from an address to a port, and does no more."""
    program = "ip6tables" if ":" in address else "iptables"
    rule = f"INPUT -p tcp -s {address} --dport {port} -j REJECT --reject-with tcp-reset"
    return f"{program} -I {rule}", f"{program} -D {rule}"


def faults(lab: Lab) -> list[Fault]:
    """One for each check."""
    agent = SHOP.sites[0].pushers["ci"]
    keys = f"/home/{OLD.user}/.ssh/authorized_keys"
    known = f"{agent.home}/.ssh/known_hosts"
    back = resolver.reverse(lab.new.address4)
    mine = "printf 'To: stuck@customers.test\\nX-Order: stuck\\n\\nx\\n' | sendmail -t"
    sent = f"postqueue -f; until [ $({mail.QUEUE}) = 0 ]; do sleep 0.2; done"
    return [
        Fault("dns-addresses", "ci", update("add shop.test 20 A 10.77.0.77"), update("delete shop.test A 10.77.0.77"),
              "shop.test resolves to 10.77.0.77, which is not old's"),
        Fault("aaaa", "new", *shut(lab.old.address6, 443), "new does not answer at fd77::12 port 443"),
        Fault("reverse-dns", "ci", update(f"delete {back} PTR"), update(f"add {back} 20 PTR prod2.shop.test."),
              "10.77.0.12 has no name"),
        Fault("spf", "ci", update('add shop.test 20 TXT "v=spf1 a ip6:fd77::12 -all"'), update("delete shop.test TXT"),
              "SPF of shop.test allows old to send its mail, but not 10.77.0.12"),
        Fault("mail-server", "new", "mv /usr/sbin/sendmail /usr/sbin/sendmail.off",
              "mv /usr/sbin/sendmail.off /usr/sbin/sendmail", "new has none"),
        Fault("mail-port", "ci", *shut(lab.new.address4, 25), "10.77.0.13 port 25 does not answer new"),
        Fault("mail-arrives", "ci", update("add shop.test 20 MX 10 prod1.shop.test."), update("delete shop.test MX"),
              "mail to shop.test arrives on old (MX prod1.shop.test)"),
        Fault("mail-queue", "old", f"postconf -e defer_transports=smtp; postfix reload; {mine}; sleep 1",
              f"postconf -e defer_transports=; postfix reload; {sent}", "1 mails are queued on old"),
        Fault("known-hosts", "ci", f"sed -n 's/^prod1.shop.test /shop.test /p' {known} >>{known}",
              f"sed -i '/^shop.test /d' {known}", "knows another host key for shop.test than new's"),
        Fault("deploy-keys", "old", f"echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBert bert@laptop' >>{keys}",
              f"sed -i /bert@laptop/d {keys}", "may deploy to old but not to new: bert@laptop"),
        Fault("third-parties", "ci", *shut(lab.new.address4, 22), "bank answers old with a connection, new with"),
        Fault("firewall-rules", "old", "ufw allow from 10.77.0.50 to any port 5432 proto tcp",
              "ufw delete allow from 10.77.0.50 to any port 5432 proto tcp", "allow from 10.77.0.50 to any port 5432"),
    ]  # fmt: skip


KEYS = list(aftercare.CHECKS)


@pytest.fixture(scope="module")
def settings(lab: Lab) -> Path:
    """Settings that name a third party."""
    data = yaml.safe_load(lab.settings.read_text())
    file = lab.settings.with_name("week.yaml")
    file.write_text(yaml.safe_dump(data | {"third_parties": [{"name": "bank", "host": "10.77.0.13", "port": 22}]}))
    return file


def looked(lab: Lab, settings: Path) -> list[dict[str, Any]]:
    """What `check` says of the week after; it fails because of none of it."""
    ran = inv(lab, "check", "--json", settings=settings)
    assert ran.status == 0, ran.out + ran.err
    found: list[dict[str, Any]] = [f for f in json.loads(ran.out)["findings"] if f["group"] == "aftercare"]
    assert list(dict.fromkeys(one["key"] for one in found)) == KEYS
    return found


@pytest.fixture(scope="module")
def three_looks(lab: Lab, settings: Path) -> list[list[dict[str, Any]]]:
    """Before, while all is wrong, and after."""
    before = looked(lab, settings)
    made = faults(lab)
    for fault in made:
        getattr(lab, fault.server).exec(fault.make)
    meanwhile = looked(lab, settings)
    assert "the week after: " in inv(lab, "check", settings=settings).out
    for fault in reversed(made):
        getattr(lab, fault.server).exec(fault.fix)
    return [before, meanwhile, looked(lab, settings)]


@pytest.mark.parametrize("key", KEYS)
def test_what_would_break_is_found_and_gone_when_fixed(
    lab: Lab, three_looks: list[list[dict[str, Any]]], key: str
) -> None:
    says = next(fault.says for fault in faults(lab) if fault.key == key)
    before, meanwhile, after = ([o for o in look if o["key"] == key and says in o["what"]] for look in three_looks)
    assert (before, after) == ([], [])
    assert meanwhile and all(one["kind"] == "warning" and one["do"] for one in meanwhile), three_looks[1]


# --- the move: deploys and mail ------------------------------------------------------------------------------------


def head(server: LabServer) -> str:
    """The commit that the server's checkout is at."""
    site = SHOP.site(server.role)
    return server.exec(f"runuser -u {site.user} -- git -C {site.app} rev-parse HEAD").stdout.strip()


def test_a_deploy_that_fails_leaves_what_runs_and_says_so(lab: Lab) -> None:
    works(lab, "dns-prepare", "prepare-old", "prepare-new")
    running, commit = deploys.title(lab.new), head(lab.new)
    pushed = deploys.push(lab, "new", "broken", by="dev")
    assert f"[ERROR] The deploy failed. {RUNS}" in pushed.output and "push again" in pushed.output
    assert (deploys.title(lab.new), head(lab.new)) == (running, commit)


def test_a_schema_change_is_refused_before_the_switch(lab: Lab) -> None:
    pushed = deploys.push(lab, "new", "migration", by="dev")
    assert not pushed.ok and "migrations have to wait" in pushed.output
    assert lab.old.psql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pushed_%'", db=OLD.database) == "0"


def test_mail_that_is_queued_when_visitors_move_is_sent_once(lab: Lab) -> None:
    """Who takes it said to come again later, until new has all: then old sends it, and new never does."""
    mail.later(lab, "old")
    for number in range(10):  # each tenth order has a mail
        order(lab, f"mail-{number}")
    until(lambda: mail.queued(lab.old) == 1, 30, "no mail is queued", pause=0.3)
    works(lab, "switch-jobs", "switch-app", "switch-cron", "expand-cert")
    assert mail.queued(lab.old) == 1
    assert json.loads(inv(lab, "watch", "--json").out)["old"]["mail_queued"] == 1
    assert "1 mails are queued on old (host 10.77.0.13" in inv(lab, "check").out


def lag(lab: Lab) -> tuple[int, str]:
    """What monit's check would be told."""
    done = lab.new.exec(f"/usr/local/sbin/switchover-lag {NEW.database} 64 60", check=False)
    return done.returncode, done.stdout.strip() + done.stderr.strip()


def test_monit_watches_the_database_that_follows(lab: Lab) -> None:
    works(lab, "replicate")
    until(lambda: "switchover_lag" in lab.new.exec("monit summary", check=False).stdout, 90, "monit does not watch")
    status, said = lag(lab)
    assert (status, said.partition(" is ")[0]) == (0, "the database on new")
    lab.new.psql("ALTER SUBSCRIPTION switchover DISABLE", db=NEW.database)
    until(lambda: lag(lab)[0] == 1, 10, "nobody says that it does not follow", pause=0.2)
    lab.new.psql("ALTER SUBSCRIPTION switchover ENABLE", db=NEW.database)
    until(lambda: lag(lab)[0] == 0, 20, "it follows, and the check says no", pause=0.2)


def test_finish_has_old_send_its_mail(lab: Lab) -> None:
    works(lab, "switch-db")
    assert lag(lab)[1].startswith("the database on old is")
    mail.later(lab)
    before = {number: times for number, times in mail.received(lab).items() if number.startswith("mail-")}
    works(lab, "finish")
    came = {number: times for number, times in mail.received(lab).items() if number.startswith("mail-")}
    assert before == {} and list(came.values()) == [1]
    assert mail.queued(lab.old) == mail.queued(lab.new) == 0
    lab.new.exec(f"kill -KILL $(cat {WORKER})")  # for the next test


def test_monit_starts_a_worker_that_died(lab: Lab) -> None:
    runs = f"kill -0 $(cat {WORKER})"
    until(lambda: lab.new.exec(runs, check=False).returncode == 0, 40, "monit does not start it", pause=0.5)


def test_a_schema_change_waits_as_long_as_old_follows(lab: Lab) -> None:
    pushed = deploys.push(lab, "new", "migration", by="dev")
    assert not pushed.ok and "Migrations have to wait for the end of the move: inv retire-old" in pushed.output
    assert deploys.push(lab, "remote", "harmless", by="ci").ok
    # What fails at CI's own push is told with the hook's reason, though git calls it a success.
    works(lab, "undo", "--yes", "finish.ci-deploys")
    _broken_at_ci(lab)
    assert f"The deploy failed. {RUNS}" in fails(lab, "finish.ci-deploys")
    assert deploys.push(lab, "remote", "harmless", by="ci").ok
    works(lab, "finish.ci-deploys")


def _broken_at_ci(lab: Lab) -> None:
    """CI's checkout has a commit that cannot boot."""
    agent = SHOP.sites[0].pushers["ci"]
    commit = "git add -A && git commit -qm broken"
    script = f"cd {agent.checkout} && echo 'raise 1' >config/initializers/zz_change.rb && {commit}"
    lab.ci.exec(f'runuser -l {agent.user} -c "{script}"')


# --- a CI host that is off ------------------------------------------------------------------------------------------


def test_without_the_ci_host_all_else_continues(lab: Lab) -> None:
    """What needs it says so; what was done there is undone when it is back."""
    lab.ci.exec("systemctl stop ssh.socket ssh")
    try:
        ran = inv(lab, "finish.ci-remote")
        assert ran.status == 1 and f"{lab.ci}: no ssh connection (" in ran.err.splitlines()[-1]
        [line] = works(lab, "undo", "--yes", "finish").err.splitlines()
        assert line.startswith(f"{lab.ci}: no ssh connection (") and line.endswith("is unknown, and stays as it is")
        stands = {entry.server.role for entry in recorded(lab) if entry.state == "done" and entry.step[:6] == "finish"}
        assert stands == {"ci"}
    finally:
        lab.ci.exec("systemctl start ssh")
    works(lab, "undo", "--yes", "finish")
    assert not [entry for entry in recorded(lab) if entry.state == "done" and entry.step[:6] == "finish"]


# --- the end --------------------------------------------------------------------------------------------------------


def test_old_does_not_retire_while_mail_waits_there(lab: Lab) -> None:
    mail.later(lab, "old")
    lab.old.exec("printf 'To: last@customers.test\\nX-Order: last\\n\\nx\\n' | sendmail -t")
    until(lambda: "450" in lab.old.exec("postqueue -p").stdout, 20, "the mail is not refused", pause=0.2)
    assert "mail is still queued on old: there, `postqueue -p`" in (said := fails(lab, "retire-old.mail-has-left"))
    assert "1 of them: host 10.77.0.13" in said and "Come again later" in said
    mail.later(lab)
    lab.old.exec(f"postqueue -f; until [ $({mail.QUEUE}) = 0 ]; do sleep 0.2; done")
    works(lab, "retire-old.mail-has-left")
    assert mail.received(lab)["last"] == 1


def test_afterwards_deploys_change_the_schema_again(lab: Lab) -> None:
    works(lab, "switch-dns")
    time.sleep(2)  # retire.quiet
    works(lab, "retire-old", "--yes")
    watched = "monit summary | grep switchover_lag"  # monit reads its files again when it has ended what it looks at
    until(lambda: lab.new.exec(watched, check=False).returncode == 1, 90, "monit still watches how far new is behind")
    assert lab.new.exec("ls /usr/local/sbin/switchover-lag", check=False).returncode != 0
    pushed = deploys.push(lab, "new", "migration", by="dev")
    assert pushed.ok and "[ERROR]" not in pushed.output, pushed.output
    until(lambda: deploys.title(lab.new) == pushed.title, 30, "it is not deployed", pause=0.3)
    assert lab.new.psql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pushed_%'", db=NEW.database) == "1"
