"""Progress: plain lines where there is no terminal, a bar with a rate and a remaining time where there is one."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from switchover import progress
from switchover.progress import Progress, plain, size


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, legacy_windows=False)


def shown(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((25_000_000, 100_000_000, "bytes", 5), "25.0 MB of 100.0 MB (25 %), 5.0 MB/s, 15 s left"),
        ((100, 100, "files", 5), "100 files of 100 files (100 %), 20 files/s"),
        ((0, 100, "rows", 1), "0 rows of 100 rows (0 %), 0 rows/s"),
        ((5, 0, "rows", 1), "5 rows of 0 rows, 5 rows/s"),
        ((5, 10, "rows", 0), "5 rows of 10 rows (50 %), 0 rows/s"),
        ((12, 120, "seconds", 12), "waiting for 12 s, 120 s at most"),
    ],
)
def test_one_plain_line(arguments: tuple[int, int, str, float], line: str) -> None:
    assert plain(*arguments) == line


@pytest.mark.parametrize(
    ("amount", "unit", "text"), [(1.5e6, "bytes", "1.5 MB"), (7.4, "rows", "7 rows"), (3, "", "3")]
)
def test_size(amount: float, unit: str, text: str) -> None:
    assert size(amount, unit) == text


def test_what_is_quick_stays_silent() -> None:
    for terminal in (True, False):
        out = console(terminal)
        with Progress("copy", out):
            pass
        assert shown(out) == ""


def test_lines_of_a_script_that_are_no_progress_are_passed_over() -> None:
    out = console(True)
    with Progress("copy", out) as bar:
        for line in ("", "progress", "progress x 3 bytes", "progress 1 2", "progress 1 2 bytes more", "done 1 2 bytes"):
            bar.line(line)
    assert shown(out) == ""


def test_without_a_terminal_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = console(False), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress("switch-db.copy", out) as bar:
        for second in range(13):
            now[0] = 100.0 + second
            bar.line(f"progress {second * 10} 120 bytes")
    lines = shown(out).splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["switch-db.copy"] * len(lines)
    assert 2 <= len(lines) <= 4 and "left" in lines[0]
    assert all("\x1b" not in line and "\r" not in line for line in lines)


def test_on_a_terminal_a_bar_with_rate_and_remaining_time() -> None:
    out = console(True)
    with Progress("switch-db.copy", out) as bar:
        for n in range(1, 9):
            bar.line(f"progress {n * 10_000_000} 100000000 bytes")
            time.sleep(0.05)
    text = shown(out)
    assert "switch-db.copy" in text and "/100.0 MB" in text and "MB/s" in text and "0:00:" in text
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text  # it goes away, and the cursor is back


def test_a_count_has_its_rate_too_and_parts_follow_each_other() -> None:
    out = console(True)
    with Progress("copy", out) as bar:
        for n in range(1, 6):
            bar.report(n * 100, 1000, "rows")
            time.sleep(0.05)
        bar.report(3, 60, "seconds")
        time.sleep(0.15)
        bar.report(4, 60, "seconds")
    assert "rows/s" in shown(out)


def test_the_bar_ends_when_the_work_fails() -> None:
    out = console(True)
    with pytest.raises(ZeroDivisionError), Progress("copy", out) as bar:
        bar.report(1, 10, "rows")
        _ = 1 / 0
    assert "\x1b[?25h" in shown(out)
    assert progress.PATIENCE > 1


def test_a_note_stays_and_is_shown_once() -> None:
    for terminal in (True, False):
        out = console(terminal)
        with Progress("undo switch-db.switch", out) as bar:
            for line in (
                "note all rows equal",
                "progress 1 2 seconds",
                "note held for 17 ms [1]",
                "note all rows equal",
            ):
                bar.line(line)
        text = shown(out)
        assert text.count("all rows equal") == 1 and text.index("equal") < text.index("held for 17 ms [1]")


def test_it_says_what_the_script_is_at() -> None:
    out = console(False)
    with Progress("copy", out) as bar:
        bar.line("doing 3 of 12 tables, now [orders]")
        bar._last -= 60
        bar.line("progress 5000000 10000000 bytes")
    assert "5.0 MB of 10.0 MB" in shown(out) and "(3 of 12 tables, now [orders])" in " ".join(shown(out).split())
    out = console(True)
    with Progress("copy", out) as bar:
        bar.line("doing 3 of 12")
        bar.line("progress 5 10 bytes")
    assert "3 of 12" in shown(out)
