"""`inv check`: what blocks a move, found before anything is touched; each finding with what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from invoke.tasks import task

from .. import aftercare, output, preflight
from ..database import compatibility, host
from ..errors import Problem
from ..findings import Finding, Severity, blockers, to_do, unknown
from ..move import Move
from ..outcome import Outcome
from ..verb import verb

SERVERS, DATABASE, AFTERCARE = preflight.GROUP, host.GROUP, aftercare.CHECKS.group


@task(help={"everything": "show what is good and what the move takes care of too", "json": "for programs; everything"})
def check(context: Any, everything: bool = False, json: bool = False) -> None:
    """Both servers: is all there that a move needs? Can new's database replicate old's? Changes nothing."""
    with verb(context) as move:
        if not json:
            output.heading("check", "looks at both servers and changes nothing")
        findings: list[Finding] = []
        for group in _groups(move):
            findings += group
            if not json:
                _show(move, group, everything)
        if json:
            _print_json(findings)
        if number := len(blockers(finding for finding in findings if finding.group == SERVERS)):
            what = f"{number} blocker{'s' if number > 1 else ''}"
            raise Problem(what, "", "Fix every line marked ✗, then run `inv check` again.")


def _groups(move: Move) -> Iterator[list[Finding]]:
    """The findings as they are shown: the servers' one by one, then the database's, then the week after."""
    servers = []
    for finding in preflight.find(move):
        servers.append(finding)
        yield [finding]
    if preflight.both_reached(servers):
        # A move waits where nobody knows this: so it is a finding about the servers.
        what = "whether new's database can replicate old's"
        yield _gathered(lambda: compatibility.find(host.gather(move)), what, "can-replicate", SERVERS)
        yield _gathered(lambda: aftercare.CHECKS.find(aftercare.gather(move)), "the week after", "aftercare", AFTERCARE)


def _gathered(find: Callable[[], Iterable[Finding]], what: str, key: str, group: str) -> list[Finding]:
    """The findings; where the facts could not be gathered, that *what* is unknown, and why."""
    try:
        return list(find())
    except Exception as error:
        return [replace(unknown(what, error), key=key, group=group)]


def _show(move: Move, findings: list[Finding], everything: bool) -> None:
    """The findings of one group, below a line that sums them up; without *everything* only those with something to do.

    The servers' are shown with the good ones, without such a line, and blockers are marked ✗.
    """
    group = findings[0].group
    if group == DATABASE:
        output.outcome(*_can_replicate(move, findings))
    elif group == AFTERCARE:
        number = len(to_do(findings))
        what = f"{number} thing{'s' if number > 1 else ''} to look at" if number else "nothing to do"
        output.outcome(Outcome.NOTE if number else Outcome.SEEN, f"the week after: {what}")
    for finding in findings:
        mark = Outcome.SEEN if finding.kind is Severity.GOOD else Outcome.NOTE
        if group == SERVERS and blockers([finding]):
            mark = Outcome.FAILED
        if everything or to_do([finding]) or (group == SERVERS and mark is Outcome.SEEN):
            indent = "" if group == SERVERS else "  blocker: " if finding.kind is Severity.BLOCKER else "  "
            prefix = "could not be checked: " if finding.kind is Severity.UNKNOWN else ""
            output.outcome(mark, indent + prefix + finding.what, finding.do)


def _can_replicate(move: Move, findings: list[Finding]) -> tuple[Outcome, str, str]:
    """Whether new's database can replicate old's, and what it costs: a mark, a text, a detail."""
    costs = next(finding.what for finding in findings if finding.key == "cost")
    if number := len(blockers(findings)):
        otherwise = ", or set `strategy: copy`" if move.settings.strategy == "replicate" else ""
        what = f"database: only `copy` is possible with the blocker{'s' if number > 1 else ''} below ({number})"
        return Outcome.NOTE, f"{what}. Fix {'them' if number > 1 else 'it'}{otherwise}", costs
    return Outcome.SEEN, f"database: can replicate: {costs}", ""


def _print_json(findings: list[Finding]) -> None:
    import json

    database = [finding for finding in findings if finding.group == DATABASE]
    strategy = "replicate" if database and not blockers(database) else "copy"
    printed = [{key: value for key, value in asdict(f).items() if value or key != "server"} for f in findings]
    print(json.dumps({"strategy": strategy, "findings": printed}, indent=2, ensure_ascii=False))
