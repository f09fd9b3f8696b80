"""The life of a step, on this machine; the lock; and what Invoke makes of the checklist."""

from __future__ import annotations

import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from here import Here, of

from switchover import checklist, output
from switchover.commands import unlock
from switchover.desired import Precondition
from switchover.errors import Problem
from switchover.journal import operator
from switchover.move import Move
from switchover.resources import Command, File, succeeds
from switchover.section import Section
from switchover.settings import Settings, check
from switchover.step import Step, run_step
from switchover.verb import for_people

ROOT = Path(__file__).parents[2]
INV = Path(sys.executable).with_name("inv")
Made = Callable[..., Move]


@pytest.fixture
def desired(file: Path) -> Step:
    """Wants a file to say `new`."""
    return of(lambda move: File(move.old, str(file), b"new\n"))


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    """Lines as they go into a pipe, to wherever pytest reads now."""
    output.console.cache_clear()
    yield
    output.console.cache_clear()


def states(move: Move) -> list[tuple[str, str]]:
    return [(e.name, e.state) for e in move.journal.entries]


# --- observe, diff, record, apply, verify -------------------------------------------------------------------------


def test_it_makes_true_what_is_wanted_and_says_so(here: Made, desired: Step, file: Path, capsys) -> None:
    run_step(here(), desired)
    assert file.read_text() == "new\n"
    assert re.fullmatch(r"  ✓ old: something is true(  \d\.\d s)?\n", capsys.readouterr().out)
    assert states(here()) == [("0001-switch-app.a-step", "done")]


def test_what_is_true_already_is_skipped_and_not_recorded(here: Made, desired: Step, file: Path, capsys) -> None:
    file.write_text("new\n")
    run_step(here(), desired)
    assert capsys.readouterr().out.startswith("  = old: something is true  (already so)")
    assert states(here()) == []


def test_repeating_changes_nothing(here: Made, desired: Step, capsys) -> None:
    run_step(here(), desired)
    run_step(here(), desired)
    assert "(already so)" in capsys.readouterr().out.splitlines()[-1]
    assert len(states(here())) == 1


def test_dry_shows_the_diff_and_changes_nothing(here: Made, desired: Step, file: Path, capsys) -> None:
    move = here(dry=True)
    run_step(move, desired)
    shown = capsys.readouterr().out
    assert shown == (
        "  ~ old: something is true  (would change)\n"
        f"      --- {file}\n      +++ {file}\n      @@ -1 +1 @@\n      -old\n      +new\n"
    )
    assert file.read_text() == "old\n" and move.would_change == {"switch-app.a-step"}
    assert list(move.old.root.iterdir()) == []  # type: ignore[attr-defined]


def test_dry_says_where_when_it_is_the_other_server(here: Made, capsys) -> None:
    run_step(here(dry=True), of(lambda move: Command(move.new, "true", shown="something")))
    assert capsys.readouterr().out.splitlines()[1:] == ["      on new (prod2.example.org):", "      something"]


def test_the_journal_refuses_under_dry(here: Made) -> None:
    with pytest.raises(Problem, match="a change was tried under --dry"):
        here(dry=True).old.change("true")


def test_what_its_program_refuses_is_put_back(here: Made, file: Path) -> None:
    with pytest.raises(Problem) as caught:
        run_step(here(), of(lambda move: File(move.old, str(file), b"bad\n", test=f"! grep bad {file}")))
    assert str(caught.value) == (
        "old (prod1.example.org): switch-app.a-step failed: bad. "
        "The change was undone. Fix that, then run the same command again"
    )
    assert file.read_text() == "old\n" and states(here()) == [("0001-switch-app.a-step", "undone")]


def test_what_does_not_hold_is_put_back(here: Made, file: Path) -> None:
    """The look afterwards tells, not the status of the command."""
    undo = f"echo back >>{file}"
    with pytest.raises(Problem, match=r"failed: it did not hold; still missing:\nmake it\. The change was undone"):
        run_step(here(), of(lambda move: Command(move.old, "true", undo, "false", "make it")))
    assert file.read_text() == "old\nback\n" and states(here()) == [("0001-switch-app.a-step", "undone")]


