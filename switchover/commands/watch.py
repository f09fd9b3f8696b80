"""`inv watch`: visitors whom old proxies, jobs, replication, errors, renewals and disks, until it is stopped."""

from __future__ import annotations

import json as library
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from invoke.tasks import task

from .. import mail, output
from ..certificates import scheduled
from ..database import replication_status
from ..move import Move
from ..quote import sh, sql
from ..resources.postgres import PSQL
from ..server import Server
from ..verb import verb

if TYPE_CHECKING:
    from rich.table import Table

EVERY = 5.0  # seconds between two looks
COUNTS = {"mail queued": "mail_queued", "renewals scheduled": "renewals", "disk free, %": "disk_free_percent"}


@task(help={"json": "print it once, for programs"})
def watch(context: Any, json: bool = False) -> None:
    """Both servers: visitors whom old proxies, jobs, replication, errors, disks. Until Ctrl-C. Only looks."""
    with verb(context) as move:
        if json:
            print(library.dumps(facts(move), ensure_ascii=False, indent=1))
            return
        from rich.live import Live

        with suppress(KeyboardInterrupt), Live(console=output.console(), auto_refresh=False) as live:
            live.update(_table(move, facts(move)), refresh=True)
            while output.console().is_terminal:
                time.sleep(EVERY)
                live.update(_table(move, facts(move)), refresh=True)


def facts(move: Move) -> dict[str, Any]:
    """What is true now, of both servers."""
    old, new = _server(move.old), _server(move.new)
    old["visitors"] = move.old.web.visitors()
    old["sessions"] = _sessions(move.old)
    switched = move.journal.latest("switch-db.copy") or move.journal.latest("switch-db.switch", "new:hold")
    primary = move.new if switched and switched.state == "done" else move.old
    working = move.new if move.journal.active("switch-jobs") else move.old
    new["queue"] = working.worker.queue(primary, primary.database.name)
    if status := replication_status.look(move):
        new["replication"] = status.as_json() | {"lines": status.lines()}
    return {"at": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()), "old": old, "new": new}


def _server(server: Server) -> dict[str, Any]:
    return {
        "nginx_errors": server.web.errors(),
        "disk_free_percent": int(server.look("df -P /var/lib | awk 'NR == 2 { print 100 - $5 }'").out or 0),
        "renewals": len(scheduled(server)),
        "mail_queued": mail.queued(server)[0],
    }


def _sessions(old: Server) -> list[dict[str, Any]]:
    query = (
        "SELECT json_agg(s) FROM (SELECT usename AS role, coalesce(application_name, '') AS program, "
        "coalesce(host(client_addr), 'local') AS address, count(*) AS sessions FROM pg_stat_activity "
        f"WHERE datname = {sql(old.database.name)} GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 20) s"
    )
    sessions: list[dict[str, Any]] = library.loads(old.look(f"{PSQL} -c {sh(query)}").out.strip() or "[]")
    return sessions


def _table(move: Move, facts: dict[str, Any]) -> Table:
    title = f"{move.settings.domain}, {facts['at']} (stop: Ctrl-C)"
    table = output.table("", str(move.old), str(move.new), title=title)
    old, new, visitors, queue = facts["old"], facts["new"], facts["old"]["visitors"], facts["new"]["queue"]
    ago = visitors["last_seconds_ago"]
    last = "nobody yet" if ago is None else f"{visitors['last_minute']} in the last minute, the last {ago} s ago"
    table.add_row("visitors proxied by old", last, "")
    sessions = [f"{s['sessions']} {s['role']} from {s['address']} {s['program']}".rstrip() for s in old["sessions"]]
    table.add_row("connected to old's database", "\n".join(sessions) or "nobody", "")
    jobs = [f"{queue[state]} {state}" for state in ("waiting", "running", "failed") if state in queue]
    jobs += [f"oldest {queue['oldest_seconds']} s"] if "oldest_seconds" in queue else []
    table.add_row("jobs", "", ", ".join(jobs) or "unknown")
    if "replication" in new:
        table.add_row("replication", "", "\n".join(new["replication"]["lines"]))
    for name, key in COUNTS.items():
        table.add_row(name, str(old[key]), str(new[key]))
    errors = [f"{s['nginx_errors']['recent']}\n{s['nginx_errors']['last']}".rstrip() for s in (old, new)]
    table.add_row("nginx errors, recent", *errors)
    return table
