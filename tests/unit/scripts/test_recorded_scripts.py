"""Whatever a step may record is sound sh: shellcheck reads each step's `apply` and `undo`.

The servers are pretended: what looks find out is given here, and nothing is changed but the journals.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any

import pytest
import yaml

from lab.judging.shellcheck import faults
from switchover import certificates, checklist
from switchover.desired import Precondition
from switchover.dns.records import Addresses, Look
from switchover.hosts import Answer
from switchover.journal import Change, Journal
from switchover.move import Move
from switchover.render import HOME
from switchover.resources import Absent, File, Service
from switchover.section import SECTIONS
from switchover.server import Server
from switchover.settings import check
from switchover.site import worker

PASSWORDS = "192.0.2.1:5433:*:switchover:secret\n127.0.0.1:6432:*:switchover_app:secret\n"
assert checklist.COLLECTIONS  # by which steps have their names
TABLE = {"name": "public.baskets", "kind": "r", "unlogged": False, "identity": None, "offer": None, "replica": "d"}


def as_read(content: str) -> str:
    """A file, as `read` asks for it."""
    return f"root:root 600\n{base64.b64encode(content.encode()).decode()}"


# What a look finds out, by what stands in its script; anything else finds nothing.
ANSWERS = {
    r"\| say sql$": 'sql\t{"settings": {}}',
    r"^p=/etc/switchover/pgpass;": as_read(PASSWORDS),
    r"^p=.*/before/": as_read("as it was\n"),
    r"^\[ -s /root/[.]ssh/switchover \]$": "",
    r"^cat (/root/[.]ssh/switchover[.]pub|.*/id_\*[.]pub|/etc/ssh/ssh_host_)": "ssh-ed25519 AAAA",
    r"^rsync .* -n .*--out-format": ">f+++++++++ a.jpg",
    r"git -C \S+ rev-parse HEAD$": "0123456789" * 4,
    r"SHOW ssl_cert_file": "a certificate",
    r"SHOW wal_level'$": "replica",
    r"\nnamed https\S+( \S+)+$": "openfoodnetwork.org.au",
    r"^df -Pk": "100000",
    r"jsonb_build_object[(]\S*tables": json.dumps({"tables": [TABLE, TABLE | {"offer": "public.its_index"}]}),
    r"-v new_owner=": "reports\tCREATE ROLE reports",
    r"\nqueued; why_queued$": "1\n(connection refused)",
    r"after/back[.]sql": "ALTER TABLE public.baskets REPLICA IDENTITY DEFAULT;",
}


class Pretended(Server):
    """A server on which nothing is as it shall be. *scripts*: what the journal would have kept there, by entry."""

    user, port = "ubuntu", 22

    def __init__(self, role: str, settings: Any) -> None:
        super().__init__(role, settings)
        self.scripts: dict[str, str] = {}

    def look(self, script: str, *, check: bool = True, on_line: Any = None) -> Answer:
        for pattern, out in ANSWERS.items():
            if re.search(pattern, script):
                return Answer(out, "", 0)
        return Answer("", "", 0 if check else 1)

    def change(self, script: str, *, on_line: Any = None) -> Answer:
        [entry] = re.findall(r"^mv -T \S+/[.]new-(\S+?)'? ", script, re.M)
        for packed, name in re.findall(r"^printf %s (\S+) [|] base64 -d >(apply|undo)$", script, re.M):
            self.scripts[f"{self.role}/{entry}/{name}"] = base64.b64decode(packed).decode()
        return Answer("", "", 0)


class Names:
    """The name system: addresses are remembered for an hour until `dns-prepare`."""

    def __init__(self) -> None:
        self.zones = {"openfoodnetwork.org.au": ["openfoodnetwork.org.au"]}
        self.ttls = itertools.chain([3600], itertools.repeat(300))

    def servers(self, zone: str) -> dict[str, list[str]]:
        """Those of a zone."""
        return {f"ns.{zone}": ["192.0.2.53"]}

    def look(self) -> Look:
        """What they say now."""
        one = Addresses("openfoodnetwork.org.au", "A", next(self.ttls), ("203.0.113.10",))
        return Look({"ns.openfoodnetwork.org.au": {one.key: one}})


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Move:
    """A move by the example's settings, changed by the parameter; its servers are pretended."""
    data = yaml.safe_load((HOME / "move.example.yaml").read_text())
    data |= {"ci": {"ssh": "ci.example.org", "checkout": "/srv/it's a checkout"}}
    data["certificate"]["agree_tos"] = True
    request.param(data)
    settings = check(data, "move.yaml")
    its = certificates.CertificateFacts(tuple(settings.domains), "--key-type ecdsa", "0", "2026-01-01")
    monkeypatch.setattr(certificates, "read_on", lambda old, path: its)
    move = Move(settings)
    for name in ("old", "new", "ci"):
        setattr(move, name, Pretended(name, settings.old if name == "ci" else getattr(settings, name)))
    move.names = Names()
    move.journal = Journal(move.journal.identity, [*move.servers, move.ci])
    return move


