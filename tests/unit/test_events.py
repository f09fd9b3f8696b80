"""Events: what programs read of a command, and that they never stand in its way."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from here import of

from lab import commands
from switchover import checklist, events
from switchover.checklist import switch_jobs
from switchover.commands import undo
from switchover.desired import Precondition
from switchover.errors import Problem
from switchover.move import Move
from switchover.resources import Command, File
from switchover.section import Section
from switchover.step import Step, run_step
from switchover.verb import for_people

ROOT = Path(__file__).parents[2]
INV = Path(sys.executable).with_name("inv")
Made = Callable[..., Move]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of events; it is not there yet."""
    file = tmp_path / "events.jsonl"
    monkeypatch.setenv(events.VARIABLE, str(file))
    return file


def whole(*steps: Step) -> Section:
    """The section switch-jobs, with these steps in place of its own."""

    def body(context: object) -> None: ...

    body.__doc__ = switch_jobs.__doc__
    made = Section(body, name="switch-jobs")
    made.steps = steps
    return made


def facts(told: Path, *names: str) -> list[tuple[Any, ...]]:
    """These facts of all events."""
    return [tuple(event.get(name) for name in names) for event in events.read(told)]


def outcomes(told: Path) -> list[str]:
    return [event["outcome"] for event in events.read(told) if event["event"] == "step"]


# --- steps ----------------------------------------------------------------------------------------------------------


def test_every_outcome_of_a_step(here: Made, told: Path, file: Path) -> None:
    desired = of(lambda move: File(move.old, str(file), b"new\n"))
    run_step(here(dry=True), desired)
    run_step(here(), desired)
    run_step(here(), desired)
    run_step(here(), of(lambda move: Precondition(lambda: None)))
    run_step(here(), of(lambda move: None))
    move, cut = here(), of(lambda move: Command(move.old, f"echo more >>{file}"), name="cut")
    move.journal.record_and_apply(move.old, cut.line, "", cut.summary, cut.desired(move)[0].change())  # type: ignore
    run_step(here(), cut)
    assert outcomes(told) == ["would", "done", "already", "seen", "nothing", "finished"]
    assert facts(told, "event", "section", "step", "summary", "detail")[0] == (
        *("step", "switch-app", "switch-app.a-step", "old: something is true", ""),
    )


def test_a_step_that_fails_says_why_in_one_line_without_a_diff(here: Made, told: Path) -> None:
    with pytest.raises(Problem, match="still missing:\nwhat a file has in it"):
        run_step(here(), of(lambda move: Command(move.old, "true", "true", "false", "what a file has in it")))
    assert facts(told, "outcome", "detail") == [("failed", "switch-app.a-step failed: it did not hold; still missing:")]
    assert "what a file has in it" not in told.read_text()


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt(), "interrupted"), (ValueError("first\nsecond"), "ValueError: first")]
)
def test_a_step_that_breaks_off_has_failed(here: Made, told: Path, error: BaseException, said: str) -> None:
    def breaks(move: Move) -> None:
        raise error

    with pytest.raises(type(error)):
        run_step(here(), of(breaks))
    assert facts(told, "outcome", "detail") == [("failed", said)]


def test_times_and_what_every_event_has(here: Made, told: Path) -> None:
    before = time.time()
    run_step(here(), of(lambda move: Command(move.old, "sleep 0.2")))
    [event] = events.read(told)
    assert (event["version"], event["pid"]) == (1, os.getpid())
    assert before - 0.001 <= event["at"] - event["seconds"] < event["at"] <= time.time() + 0.001
    assert event["seconds"] >= 0.2


# --- sections and undo ----------------------------------------------------------------------------------------------


def test_a_section(here: Made, told: Path) -> None:
    steps = of(lambda move: Command(move.old, "true"), name="one"), of(lambda move: None, name="two")
    whole(*steps).run(here())
    assert facts(told, "event", "step", "ok", "failure") == [
        ("section-begun", None, None, None),
        ("step", "switch-app.one", None, None),
        ("step", "switch-app.two", None, None),
        ("section-ended", None, True, ""),
    ]
    begun, *_, ended = events.read(told)
    assert (begun["section"], begun["dry"], ended["section"]) == ("switch-jobs", False, "switch-jobs")
    assert begun["visitors"].startswith("they notice nothing; jobs") and begun["summary"].startswith("Switch delayed")
    assert ended["seconds"] >= 0


def test_a_section_that_fails_ends_there_and_the_command_says_its_line(here: Made, told: Path) -> None:
    fails, after = of(lambda move: Command(move.new, "refuse no"), name="one"), of(lambda move: None, name="two")
    with pytest.raises(Problem), for_people():
        whole(fails, after).run(here())
    assert facts(told, "event", "outcome", "ok", "failure", "what", "where", "do")[1:] == [
        ("step", "failed", None, None, None, None, None),
        ("section-ended", None, False, "switch-app.one failed: no", None, None, None),
        (
            *("problem", None, None, None, "switch-app.one failed: no", "new (prod2.example.org)"),
            "The change was undone. Fix that, then run the same command again",
        ),
    ]


