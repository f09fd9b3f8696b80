"""nginx, by its logs and what it says of its configuration."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recorded_server import RECORDED, Made

from switchover.findings import Severity
from switchover.site.web import nginx

LAST = datetime(2026, 11, 30, 7, 34, 35, tzinfo=UTC).timestamp()  # of the recorded log
# The time of day as a program of this name says it, now being $NOW.
DATE = """#!/bin/sh
case $1 in
+%s) echo "$NOW" ;;
+*) exec /bin/date -u -d "@$NOW" "$@" ;;
-d) case $2 in
  '-1 minute') exec /bin/date -u -d "@$((NOW - 60))" "$3" ;;
  *) exec /bin/date "$@" ;;
  esac ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the proxy."""
    path = tmp_path / "switchover.log"
    monkeypatch.setattr(nginx, "LOG", path)
    return path


def at(server: Made, monkeypatch: pytest.MonkeyPatch, now: float) -> Any:
    """The web server of old, at a time."""
    old = server()
    (old.programs / "date").write_text(DATE)
    (old.programs / "date").chmod(0o755)
    monkeypatch.setenv("NOW", str(int(now)))
    return old.web


@pytest.mark.parametrize(
    ("later", "last_minute", "last_visitor"), [(10, 4, 12), (30, 3, 32), (90, 0, 92), (86400, 0, 86402)]
)
def test_who_was_proxied(
    server: Made, log: Path, monkeypatch: pytest.MonkeyPatch, later: int, last_minute: int, last_visitor: int
) -> None:
    log.write_bytes((RECORDED / "nginx-access.txt").read_bytes())
    os.utime(log, (LAST, LAST))
    web = at(server, monkeypatch, LAST + later)
    assert web.visitors() == {"last_seconds_ago": later, "addresses": 2, "last_minute": last_minute}
    assert web.last_visitor() == last_visitor  # not the move's own look at who answers, 2 s later


@pytest.mark.parametrize(
    ("now", "times", "last_minute"),
    [
        ("2026-12-01T10:00:00", ["30/Nov/2026:09:59:30", "01/Dec/2026:09:58:00"], 0),
        ("2026-12-01T10:00:00", ["30/Nov/2026:09:59:30", "01/Dec/2026:09:59:30"], 1),
        ("2026-12-01T00:00:20", ["29/Nov/2026:23:59:40", "30/Nov/2026:23:59:10", "30/Nov/2026:23:59:40"], 1),
        ("2026-12-01T00:00:20", ["30/Nov/2026:23:59:40", "01/Dec/2026:00:00:10"], 2),
        ("2026-12-02T00:00:20", ["01/Dec/2026:23:59:40", "02/Dec/2026:00:00:10"], 2),
    ],
)
def test_the_last_minute_at_the_end_of_a_month(
    server: Made, log: Path, monkeypatch: pytest.MonkeyPatch, now: str, times: list[str], last_minute: int
) -> None:
    log.write_text("".join(f'192.0.2.7 - - [{at} +0000] "GET / HTTP/1.1" 200 1 "-" "-"\n' for at in times))
    web = at(server, monkeypatch, datetime.fromisoformat(f"{now}+00:00").timestamp())
    assert web.visitors()["last_minute"] == last_minute


@pytest.mark.parametrize("empty", [True, False])
def test_nobody_has_come_yet(server: Made, log: Path, empty: bool) -> None:
    if empty:
        log.touch()
    web = server().web
    assert web.visitors() == {"last_minute": 0, "last_seconds_ago": None, "addresses": 0}
    assert web.last_visitor() is None


def test_its_errors_are_counted_and_the_last_one_is_shown(server: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "ERRORS", RECORDED / "nginx-error.txt")
    errors = server().web.errors()
    assert errors["recent"] == 2  # what is a notice is none
    assert errors["last"].startswith("2026/11/30 07:34:33 [crit] 23610#23610: *5 connect() to unix:/home/ofn/current/")
    assert len(errors["last"]) <= 160


def test_no_log_is_no_error(server: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nginx, "ERRORS", tmp_path / "none")
    assert server().web.errors() == {"recent": 0, "last": ""}


def test_an_unsound_configuration_is_a_blocker_with_its_line(server: Made) -> None:
    (finding,) = server({"nginx -t": ("nginx-t-bad.txt", 1)}).web.check()
    assert (finding.kind, finding.do) == (Severity.BLOCKER, "Fix it: nginx -t")
    assert 'unknown directive "servername" in /etc/nginx/conf.d/bad.conf:1' in finding.what


def test_a_sound_configuration_is_nothing_to_speak_of(server: Made) -> None:
    assert list(server({"nginx -t": "nginx-t-good.txt"}).web.check()) == []
