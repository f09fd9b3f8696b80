"""Resources: what is found makes what must change; and the changes of files and commands, really made and undone."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from switchover.desired import Precondition
from switchover.errors import Problem
from switchover.journal import Change, Entry
from switchover.move import Move
from switchover.resources import Absent, Command, File, Service, packages, succeeds
from switchover.resources.command import again
from switchover.resources.file import FileState, read, unified
from switchover.resources.postgres import matches, scram
from switchover.site.firewall.ufw import Rule

Made = Callable[..., Move]
ME = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"
mine = partial(File, owner=ME)  # else a new file is root's


class Server:
    """A resource of the test's server: makes changes as a step does."""

    def __init__(self, move: Move) -> None:
        self.move, self.server = move, move.old

    def make(self, resource: File | Absent | Command) -> Entry:
        """Records the resource's change and makes it; it must have one, and be true afterwards."""
        entry, status, said = self.attempt(resource)
        assert status == 0, said
        self.move.journal.done(entry)
        if resource.observable:
            assert resource.change() is None
        return entry

    def attempt(self, resource: File | Absent | Command) -> tuple[Entry, int, str]:
        change = resource.change()
        assert change is not None
        entry, answer = self.move.journal.record_and_apply(self.server, "a.b", "", "old: a step", change)
        return entry, answer.status, answer.last_error

    def undo(self, entry: Entry) -> str | None:
        """Why the recorded script refused; None where it did not."""
        answer = self.move.journal.undo(entry)
        return None if answer.status == 0 else answer.last_error


@pytest.fixture
def server(here: Made) -> Server:
    return Server(here())


