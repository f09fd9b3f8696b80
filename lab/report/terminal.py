"""The report of a rehearsal on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lab.report.result import Rehearsal

AT_MOST = 20  # differences named


def console() -> Console:
    """The terminal; 100 columns of plain text where there is none."""
    import sys

    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=100)


def show(rehearsal: Rehearsal, to: Console, saved: str = "") -> None:
    """Prints the report: what visitors felt, what they were promised, and the judgement last, where the eye is."""
    from rich.text import Text

    data = rehearsal.as_json()
    to.print()
    to.print(_felt(data, to.width))
    to.print(_promised(data))
    if rehearsal.looked_at:
        to.print(Text.assemble(("After the undo", "bold"), f"  {rehearsal.looked_at} things of both servers compared"))
        different = len(rehearsal.differences)
        to.print(_judged(f"  {different} different", different == 0))
        named = [str(difference) for difference in rehearsal.differences[:AT_MOST]]
        more = [f"and {different - AT_MOST} more, in report.json"] if different > AT_MOST else []
        _points(to, named + more, "red")
        to.print(Text("  Left out of the comparison:", style="dim"))
        _points(
            to,
            [
                f"{rule.why} ({', '.join(what.removeprefix('file ') for what in rule.what)})"
                for rule in rehearsal.left_out
            ],
            "dim",
        )
        to.print()
    for note in _notes(data):
        to.print(Text(note, style="dim"))
    to.print()
    if data["problems"]:
        to.print(Text("✗ This rehearsal failed.", style="bold red"))
        _points(to, data["problems"])
    else:
        for line in _good_news(data):
            to.print(Text(f"✓ {line}", style="bold green"))
    if saved:
        to.print(Text(f"  {saved}", style="dim"), soft_wrap=True)


def _felt(data: dict[str, Any], width: int) -> Table:
    from rich import box
    from rich.table import Table

    wide = width >= 84
    table = Table(
        title="What visitors felt", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("section", no_wrap=True)
    for name in ("took", "requests", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("page seen", justify="right", no_wrap=True)
        table.add_column("usual", justify="right", no_wrap=True)
        table.add_column("99 of 100", justify="right", no_wrap=True)
    table.add_column("longest", justify="right", no_wrap=True)

    def row(name: str, numbers: dict[str, Any], style: str = "") -> None:
        failed = numbers["failed"]
        cells = [name, f"{numbers['seconds']:.0f} s", f"{numbers['requests']:,}", _judged(f"{failed}", failed == 0)]
        if not numbers["requests"]:
            table.add_row(*cells[:3], style=style)
            return
        if wide:
            page = f"{numbers['page']} in {numbers['page_seconds']:.1f} s" if numbers.get("page_seconds") else ""
            cells += [page, _time(numbers["p50_ms"]), _time(numbers["p99_ms"])]
        table.add_row(*cells, _time(numbers["longest_ms"]), style=style)

    quiet = {span["name"] for span in data["quiet"]}
    for span in sorted(data["sections"] + data["quiet"], key=lambda span: span["started"]):
        name = span["name"]
        row(f"({name})" if name in quiet else name, span, "dim" if name in quiet else "")
    table.add_section()
    row("all", data["traffic"], "bold")
    return table


def _promised(data: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title="What they were promised", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("", no_wrap=True)
    for name in ("promised", "lost", "twice"):
        table.add_column(name, justify="right")
    rows = [
        ("orders", data["orders"]["acknowledged"], data["orders"]["lost"], data["orders"]["duplicated"]),
        ("uploads", data["uploads"]["acknowledged"], data["uploads"]["lost"], None),
        ("jobs", data["jobs"]["expected"], data["jobs"]["never_ran"], data["jobs"]["ran_twice"]),
        ("sessions", data["sessions"]["checked"], data["sessions"]["lost"], None),
        ("cron runs", data["cron"]["expected"], data["cron"]["missed"], data["cron"]["ran_twice"]),
    ]
    for name, promised, lost, twice in rows:
        table.add_row(
            name,
            f"{promised:,}",
            _judged(f"{lost}", lost == 0),
            "" if twice is None else _judged(f"{twice}", twice == 0),
        )
    return table


def _notes(data: dict[str, Any]) -> list[str]:
    """What explains the numbers, in small print."""
    traffic = data["traffic"]
    notes = []
    for one in data["on_purpose"]:
        where = f" during {', '.join(one['sections'])}" if one["sections"] else ""
        if one["kind"] == "slow_job":
            notes.append(f"The slow job ran on {' and on '.join(one['ran_on']) or 'no server'}.")
        else:
            notes.append(f"A big upload took {one['seconds']:.0f} s{where}; {one['by'] or 'nobody'} answered.")
    if any(data["deploys"].values()):
        pushes = f"{data['deploys']['refused']} push(es) to old were refused with the reason"
        notes.append(f"{pushes}; CI deployed {data['deploys']['by_ci']} time(s) to new.")
    if queued := data["mail"]["queued"]:
        lost, twice = data["mail"]["never_sent"], data["mail"]["sent_twice"]
        notes.append(f"{queued} mail(s) were queued on old when visitors had moved: {lost} never sent, {twice} twice.")
    if own := data["certificate"]:
        notes.append(f"New has a certificate of its own for {', '.join(own['names'])}, from {own['issuer']}.")
    if (name := data["dns"])["new_ttl"] is not None:
        came = f"{name['visitors_by_old']:,} requests came by old and {name['visitors_by_new']:,} by new itself"
        last = (
            "" if name["last_by_old_s"] is None else f", the last by old {name['last_by_old_s']:.0f} s after the change"
        )
        notes.append(f"The name's TTL was {name['old_ttl']} s, and {name['new_ttl']} s for the change: {came}{last}.")
    lag = traffic["visitors_own_lag_ms"]
    notes.append(f"Of the longest waits up to {_time(lag)} may be this machine being busy (measured in the visitors).")
    if traffic["reopened"]:
        notes.append(f"{traffic['reopened']} request(s) were made again on a new connection, as every browser does.")
    return notes


def _good_news(data: dict[str, Any]) -> list[str]:
    counts = [
        f"{data['orders']['acknowledged']:,} orders",
        f"{data['uploads']['acknowledged']:,} uploads",
        f"{data['jobs']['expected']:,} jobs",
        f"{data['sessions']['checked']:,} sessions",
    ]
    news = [f"{data['traffic']['requests']:,} requests, none failed.", f"{', '.join(counts)}: none lost, none twice."]
    for section in data["sections"]:
        if section["page_seconds"]:
            news.append(f"The maintenance page was up for {section['page_seconds']:.1f} s ({section['name']}).")
    if (hold := data["switch"]["hold_ms"]) is not None:
        told = f"The database was switched in a hold of {_time(hold)}"
        if proof := data["switch"]["proof"]:
            told += f"; {proof['rows']:,} rows of {proof['tables']} tables were equal at that moment"
        news.append(f"{told}.")
    if compared := data["undo"]["compared"]:
        news.append(f"After the undo both servers are as they were: {compared:,} things compared.")
    return news


def _points(to: Console, lines: list[str], style: str = "") -> None:
    """Indented lines; on a terminal what is too long goes on below its own beginning."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not to.is_terminal:
        for line in lines:
            to.print(Text(f"  · {line}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text("·", style), Text(line, style, overflow="fold"))
    to.print(Padding(grid, (0, 0, 0, 2)))


def _judged(text: str, good: bool) -> Any:
    from rich.text import Text

    return Text(text, style="green" if good else "bold red")


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
