"""Check: what stands in the way, found before anything is touched; each finding with what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from invoke.tasks import task

from .. import afterwards, certificates, say
from .. import move as moves
from ..database import facts
from ..database import findings as following
from ..database import following as live
from ..errors import Problem
from ..hosts import Host, Server
from ..move import Move
from ..outcome import Outcome
from ..quote import sh, sql
from ..resources.postgres import PSQL
from ..step import for_people

TOOLS = {
    "old": "git rsync nginx psql ufw curl base64 flock pgrep",
    "new": "git rsync nginx psql pg_dump pg_restore ssh-keygen curl base64 flock pgrep",
}


@dataclass(frozen=True)
class Finding:
    """*good*: True, False, or None where the check could not run, which is not passed either."""

    what: str
    good: bool | None
    do: str = ""


@task(help={"everything": "what is good and what is taken care of too", "json": "for programs; everything"})
def check(context: Any, everything: bool = False, json: bool = False) -> None:
    """Both servers: is everything there that a move needs, can the new database follow? Changes nothing."""
    with for_people():
        move = moves.of(context)
        if not json:
            say.heading("check", "looks at both servers and changes nothing")
        found = []
        for finding in findings(move):
            found.append(finding)
            if not json:
                _show(finding)
        database: list[following.Finding] = []
        week: list[following.Finding] = []
        if found[0].good and found[1].good:
            week = _afterwards(move)
            try:
                database = following.find(facts.gather(move))
            except Problem as problem:
                found.append(Finding(f"whether new can follow ({problem.where}: {problem.what})", None, problem.do))
                if not json:
                    _show(found[-1])
        bad = sum(one.good is not True for one in found)
        if json:
            _print_json(found, database, week)
        else:
            if database:
                _show_database(move, database, everything)
            if week:
                _show_week(week, everything)
        if bad:
            raise Problem(f"{bad} to mend before the move", "", "Each line with ✗ says what to do")


def _show(finding: Finding) -> None:
    kind = Outcome.SEEN if finding.good else Outcome.FAILED
    unknown = "could not be checked: " if finding.good is None else ""
    say.outcome(kind, f"{unknown}{finding.what}", "" if finding.good else finding.do)


def _show_database(move: Move, found: list[following.Finding], everything: bool) -> None:
    """One line where the new database can follow, else one for each hindrance; and what asks for a hand."""
    hindering = following.hindering(found)
    costs = next(f.what for f in found if f.key == "cost")
    if hindering:
        otherwise = ", or say in the settings: strategy: copy" if move.settings.strategy == "replicate" else ""
        only = f"database: only `copy` is possible until the {len(hindering)} below are mended{otherwise}"
        say.outcome(Outcome.NOTE, only, costs)
    else:
        say.outcome(Outcome.SEEN, f"database: can follow (replicate): {costs}")
    for one in found:
        if one.key == "cost" and one.kind == "good":
            continue
        if everything or one in hindering or one.do:
            unknown = "could not be checked: " if one.kind == "unknown" else ""
            say.outcome(Outcome.SEEN if one.kind == "good" else Outcome.NOTE, f"  {unknown}{one.what}", one.do)


def _afterwards(move: Move) -> list[following.Finding]:
    try:
        return afterwards.find(afterwards.gather(move))
    except (Problem, ValueError, IndexError) as error:
        what, do = (error.what, error.do) if isinstance(error, Problem) else (str(error), "")
        return [following.Finding("afterwards", "unknown", f"the week after ({what})", do or "Look at that server")]


def _show_week(found: list[following.Finding], everything: bool) -> None:
    """One line that says how it looks, and those that ask for a hand. Nothing of it keeps a move from being made."""
    ask = afterwards.worth_a_look(found)
    what = f"the week after: {len(ask)} to look at" if ask else "the week after: nothing in sight"
    say.outcome(Outcome.NOTE if ask else Outcome.SEEN, what)
    for one in found if everything else ask:
        unknown = "could not be checked: " if one.kind == "unknown" else ""
        say.outcome(Outcome.SEEN if one.kind == "good" else Outcome.NOTE, f"  {unknown}{one.what}", one.do)


def _print_json(found: list[Finding], database: list[following.Finding], week: list[following.Finding]) -> None:
    import json

    strategy = "copy" if following.hindering(database) or not database else "replicate"
    servers = [asdict(one) for one in found]
    report = {"strategy": strategy, "servers": servers, "database": [asdict(one) for one in database]}
    report["afterwards"] = [asdict(one) for one in week]
    print(json.dumps(report, indent=2, ensure_ascii=False))


def findings(move: Move) -> Iterator[Finding]:
    """All findings, both servers', good ones too; the first two say whether old and new are reached."""
    reached = []
    for server in move.servers:
        finding = _reached(server)
        yield finding
        if finding.good:
            reached.append(server)
    if move.ci:
        yield _reached(move.ci)
    for server in reached:
        for one in (_tools, _paths, _services, _database, _space, _firewall, _nginx):
            yield from _attempt(one, server, move)
    if len(reached) == 2:
        for both in (_two_machines, _clocks, _versions, _copy_fits, _certificate, _following):
            yield from _attempt(both, None, move)