def change(desired: Any) -> Change | None:
    """What a resource may record, whatever its server is like."""
    if isinstance(desired, Service):
        return desired.plan(not desired.running, not desired.at_boot)
    if isinstance(desired, worker.Runs):
        return Change("", desired.worker.starting().sh, desired.worker.stopping().sh)
    return desired.change()


def record(move: Move) -> tuple[set[str], set[str], set[str]]:
    """Records all that the checklist may change.

    Gives the lines that neither changed nor wanted to see anything; those that only wanted to see something; and the sh
    that files' scripts have as words.
    """
    without, looking, words = set(), set(), set()
    for section in SECTIONS.values():
        for step in section.steps_of(move):
            done, parts = 0, step.desired(move)
            for desired in parts:
                made = None if isinstance(desired, Precondition) else change(desired)
                if isinstance(desired, File | Absent):
                    words |= {desired.test, getattr(desired, "test_file", ""), desired.then} - {""}
                if made:
                    move.journal.record_and_apply(
                        desired.server, step.line, desired.part, "new: it's so", made, apply=False
                    )
                done += bool(made) or isinstance(desired, Precondition)
            without |= set() if done else {step.line}
            looking |= {step.line} if parts and all(isinstance(part, Precondition) for part in parts) else set()
    return without, looking, words


def copy(data: dict[str, Any]) -> None:
    """Under the maintenance page."""
    data["strategy"] = "copy"


def replicate(data: dict[str, Any]) -> None:
    """The database follows."""


def otherwise(data: dict[str, Any]) -> None:
    """Whatever else scripts are made of; and words that have to be quoted."""
    data["domains"].append("www.openfoodnetwork.org.au")
    data["certificate"] |= {"certbot": "current", "version": "2.9.0", "email": "me@shop.org"}
    data["new"]["app"] |= {"path": '/home/it\'s "mine"/~/current', "build": ["bundle install", "echo 'a b'"]}
    data["new"]["schedule"]["install"] = "whenever --update-crontab 'it is'"
    data["new"]["database"] = {"name": "my-shop.de", "owner": "ofn@shop"}


# Nothing of it is there to be taken back or restarted without PgBouncer.
WITHOUT_PGBOUNCER = {"retire-old.database-yml", "retire-old.restart", "retire-old.pgbouncer-gone"}
CASES: list[tuple[Any, set[str]]] = [(replicate, set()), (copy, WITHOUT_PGBOUNCER), (otherwise, set())]


@pytest.mark.parametrize(("move", "without"), CASES, indirect=["move"], ids=[case.__name__ for case, _ in CASES])
def test_shellcheck_finds_nothing_in_what_steps_record(move: Move, without: set[str]) -> None:
    recorded, _, words = record(move)
    assert recorded == without and words  # else a step's scripts are not seen here: ANSWERS lacks what it looks for
    scripts = {name: text for host in (*move.servers, move.ci) for name, text in host.scripts.items()}
    assert len(scripts) == 2 * len(move.journal.entries) > 200
    assert faults(scripts | {f"word {n}": f"#!/bin/sh\n{word}\n" for n, word in enumerate(sorted(words))}) == ""


def test_shellcheck_finds_what_is_wrong_in_any_of_many() -> None:
    scripts = {f"old/shop/{n:04d}-a.b/apply": f'#!/bin/sh\n# {n}\nentry=/{n}\necho "$entry"\n' for n in range(30)}
    assert faults(scripts) == ""
    scripts["new/shop/0001-a.b/undo"] = "#!/bin/sh\nrm -rf $1/\n"
    found = faults(scripts)
    assert "SC2086" in found and "new/shop/0001-a.b/undo line 2" in found


@pytest.mark.parametrize("move", [replicate, copy], indirect=True)
def test_a_step_that_only_looks_is_said_to(move: Move) -> None:
    """docs/checklist.md must not promise an undo for a step that records nothing, nor the other way round."""
    rows = re.findall(r"`inv ([a-z.-]+)` \| ([^|]*) \|", (HOME / "docs/checklist.md").read_text())
    said = {line for line, undone in rows if undone == "looks only"}
    lines = {step.line for section in SECTIONS.values() for step in section.steps_of(move)}
    without, looking, _ = record(move)
    assert looking == (said & lines) - without and len(looking) > 10