def test_what_cannot_be_put_back_is_reported(here: Made) -> None:
    with pytest.raises(Problem, match=r"failed: no\. It could NOT be undone \(nor back\)\. Fix that"):
        run_step(here(), of(lambda move: Command(move.old, "refuse no", "refuse nor back")))
    assert states(here()) == [("0001-switch-app.a-step", "recorded")]


def test_an_interrupted_step_is_finished_by_the_next_run(here: Made, desired: Step, file: Path, capsys) -> None:
    move = here()
    change = desired.desired(move)[0].change()  # type: ignore[union-attr]
    assert change
    move.journal.record_and_apply(move.old, desired.line, str(file), desired.summary, change)
    dry = here(dry=True)
    run_step(dry, desired)
    assert "an interrupted change: the next run finishes it" in capsys.readouterr().out
    file.write_text("old\n")  # as if it had been cut short before
    run_step(here(), desired)
    assert "an interrupted run, finished" in capsys.readouterr().out
    assert file.read_text() == "new\n" and states(here()) == [("0001-switch-app.a-step", "done")]


def test_a_step_of_several_parts_undoes_none_of_those_before(here: Made, file: Path) -> None:
    parts = of(lambda move: [File(move.old, str(file), b"new\n"), Command(move.new, "refuse second")])
    with pytest.raises(Problem, match="second"):
        run_step(here(), parts)
    assert file.read_text() == "new\n"
    assert states(here()) == [("0001-switch-app.a-step", "done"), ("0002-switch-app.a-step", "undone")]


def test_what_the_journal_alone_knows_is_done_once(here: Made, file: Path) -> None:
    once = of(lambda move: Command(move.old, f"echo more >>{file}"))
    for _ in range(3):
        run_step(here(), once)
    assert file.read_text() == "old\nmore\n"


def test_an_edit_since_is_shown_and_not_overwritten(here: Made, desired: Step, file: Path, capsys) -> None:
    run_step(here(), desired)
    file.write_text("edited\n")
    with pytest.raises(Problem, match=r"was edited since switch-app\.a-step wrote it"):
        run_step(here(), desired)
    assert file.read_text() == "edited\n" and "-edited" in capsys.readouterr().out
    move = here()
    assert [move.journal.undo(e).status for e in move.journal.active()] == [3]  # undo keeps the edit too
    assert file.read_text() == "edited\n"


def test_an_edit_since_is_overwritten_when_the_operator_says_so(
    here: Made, desired: Step, file: Path, monkeypatch
) -> None:
    run_step(here(), desired)
    file.write_text("edited\n")
    monkeypatch.setattr("switchover.output.ask", lambda question: True)
    run_step(here(), desired)
    assert file.read_text() == "new\n"
    move = here()
    assert [move.journal.undo(e).status for e in move.journal.active()] == [0, 3]  # the first one saw `old`
    assert file.read_text() == "edited\n"


def test_a_step_that_a_later_section_was_built_on_is_left_alone(here: Made, desired: Step, file: Path) -> None:
    run_step(here(), desired)
    run_step(here(), of(lambda move: Command(move.old, "true"), "switch-db"))
    file.write_text("changed by what came later\n")
    run_step(here(), desired)
    assert file.read_text() == "changed by what came later\n" and len(states(here())) == 2


def test_a_part_that_was_true_by_itself_is_left_alone_too(here: Made, file: Path) -> None:
    """`finish` takes away what `switch-cron` found there already; `inv move` passes over both afterwards."""
    other = file.with_name("b.conf")
    other.write_text("new\n")
    parts = of(lambda move: [File(move.old, str(path), b"new\n") for path in (file, other)])
    run_step(here(), parts)
    run_step(here(), of(lambda move: Command(move.old, "true"), "switch-db"))
    other.unlink()
    run_step(here(), parts)
    assert not other.exists() and len(states(here())) == 2


