"""The journal: an entry is whole before anything changes, and its scripts work by themselves."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from here import BASE

from switchover import journal, opening, release
from switchover.errors import Problem, Unreached
from switchover.hosts import Answer, Host
from switchover.journal import Change, Entry
from switchover.move import Move
from switchover.settings import Settings, check

Made = Callable[..., Move]
CHANGE = Change("+ a line", "echo changed >>$entry/../log", "echo back >>$entry/../log")


def folder(move: Move, entry: Entry) -> Path:
    """The entry's directory on this machine."""
    return entry.server.root / move.settings.domain / entry.name


def record(move: Move, change: Change, step: str = "a.b", part: str = "", doc: str = "", on: str = "old") -> Entry:
    """Records *change* and makes it."""
    entry, answer = move.journal.record_and_apply(getattr(move, on), step, part, doc, change)
    assert answer.status == 0, answer.err
    return entry


def log(move: Move, entry: Entry) -> list[str]:
    file = folder(move, entry).parent / "log"
    return file.read_text().split() if file.exists() else []


def by_hand(move: Move, entry: Entry, script: str = "undo") -> subprocess.CompletedProcess[bytes]:
    """A script as a person runs it on the server."""
    return entry.server.run("sh", folder(move, entry) / script)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file that a change keeps the original of: bytes that are no text, and a mode of its own."""
    file = tmp_path / "kept.conf"
    file.write_bytes(bytes(range(256)))
    file.chmod(0o640)
    os.utime(file, (1e9, 1e9))
    return file


def test_an_entry_is_whole_before_anything_changes(here: Made, kept: Path) -> None:
    move = here()
    apply = f'cp -a "$entry" {kept.parent}/seen\necho changed >{kept}\nexit 1'
    change = Change("- a\n+ b", apply, "exit 2", (str(kept), "/no/such/file"), {"new.bin": b"\0\xff\n"})
    entry, answer = move.journal.record_and_apply(move.new, "switch-app.proxy", "/etc/a b", "new: it's “done”", change)
    assert (answer.status, entry.state, kept.read_text()) == (1, "recorded", "changed\n")
    assert entry.name == folder(move, entry).name == "0001-switch-app.proxy"
    made = kept.parent / "seen"
    assert {str(p.relative_to(made)) for p in made.rglob("*")} == {
        "entry.json", "apply", "undo", "functions.sh", "before", "after", "before/kept.conf", "after/new.bin",
    }  # fmt: skip
    assert (made / "after/new.bin").read_bytes() == b"\0\xff\n"
    assert (made / "before/kept.conf").read_bytes() == bytes(range(256))
    facts = json.loads((made / "entry.json").read_text())
    assert facts == {
        "number": 1, "step": "switch-app.proxy", "part": "/etc/a b", "doc": "new: it's “done”", "diff": "- a\n+ b",
        "who": journal.operator(), "when": entry.when,
    }  # fmt: skip


def test_originals_keep_bytes_owner_mode_and_time_and_the_rest_is_roots_alone(here: Made, kept: Path) -> None:
    move = here()
    entry = record(move, Change("", "", "", (str(kept),), {"x": b""}))
    made = folder(move, entry)
    one, two = kept.stat(), (made / "before/kept.conf").stat()
    assert (made / "before/kept.conf").read_bytes() == kept.read_bytes()
    assert (one.st_mode, one.st_uid, one.st_gid, one.st_mtime) == (two.st_mode, two.st_uid, two.st_gid, two.st_mtime)
    for path in (made.parent, made, made / "before", made / "after"):
        assert mode(path) == 0o700
    for name in ("entry.json", "apply", "undo", "functions.sh", "after/x"):
        assert mode(made / name) == 0o600


@pytest.mark.parametrize("link", ["real.conf", "/dev/null", "nowhere"])
def test_an_original_that_is_a_link_is_kept_as_one(here: Made, tmp_path: Path, link: str) -> None:
    (tmp_path / "real.conf").write_text("real")
    (tmp_path / "a.conf").symlink_to(link)
    move = here()
    entry = record(move, Change("", "", "", (str(tmp_path / "a.conf"),)))
    assert (folder(move, entry) / "before/a.conf").readlink() == Path(link)


def test_scripts_are_plain_sh_and_say_what_they_are(here: Made) -> None:
    move = here()
    entry = record(move, CHANGE, doc="old: something")
    for name in ("apply", "undo"):
        text = (folder(move, entry) / name).read_text()
        assert text.startswith("#!/bin/sh\n") and "old: something" in text and journal.operator() in text
        subprocess.run(["sh", "-n", folder(move, entry) / name], check=True)
    assert f"sh {move.journal.path(entry)}/undo" in (folder(move, entry) / "undo").read_text()


def test_states_are_read_back_by_another_command(here: Made) -> None:
    move = here()
    entries = [record(move, CHANGE, f"a.{n}", "", f"doc {n}", on) for n, on in enumerate(["old", "new"] * 2)]
    for entry in entries[1:]:
        move.journal.done(entry)
    move.journal.undo(entries[3])
    found = here().journal.entries
    assert [(e.number, e.server.role, e.step, e.state) for e in found] == [
        (1, "old", "a.0", "recorded"), (2, "new", "a.1", "done"), (3, "old", "a.2", "done"),
        (4, "new", "a.3", "undone"),
    ]  # fmt: skip
    assert [(e.who, e.when, e.doc) for e in found] == [(e.who, e.when, e.doc) for e in entries]
    assert [(e.number, e.state) for e in move.journal.entries] == [(e.number, e.state) for e in found]


def test_looking_for_entries(here: Made) -> None:
    move = here()
    journal_ = move.journal
    for step, part in (("a.x", "one"), ("a.x", "two"), ("a.y", ""), ("ab.x", "")):
        journal_.done(record(move, CHANGE, step, part))
    assert [e.name for e in journal_.active()] == ["0004-ab.x", "0003-a.y", "0002-a.x", "0001-a.x"]
    assert [e.name for e in journal_.active("a")] == ["0003-a.y", "0002-a.x", "0001-a.x"]
    assert [e.name for e in journal_.active("a.x")] == ["0002-a.x", "0001-a.x"]
    found = journal_.latest("a.x", "old:two")
    assert found and found.number == 2
    journal_.undo(found)
    assert journal_.latest("a.x", "old:two") is None
    assert record(move, CHANGE, "a.x", "two").number == 5


def test_a_move_is_dated_by_its_first_entry_and_a_step_by_its_own(here: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(move: Move, when: str, step: str) -> Entry:
        monkeypatch.setattr(journal, "now", lambda: f"{when} 12:00:00Z")
        return record(move, CHANGE, step)

    move = here()
    monkeypatch.setattr(journal, "now", lambda: "2026-05-01 12:00:00Z")
    assert move.journal.date() == ("Fri 1 May 2026", journal.operator())  # it begins now
    first = at(move, "2026-05-04", "a.b")
    at(move, "2026-05-05", "a.c")
    monkeypatch.setattr(journal, "now", lambda: "2026-05-20 12:00:00Z")
    assert [move.journal.date(line)[0] for line in ("", "a.c", "a.d")] == [
        "Mon 4 May 2026", "Tue 5 May 2026", "Wed 20 May 2026",
    ]  # fmt: skip
    move.journal.undo(first)
    assert move.journal.date()[0] == "Tue 5 May 2026"


def test_undo_is_done_once_and_repeating_it_does_nothing(here: Made) -> None:
    move = here()
    entry = record(move, CHANGE)
    move.journal.done(entry)
    assert by_hand(move, entry).returncode == 0
    assert log(move, entry) == ["changed", "back"]
    assert by_hand(move, entry).returncode == 0
    assert move.journal.undo(entry).status == 0
    assert log(move, entry) == ["changed", "back"]
    assert [e.state for e in here().journal.entries] == ["undone"]


def test_an_undo_that_refuses_says_why_and_stays_open(here: Made) -> None:
    move = here()
    entry = record(move, Change("", "", 'refuse "edited since"\necho not here'))
    done = by_hand(move, entry)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"edited since\n")
    answer = move.journal.undo(entry)
    assert (answer.status, answer.last_error) == (3, "edited since")
    assert [e.state for e in here().journal.entries] == ["recorded"]


@pytest.mark.parametrize("script", ["false\necho on", "echo $no_such_variable\necho on", "cd /nowhere\necho on"])
def test_a_script_ends_at_its_first_failure(here: Made, script: str) -> None:
    move = here()
    entry, answer = move.journal.record_and_apply(move.old, "a.b", "", "", Change("", script, script))
    assert answer.status != 0 and answer.out == ""
    for name in ("apply", "undo"):
        done = by_hand(move, entry, name)
        assert done.returncode != 0 and done.stdout == b""
    assert not (folder(move, entry) / "undone").exists()


def test_a_recording_that_was_cut_short_counts_for_nothing(here: Made) -> None:
    move = here()
    entry = record(move, CHANGE)
    made = folder(move, entry)
    made.rename(made.with_name(f".new-{made.name}"))
    (made.with_name(f".new-{made.name}") / "rest").touch()
    again = here()
    assert again.journal.entries == []
    entry = record(again, CHANGE)
    assert entry.number == 1 and not (folder(again, entry) / "rest").exists()
    assert [p.name for p in made.parent.iterdir() if "a.b" in p.name] == [made.name]


def test_nothing_is_recorded_under_dry(here: Made) -> None:
    move = here(dry=True)
    with pytest.raises(Problem, match="a change was tried under --dry"):
        record(move, CHANGE)
    assert list(move.old.root.iterdir()) == []


@pytest.mark.parametrize("why", ["no journal's directory", "a file that cannot be written"])
def test_where_the_journal_cannot_be_written_nothing_is_changed(here: Made, tmp_path: Path, why: str) -> None:
    move, files = here(), {}
    if why.startswith("no"):
        (move.old.root / move.settings.domain).touch()  # in the directory's place
    else:
        files = {"no-such-directory/file": b""}
    with pytest.raises(Problem, match=r"^old \(prod1.example.org\): the journal could not be written: .*Nothing was"):
        record(move, Change("", f"touch {tmp_path}/changed", "", (), files))
    assert not (tmp_path / "changed").exists()
    assert move.journal.entries == []
    if files:
        assert here().journal.entries == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": 1}', "null", "\0"])
def test_an_entry_that_cannot_be_read_is_reported_and_not_passed_over(here: Made, text: str) -> None:
    move = here()
    entry = record(move, CHANGE)
    (folder(move, entry) / "entry.json").write_text(text + "\n")
    with pytest.raises(Problem, match=r"an entry of the journal cannot be read.*Look at ") as caught:
        _ = here().journal.entries
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1d", "\r"])
def test_what_others_take_for_the_end_of_a_line_ends_no_entry(here: Made, separator: str) -> None:
    """A diff of a file may have any of them; a journal that cannot be read ends every command, undo too."""
    text = f"one{separator}two"
    record(here(), Change(text, "true", "true"), part=text, doc=text)
    assert [(e.part, e.doc) for e in here().journal.entries] == [(text, text)]


def test_a_journal_that_could_not_be_read_is_not_an_empty_one(here: Made) -> None:
    """Whoever goes on after the first failure, as `check` does, fails again."""
    move = here()
    entry = record(move, CHANGE)
    again = here()
    (folder(move, entry) / "entry.json").write_text("{")
    for _ in range(2):
        with pytest.raises(Problem, match="an entry of the journal cannot be read"):
            again.journal.active()


def test_a_second_script_waits_for_one_that_still_runs(here: Made) -> None:
    """As after a lost connection: the script on the server goes on."""
    move = here()
    entry = record(move, Change("", "[ -e done ] && sleep 1; echo one >>../log", "echo two >>../log"))
    move.journal.done(entry)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(move.journal.apply, entry)
        time.sleep(0.3)
        assert move.journal.undo(entry).status == 0
        assert running.result().status == 0
    assert log(move, entry) == ["one", "one", "two"]


def test_what_a_script_leaves_running_does_not_hold_the_next_one_up(here: Made) -> None:
    move = here()
    apply = "sleep 60 >/dev/null 2>&1 </dev/null & echo $! >daemon"
    entry = record(move, Change("", apply, "kill $(cat daemon)"))
    assert move.journal.undo(entry).status == 0  # it still ran


def test_the_functions_of_recorded_scripts(tmp_path: Path) -> None:
    def sh(script: str) -> int:
        return subprocess.run(["sh", "-euc", f"{journal.FUNCTIONS}\n{script}"], cwd=tmp_path).returncode

    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o640)
    assert sh("install_file a b; same a b") == 0
    assert mode(tmp_path / "b") == 0o640 and not (tmp_path / "b.switchover").exists()
    assert sh("chmod 600 b; same a b") == 1
    assert sh("chmod 640 b; echo y >>b; same a b") == 1
    assert sh("same a missing") != 0
    assert sh("echo $$ >pid; alive pid") == 0
    assert sh("sh -c 'exit 0' & echo $! >pid; wait; alive pid") == 1
    assert sh("sleep 0.1 & echo $! >pid; exec sh -c 'sleep 0.3; . ./f; alive pid'") != 0
    assert sh(": >pid; alive pid") == 1
    assert sh("alive missing") == 1
    assert sh("not false; not alive missing; wait_until 1 true; (sleep 0.3; touch c) & wait_until 5 [ -e c ]") == 0
    assert sh("wait_until 1 false") == 1


# --- a host that is off -------------------------------------------------------------------------------------------


class Off(Host):
    """A machine that nobody reaches; it says how often that was tried."""

    tried = 0

    def _run(self, script: str, on_line: Callable[[str], None] | None) -> Answer:
        self.tried += 1
        raise Unreached("no ssh connection (timed out)", str(self), "Try `ssh ci true`")


def test_a_ci_host_that_is_off_is_reported_once_and_the_rest_is_read(
    here: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    move = here()
    first = record(move, CHANGE)
    off = Off("ci", "ci.example.org")
    book = journal.Journal(move.journal.identity, [*move.servers, off], BASE)
    assert [entry.number for entry in book.entries] == [first.number]
    shown = capsys.readouterr()
    said = (
        "ci (ci.example.org): no ssh connection (timed out): what the move did there is unknown, and stays as it is\n"
    )
    assert (shown.out, shown.err) == ("", said)
    # It may have entries of its own, whose numbers are not taken by others.
    entry, _ = book.record_and_apply(move.old, "finish.x", "", "", CHANGE)
    assert entry.number > first.number + 5
    assert off.tried == 1 and off.unreached is not None


def test_a_server_of_the_move_that_is_off_ends_the_command(here: Made) -> None:
    move = here()
    book = journal.Journal(move.journal.identity, [move.old, Off("new", "prod2.example.org")], BASE)
    with pytest.raises(Unreached, match="no ssh connection"):
        book.entries  # noqa: B018


# --- which move, which format, which release ------------------------------------------------------------------------


def opened(move: Move, **changed: Any) -> Path:
    """The file `move` of old's journal, as a first change leaves it, with some keys *changed*."""
    file = folder(move, record(move, CHANGE)).parent / "move"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed) + "\n")
    return file


