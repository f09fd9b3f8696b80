"""Check: what stands in the way, found before anything is touched; each finding with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from invoke.tasks import task

from .. import aftercare, output, preflight
from ..database import compatibility, host
from ..errors import Problem
from ..findings import Finding, Severity, blockers, to_do, unknown
from ..move import Move
from ..outcome import Outcome
from ..verb import verb

SERVERS, DATABASE, AFTERCARE = preflight.GROUP, compatibility.GROUP, aftercare.CHECKS.group


@task(help={"everything": "what is good and what is taken care of too", "json": "for programs; everything"})
def check(context: Any, everything: bool = False, json: bool = False) -> None:
    """Both servers: is everything there that a move needs, can the new database follow? Changes nothing."""
    with verb(context) as move:
        if not json:
            output.heading("check", "looks at both servers and changes nothing")
        found: list[Finding] = []
        for findings in _looks(move):
            found += findings
            if not json:
                _show(move, findings, everything)
        if json:
            _print_json(found)
        if bad := blockers(finding for finding in found if finding.group == SERVERS):
            raise Problem(f"{len(bad)} to mend before the move", "", "Each line with ✗ says what to do")


def _looks(move: Move) -> Iterator[list[Finding]]:
    """What is found, in the parts in which it is shown: the servers' one by one, then the database's, then the rest."""
    servers = []
    for finding in preflight.find(move):
        servers.append(finding)
        yield [finding]
    if preflight.both_reached(servers):
        # Where nobody knows whether new can follow, the move waits: that is a finding about the servers.
        can_replicate = Finding(Severity.UNKNOWN, "whether new can follow", key="can-replicate", group=SERVERS)
        yield _gathered(lambda: compatibility.find(host.gather(move)), can_replicate)
        week = Finding(Severity.UNKNOWN, "the week after", key="aftercare", group=AFTERCARE)
        yield _gathered(lambda: aftercare.CHECKS.find(aftercare.gather(move)), week)


def _gathered(find: Callable[[], Iterable[Finding]], otherwise: Finding) -> list[Finding]:
    """What is found; *otherwise*, with the reason, where the facts could not be gathered."""
    try:
        return list(find())
    except Exception as error:
        why = unknown(otherwise.what, error)
        return [replace(otherwise, what=why.what, do=why.do)]


def _show(move: Move, findings: list[Finding], everything: bool) -> None:
    """The findings of one group, below a line that says how it looks; without *everything* those that ask for a hand.

    The servers' are shown with the good ones, without such a line, and what stands in the way is crossed.
    """
    group = findings[0].group
    if group == DATABASE:
        output.outcome(*_can_replicate(move, findings))
    elif group == AFTERCARE:
        number = len(to_do(findings))
        what = f"{number} to look at" if number else "nothing in sight"
        output.outcome(Outcome.NOTE if number else Outcome.SEEN, f"the week after: {what}")
    for finding in findings:
        mark = Outcome.SEEN if finding.kind is Severity.GOOD else Outcome.NOTE
        if group == SERVERS and blockers([finding]):
            mark = Outcome.FAILED
        if everything or to_do([finding]) or (group == SERVERS and mark is Outcome.SEEN):
            indent = "" if group == SERVERS else "  "
            prefix = "could not be checked: " if finding.kind is Severity.UNKNOWN else ""
            output.outcome(mark, indent + prefix + finding.what, finding.do)


def _can_replicate(move: Move, findings: list[Finding]) -> tuple[Outcome, str, str]:
    """How it looks for the database: the mark, whether new's can follow, and what it costs."""
    costs = next(finding.what for finding in findings if finding.key == "cost")
    if number := len(blockers(findings)):
        otherwise = ", or say in the settings: strategy: copy" if move.settings.strategy == "replicate" else ""
        return Outcome.NOTE, f"database: only `copy` is possible until the {number} below are mended{otherwise}", costs
    return Outcome.SEEN, f"database: can follow (replicate): {costs}", ""


def _print_json(found: list[Finding]) -> None:
    import json

    database = [finding for finding in found if finding.group == DATABASE]
    strategy = "replicate" if database and not blockers(database) else "copy"
    names = ("group", "server", "key", "kind", "what", "do")
    findings = [{name: getattr(f, name) for name in names if name != "server" or f.server} for f in found]
    print(json.dumps({"strategy": strategy, "findings": findings}, indent=2, ensure_ascii=False))
