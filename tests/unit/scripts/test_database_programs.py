"""The programs of scripts/server/ for PostgreSQL and for units, without either: what is asked for, and in which order.

In psql's stead, and systemd's, are programs that note what they are asked, and answer as the test says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[3] / "scripts/server"
# psql by runuser: its statements, the variables filled in.
PSQL = f"""#!{sys.executable} -IS
import json, os, re, sys
words, asked, values = sys.argv[sys.argv.index("psql") + 1:], [], {{}}
while words:
    word = words.pop(0)
    if word == "-c":
        asked.append(words.pop(0))
    elif word == "-v":
        name, _, value = words.pop(0).partition("=")
        values[name] = value
asked = asked or [sys.stdin.read().strip()]
for text in asked:
    for name, value in values.items():
        text = text.replace(f":'{{name}}'", f"'{{value}}'").replace(f':"{{name}}"', f'"{{value}}"')
    with open(os.environ["ASKED"], "a") as file:
        file.write(text + "\\n")
    for pattern, answer in json.load(open(os.environ["ANSWERS"])):
        if re.search(pattern, text):
            print(answer, end="")
            break
"""
SYSTEMCTL = """#!/bin/sh
case $1 in is-active) exit 3 ;; *) echo "systemctl $*" >>"$ASKED" ;; esac
"""
# A unit, to its end.
SYSTEMD_RUN = """#!/bin/sh
while case $1 in --unit=*) echo "unit ${1#*=}" >>"$ASKED" ;; -p) shift ;; -*) ;; *) false ;; esac do shift; done
"$@" || :
"""


class Entry:
    """A journal's entry, with programs in its after/, and what stands in for PostgreSQL and systemd."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked_file = path / "entry", path / "asked"
        self.answers: list[tuple[str, str]] = []
        for folder in ("entry/before", "entry/after", "bin"):
            (path / folder).mkdir(parents=True)
        for name, text in (("runuser", PSQL), ("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            self.put(path / "bin" / name, text)
        for program in PROGRAMS.iterdir():
            shutil.copy(program, self.path / "after")
        shutil.copy(PROGRAMS / "functions.sh", self.path)

    def put(self, path: Path, text: str) -> None:
        """A program of the test's own."""
        path.write_text(text)
        path.chmod(0o755)

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """What an entry's `apply` or `undo` would run."""
        top = self.path.parent
        (top / "answers").write_text(json.dumps(self.answers))
        more = {"PATH": f"{top}/bin:{os.environ['PATH']}", "ASKED": str(self.asked_file), "ANSWERS": f"{top}/answers"}
        command = ["sh", f"after/{program}", *words]
        return subprocess.run(command, cwd=self.path, env=os.environ | more, capture_output=True, text=True, timeout=30)

    def does(self, program: str, *words: str) -> list[str]:
        """The lines that it asks of others; it succeeds."""
        self.asked_file.unlink(missing_ok=True)
        done = self.run(program, *words)
        assert (done.returncode, done.stderr) == (0, "")
        return self.asked_file.read_text().splitlines() if self.asked_file.exists() else []

    def has(self, name: str) -> str:
        """What the file *name* in it says."""
        return (self.path / name).read_text()


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Entry(tmp_path)


# --- settings -----------------------------------------------------------------------------------------------------

SETTING = ("wal_retrieve_retry_interval", "100ms")


@pytest.mark.parametrize(("before", "back"), [("", "ALTER SYSTEM RESET {}"), ("5s\n", "ALTER SYSTEM SET {} = '5s'")])
def test_a_setting_comes_back_as_it_was(entry: Entry, before: str, back: str) -> None:
    entry.answers = [("pg_file_settings", before)]
    asked = entry.does("setting", "put", *SETTING, "setting::int <= 100")
    assert "ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'" in asked
    assert asked[-1].endswith("AND NOT (setting::int <= 100)") and entry.has(f"before/{SETTING[0]}") == before
    entry.answers = [("pg_file_settings", "100ms\n")]
    assert back.format(SETTING[0]) in entry.does("setting", "back", *SETTING)


def test_what_a_setting_was_is_written_down_once(entry: Entry) -> None:
    (entry.path / "before" / SETTING[0]).write_text("5s\n")
    entry.answers = [("pg_file_settings", "100ms\n")]  # the first try came so far
    entry.does("setting", "put", *SETTING, "true")
    assert entry.has(f"before/{SETTING[0]}") == "5s\n"


def test_a_setting_that_somebody_changed_since_is_left(entry: Entry) -> None:
    (entry.path / "before" / SETTING[0]).write_text("5s\n")
    entry.answers = [("pg_file_settings", "1s\n")]
    done = entry.run("setting", "back", *SETTING)
    was_set = "wal_retrieve_retry_interval was set to 1s since; before the move: 5s\n"
    assert (done.returncode, done.stderr) == (3, was_set)
    entry.answers = [("pg_file_settings", "5s\n")]  # it is back already
    assert not any(line.startswith("ALTER") for line in entry.does("setting", "back", *SETTING))


def test_a_setting_does_not_count_as_put_back_where_postgresql_does_not_answer(entry: Entry) -> None:
    (entry.path / "before" / SETTING[0]).touch()
    entry.put(entry.path.parent / "bin/runuser", "#!/bin/sh\necho 'no connection' >&2\nexit 2\n")
    done = entry.run("setting", "back", *SETTING)
    assert done.returncode != 0 and "no connection" in done.stderr


# --- wal_level ----------------------------------------------------------------------------------------------------

LEVEL = ("wal_level", "logical")
CONFIG_FILE = ("SHOW config_file", "/etc/postgresql/15/main/postgresql.conf\n")
RESTART = ["SHOW config_file", "systemctl restart postgresql@15-main", "SELECT 1"]


@pytest.mark.parametrize(("before", "back"), [("", "RESET wal_level"), ("replica\n", "SET wal_level = 'replica'")])
def test_wal_level_comes_back_as_it_was(entry: Entry, before: str, back: str) -> None:
    entry.answers = [("pg_file_settings", before), CONFIG_FILE]
    asked = entry.does("setting", "put", *LEVEL, "setting = 'logical'")
    assert asked[-5:-1] == ["ALTER SYSTEM SET wal_level = 'logical'", *RESTART]
    assert asked[-1].endswith("AND NOT (setting = 'logical')") and entry.has("before/wal_level") == before
    entry.answers = [("pg_file_settings", "logical\n"), CONFIG_FILE]
    assert entry.does("setting", "back", *LEVEL)[-4:] == [f"ALTER SYSTEM {back}", *RESTART]


def test_wal_level_stays_while_a_slot_needs_it(entry: Entry) -> None:
    (entry.path / "before/wal_level").touch()
    entry.answers = [("pg_replication_slots", "switchover_back\n")]
    done = entry.run("setting", "back", *LEVEL)
    assert (done.returncode, done.stderr) == (3, "there are logical replication slots still: switchover_back\n")
    assert "ALTER" not in entry.asked_file.read_text()


def test_wal_level_that_was_not_changed_needs_no_restart(entry: Entry) -> None:
    assert entry.does("setting", "back", *LEVEL) == []


# --- roles --------------------------------------------------------------------------------------------------------

ROLES = """reports\tCREATE ROLE reports;
"A b"\tCREATE ROLE "A b";
reports\tALTER ROLE reports LOGIN;
"A b"\tALTER ROLE "A b" NOLOGIN;
reports\tGRANT "A b" TO reports;
"""
ALL = "SELECT quote_ident"


def test_roles_that_are_here_stay_as_they_are_and_only_others_go(entry: Entry) -> None:
    (entry.path / "after/roles").write_text(ROLES)
    entry.answers = [(ALL, "postgres\nreports\n")]
    asked = entry.does("carried-roles", "create")
    assert asked[2:] == ['CREATE ROLE "A b";', 'ALTER ROLE "A b" NOLOGIN;', 'GRANT "A b" TO reports;', "COMMIT;"]
    assert entry.has("before/there") == "reports\n" and "log_statement = none" in asked[1]
    entry.answers = [(ALL, 'postgres\nreports\n"A b"\nanother\n')]
    assert entry.does("carried-roles", "create")[1] == 'CREATE ROLE "A b";'  # it knows who was here before
    assert entry.does("carried-roles", "drop")[1:] == ['DROP ROLE "A b"']


def test_no_role_goes_where_none_came(entry: Entry) -> None:
    (entry.path / "after/roles").write_text(ROLES)
    assert entry.does("carried-roles", "drop") == []


def test_logins_are_taken_for_a_moment_and_given_back(entry: Entry) -> None:
    program, logins = entry.path / "after/way-back-logins", entry.path / "logins"
    program.write_text(program.read_text().replace("/etc/switchover/way-back.logins", str(logins)))
    entry.answers = [("rolname = 'shop'", "shop\n"), ("rolname = 'A b'", '"A b"\n')]  # reports cannot log in
    asked = entry.does("way-back-logins", "open", "my-shop", "shop", "A b", "reports")
    assert asked[3:] == [
        "ALTER ROLE shop NOLOGIN",
        'ALTER ROLE "A b" NOLOGIN',
        'ALTER DATABASE "my-shop" CONNECTION LIMIT 8',
    ]
    entry.answers = []  # none of them can now, so a second try remembers the first one's
    assert "ALTER ROLE shop NOLOGIN" in entry.does("way-back-logins", "open", "my-shop", "shop", "A b", "reports")
    limit = 'ALTER DATABASE "my-shop" CONNECTION LIMIT 0'
    closed = [limit, "ALTER ROLE shop LOGIN", 'ALTER ROLE "A b" LOGIN']
    assert entry.does("way-back-logins", "close", "my-shop") == closed and not logins.exists()
    assert entry.does("way-back-logins", "close", "my-shop") == [limit]


# --- what runs as a unit ------------------------------------------------------------------------------------------


def stands_in(entry: Entry, name: str, script: str = "") -> None:
    """In place of a program in Python: it says that it was asked; then it is *script* (sh)."""
    sh = f'echo "{name} $*" >>"$ASKED"\n{script}\n'
    python = f"import os, sys\nos.execvp('sh', ['sh', '-c', {sh!r}, *sys.argv])\n"
    entry.put(entry.path / "after" / name, python)


def copies(entry: Entry, script: str) -> None:
    """In place of the program that copies: *script* (sh)."""
    stands_in(entry, "copy-database", script)


def test_a_copy_is_done_once_and_taken_back(entry: Entry) -> None:
    copies(entry, "echo 'progress 1 2 rows'")
    asked = ["unit switchover-copy", "copy-database follow shop owner"]
    assert entry.does("detached-copy", "begin", "shop", "owner") == asked
    assert (entry.has("said"), entry.has("status")) == ("progress 1 2 rows\n", "0\n")
    assert entry.does("detached-copy", "begin", "shop", "owner") == []
    ended = ["systemctl stop switchover-copy.service", "copy-database empty shop owner"]
    assert entry.does("detached-copy", "end", "shop", "owner") == ended
    assert entry.does("detached-copy", "begin", "shop", "owner") == asked


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'psql: ERROR:  disk full' >&2; echo more >&2; exit 1", "psql: ERROR:  disk full"),
        ("echo what >&2; exit 2", "what"),
        ("exit 143", "the copy was ended"),
        ("echo 'FATAL: no'>&2; echo 'the slot may stay on old' >&2; exit 1", "FATAL: no; the slot may stay on old"),
        ("kill $PPID", "the copy was ended"),  # the unit is gone before it says how it went
    ],
)
def test_a_copy_that_failed_says_why_and_is_begun_anew(entry: Entry, script: str, said: str) -> None:
    copies(entry, script)
    for _ in range(2):
        done = entry.run("detached-copy", "begin", "shop", "owner")
        assert (done.returncode, done.stderr.splitlines()[-1]) == (3, said)
    assert entry.asked_file.read_text().count("unit switchover-copy") == 2