def test_a_journal_says_its_format_the_release_that_opened_it_and_of_which_move_it_is(here: Made) -> None:
    facts = json.loads(opened(here()).read_text())
    assert facts.pop("when") and facts.pop("who") == journal.operator()
    assert facts == {
        "format": opening.FORMAT, "release": release.__version__, "commit": release.commit(),
        "domains": ["shop.example.org"], "old": ["192.0.2.11", "2001:db8::11"], "new": ["192.0.2.12"],
    }  # fmt: skip


def files(move: Move) -> dict[Path, bytes]:
    """All that is on both servers."""
    roots = [server.root for server in move.servers]
    return {path: path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.11 -> 192.0.2.12\n", "was begun by release 0.1.0 (format 1)"),
        ('{"format": 3, "release": "9.1.0", "commit": "abc1234", DOMAINS}', "was begun by release 9.1.0 (format 3)"),
        ('{"format": 3, "release": "9.1.0", "commit": "abc1234", "more": {"a": [1]}, DOMAINS}', "git checkout abc1234"),
    ],
)
def test_another_format_is_refused_before_anything_is_touched(here: Made, text: str, says: str) -> None:
    move = here()
    lists = '"domains": ["shop.example.org"], "old": ["192.0.2.11"], "new": ["192.0.2.12"]'
    opened(move).write_text(text.replace("DOMAINS", lists))
    before = files(move)
    for use in (
        lambda: here().journal.entries,
        lambda: here().journal.active(),
        lambda: here().lock("switch-app").__enter__(),
        lambda: record(here(), CHANGE),
        lambda: here(dry=True).journal.entries,
    ):
        with pytest.raises(
            Problem, match=r"Nothing was changed\. Finish or undo this move with that release"
        ) as caught:
            use()
        assert says in str(caught.value) and "git checkout " in str(caught.value) and "\n" not in str(caught.value)
        assert f"(format {opening.FORMAT})" in str(caught.value)
    assert files(move) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2}', "two words"])
