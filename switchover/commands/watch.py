"""`inv watch`: who still reaches old, the queue, the follower, errors, renewals and disks, until it is stopped."""

from __future__ import annotations

import json as library
import time
from typing import TYPE_CHECKING, Any

from invoke.tasks import task

from .. import mail, say
from .. import move as moves
from ..checklist import common
from ..database import following
from ..hosts import Server
from ..move import Move
from ..quote import sh, sql
from ..resources.postgres import PSQL
from ..step import for_people

if TYPE_CHECKING:
    from rich.table import Table

EVERY = 5.0  # seconds between two looks


@task(help={"json": "print it once, for programs"})
def watch(context: Any, json: bool = False) -> None:
    """Both servers: who still comes by old, queue, follower, errors, renewals, disks. Until Ctrl-C. Only looks."""
    with for_people():
        move = moves.of(context)
        if json:
            print(library.dumps(facts(move), ensure_ascii=False, indent=1))
            return
        if not say.console().is_terminal:
            say.console().print(_table(move, facts(move)))
            return
        from rich.live import Live

        try:
            with Live(_table(move, facts(move)), console=say.console(), auto_refresh=False) as live:
                while True:
                    time.sleep(EVERY)
                    live.update(_table(move, facts(move)), refresh=True)
        except KeyboardInterrupt:
            return


def facts(move: Move) -> dict[str, Any]:
    """What is true now, of both servers."""
    old, new = _server(move.old), _server(move.new)
    old["visitors"] = _visitors(move.old)
    old["sessions"] = _sessions(move.old)
    switched = move.journal.latest("switch-db.copy") or move.journal.latest("switch-db.switch", "new:hold")
    new["queue"] = _queue(move.new if switched and switched.state == "done" else move.old)
    if found := following.look(move):
        new["following"] = found.as_json() | {"said": following.lines(found)}
    return {"at": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()), "old": old, "new": new}


def _server(server: Server) -> dict[str, Any]:
    script = (
        r"""
printf 'errors %s\n' "$(tail -n 5000 /var/log/nginx/error.log 2>/dev/null | grep -cE '\[(error|crit|alert|emerg)\]')"
printf 'error %s\n' "$(tail -n 5000 /var/log/nginx/error.log 2>/dev/null |
  grep -E '\[(error|crit|alert|emerg)\]' | tail -n 1 | cut -c 1-160)"
printf 'disk %s\n' "$(df -P /var/lib | awk 'NR == 2 { print 100 - $5 }')"
"""
        + f"printf 'renewals %s\\n' \"$({common.RENEWALS})\""
        + f"\n{mail.FUNCTIONS}\nprintf 'mail %s\\n' \"$(queued)\""
    )
    said = dict(line.partition(" ")[::2] for line in server.look(script).out.splitlines())
    return {
        "nginx_errors": {"recent": _number(said.get("errors")), "last": said.get("error", "")},
        "disk_free_percent": _number(said.get("disk")),
        "renewals": _number(said.get("renewals")),
        "mail_queued": _number(said.get("mail")),
    }


def _visitors(old: Server) -> dict[str, Any]:
    log = sh(common.PROXY_LOG)
    script = f"""
[ -s {log} ] || exit 0
stat -c %Y {log}; date +%s
tail -n 2000 {log} | awk '{{ print $1 }}' | sort -u | wc -l
from=$(date -d '-1 minute' '+%d/%b/%Y:%H:%M:%S')
tail -n 20000 {log} | awk -v from="[$from" '$4 >= from' | wc -l
"""
    numbers = [_number(word) for word in old.look(script).out.split()]
    if len(numbers) != 4:
        return {"last_minute": 0, "last_seconds_ago": None, "addresses": 0}
    return {"last_minute": numbers[3], "last_seconds_ago": numbers[1] - numbers[0], "addresses": numbers[2]}


def _sessions(old: Server) -> list[dict[str, Any]]:
    query = (
        "SELECT json_agg(s) FROM (SELECT usename AS role, coalesce(application_name, '') AS program, "
        "coalesce(host(client_addr), 'local') AS address, count(*) AS sessions FROM pg_stat_activity "
        f"WHERE datname = {sql(old.database.name)} GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 20) s"
    )
    found = library.loads(old.look(f"{PSQL} -c {sh(query)}").out.strip() or "null")
    return found or []


def _queue(server: Server) -> dict[str, Any]:
    query = (
        "SELECT json_build_object('waiting', count(*) FILTER (WHERE locked_at IS NULL AND failed_at IS NULL), "
        "'running', count(*) FILTER (WHERE locked_at IS NOT NULL AND failed_at IS NULL), "
        "'failed', count(*) FILTER (WHERE failed_at IS NOT NULL OR attempts > 0), "
        "'oldest_seconds', coalesce(extract(epoch FROM now() AT TIME ZONE 'UTC' - min(run_at) "
        "FILTER (WHERE failed_at IS NULL))::int, 0)) FROM delayed_jobs"
    )
    answer = server.look(f"{PSQL} -d {sh(server.database.name)} -c {sh(query)}", check=False)
    return dict(library.loads(answer.out)) if answer.status == 0 and answer.out.strip() else {}


def _table(move: Move, found: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, title=f"{move.settings.domain}, {found['at']} (Ctrl-C ends)", title_justify="left"
    )
    for name in ("", str(move.old), str(move.new)):
        table.add_column(name, overflow="fold")
    old, new, visitors, queue = found["old"], found["new"], found["old"]["visitors"], found["new"]["queue"]
    ago = visitors["last_seconds_ago"]
    last = "nobody yet" if ago is None else f"{visitors['last_minute']} in the last minute, the last {ago} s ago"
    table.add_row("visitors by the old proxy", last, "")
    sessions = "\n".join(
        f"{s['sessions']} {s['role']} from {s['address']} {s['program']}".rstrip() for s in old["sessions"]
    )
    table.add_row("on the old database", sessions or "nobody", "")
    jobs = ", ".join(f"{queue[k]} {k}" for k in ("waiting", "running", "failed") if k in queue)
    table.add_row("jobs", "", f"{jobs}, oldest {queue['oldest_seconds']} s" if queue else "unknown")
    if "following" in new:
        table.add_row("one database follows", "", "\n".join(new["following"]["said"]))
    for name, key in (
        ("mail queued", "mail_queued"),
        ("renewals scheduled", "renewals"),
        ("disk free, %", "disk_free_percent"),
    ):
        table.add_row(name, str(old[key]), str(new[key]))
    errors = [f"{s['nginx_errors']['recent']}\n{s['nginx_errors']['last']}".rstrip() for s in (old, new)]
    table.add_row("nginx errors, recent", *errors)
    return table


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().lstrip("-").isdigit() else 0