def switches(entry: Entry, script: str, primary: str) -> None:
    """In place of the installed program: *script* where it switches, and which is primary from then on."""
    program = entry.path.parent / "switch"
    own = f'echo "$*" >>"$ASKED"\ncase $1 in to) {script} ;; primary) echo {primary} ;; esac\n'
    entry.put(program, f"#!/bin/sh\n{own}")
    detached = entry.path / "after/detached-switch"
    detached.write_text(detached.read_text().replace("/usr/local/sbin/switchover-switch", str(program)))


def test_a_switch_is_preceded_and_followed_by_recovery(entry: Entry) -> None:
    switches(entry, """echo 'doing it'; echo 'held {"proved": true}'""", "new")
    done = entry.run("detached-switch", "new")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'held {"proved": true}\n', "")
    asked = entry.asked_file.read_text().splitlines()
    assert asked == ["recover", "unit switchover-switch", "to new", "recover", "primary"]


def test_a_switch_that_failed_says_why(entry: Entry) -> None:
    switches(entry, "echo 'a transaction is open' >&2; exit 4", "old")
    done = entry.run("detached-switch", "new")
    assert (done.returncode, done.stderr) == (3, "a transaction is open\n")
    assert entry.has("status") == "4\n"


def test_a_switch_that_died_after_the_commit_was_completed_by_its_recovery(entry: Entry) -> None:
    switches(entry, "kill -KILL $$", "new")
    done = entry.run("detached-switch", "new")
    assert done.returncode == 0 and done.stdout.startswith("note that moment was not compared")


# --- the copy under the page --------------------------------------------------------------------------------------


def test_what_was_written_since_a_copy_goes_back_once(entry: Entry) -> None:
    for name in ("copy-database", "prove"):
        stands_in(entry, name)
    restored = ["copy-database restore shop"]
    assert entry.does("copy-back", "shop", "owner") == restored  # visitors never came here
    (entry.path / "done").touch()
    keys = f"{entry.path}/before/foreign-keys"
    back = [f"copy-database back shop owner {keys}", "prove still shop 2", *restored]
    assert entry.does("copy-back", "shop", "owner") == back
    assert entry.does("copy-back", "shop", "owner") == restored


def test_what_could_not_go_back_is_not_put_away(entry: Entry) -> None:
    (entry.path / "done").touch()
    stands_in(entry, "copy-database")
    entry.put(entry.path / "after/prove", "raise SystemExit(1)\n")
    assert entry.run("copy-back", "shop", "owner").returncode == 1
    assert "restore" not in entry.asked_file.read_text() and not (entry.path / "copied-back").exists()