def _certificate(move: Move) -> Iterator[Finding]:
    ours = move.settings.certificate
    if certificates.wanted(move):
        yield Finding(
            f"the terms of {ours.server} are agreed to",
            ours.agree_tos or bool(move.new.look(certificates.account(move), check=False).out),
            "Read them and say in the settings: certificate: {agree_tos: true}; or {kind: copied}",
        )
        names = [name for name in certificates.of_old(move).names if name not in move.settings.domains]
        if names:
            do = "Where visitors use it: add it to domains"
            yield Finding(f"old's certificate is of {', '.join(names)} too, new's will not be ({do})", True)


def _attempt(one: Callable[..., Iterator[Finding]], server: Server | None, move: Move) -> Iterator[Finding]:
    try:
        yield from one(move) if server is None else one(server, move)
    except (Problem, ValueError, IndexError) as error:  # the last two: an answer that is not what was asked for
        what, do = (error.what, error.do) if isinstance(error, Problem) else (str(error), "")
        name = one.__name__.strip("_").replace("_", " ")
        where = f"{server.role}: " if server else ""
        yield Finding(f"{where}{name} ({what.splitlines()[0]})", None, do or "Look at that server")


def _reached(server: Host) -> Finding:
    try:
        answer = server.look("id -u", check=False)
    except Problem as problem:
        return Finding(f"{server}: {problem.what}", False, problem.do)
    if answer.out.strip() != "0":
        return Finding(f"{server}: sudo does not lead to root ({answer.out.strip()})", False, "Look at /etc/sudoers.d")
    if server.role == "old" and server.greeting.strip():
        said = server.greeting.strip().splitlines()[0]
        return Finding(
            f"{server}: the login of {server.user} says something even where no person is ('{said[:40]}'): "
            "rsync stumbles",
            False,
            "Let it say that only where $- has an i: it stands in that user's .bashrc or the like",
        )
    return Finding(f"{server}: reached, its host key is known, sudo works", True)


def _tools(server: Server, move: Move) -> Iterator[Finding]:
    missing = server.look(f"for t in {TOOLS[server.role]}; do command -v $t >/dev/null || echo $t; done").out.split()
    yield Finding(
        f"{server.role}: the programs needed are there"
        if not missing
        else f"{server.role}: lacks {', '.join(missing)}",
        not missing,
        f"Install the packages of {', '.join(missing)}",
    )


def _paths(server: Server, move: Move) -> Iterator[Finding]:
    settings = server.settings
    wanted = {f"{server.role}.app.path": settings.app.path, f"{server.role}.web.site": settings.web.site}
    wanted[f"{server.role}.worker.command"] = settings.in_app(settings.worker.command)
    wanted[f"{server.role}.database.config"] = settings.in_app(settings.database.config)
    if server.role == "old":
        wanted |= {"old.certificate.fullchain": settings.certificate.fullchain}
        wanted |= {"old.certificate.key": settings.certificate.key}
        wanted |= {f"carry.{n}.from": settings.in_app(c.source) for n, c in enumerate(move.settings.carry)}
        wanted |= {f"uploads.{n}.from": settings.in_app(u.source) for n, u in enumerate(move.settings.uploads)}
    script = "\n".join(f"[ -e {sh(path)} ] || echo {sh(key)}" for key, path in wanted.items())
    missing = server.look(script).out.split()
    for key in missing:
        yield Finding(f"{server.role}: {wanted[key]} does not exist", False, f"Mend {key} in the settings")
    if not missing:
        yield Finding(f"{server.role}: every path that the settings name exists", True)


def _services(server: Server, move: Move) -> Iterator[Finding]:
    name, user = server.app.service, server.app.user
    answer = server.look(
        f"systemctl cat {sh(name)} >/dev/null 2>&1 || echo service\nid {sh(user)} >/dev/null 2>&1 || echo user"
    ).out.split()
    if "service" in answer:
        yield Finding(f"{server.role}: no service {name}", False, f"Mend {server.role}.app.service in the settings")
    if "user" in answer:
        yield Finding(f"{server.role}: no user {user}", False, f"Mend {server.role}.app.user in the settings")
    if not answer:
        yield Finding(f"{server.role}: service {name} and user {user} exist", True)