def test_a_section_that_fails_without_a_word_has_failed_all_the_same(here: Made, told: Path) -> None:
    def breaks(move: Move) -> None:
        raise Problem("")

    with pytest.raises(Problem):
        whole(of(breaks)).run(here())
    assert facts(told, "event", "ok")[-1] == ("section-ended", False)


def test_a_section_under_dry_and_one_of_another_strategy(here: Made, told: Path) -> None:
    whole(of(lambda move: Command(move.old, "true"))).run(here(dry=True))
    whole().run(here())
    assert facts(told, "event", "dry", "outcome", "ok") == [
        ("section-begun", True, None, None),
        ("step", None, "would", None),
        ("section-ended", None, None, True),
        ("section-begun", False, None, None),
        ("section-ended", None, None, True),
    ]


def test_undo(here: Made, told: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_step(
        here(), of(lambda move: Command(move.old, "true", f"[ -e {gate} ] || refuse 'edited since'"), name="first")
    )
    run_step(here(), of(lambda move: [Command(move.old, "true"), Command(move.new, "true")], name="second"))
    told.unlink()
    events._opened.cache_clear()
    undo._undo(here(dry=True), "", yes=False)
    with pytest.raises(Problem), for_people():
        undo._undo(here(), "", yes=True)
    gate.touch()
    undo._undo(here(), "", yes=True)
    name = "switch-app"
    assert facts(told, "event", "section", "step", "outcome", "changes", "dry", "ok") == [
        ("undo-begun", name, None, None, 3, True, None),
        ("step", name, "switch-app.second", "would", None, None, None),
        ("step", name, "switch-app.first", "would", None, None, None),
        ("undo-ended", name, None, None, None, None, True),
        ("undo-begun", name, None, None, 3, False, None),
        ("step", name, "switch-app.second", "undone", None, None, None),
        ("step", name, "switch-app.first", "failed", None, None, None),
        ("undo-ended", name, None, None, None, None, False),
        ("problem", None, None, None, None, None, None),
        ("undo-begun", name, None, None, 1, False, None),
        ("step", name, "switch-app.first", "undone", None, None, None),
        ("undo-ended", name, None, None, None, None, True),
    ]
    failed = events.read(told)[6]
    assert failed["detail"] == "switch-app.first could not be undone: edited since" and failed["summary"]


def test_a_question_that_nobody_answers_is_a_problem_and_nothing_has_begun(here: Made, told: Path) -> None:
    run_step(here(), of(lambda move: Command(move.old, "true")))
    with pytest.raises(Problem), for_people():
        undo._undo(here(), "", yes=False)
    assert facts(told, "event", "what", "where", "do")[1:] == [
        ("problem", "nothing was undone", "", "Answer y, or give --yes")
    ]


@pytest.mark.parametrize("one", checklist.WHOLE, ids=lambda one: one.name)
def test_every_section_says_what_visitors_feel(one: Section) -> None:
    assert re.fullmatch(r"(they|requests) .{8,110}\.", one.visitors)


def test_a_section_shows_it_to_the_operator(here: Made, capsys: pytest.CaptureFixture[str]) -> None:
    whole(of(lambda move: None)).run(here())
    assert "\n  Visitors: they notice nothing; jobs (mail too) wait" in capsys.readouterr().out


# --- the file -------------------------------------------------------------------------------------------------------


def test_nothing_is_written_where_no_file_is_named(here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (None, ""):
        monkeypatch.delenv(events.VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(events.VARIABLE, value)
        with for_people():
            run_step(here(dry=True), of(lambda move: None))
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new"}


@pytest.fixture
def nowhere(tmp_path: Path, data: dict[str, Any]) -> Path:
    """Settings whose servers nobody can reach."""
    (tmp_path / "ssh").write_text("Host *\n  HostName 127.0.0.1\n  Port 9\n")
    (tmp_path / "move.yaml").write_text(yaml.safe_dump(data | {"ssh_config": "ssh"}))
    return tmp_path / "move.yaml"


def inv(told: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {events.VARIABLE: str(told)}
    return subprocess.run([INV, *words], cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (".", "is not a file that events can be appended to"),
        ("pipe", "is not a file that events can be appended to"),
        ("none/events", "events cannot be written (No such file or directory)"),
        ("move.yaml/events", "events cannot be written (Not a directory)"),
    ],
)
def test_a_file_that_cannot_be_written_fails_before_a_server_is_asked(nowhere: Path, where: str, why: str) -> None:
    path = nowhere.parent / where
    if where == "pipe":
        os.mkfifo(path)
    done = inv(path, "-f", nowhere, "switch-app")
    do = "SWITCHOVER_EVENTS names the file for events: choose one that you can write to, or unset it"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{path}: {why}. {do}\n")


@pytest.mark.parametrize("words", [["switch-app"], ["status"], ["check"], ["undo", "--yes"], ["watch"], ["prove"]])
def test_every_command_tells_the_problem_that_it_ends_with(nowhere: Path, told: Path, words: list[str]) -> None:
    done = inv(told, "-f", nowhere, *words)
    [problem] = [event for event in events.read(told) if event["event"] == "problem"]
    assert done.returncode == 1 and problem["what"] in done.stderr and problem["do"] in done.stderr
    assert oct(told.stat().st_mode)[-3:] == "600"


def test_a_full_disk_stops_nothing_and_is_said_once(told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line still fits in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        for number in range(3):
            with events.step("switch-app", f"switch-app.{number}", "old: something is true") as event:
                event["outcome"] = "done"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err == f"{told}: events are lost (File too large)\n"
    assert told.stat().st_size == 10 and events.read(told) == []
    events.emit("problem", what="room again")
    assert facts(told, "what") == [("room again",)]


def test_a_line_that_was_cut_short_is_not_joined_to_the_next(told: Path) -> None:
    events.emit("problem", what="first")
    with told.open("a") as file:
        file.write('{"version": 1, "event": "st')
    events.emit("problem", what="é\ud800")
    with told.open("a") as file:
        file.write("4711\n[]\n")
    events.emit("problem", what="third")
    assert facts(told, "what") == [("first",), ("é?",), ("third",)]
    assert len(told.read_text().splitlines()) == 6


MANY = """
import sys
from switchover import events
for number in range(200):
    events.emit("problem", what=sys.argv[1] * 3000)
"""


def test_several_commands_may_write_to_one_file(told: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", MANY, letter], cwd=ROOT) for letter in "abcd"]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    found = events.read(told)
    assert sorted(event["what"] for event in found) == sorted([letter * 3000 for letter in "abcd"] * 200)
    assert {event["pid"] for event in found} == {writer.pid for writer in writers}


KILLED = """
import time
from switchover import events
events.emit("problem", what="begun")
for number in range(300):
    events.emit("problem", what="x" * 30_000)
time.sleep(60)
"""


def test_a_writer_that_is_killed_leaves_whole_lines_and_the_next_continues(told: Path) -> None:
    for _ in range(5):
        killed = subprocess.Popen([sys.executable, "-c", KILLED], cwd=ROOT)
        begun = told.stat().st_size if told.exists() else 0
        while len(events.read(told, begun)) < 3 and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        events.emit("problem", what="next")
        assert facts(told, "what")[-1] == ("next",)
    assert {len(what) for (what,) in facts(told, "what")} == {len("begun"), 30_000, len("next")}


def test_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"version": 2, "event": "step"}\n')
    with pytest.raises(Problem, match=r"has events of version 2, not 1\. Read docs/events\.md"):
        events.read(file)
    assert events.read(tmp_path / "none") == []


# --- who reads them -------------------------------------------------------------------------------------------------


def test_the_examples_in_the_docs_are_of_this_version(here: Made, told: Path) -> None:
    """Each event has there the facts that it has here."""
    text = (ROOT / "docs/events.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("{")]
    shown = {event["event"]: event for event in map(json.loads, lines)}
    fails = of(lambda move: Command(move.new, "true", "refuse no"))
    with for_people():
        whole(fails).run(here())
    with pytest.raises(Problem), for_people():
        undo._undo(here(), "", yes=True)
    found = {event["event"]: event for event in events.read(told)}
    assert {name: list(event) for name, event in shown.items()} == {name: list(event) for name, event in found.items()}
    assert {event["version"] for event in shown.values()} == {events.VERSION}
    for event in found.values():
        kinds = {name: type(value) for name, value in event.items()}
        assert kinds == {name: type(value) for name, value in shown[event["event"]].items()}


def test_the_lab_makes_a_span_of_a_command(nowhere: Path) -> None:
    """Of a real one, whose server does not answer; and nothing of the command before it."""
    listed = {found.name: found for found in commands.sections(nowhere)}
    steps = [one.line for one in checklist.steps()]
    assert [line for found in listed.values() for line in found.steps] == steps
    folder = nowhere.parent / "reports"
    folder.mkdir()
    where: dict[str, Any] = {"log": folder / "log", "event_file": folder / "events"}
    first = commands.run(nowhere, "--dry", "switch-app", section=listed["switch-app"], **where)
    second = commands.run(nowhere, "--dry", "switch-cron.cleared", section=listed["switch-cron"], **where)
    assert (first.exit, second.exit) == (1, 1)
    assert (first.name, first.promised[:19], second.promised) == ("switch-app", "they notice nothing", "")
    assert [(found.name, found.outcome) for found in second.steps] == [("switch-cron.cleared", "failed")]
    assert first.started < second.started <= second.steps[0].started < second.steps[0].ended <= second.ended
    assert "no ssh connection" in where["log"].read_text()


def test_a_step_with_nothing_to_do_has_no_span() -> None:
    told = [
        {"event": "step", "step": "finish.push", "outcome": outcome, "at": 10.0, "seconds": 2.0}
        for outcome in ("nothing", "already", "failed")
    ]
    span = commands._span(commands.ListedSection("finish"), 5.0, 1, told)
    assert [(found.started, found.ended, found.outcome) for found in span.steps] == [
        (8.0, 10.0, "already"),
        (8.0, 10.0, "failed"),
    ]