def test_a_step_not_done_is_not_done_behind_a_later_section(here: Made, desired: Step, file: Path) -> None:
    run_step(here(), of(lambda move: Command(move.old, "true"), "switch-db"))
    with pytest.raises(Problem, match=r"switch-app\.a-step is not true any more, and switch-db was done since"):
        run_step(here(), desired)
    assert file.read_text() == "old\n"


def test_a_step_of_a_section_that_the_move_can_do_without_is_done_late_too(here: Made, file: Path) -> None:
    run_step(here(), of(lambda move: Command(move.old, "true"), "switch-db"))
    run_step(here(), of(lambda move: File(move.old, str(file), b"new\n"), "expand-cert"))
    assert file.read_text() == "new\n"


def test_what_builds_on_a_section() -> None:
    names = [whole.name for whole in checklist.WHOLE]
    later = {whole.name: whole.later for whole in checklist.WHOLE}
    assert later.pop("expand-cert") == []  # the move goes on without it
    assert later.pop("dns-prepare") == ["switch-dns", "retire-old"]
    assert all(found == names[names.index(name) + 1 :] for name, found in later.items())


def test_what_must_be_seen_is_waited_for(here: Made, file: Path, capsys) -> None:
    answers = iter(["not yet", "not yet", None])
    run_step(here(), of(lambda move: Precondition(lambda: next(answers), within=5)))
    assert "✓ old: something is true" in capsys.readouterr().out
    with pytest.raises(Problem, match=r"^switch-app\.a-step: nothing is there\. Waited 0 s\. Fix that"):
        run_step(here(), of(lambda move: succeeds(move.old, "false", "nothing is there")))
    run_step(here(dry=True), of(lambda move: succeeds(move.old, "false", "nothing is there")))
    assert "~ old: something is true  (would be checked)" in capsys.readouterr().out
    assert states(here()) == []


def test_a_step_may_want_nothing(here: Made, capsys) -> None:
    run_step(here(), of(lambda move: None))
    assert "(nothing to do here)" in capsys.readouterr().out


# --- one operator at a time ----------------------------------------------------------------------------------------


def holder(server: Here, move: Move) -> Path:
    return server.root / move.settings.domain / "lock" / "holder"


def test_a_second_operator_sees_who_is_at_work(here: Made) -> None:
    one, two = here(), here()
    with one.lock("switch-app"):
        found = json.loads(holder(one.old, one).read_text())  # type: ignore[arg-type]
        assert (found["who"], found["why"], found["pid"]) == (operator(), "switch-app", os.getpid())
        with pytest.raises(Problem) as caught, two.lock("switch-db"):
            pass
        assert str(caught.value) == (
            f"old (prod1.example.org): {operator()} has been at work here since {found['when']} (switch-app). "
            "Wait for them. If that command cannot continue any more, run: inv unlock"
        )
        with one.lock("within"), here(dry=True).lock("a look"):  # neither asks
            pass
        assert two.locked(two.old) and two.locked(two.new)
    assert not two.locked(two.old) and not two.locked(two.new)
    with two.lock("switch-db"):
        pass