def test_a_journal_that_does_not_say_what_it_is_is_refused(here: Made, text: str) -> None:
    opened(here()).write_text(text)
    with pytest.raises(Problem, match=r"/shop\.example\.org/move cannot be read: .*Look at "):
        _ = here().journal.entries


@pytest.mark.parametrize(
    "changed", [{"old": ["192.0.2.99"]}, {"new": ["192.0.2.99"]}, {"domains": ["other.example.org"]}]
)
def test_the_journal_of_another_move_is_refused(here: Made, changed: dict[str, Any]) -> None:
    opened(here(), **changed)
    with pytest.raises(Problem, match=r"is of another move \(192.*rename it: mv "):
        _ = here().journal.entries


def test_one_that_was_put_aside_is_left_alone(here: Made) -> None:
    home = opened(here()).parent
    home.rename(home.with_name(f"{home.name}.before"))
    assert here().journal.entries == [] and here().journal.home.endswith("/shop.example.org")


@pytest.mark.parametrize("name", ["two\nlines", "two\x85lines", "a\ttab", "-f", "*", ".hidden"])
@pytest.mark.parametrize("text", ["", "one\u2028two", "\ttab\n"])
def test_what_else_lies_beside_the_journals_is_left_alone(here: Made, name: str, text: str) -> None:
    beside = here().old.root / name
    beside.mkdir()
    (beside / "move").write_text(text)
    assert here().journal.entries == []
    assert record(here(), CHANGE).number == 1


