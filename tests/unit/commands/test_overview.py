"""The move as a whole: what undo takes back, in which order, and how status is printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from here import of, right

from switchover import checklist, output
from switchover.checklist import switch_jobs
from switchover.commands import move as moving
from switchover.commands import plan, preview, status, undo
from switchover.desired import Nothing, Precondition
from switchover.errors import Problem, Unreached
from switchover.journal import Change
from switchover.move import Move
from switchover.section import Section
from switchover.settings import Settings, check
from switchover.step import Step, run_step

Made = Callable[..., Move]


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    output.console.cache_clear()
    yield
    output.console.cache_clear()


def did(move: Move, *names: str, undo: str = "") -> None:
    """Records `step` or `step.part`, on the server that its second letter tells, and marks it done."""
    for name in names:
        server, _, step = name.partition(":")
        change = Change("", "", f"echo {step} >>../../../undone\n{undo}")
        entry, answer = move.journal.record_and_apply(getattr(move, server), step, "", f"{server}: {step}", change)
        assert answer.status == 0
        move.journal.done(entry)


def undone(move: Move) -> list[str]:
    """The steps taken back so far, in order."""
    file = move.old.root.parent / "undone"  # type: ignore[attr-defined]
    return file.read_text().split() if file.exists() else []


DONE = ("old:prepare-old.key", "new:prepare-old.access", "new:prepare-new.code", "old:prepare-new.site")


def test_undo_takes_the_last_section_last_step_first_over_both_servers(here: Made, capsys) -> None:
    did(here(), *DONE)
    move = here()
    undo._undo(move, "", yes=True)
    assert undone(move) == ["prepare-new.site", "prepare-new.code"]
    assert [e.step for e in here().journal.active()] == ["prepare-old.access", "prepare-old.key"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("undo prepare-new ")
    assert [line.split()[0] for line in lines[1:]] == ["↶", "↶"]


def test_undo_takes_what_is_named(here: Made) -> None:
    did(here(), *DONE)
    undo._undo(here(), "prepare-new.site", yes=True)
    assert undone(here()) == ["prepare-new.site"]
    undo._undo(here(), "prepare-new", yes=True)
    undo._undo(here(), "prepare-old", yes=True)
    assert undone(here()) == ["prepare-new.site", "prepare-new.code", "prepare-old.access", "prepare-old.key"]
    with pytest.raises(Problem, match=r"^nothing to undo: neither server's journal has a change in effect$"):
        undo._undo(here(), "", yes=True)


def test_what_others_were_built_on_is_not_undone_first(here: Made) -> None:
    did(here(), *DONE, "old:switch-jobs.stop-old")
    with pytest.raises(Problem) as caught:
        undo._undo(here(), "prepare-old", yes=True)
    assert str(caught.value) == (
        "prepare-new, switch-jobs came after prepare-old. First: inv undo switch-jobs, then prepare-new"
    )
    with pytest.raises(Problem, match=r"^switch-app has nothing to undo\. `inv status` shows what was done$"):
        undo._undo(here(), "switch-app", yes=True)
    assert undone(here()) == []


def test_what_nothing_is_built_on_is_undone_whenever_it_is_named(here: Made) -> None:
    did(here(), *DONE, "new:expand-cert.order", "old:switch-db.fence")
    undo._undo(here(), "expand-cert", yes=True)
    assert undone(here()) == ["expand-cert.order"]
    undo._undo(here(), "", yes=True)
    assert undone(here()) == ["expand-cert.order", "switch-db.fence"]


class Broken(Section):
    """A section that fails."""

    def __init__(self, error: Problem, doc: str) -> None:
        def body(context: object) -> None: ...

        body.__doc__ = doc
        super().__init__(body, name="broken")
        self.error = error

    def run(self, move: Move, *, announced: bool = False) -> None:
        raise self.error


def test_the_move_continues_without_what_it_can_do_without(here: Made, capsys) -> None:
    refused = Problem("the authority gives none", "new (prod2)", "Wait")
    moving._run(here(), Broken(refused, "Expand.\n\nFails: The move goes on."))
    assert "new (prod2): the authority gives none. Wait" in capsys.readouterr().out
    with pytest.raises(Problem):
        moving._run(here(), Broken(refused, "Switch."))
    with pytest.raises(Unreached):
        moving._run(here(), Broken(Unreached("no ssh connection"), "Expand.\n\nFails: The move goes on."))


def test_undo_ends_at_what_cannot_be_undone_and_continues_from_there(here: Made) -> None:
    did(here(), *DONE[:3])
    gate = here().old.root.parent / "gate"  # type: ignore[attr-defined]
    did(here(), "old:prepare-new.site", undo=f"[ -e {gate} ] || refuse 'edited since'")
    did(here(), "old:prepare-new.restart")
    with pytest.raises(Problem) as caught:
        undo._undo(here(), "prepare-new", yes=True)
    assert re.fullmatch(
        r"old \(prod1\.example\.org\): prepare-new\.site could not be undone: edited since\. "
        r"Fix that and run this again, or on that server: sudo sh \S+/0004-prepare-new\.site/undo",
        str(caught.value),
    )
    assert undone(here()) == ["prepare-new.restart", "prepare-new.site"]
    gate.touch()
    undo._undo(here(), "prepare-new", yes=True)
    assert undone(here())[2:] == ["prepare-new.site", "prepare-new.code"]


def test_undo_asks_and_nobody_is_there_to_answer(here: Made) -> None:
    did(here(), *DONE)
    with pytest.raises(Problem, match=r"^nothing was undone\. Answer y, or give --yes$"):
        undo._undo(here(), "", yes=False)
    assert undone(here()) == []


def test_undo_under_dry_shows_the_scripts(here: Made, capsys) -> None:
    did(here(), *DONE)
    undo._undo(here(dry=True), "", yes=False)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [re.sub(r"\S*/shop", "…/shop", line) for line in lines] == [
        f"  ~ undo {server}: prepare-new.{step}  (on {server} ({host}.example.org): sh …/shop.example.org/{entry}/undo)"
        for server, step, host, entry in (
            ("old", "site", "prod1", "0004-prepare-new.site"),
            ("new", "code", "prod2", "0003-prepare-new.code"),
        )
    ]
    assert undone(here()) == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("inv undo", ""),
        ("inv undo --yes", ""),
        ("inv undo switch-app", "switch-app"),
        ("inv -f move.yaml undo --yes switch-app.proxy", "switch-app.proxy"),
        ("inv undo switch-app --yes", "switch-app"),
        ("inv undo switch-app.all", "switch-app"),
        ("inv undo -f move.yaml switch-app", "switch-app"),
        ("inv --dry undo switch-app", "switch-app"),
        ("python -m invoke undo switch-db", "switch-db"),
    ],
)
def test_the_name_behind_undo(words: str, name: str) -> None:
    assert undo._named(words.split()) == name


@pytest.mark.parametrize("words", ["inv undo move", "inv undo status", "inv undo check", "inv undo switch-app check"])
def test_another_command_behind_undo_is_no_name(words: str) -> None:
    """Else the last section would be undone, and that command run."""
    with pytest.raises(Problem, match=r"there is no section or step|undo takes one name"):
        undo._named(words.split())


ROWS: list[dict[str, Any]] = [
    {
        "section": "switch-app",
        "doc": "Switch application",
        "steps": [
            {"step": "switch-app.a", "doc": "old: a", "state": "done", "when": "2026-11-24 18:00:00Z", "who": "anna@x",
             "undoable": True},
            {"step": "switch-app.b", "doc": "new: b", "state": "true", "undoable": False},
            {"step": "switch-app.c", "doc": "new: [c] é", "state": "open", "undoable": False,
             "in_the_way": "[/etc/x] is a [bold]directory[/]"},
            {"step": "switch-app.d", "doc": "old: d", "state": "interrupted", "when": "2026-11-24 18:01:00Z",
             "who": "anna@x", "undoable": True},
            {"step": "switch-app.e", "doc": "old: e", "state": "nothing", "undoable": False, "why": "old has no [e]"},
            {"step": "switch-app.f", "doc": "new: f", "state": "nothing", "undoable": False},
        ],
    }
]  # fmt: skip


def test_status_as_json(capsys) -> None:
    status._print_json(ROWS)
    assert json.loads(capsys.readouterr().out) == {"sections": ROWS}


def test_status_as_markdown(capsys) -> None:
    status._print_markdown(ROWS)
    assert capsys.readouterr().out == (
        "\n### Switch application (`inv switch-app`)\n\n"
        "- [x] old: a (2026-11-24 18:00:00Z, anna@x)\n- [x] new: b\n- [ ] new: [c] é\n"
        "- [ ] old: d (2026-11-24 18:01:00Z, anna@x)\n"
        "- ~~old: e~~ (nothing to do: old has no [e])\n- ~~new: f~~ (nothing to do)\n"
    )


def test_status_as_a_table_with_who_is_at_work(here: Made, capsys) -> None:
    move = here()
    with move.lock("switch-db"):
        status._print_table(move, ROWS)
    out = capsys.readouterr().out
    assert [[cell for cell in re.split(r"  +", line.strip()) if cell] for line in out.splitlines()[4:10]] == [
        ["old: a", "done", "2026-11-24 18:00:00Z anna@x", "yes"],
        ["new: b", "true already"],
        ["new: [c] é", "open", "[/etc/x] is a [bold]directory[/]"],
        ["old: d", "interrupted", "2026-11-24 18:01:00Z anna@x", "yes"],
        ["old: e", "nothing to do", "old has no [e]"],
        ["new: f", "nothing to do"],
    ]
    assert out.count("has been at work since") == 2 and "(switch-db)" in out


# --- a step that nothing is wanted of -------------------------------------------------------------------------------


def without_a_worker() -> Settings:
    data = right()
    for server in ("old", "new"):
        data[server]["worker"] = {"kind": "none"}
    return check(data, "move.yaml")


WHY = "old has no worker, as old.worker.kind is none"


def test_status_says_that_nothing_is_to_be_done_and_why(here: Made) -> None:
    move = here(without_a_worker())
    assert status._state(move, switch_jobs.stop_old) == {"state": "nothing", "undoable": False, "why": WHY}
    # Nothing yet, as long as its section has not begun.
    assert status._state(move, of(lambda move: [])) == {"state": "open", "undoable": False}
    did(move, "old:switch-jobs.start-new")
    assert status._state(move, of(lambda move: [], "switch-jobs")) == {"state": "nothing", "undoable": False}


def test_status_says_what_was_done_before_the_settings_said_otherwise(here: Made) -> None:
    did(here(), "old:switch-jobs.stop-old")
    assert status._state(here(without_a_worker()), switch_jobs.stop_old)["state"] == "done"


def test_status_says_true_only_of_what_it_looked_at(here: Made) -> None:
    """A part of a step that has one with nothing to do, beside another that is looked at."""
    there = Precondition(lambda: None)
    state = status._state(here(), of(lambda move: [Nothing("old has no worker"), there]))
    assert state == {"state": "true", "undoable": False}
    open_ = status._state(here(), of(lambda move: [Nothing("old has no worker"), Precondition(lambda: "it rains")]))
    assert open_ == {"state": "open", "undoable": False, "in_the_way": "it rains"}


@pytest.mark.parametrize("dry", [True, False])
def test_a_run_says_why_nothing_is_to_be_done(here: Made, capsys, dry: bool) -> None:
    run_step(here(without_a_worker(), dry=dry), switch_jobs.stop_old)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"= {switch_jobs.stop_old.summary} ({WHY})") and "✓" not in shown
    assert here().journal.entries == []


def test_the_plan_says_why_nothing_is_to_be_done(here: Made) -> None:
    move = here(without_a_worker(), dry=True)
    page = "".join(plan._described(preview.preview(move, switch_jobs.stop_old)))
    assert f"`inv switch-jobs.stop-old`. Nothing to do: {WHY}.\n" in page
    assert "`. Nothing to do here.\n" in "".join(plan._described(preview.preview(move, of(lambda move: []))))
    true = "".join(plan._described(preview.preview(move, of(lambda move: [Precondition(lambda: None)]))))
    assert "Looks, and changes nothing." in true


# --- the whole move -------------------------------------------------------------------------------------------------


def test_move_asks_before_each_section_and_stops_where_nobody_answers(here: Made, monkeypatch, capsys) -> None:
    move = here()
    monkeypatch.setattr("switchover.move.of", lambda context: move)
    with pytest.raises(Problem, match=r"^stopped before dns-prepare\. To continue: `inv move`, or `inv move --yes`$"):
        moving.move.body(None)
    shown = capsys.readouterr().out
    first = checklist.WHOLE[0]
    assert first.summary in shown and f"{first.changes}. {first.undoing}" in shown
    assert not move.locked(move.old)


@pytest.mark.parametrize("yes", [True, False])
def test_move_says_once_what_a_section_does(here: Made, monkeypatch, capsys, yes: bool) -> None:
    def fails(move: Move, one: Step) -> None:
        raise Problem("enough")

    move, asked = here(), []
    monkeypatch.setattr("switchover.move.of", lambda context: move)
    monkeypatch.setattr("switchover.section.run_step", fails)
    monkeypatch.setattr("switchover.output.ask", lambda question: asked.append(question) or True)
    with pytest.raises(Problem, match=r"^enough$"):
        moving.move.body(None, yes=yes)
    shown, first = capsys.readouterr().out, checklist.WHOLE[0]
    for said in (first.summary, f"{first.changes}. {first.undoing}", f"Visitors: {first.visitors}"):
        assert shown.count(said) == 1
    assert len(asked) == (not yes)