def _database(server: Server, move: Move) -> Iterator[Finding]:
    database = server.database
    query = (
        f"SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE datname = {sql(database.name)}"
    )
    owner = server.look(f"{PSQL} -c {sh(query)}").out.strip()
    if not owner:
        yield Finding(
            f"{server.role}: no database {database.name}", False, f"Mend {server.role}.database.name in the settings"
        )
    else:
        yield Finding(
            f"{server.role}: database {database.name} belongs to {owner}",
            owner == database.owner,
            f"Mend {server.role}.database.owner in the settings",
        )
    if server.role == "old":
        on = server.look(f"{PSQL} -c 'SHOW ssl'").out.strip() == "on"
        yield Finding(
            f"old: PostgreSQL {'speaks' if on else 'does not speak'} TLS",
            on,
            "Set ssl = on (with a certificate) in postgresql.conf and reload it",
        )


def _space(server: Server, move: Move) -> Iterator[Finding]:
    free = int(server.look("df -Pk /var/lib | awk 'NR == 2 { print $4 }'").out) * 1024
    yield Finding(
        f"{server.role}: {free / 1e9:.1f} GB free for the journal", free > 100e6, "Free some space below /var/lib"
    )


def _firewall(server: Server, move: Move) -> Iterator[Finding]:
    if server.role == "old" and server.firewall.kind == "ufw":
        status = server.look("ufw status verbose", check=False).out
        active = "Status: active" in status
        state = "is on" if active else "is off: `prepare-old` switches it on, ssh first"
        yield Finding(f"old: the firewall (ufw) {state}", True)
        closed = bool(re.search(r"^Default: (deny|reject) \(incoming\)", status, re.M))
        if active and not closed:
            yield Finding(
                "old: the firewall lets everybody reach every port",
                False,
                "Let it refuse what no rule allows: ufw default deny incoming",
            )


def _nginx(server: Server, move: Move) -> Iterator[Finding]:
    answer = server.look("nginx -t 2>&1", check=False)
    reason = "" if answer.status == 0 else f" ({answer.out.strip().splitlines()[0]})"
    yield Finding(f"{server.role}: nginx's configuration is sound{reason}", answer.status == 0, "Mend it: nginx -t")


def _two_machines(move: Move) -> Iterator[Finding]:
    ids = [server.look("cat /etc/machine-id; hostname").out for server in move.servers]
    yield Finding(
        "old and new are two machines" if ids[0] != ids[1] else "old and new are the same machine",
        ids[0] != ids[1],
        "Mend old.ssh or new.ssh in the settings",
    )


def _clocks(move: Move) -> Iterator[Finding]:
    ahead = []
    for server in move.servers:
        start = time.time()
        there = float(server.look("date +%s.%N").out)
        ahead.append(there - (start + time.time()) / 2)
    apart = abs(ahead[0] - ahead[1])
    yield Finding(f"the clocks are {apart:.2f} s apart", apart < 2, "Set them: timedatectl set-ntp true, on both")


def _versions(move: Move) -> Iterator[Finding]:
    numbers = [int(server.look(f"{PSQL} -c 'SHOW server_version_num'").out) // 10000 for server in move.servers]
    yield Finding(
        f"PostgreSQL {numbers[0]} on old, {numbers[1]} on new",
        numbers[1] >= numbers[0] >= 11,
        "The new server needs PostgreSQL 11 or later, no older than the old server's",
    )


def _copy_fits(move: Move) -> Iterator[Finding]:
    size = int(move.old.look(f"{PSQL} -c {sh(f'SELECT pg_database_size({sql(move.old.database.name)})')}").out)
    folders = " ".join(sh(move.old.in_app(u.source)) for u in move.settings.uploads)
    if folders:
        size_files = sum(int(x) for x in move.old.look(f"du -sbc {folders} | awk 'END {{ print $1 }}'").out.split())
    else:
        size_files = 0
    data = move.new.look(f"df -Pk \"$({PSQL} -c 'SHOW data_directory')\" | awk 'NR == 2 {{ print $4 }}'").out
    free = int(data) * 1024
    need = int(size * 1.5) + size_files
    sizes = f"the database ({size / 1e6:.0f} MB) and uploads ({size_files / 1e6:.0f} MB)"
    yield Finding(
        f"{sizes} fit on new ({free / 1e9:.1f} GB free)",
        free > need,
        f"Free {need / 1e9:.1f} GB on new",
    )


def _following(move: Move) -> Iterator[Finding]:
    """From `replicate` on: whether new follows, and what is kept on the disks for that."""
    found = live.look(move)
    if found is None:
        return
    hindrance = live.hindrance(found)
    do = "Look into it before the switch; giving up is always possible: inv undo replicate"
    yield Finding(hindrance or live.lines(found)[0], hindrance is None, do)
    for name, kept in (("old", found.old), ("new", found.new)):
        if kept:
            yield Finding(f"{name} {live.words(kept)}", not (kept.lost or kept.worrying), do)