def test_a_move_that_somebody_else_began_under_another_domain_is_not_begun_twice(
    here: Made, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their settings have the domains in another order, and their first change comes while we wait for the lock."""
    data = settings.model_dump(by_alias=True, mode="json")
    other = here(check(data | {"domains": ["www.example.org", "shop.example.org"]}, ""))
    ours = here()
    taken = Move._take

    def take(move: Move, server: Any, why: str) -> None:
        if move is ours and not other.journal.entries:
            change = Command(other.old, "true").change()
            assert change
            other.journal.record_and_apply(other.old, "a.b", "", "", change)
            taken(other, other.old, "theirs")
        taken(move, server, why)

    monkeypatch.setattr(Move, "_take", take)
    with (
        pytest.raises(Problem, match=r"began this move just now, in .*/www\.example\.org\. Run the same"),
        ours.lock("x"),
    ):
        pass
    assert other.locked(other.old)  # theirs is left alone
    other.unlock(other.old)
    held = [[server.root / name / "lock" for name in settings.domains] for server in ours.servers]  # type: ignore[attr-defined]
    assert not any(lock.exists() for locks in held for lock in locks)
    with here().lock("x"):
        pass


def test_a_lock_on_one_server_alone_is_not_kept(here: Made) -> None:
    """Who finds the second server taken gives the first one free."""
    one, two = here(), here()
    one._take(one.new, "elsewhere")
    with pytest.raises(Problem, match=r"^new \(prod2"), two.lock("switch-db"):
        pass
    assert not two.locked(two.old) and two.locked(two.new)


def test_a_lock_of_a_command_that_is_gone_is_taken_over(here: Made) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    move = here()
    for who, taken in ((operator(), True), ("anna@laptop", False)):
        with move.lock("x"):
            file = holder(move.old, move)  # type: ignore[arg-type]
            file.write_text(json.dumps({"who": who, "when": "then", "why": "crashed", "pid": gone.pid}))
            move._locked, second = True, here()
            try:
                with second.lock("y"):
                    pass
            except Problem as problem:
                assert not taken or "new" in str(problem)
                assert taken or "anna@laptop has been at work here since then (crashed)" in str(problem)


def test_a_lock_without_a_name_in_it_can_be_removed(here: Made, monkeypatch, capsys) -> None:
    move = here()
    with move.lock("x"):
        holder(move.old, move).unlink()  # type: ignore[arg-type]
        with pytest.raises(Problem, match=r"the lock could not be taken \(.*exist.*inv unlock"), here().lock("y"):
            pass
        monkeypatch.setattr("switchover.move.of", lambda context: here())
        unlock.unlock.body(None, yes=True)
        assert "old (prod1.example.org): locked by somebody" in capsys.readouterr().out
        assert not move.locked(move.old) and not move.locked(move.new)


def test_a_lock_that_cannot_be_written_says_why(here: Made) -> None:
    move = here()
    holder(move.old, move).parent.parent.touch()  # type: ignore[arg-type]
    with (
        pytest.raises(Problem, match=r"^old \(prod1.example.org\): the lock could not be taken \(mkdir: "),
        move.lock("x"),
    ):
        pass


def test_what_went_wrong_is_reported_though_the_lock_cannot_be_taken_off(here: Made) -> None:
    move = here()
    with pytest.raises(Problem, match="what went wrong"), move.lock("x"):
        move.old.dry = True
        raise Problem("what went wrong")
    assert move.locked(move.old) and not move.locked(move.new)


# --- for people ----------------------------------------------------------------------------------------------------


def test_any_failure_is_one_line(caplog) -> None:
    with pytest.raises(Problem) as caught, for_people():
        raise ValueError("first\nsecond")
    assert str(caught.value) == ("ValueError: first. This should not happen: run it again with --debug and report it")
    with caplog.at_level("DEBUG", "invoke"), pytest.raises(ValueError), for_people():
        raise ValueError("whole")


def test_ctrl_c_is_one_line() -> None:
    with pytest.raises(Problem) as caught, for_people():
        raise KeyboardInterrupt
    assert str(caught.value) == "interrupted. Run the same command again to continue, or `inv undo`"


# --- Invoke's seams -------------------------------------------------------------------------------------------------


def inv(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`inv`, as a person runs it."""
    return subprocess.run([INV, *words], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)


SECTIONS = [
    "dns-prepare",
    "prepare-old",
    "prepare-new",
    "switch-jobs",
    "switch-app",
    "switch-cron",
    "expand-cert",
    "replicate",
    "switch-db",
    "finish",
    "switch-dns",
    "retire-old",
]
STEPS = [one.line for one in checklist.steps()]


def test_the_checklist_has_its_sections_in_order() -> None:
    assert [whole.name for whole in checklist.WHOLE] == SECTIONS
    assert list(dict.fromkeys(line.split(".")[0] for line in STEPS)) == SECTIONS
    assert len(STEPS) == len(set(STEPS)) > 25


def test_the_list_is_the_checklist() -> None:
    listed = re.findall(r"^  ([a-z][a-z.-]+)(?: \(([a-z-]+)\))?  ", inv("--list").stdout, re.M)
    names = [name.removesuffix(".all") for name, _ in listed if not name.startswith(("lab.", "settings."))]
    tops = ["check", "status", "undo", "move", "unlock", "watch", "prove", "plan", "render"]
    assert names[: len(tops)] == tops
    parts = [line for section in SECTIONS for line in [section, *[s for s in STEPS if s.startswith(f"{section}.")]]]
    assert names[len(tops) :] == parts
    assert [alias for name, alias in listed if name.endswith(".all")] == SECTIONS


def test_the_list_of_one_section_and_of_the_headings() -> None:
    one = re.findall(r"^  \.?([a-z][a-z-]+)", inv("--list", "switch-app").stdout, re.M)
    assert [name for name in one if name != "all"] == [s.split(".")[1] for s in STEPS if s.startswith("switch-app.")]
    depth = inv("--list", "--list-depth", "1").stdout
    found = [depth.index(f"\n  {section}") for section in SECTIONS]
    assert found == sorted(found)
    assert "switch-app.proxy" not in depth


def test_the_list_for_programs_has_the_same_order() -> None:
    listed = json.loads(inv("--list", "--list-format", "json").stdout)
    collections = [c for c in listed["collections"] if c["default"]]  # the others are no sections
    assert [c["name"] for c in collections] == SECTIONS
    assert all(c["default"] == "all" and c["help"] for c in collections)
    assert {c["name"] for c in listed["collections"]} == {*SECTIONS, "lab", "settings"}
    named = [f"{c['name']}.{t['name']}" for c in collections for t in c["tasks"] if t["name"] != c["name"]]
    assert named == STEPS


@pytest.mark.parametrize("one", checklist.steps(), ids=STEPS)
def test_a_step_says_in_one_line_on_which_server_and_what(one: Step) -> None:
    doc = (one.__doc__ or "").strip()
    assert re.fullmatch(r"(old|new|ci|dns): [^\n]+\.", doc)
    assert one.summary == doc.removesuffix(".") and len(doc) < 120
    assert one.line == f"{one.section}.{one.name}" and "_" not in one.line


@pytest.mark.parametrize("whole", checklist.WHOLE, ids=SECTIONS)
def test_a_section_says_what_it_does_and_what_its_undo_takes_and_loses(whole: Section) -> None:
    assert re.fullmatch(r"[A-Z].{20,}", whole.summary)
    assert whole.question or re.match(rf"Undo \(inv undo {whole.name}\): .+\.", whole.undoing)
    assert re.fullmatch(r"Changes (old|new|ci|dns)(, (new|ci|dns))*", whole.changes)


def test_the_help_of_a_step_and_of_a_section() -> None:
    assert "old: nginx proxies every visitor to new." in inv("--help", "switch-app.proxy").stdout
    assert "Undo: " in inv("--help", "switch-app").stdout


def test_every_command_that_a_message_names_exists() -> None:
    known = {*STEPS, *SECTIONS, "check", "status", "undo", "move", "unlock", "watch", "prove", "plan", "render"}
    known |= {"settings.schema", "settings.docs"}
    patterns = ("switchover/**/*.py", "*.md", "docs/*.md", "templates/*", "nginx/*")
    found = 0
    for file in (file for pattern in patterns for file in ROOT.glob(pattern)):
        for name in re.findall(r"\binv (?:--dry )?(?:undo )?((?!lab\b)[a-z]+(?:[-.][a-z]+)*)\b(?!=)", file.read_text()):
            assert name in known, f"{file.name}: inv {name}"
            found += 1
    assert found > 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["switch-app.nothing"], "No idea what 'switch-app.nothing' is!"),
        (["-f", "none.yaml", "switch-app"], "none.yaml: there is no such file"),
        (["-f", "none.yaml", "--dry", "check"], "none.yaml: there is no such file"),
        (["-f", "none.yaml", "undo", "switch-app.typo"], "No idea what 'switch-app.typo' is!"),
        (["-f", "none.yaml", "undo", "--yes", "move"], "there is no section or step 'move'. `inv --list` shows them"),
        (
            ["-f", "none.yaml", "undo", "switch-app", "switch-db"],
            "undo takes one name, not 2. First: inv undo switch-db",
        ),
    ],
)
def test_a_failure_is_one_line_on_the_error_output_and_status_1(words: list[str], said: str) -> None:
    done = inv(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.fixture
def nowhere(tmp_path: Path, data: dict[str, Any]) -> Path:
    """Settings whose servers nobody can reach."""
    import yaml

    (tmp_path / "ssh").write_text("Host *\n  HostName 127.0.0.1\n  Port 9\n")
    data |= {"ssh_config": "ssh"}
    (tmp_path / "move.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "move.yaml"


@pytest.mark.parametrize(
    "words", [["switch-app"], ["--dry", "switch-app.proxy"], ["status"], ["undo", "--yes"], ["move"]]
)
def test_a_server_that_cannot_be_reached_is_one_line(nowhere: Path, words: list[str]) -> None:
    done = inv("-f", nowhere, *words)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    said = r"old \(prod1\.example\.org\): no ssh connection \(.+\)\. Try `ssh ofn@prod1\.example\.org true`\n"
    assert re.fullmatch(said, done.stderr)


def test_what_paramiko_says_is_one_line_too(nowhere: Path) -> None:
    """Where something answers that is no sshd, its thread would print a traceback."""

    class NoSshd(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello\n" * 200)

    with socketserver.TCPServer(("127.0.0.1", 0), NoSshd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = f"Host *\n  HostName 127.0.0.1\n  Port {server.server_address[1]}\n"
        nowhere.with_name("ssh").write_text(config)
        done, debug = inv("-f", nowhere, "status"), inv("--debug", "-f", nowhere, "status")
        server.shutdown()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Indecipherable protocol version" in done.stderr
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize("config", [None, "Match nonsense\n"])
def test_a_configuration_of_ssh_that_cannot_be_read(nowhere: Path, config: str | None) -> None:
    nowhere.with_name("ssh").unlink()
    if config:
        nowhere.with_name("ssh").write_text(config)
    done = inv("-f", nowhere, "status")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith(f"{nowhere.with_name('ssh')}: ssh's configuration cannot be read (")


def test_check_tells_both_and_that_nothing_is_passed(nowhere: Path) -> None:
    done = inv("-f", nowhere, "check")
    assert (done.returncode, done.stderr) == (1, "2 blockers. Fix every line marked ✗, then run `inv check` again.\n")
    lines = [line for line in done.stdout.splitlines() if "✗" in line]
    assert [line.split(":")[0] for line in lines] == ["  ✗ old (prod1.example.org)", "  ✗ new (prod2.example.org)"]
    assert all("(Try `ssh " in line for line in lines)


def test_debug_shows_the_traceback_of_what_should_not_happen(tmp_path: Path) -> None:
    """A fault of ours, planted: the settings' folder is asked for by a step that does not exist in life."""
    (tmp_path / "tasks.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from invoke import Collection, task\n"
        "from switchover.verb import for_people\n"
        "@task\n"
        "def broken(c):\n    with for_people():\n        [][1]\n"
    )
    done = inv("broken", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "IndexError: list index out of range. This should not happen: run it again with --debug and report it\n"
    )
    done = inv("--debug", "broken", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" in done.stderr and "IndexError" in done.stderr