def test_two_journals_of_one_move_are_reported_wherever_they_are(here: Made, settings: Settings) -> None:
    """As where two sites that moved each by itself have become one in the settings."""
    data = settings.model_dump(by_alias=True, mode="json")
    for domain in ("shop.example.org", "www.example.org"):
        record(here(check(data | {"domains": [domain]}, "move.yaml")), CHANGE)
    both = here(check(data | {"domains": ["shop.example.org", "www.example.org"]}, "move.yaml"))
    with pytest.raises(Problem, match=r"two journals: \S+/shop\.example\.org and \S+/www\.example\.org\. Rename one"):
        _ = both.journal.entries


@pytest.mark.parametrize(
    ("domains", "old"),
    [
        (["www.example.org", "shop.example.org"], ["192.0.2.11"]),
        (["first.example.org", "shop.example.org"], ["192.0.2.7", "192.0.2.11", "2001:db8::11"]),
        (["shop.example.org"], ["2001:db8::11", "192.0.2.11"]),
    ],
)
def test_lists_in_the_settings_may_get_another_order_and_a_new_first_item(
    here: Made, settings: Settings, domains: list[str], old: list[str]
) -> None:
    """The journal stays where it was, and is known by what both have."""
    move = here()
    entry = record(move, CHANGE)
    data = settings.model_dump(by_alias=True, mode="json") | {"domains": domains}
    data["old"]["address"] = old
    other = here(check(data, "move.yaml"))
    assert [(e.number, e.step) for e in other.journal.entries] == [(1, "a.b")]
    assert folder(move, record(other, CHANGE, "a.c")).parent == folder(move, entry).parent


def test_a_second_site_on_the_same_servers_has_a_journal_of_its_own(here: Made, settings: Settings) -> None:
    record(here(), CHANGE)
    data = settings.model_dump(by_alias=True, mode="json") | {"domains": ["other.example.org"]}
    other = here(check(data, "move.yaml"))
    assert other.journal.entries == []
    record(other, CHANGE, "c.d")
    assert [[e.step for e in move.journal.entries] for move in (here(), here(check(data, "")))] == [["a.b"], ["c.d"]]


def test_what_was_written_while_the_lock_was_waited_for_is_seen(here: Made) -> None:
    one, two = here(), here()
    assert one.journal.entries == []
    record(two, CHANGE)
    with one.lock("x"):
        assert [e.step for e in one.journal.entries] == ["a.b"]