@pytest.fixture(params=["site.conf", 'it\'s a "$HOME" `x`\\.conf'])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a file will be: also one whose name is all syntax."""
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / request.param


def facts(path: Path) -> tuple[bytes, int, float] | Path | None:
    """All that putting a file back must restore."""
    if path.is_symlink():
        return path.readlink()
    return (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime) if path.exists() else None


def rest(path: Path) -> set[str]:
    """What else lies in its directory."""
    return {p.name for p in path.parent.iterdir()} - {path.name}


def log(path: Path) -> list[str]:
    file = path.parent / "log"
    return file.read_text().split() if file.exists() else []


# --- a file ---------------------------------------------------------------------------------------------------


def test_a_new_file(server: Server, path: Path) -> None:
    desired = mine(server.server, str(path), b"new\n\0\xff", mode="640")
    entry = server.make(desired)
    assert path.read_bytes() == b"new\n\0\xff" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert rest(path) == set()
    assert server.undo(entry) is None
    assert not path.exists() and rest(path) == set()


def test_a_changed_file_comes_back_with_mode_and_time(server: Server, path: Path) -> None:
    path.write_bytes(b"old\n\xff")
    path.chmod(0o604)
    os.utime(path, (1e9, 1e9))
    before = facts(path)
    entry = server.make(mine(server.server, str(path), b"new\n"))
    assert facts(path) != before and stat.S_IMODE(path.stat().st_mode) == 0o604  # as it is when none is wanted
    assert server.undo(entry) is None
    assert facts(path) == before and rest(path) == set()


def test_only_the_mode_differs(server: Server, path: Path) -> None:
    path.write_text("same\n")
    path.chmod(0o644)
    desired = mine(server.server, str(path), b"same\n", mode="600")
    change = desired.change()
    assert change and re.fullmatch(r"owner and mode: (\S+) 644 -> \1 600\n", change.diff)
    entry = server.make(desired)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.undo(entry) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_that_is_right_already_needs_nothing(server: Server, path: Path) -> None:
    path.write_text("x")
    path.chmod(0o600)
    assert mine(server.server, str(path), b"x").change() is None
    assert mine(server.server, str(path), b"x", mode="600").change() is None
    assert Absent(server.server, f"{path}.none").change() is None


@pytest.mark.parametrize("target", ["real.conf", "../etc/real.conf", "absolute"])
@pytest.mark.parametrize("resource", [File, Absent])
def test_a_link_comes_back_as_a_link(server: Server, tmp_path: Path, target: str, resource: type) -> None:
    (tmp_path / "etc").mkdir()
    real, link = tmp_path / "etc/real.conf", tmp_path / "etc/site.conf"
    real.write_text("old\n")
    link.symlink_to(real if target == "absolute" else target)
    before = facts(link)
    entry = server.make(
        mine(server.server, str(link), b"new\n") if resource is File else Absent(server.server, str(link))
    )
    assert facts(link) != before and real.read_text() == "old\n"
    assert server.undo(entry) is None
    assert facts(link) == before and real.read_text() == "old\n"


def test_a_missing_directory_is_made_and_goes_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "fresh" / "a.conf"
    entry = server.make(mine(server.server, str(path), b"x"))
    assert server.undo(entry) is None
    assert not path.parent.exists()
    entry = server.make(mine(server.server, str(path), b"x"))
    (path.parent / "of somebody else").touch()
    assert server.undo(entry) is None
    assert not path.exists() and path.parent.exists()


def test_what_is_no_file_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"^old \(prod1\.example\.org\): .* is not a file\. Look at what it is"):
        File(server.server, str(tmp_path), b"x").change()


def test_the_program_is_reloaded_both_times(server: Server, path: Path) -> None:
    path.write_text("old\n")
    then = f"echo told >>{path.parent}/log"
    entry = server.make(mine(server.server, str(path), b"new\n", then=then))
    assert log(path) == ["told"]
    assert server.undo(entry) is None
    assert log(path) == ["told"] * 2
    assert server.undo(entry) is None  # nothing is left to do
    assert log(path) == ["told"] * 2


@pytest.mark.parametrize("before", [None, b"old\n"])
def test_a_configuration_that_its_program_refuses_is_put_back(server: Server, path: Path, before: bytes | None) -> None:
    if before is not None:
        path.write_bytes(before)
    was = facts(path)
    test = f"! grep -s bad {path.parent}/* || {{ echo line 7: bad; exit 1; }}"
    desired = mine(server.server, str(path), b"bad\n", test=test, then=f"echo told >>{path.parent}/log")
    entry, status, said = server.attempt(desired)
    assert status == 3 and "bad" in said
    assert facts(path) == was and log(path) == []
    assert server.undo(entry) is None
    assert facts(path) == was and log(path) == []


def test_a_configuration_that_was_broken_before_is_left_alone(server: Server, path: Path) -> None:
    path.write_text("old\n")
    was = facts(path)
    entry, status, said = server.attempt(mine(server.server, str(path), b"new\n", test="echo broken; false"))
    assert (status, said) == (3, "the configuration on old is already invalid, and was not changed: broken")
    assert facts(path) == was
    assert server.undo(entry) is None


@pytest.mark.parametrize("before", [None, b"old\n"])
@pytest.mark.parametrize("edit", ["text", "removed", "link"])
def test_undo_refuses_where_somebody_edited_it_since(
    server: Server, path: Path, before: bytes | None, edit: str
) -> None:
    if before is not None:
        path.write_bytes(before)
    then = f"echo told >>{path.parent}/log"
    entry = server.make(mine(server.server, str(path), b"new\n", then=then))
    path.unlink()
    if edit == "text":
        path.write_text("edited by Anna\n")
    elif edit == "link":
        path.symlink_to("elsewhere")
    now = facts(path)
    said = server.undo(entry)
    if before is None and edit == "removed":  # that is how it was
        assert said is None
    else:
        assert said and "was edited since" in said and "before/" in said
    assert facts(path) == now and log(path) == ["told"]


def test_a_mode_that_somebody_gave_our_file_goes_with_it(server: Server, path: Path) -> None:
    path.write_text("old\n")
    before = facts(path)
    entry = server.make(mine(server.server, str(path), b"new\n"))
    path.chmod(0o600)
    assert server.undo(entry) is None
    assert facts(path) == before


def test_a_change_that_was_interrupted_is_finished_or_undone(server: Server, path: Path) -> None:
    """Cut short between the rename and telling the program."""
    path.write_text("old\n")
    before = facts(path)
    then = f"[ -e {path.parent}/go ] && echo told >>{path.parent}/log"
    entry, status, _ = server.attempt(mine(server.server, str(path), b"new\n", then=then))
    assert status != 0 and path.read_text() == "new\n"
    (path.parent / "go").touch()
    assert server.move.journal.apply(entry).status == 0
    assert log(path) == ["told"] and path.read_text() == "new\n"
    assert server.undo(entry) is None
    assert facts(path) == before and log(path) == ["told"] * 2


def test_a_secret_is_never_shown(server: Server, path: Path) -> None:
    path.write_text("hunter2\n")
    change = mine(server.server, str(path), b"hunter3\n", secret=True).change()
    assert change and "hunter" not in change.diff
    assert re.fullmatch(re.escape(str(path)) + r": sha256 \w{12}, \S+ 644 -> sha256 \w{12}, \S+ 644 \(a secret: .*\)",
                        change.diff)  # fmt: skip


def test_reading(server: Server, path: Path) -> None:
    assert read(server.server, str(path)) == FileState(None)
    path.write_bytes(bytes(range(256)) * 500)
    path.chmod(0o4751)
    assert read(server.server, str(path)) == FileState(
        bytes(range(256)) * 500, f"{path.owner()}:{path.group()}", "4751"
    )
    assert read(server.server, "/dev/null/none") == FileState(None)


# --- no file --------------------------------------------------------------------------------------------------


def test_a_removed_file_comes_back(server: Server, path: Path) -> None:
    path.write_text("old\n")
    path.chmod(0o640)
    before = facts(path)
    entry = server.make(Absent(server.server, str(path), then=f"echo told >>{path.parent}/log"))
    assert not path.exists() and log(path) == ["told"]
    assert server.undo(entry) is None
    assert facts(path) == before and log(path) == ["told"] * 2
    assert rest(path) == {"log"}


def test_a_removed_file_that_is_there_again(server: Server, path: Path) -> None:
    path.write_text("old\n")
    entry = server.make(Absent(server.server, str(path)))
    path.write_text("another\n")
    said = server.undo(entry)
    assert said and "was created again, with other contents" in said
    assert path.read_text() == "another\n"


def test_a_file_that_its_program_needs_is_not_removed(server: Server, path: Path) -> None:
    path.write_text("old\n")
    before = facts(path)
    test = f"ls {path.parent}/*.conf >/dev/null"
    _, status, said = server.attempt(Absent(server.server, str(path), test=test))
    assert status == 3 and said
    assert facts(path) == before


# --- diffs ----------------------------------------------------------------------------------------------------

lines = st.lists(st.sampled_from(["a\n", "b\n", "\n", "-c\n", "+d\n", "é\n", "@@ x\n", "e"]), max_size=12)


def patched(old: str, diff: str) -> str:
    """*old* as a person would change it by hand, hunk after hunk."""
    out, rest, at = [], old.splitlines(keepends=True), 0
    shown = diff.splitlines(keepends=True)
    for n, line in enumerate(shown[2:], 2):
        whole = line[1:]
        if n + 1 < len(shown) and shown[n + 1].startswith("\\ "):
            whole = whole.removesuffix("\n")
        if line.startswith("@@ "):
            found = re.match(r"@@ -(\d+)(?:,(\d+))? ", line)
            assert found
            begin = int(found[1]) - (found[2] != "0")
            out += rest[at:begin]
            at = begin
        elif line[0] in " -":
            assert rest[at] == whole
            out += [whole] if line[0] == " " else []
            at += 1
        elif line[0] == "+":
            out.append(whole)
    return "".join(out + rest[at:])


@given(lines.map("".join), lines.map("".join))
@hypothesis(deadline=None)
def test_the_diff_shown_makes_the_new_file_of_the_old(old: str, new: str) -> None:
    diff = unified(old.encode(), new.encode(), "/etc/x")
    assert patched(old, diff) == new
    assert bool(diff) == (old != new)


def test_a_diff_names_the_file_and_says_absent(server: Server) -> None:
    change = File(server.server, "/no/such/file", b"a\nb").change()
    assert change
    assert change.diff == (
        "--- absent\n+++ /no/such/file\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ no newline at the end\n"
        "owner and mode: root:root 644\n"
    )


def test_an_empty_new_file_is_shown_too(server: Server) -> None:
    change = File(server.server, "/no/such/file", b"").change()
    assert change and "/no/such/file" in change.diff


# --- a command ------------------------------------------------------------------------------------------------


def test_a_command_with_its_check(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "made"
    desired = Command(server.server, f"cat after/text >{file}", f"rm -f {file}", f"[ -e {file} ]", "make it",
                     files={"text": b"x"})  # fmt: skip
    assert desired.observable and not desired.record_only
    change = desired.change()
    assert change and change.diff == "make it"
    entry = server.make(desired)
    assert file.read_bytes() == b"x"
    assert server.undo(entry) is None
    assert not file.exists()


def test_a_command_without_a_check_is_known_to_the_journal_alone(server: Server) -> None:
    desired = Command(server.server, "echo 'two\nlines'")
    assert desired.record_only and not desired.observable
    change = desired.change()
    assert change and change.diff == "echo 'two\nlines'"


def test_packages_come_with_a_program_that_takes_them_away(server: Server) -> None:
    words = (server.server, "no-such-package nor-such", "/etc/no-such")
    change = packages(*words).change()
    assert change and change.diff == "apt-get install no-such-package nor-such"
    assert change.apply == "sh after/packages install /etc/no-such no-such-package nor-such"
    assert change.undo == "sh after/packages remove" and set(change.files) == {"packages"}
    assert packages(*words, installed="true").change() is None  # however they were installed
    assert packages(*words, installed="false").change() == change


def test_under_dry_what_a_step_will_end_begins_again(here: Made) -> None:
    move = here(dry=True)
    desired = Service(move.new, "app", running=True)
    assert again(False, desired, "systemctl start app") is desired
    shown = again(True, desired, "systemctl start app").change()
    assert shown and shown.diff == "systemctl start app"


# --- the firewall, by what `ufw show added` prints --------------------------------------------------------------

ADDED = """Added user rules (see 'ufw status' for running firewall):
ufw allow OpenSSH
ufw allow 443/tcp
{}"""


@pytest.mark.parametrize(
    ("added", "missing"),
    [
        ("", ["192.0.2.1", "2001:db8::1"]),
        ("ufw allow from 192.0.2.1 to any port 5433 proto tcp", ["2001:db8::1"]),
        ("ufw allow from 192.0.2.1 to any port 5433 proto tcp comment 'by Anna'", ["2001:db8::1"]),
        ("ufw allow from 192.0.2.1 to any port 543 proto tcp", ["192.0.2.1", "2001:db8::1"]),
        ("ufw allow from 192.0.2.12 to any port 5433 proto tcp", ["192.0.2.1", "2001:db8::1"]),
        ("ufw deny from 192.0.2.1 to any port 5433 proto tcp", ["192.0.2.1", "2001:db8::1"]),
        ("ufw allow from 192.0.2.1 to any port 5433 proto udp", ["192.0.2.1", "2001:db8::1"]),
        (
            "ufw allow from 2001:db8::1 to any port 5433 proto tcp\n"
            "ufw allow from 192.0.2.1 to any port 5433 proto tcp comment 'x'",
            [],
        ),
    ],
)
def test_only_the_rules_that_lack_are_added_and_only_they_are_taken_back(
    here: Made, added: str, missing: list[str]
) -> None:
    change = Rule(here().old, ("192.0.2.1", "2001:db8::1"), 5433).plan(ADDED.format(added))
    rules = [f"allow from {source} to any port 5433 proto tcp" for source in missing]
    if not missing:
        assert change is None
        return
    assert change
    assert change.diff.splitlines() == [f"ufw {rule}" for rule in rules]
    assert [line.partition(" comment")[0] for line in change.apply.splitlines()] == [f"ufw {rule}" for rule in rules]
    assert [line.partition(" >")[0] for line in change.undo.splitlines()] == [f"ufw delete {rule}" for rule in rules]


# --- a service --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("desired", "running", "at_boot", "shown"),
    [
        ((True, True), True, True, None),
        ((True, True), False, True, "systemctl start unicorn"),
        ((True, True), True, False, "systemctl enable unicorn"),
        ((False, False), True, True, "systemctl disable unicorn\nsystemctl stop unicorn"),
        ((False, False), False, True, "systemctl disable unicorn"),
        ((False, False), False, False, None),
        ((False, None), False, True, None),
        ((False, None), True, True, "systemctl stop unicorn"),
        ((True, None), False, False, "systemctl start unicorn"),
    ],
)
def test_a_service_changes_only_what_differs(
    here: Made, desired: tuple[bool, bool | None], running: bool, at_boot: bool, shown: str | None
) -> None:
    change = Service(here().old, "unicorn", *desired).plan(running, at_boot)
    assert (change.diff if change else None) == shown
    if not change:
        return
    opposite = {"start": "stop", "stop": "start", "enable": "disable", "disable": "enable"}
    verbs = re.findall(r"systemctl (start|stop|enable|disable) unicorn", change.apply)
    back = re.findall(r"systemctl (start|stop|enable|disable) unicorn", change.undo)
    assert back == [opposite[verb] for verb in reversed(verbs)]


# --- what is seen -------------------------------------------------------------------------------------------------


def test_seen_says_what_is_missing_and_why(here: Made, tmp_path: Path) -> None:
    old = here(dry=True).old
    assert succeeds(old, "true", "nothing there").missing() is None
    assert succeeds(old, "false", "nothing there").missing() == "nothing there"
    assert succeeds(old, "echo first; echo last; exit 1", "not yet").missing() == "not yet (last)"
    assert succeeds(old, "echo out; echo why >&2; exit 1", "not yet").missing() == "not yet (why)"
    assert succeeds(old, "alive /no/such/pidfile", "not yet").missing() == "not yet"
    answers: Iterator[str | None] = iter(["they differ", None])
    compared = Precondition(lambda: next(answers), within=3)
    assert [compared.missing(), compared.missing()] == ["they differ", None]


# --- the password of a role ---------------------------------------------------------------------------------------


def test_a_verifier_is_the_one_of_the_rfc() -> None:
    """RFC 7677's example: user, pencil."""
    import base64

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram("pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@given(st.text(), st.text())
@hypothesis(deadline=None, max_examples=20)
def test_a_verifier_matches_its_password_alone(one: str, two: str) -> None:
    assert matches(scram(one), one)
    assert matches(scram(one), two) == (one == two)


@pytest.mark.parametrize("stored", ["", "md5" + "0" * 32, "SCRAM-SHA-256$x", "SCRAM-SHA-256$4096:!!$a:b", "a$b$c"])
def test_other_verifiers_match_nothing(stored: str) -> None:
    assert not matches(stored, "pencil")


def test_a_change_is_a_value(here: Made) -> None:
    change = Change("d", "a", "u")
    assert replace(change, diff="x") == Change("x", "a", "u")
