"""What the journal remembers of a step's parts: names, which a list of the settings does not move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from here import of

from switchover import checklist
from switchover.checklist import finish, prepare_new
from switchover.desired import Resource
from switchover.errors import Problem
from switchover.hosts import Answer
from switchover.move import Move
from switchover.resources import Command, File
from switchover.resources.file import FileState, before, read
from switchover.server import Server
from switchover.settings import Settings, check
from switchover.site.firewall.ufw import Rule
from switchover.step import Step, run_step


class Empty(Server):
    """A server where every file has a line and everything else fails to be found."""

    port = 22

    @property
    def user(self) -> str:
        return "ofn"

    def _run(self, script: str, on_line: Any) -> Answer:
        return Answer("root:root 644\ndGV4dAo=\n", "", 0) if script.startswith("p=") else Answer("", "", 1)


CARRY = [{"from": f"config/{name}", "to": f"config/{name}"} for name in ("a.yml", "b.yml")]


def move(data: dict[str, Any]) -> Move:
    made = Move(check(data, "move.yaml"))
    for name in ("old", "new"):
        setattr(made, name, Empty(name, getattr(made.settings, name)))
    made.journal._servers, made.journal._entries = [], []
    made.journal.home = "/var/lib/switchover/shop.example.org"
    return made


def resources(one: Step, given: Move) -> list[Resource]:
    return [part for part in one.desired(given) if isinstance(part, Resource)]


@pytest.mark.parametrize("strategy", ["replicate", "copy"])
def test_no_step_has_two_parts_of_one_name(data: dict[str, Any], strategy: str) -> None:
    """`wanted` refuses them; those that cannot be made here without a real server are seen in the lab."""
    given = move(data | {"strategy": strategy, "carry": CARRY, "uploads": [{"from": "public/x", "to": "public/x"}]})
    seen = 0
    for one in checklist.steps():
        try:
            seen += bool(resources(one, given))
        except Problem as problem:
            assert "one name" not in problem.what, one.line
        except (ValueError, IndexError):  # an answer that is none
            continue
    assert seen > 25


def test_two_parts_of_one_name_are_refused_before_anything_is_done(data: dict[str, Any]) -> None:
    one = of(
        lambda given: [File(given.new, "/etc/a.yml", text) for text in (b"1", b"2")], "prepare-new", "carried-files"
    )
    with pytest.raises(Problem, match=r"carried-files has two parts of one name: new:/etc/a\.yml\. If the"):
        resources(one, move(data))


def test_one_file_of_monit_may_name_both_application_and_worker(data: dict[str, Any]) -> None:
    data["new"]["watch"] = {"app": "/etc/monit/conf.d/ofn", "worker": "/etc/monit/conf.d/ofn"}
    given = move(data)
    [there] = resources(finish.monit, given)
    assert isinstance(there, File) and there.content == b"text\n"  # somebody wrote it: it stays as it is
    given.new._run = lambda script, on_line: Answer("absent\n", "", 0)  # type: ignore[method-assign]
    [made] = resources(finish.monit, given)
    assert isinstance(made, File) and made.path == "/etc/monit/conf.d/ofn"
    assert re.findall(rb'^check process "(\S+)" with', made.content, re.M) == [b"unicorn_ofn", b"unicorn_ofn_worker"]


def test_a_list_in_another_order_with_a_new_first_item_has_the_same_names(data: dict[str, Any]) -> None:
    one = prepare_new.carried_files
    before = [part.key for part in resources(one, move(data | {"carry": CARRY}))]
    more = [{"from": "config/c.yml", "to": "config/c.yml"}, *reversed(CARRY)]
    after = [part.key for part in resources(one, move(data | {"carry": more}))]
    assert len(before) == 2 and after[1:] == before[::-1] and after[0] not in before


def wanting(*paths: Any) -> Step:
    """A step that wants each of these files to say `new`."""
    return of(lambda move: [File(move.old, str(path), b"new\n") for path in paths], "prepare-new", "carried-files")


@pytest.fixture
def files(tmp_path: Any) -> Iterator[list[Any]]:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("old\n")
    yield paths


def test_the_journal_s_memory_goes_with_the_name(
    here: Callable[..., Move], files: list[Any], settings: Settings
) -> None:
    """An edit of ours is known as one, and not taken for that of what came first in the list before."""

    first, second, third = files
    run_step(here(), wanting(first, second))
    assert [(e.part, e.state) for e in here().journal.entries] == [(str(first), "done"), (str(second), "done")]
    run_step(here(), wanting(third, second, first))
    assert [e.part for e in here().journal.entries] == [str(first), str(second), str(third)]
    first.write_text("edited\n")
    with pytest.raises(Problem, match=rf"{first} was edited since"):
        run_step(here(), wanting(third, second, first))


def test_a_file_is_known_as_it_was_before_a_step(
    here: Callable[..., Move], files: list[Any], settings: Settings
) -> None:
    first, second, third = files
    third.unlink()
    run_step(here(), wanting(first, third))
    move, line = here(), "prepare-new.carried-files"
    assert before(move.journal, move.old, line, str(first)) == read(move.old, str(second))
    assert before(move.journal, move.old, line, str(third)) == FileState(None)  # there was none
    assert before(move.journal, move.old, line, str(second)) is None  # it did not change that one
    assert before(move.journal, move.new, line, str(first)) is None
    assert before(move.journal, move.old, "prepare-new.site", str(first)) is None


def test_the_names_of_some_kinds(settings: Settings) -> None:
    old = Empty("old", settings.old)
    assert File(old, "/etc/x", b"").key == "old:/etc/x"
    assert Rule(old, ("192.0.2.1",), 5433).key == "old:port 5433"
    assert (Command(old, "true").key, Command(old, "true", part="again").key) == ("old:", "old:again")


def test_an_interrupted_part_that_is_no_longer_wanted_is_finished_too(
    here: Callable[..., Move], files: list[Any]
) -> None:
    """Somebody took its line out of the settings since: it does not stay interrupted for good."""
    first, second, _ = files

    move = here()
    [part] = resources(wanting(first), move)
    change = part.change()
    assert change
    move.journal.record_and_apply(move.old, "prepare-new.carried-files", part.part, "", change, apply=False)
    run_step(here(dry=True), wanting(second))
    assert [e.state for e in here().journal.entries] == ["recorded"]
    run_step(here(), wanting(second))
    assert [(e.part, e.state) for e in here().journal.entries] == [(str(first), "done"), (str(second), "done")]
    assert first.read_text() == "new\n"


def test_an_interrupted_part_of_a_strategy_that_was_given_up_is_left_to_its_undo(
    here: Callable[..., Move], files: list[Any], settings: Settings
) -> None:
    one = wanting(files[0])
    one.strategy = "replicate"
    move = here()
    change = resources(one, move)[0].change()
    assert change
    move.journal.record_and_apply(move.old, one.line, str(files[0]), "", change, apply=False)
    run_step(here(settings.model_copy(update={"strategy": "copy"})), one)
    assert [e.state for e in here().journal.entries] == ["recorded"] and files[0].read_text() == "old\n"
