"""Plain words: none of a dialect in what people read, and none of a thing's former names in names.

What people read is every text of the program (docstrings too), what lands on the servers, the README, docs/ and the
example of the settings. Names are those that this repository gives: definitions in Python and in sh, and files.
A word of plain English is free in texts where only a thing must not have that name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePath

import pytest
from repository import ROOT, files, programs

# What nobody shall read, and a better word.
DIALECT = {
    r"mend(s|ed|ing)?": "fix",
    r"(com(e|es|ing)|came) by(?! (itself|themselves|hand))": "is proxied by old; uses PgBouncer",
    r"(lead(s|ing)?|led) nowhere": "does not resolve; does not exist",
    r"(go(es|ing)?|went) on": "continue; keep running",
    r"(is|are|am|be|been|being|was|were) told(?! apart)": "says so; is shown; is reported",
    r"straggl(ed?|ers?|ing)": "late write",
    r"hinder(s|ed|ing)?|hindrances?": "blocker",
    r"doors?": "relay, for the database; else what it is",
    r"(?<!pytest\s)markers?": "heartbeat",
    r"pins": "snapshots",
    r"leaders?": "primary",
    r"takenback|putback": "reverted",
}
TEXT = re.compile(rf"\b({'|'.join(DIALECT)})\b".replace(" ", r"\s+"), re.IGNORECASE)

# What is no part of a name (in snake case, whatever the case of the name), and the name that is right.
PARTS = {
    "afterwards": "aftercare",
    "bring_about": "converge",
    "built_on": "dependents",
    "door(s|way)?": "relay",
    "hinder(s|ed|ing)?|hindrances?": "blockers",
    "lead_to": "point_pooler_at",
    "leader": "primary",
    "markers?": "heartbeat",
    "mend(s|ed|ing)?": "fix",
    "name_changes": "dns.writers",
    "pin(s|ner)": "snapshots",
    "put_back": "roll_back",
    "straggl(ed?|ers?)": "late_writes",
    "tak(e|es|en|ing)_back": "revert",
}
PART = re.compile(rf"(?<![^_])({'|'.join(PARTS)})(?![^_])")

# What is no whole name of anything that is defined below a folder, and the name that is right.
WHOLE = {
    "": {
        "Compared": "Comparison",
        "Seen": "Check, Precondition",
        "Sight": "Precondition",
        "Wanted": "Desired",
        "following": "replication",
        "widen": "restore_pool",
    },
    "switchover/": {"live": "run_step", "once": "record_only", "visible": "observable"},
    "scripts/server/": {"gap": "wait_for_idle", "mark": "heartbeat"},
    "scripts/server/hold": {"narrow": "shrink_pool"},
    "scripts/server/switch": {
        "died": "failpoint",
        "ended": "end_sessions",
        "narrow": "shrink_pool",
        "settled": "recover",
    },
    "lab/": {"Post": "MailAudit", "Watch": "SecretScanner", "kills": "crash_points"},
    "lab/judging/": {"look": "inventory"},
}
# What is no whole name of a file.
FILES = {
    "": {
        "compared": "comparison",
        "following": "replication",
        "kills": "crash_points",
        "look": "inventory",
        "post": "mail",
        "seen": "precondition",
        "sight": "precondition",
        "wanted": "desired",
    },
    "switchover/": {"aside": "output", "asking": "dns.resolver", "names": "dns.records", "say": "output"},
}
# Names that are somebody else's, or a command's.
GIVEN = {
    "scripts/server/functions.sh": {"mark"},  # of an entry of the journal
    "switchover/commands/watch.py": {"live"},  # rich's Live
    "switchover/site/certificate/certbot.py": {"live"},  # certbot's own directory, /etc/letsencrypt/live
    "lab/tasks.py": {"kills"},  # `inv lab.kills`
}

READ = re.compile(
    r"(switchover|lab|scripts|templates|hooks|nginx|docs)/.*|(README|CONTRIBUTING|CHANGELOG)\.md|move\.example\.yaml|tasks\.py"
)
BINARY = re.compile(r".*\.(png|ico|gz)")
SH_NAME = re.compile(
    r"^\s*(?:function )?([A-Za-z_][\w-]*) ?\(\)|\b([A-Za-z_]\w*)=|\bfor ([A-Za-z_]\w*) in\b", re.MULTILINE
)


def line(text: str, position: int) -> int:
    """The line of a *position*, the first one is 1."""
    return text.count("\n", 0, position) + 1


def words(text: str) -> Iterator[tuple[int, str]]:
    """The words of a dialect, and former names with a `_` or `-` in them, each with the line that it begins on."""
    for word in TEXT.finditer(text):
        yield line(text, word.start()), " ".join(word[0].split())
    for name in re.finditer(r"\w+(?:[_-]\w+)+", text):
        if PART.search(snake(name[0])) and not TEXT.search(name[0]):
            yield line(text, name.start()), name[0]


def snake(name: str) -> str:
    """A name of any case as words with a `_` between them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|-", "_", name).lower()


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The texts in Python code, docstrings too, each with its line. A value in an f-string is a `{}`."""
    parts: set[ast.expr] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts |= {*node.values}
            texts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.lineno, node.value


def definitions(source: str) -> Iterator[tuple[int, str]]:
    """The names that Python code gives, each with its line; names that it only uses are others'."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def sh_definitions(source: str) -> Iterator[tuple[int, str]]:
    """The names of functions and variables that sh gives, each with its line."""
    for name in SH_NAME.finditer(source):
        yield line(source, name.start(name.lastindex or 0)), name[name.lastindex or 0]


def is_former(name: str, file: str) -> bool:
    """Whether a thing had this name before it was given the field's."""
    if name in GIVEN.get(file, ()):
        return False
    if name.startswith("test_"):  # a sentence
        return bool(TEXT.search(name.replace("_", " ")))
    whole = name.strip("_")
    return bool(PART.search(snake(name))) or any(
        file.startswith(folder) and whole in names for folder, names in WHOLE.items()
    )


def read_in(file: str, text: str) -> Iterator[tuple[int, str]]:
    """What people read in a file that is wrong, with lines."""
    if file in programs("python"):
        for start, part in texts(text):
            yield from ((start + below - 1, word) for below, word in words(part))
    elif file == "CHANGELOG.md":  # which names what was called otherwise, in backticks
        yield from words(re.sub(r"`[^`]*`", lambda code: "\n" * code[0].count("\n"), text))
    else:
        yield from words(text)


def named_in(file: str, text: str) -> Iterator[tuple[int, str]]:
    """What is named wrongly in a program, with lines."""
    if file in programs("python"):
        found = definitions(text)
    elif file in programs("shell"):
        found = sh_definitions(text)
    else:
        return
    yield from (name for name in found if is_former(name[1], file))


def misnamed(file: str) -> list[str]:
    """The parts of a file's path that name a thing wrongly."""
    stems = [part.split(".")[0].removeprefix("test_") for part in PurePath(file).parts]
    former = {name for folder, names in FILES.items() if file.startswith(folder) for name in names}
    return [stem for stem in stems if stem in former or PART.search(snake(stem))]


def listed(file: str, found: Iterator[tuple[int, str]]) -> list[str]:
    """As `file:line: word`, in the order of lines."""
    return [f"{file}:{line}: {word}" for line, word in sorted({*found})]


def of_repository() -> list[tuple[str, str]]:
    """Every file with its text; not this one, which has all these words."""
    names = [file for file in files() if not BINARY.fullmatch(file) and not file.endswith(PurePath(__file__).name)]
    return [(file, (ROOT / file).read_text()) for file in names]


def test_what_people_read_is_plain() -> None:
    wrong = [
        entry for file, text in of_repository() if READ.fullmatch(file) for entry in listed(file, read_in(file, text))
    ]
    assert not wrong, "\n".join(["not plain (DIALECT has better words):", *wrong])


def test_names_are_the_fields() -> None:
    wrong = [entry for file, text in of_repository() for entry in listed(file, named_in(file, text))]
    assert not wrong, "\n".join(["named as before (PARTS and WHOLE have the right names):", *wrong])


def test_files_are_named_as_the_field_does() -> None:
    wrong = [f"{file}:1: {name}" for file in files() for name in misnamed(file)]
    assert not wrong, "\n".join(["named as before (FILES has the right names):", *wrong])


def test_all_that_people_read_is_read() -> None:
    read = {file for file, _ in of_repository() if READ.fullmatch(file)}
    assert {"README.md", "docs/settings.md", "move.example.yaml", "nginx/old-proxy.conf.j2", "scripts/test"} <= read
    assert {"switchover/step.py", "lab/report/report.html.j2", "scripts/server/functions.sh"} <= read
    assert "scripts/test" in programs("shell") and "scripts/server/switch-database" in programs("python")


# --- what is found, and what is not ---------------------------------------------------------------------------------

NOT_PLAIN = {
    "Mend the settings": "Mend",
    "visitors who come by old": "come by",
    "who came\n    by the proxy": "came by",
    "the name leads nowhere": "leads nowhere",
    "Go on?": "Go on",
    "visitors went on with old": "went on",
    "the operator is told": "is told",
    "what they were told": "were told",
    "DELETE FROM switchover_own.stragglers": "stragglers",
    "nothing hindering": "hindering",
    "the door back": "door",
    "`door: 5433`": "door",
    "inv replicate.door-back": "door",
    "a marker row": "marker",
    "keeps the pins": "pins",
    "see take_back": "take_back",
    "sh name-changes": "name-changes",
    "call lead_to first": "lead_to",
}


@pytest.mark.parametrize(("text", "word"), NOT_PLAIN.items())
def test_a_word_of_the_dialect_is_found(text: str, word: str) -> None:
    assert [found for _, found in words(text)] == [word]


PLAIN = [
    "recommend it, and amend the record",
    "visitors come by themselves",
    "it can be told apart",
    "undo takes back the last section",
    "look at the mark once; afterwards it is live, and no gap is seen",
    "narrow the pool, wanted or not",
    "a pytest marker",
    "it leads to new",
    "the outdoor market has pinned versions",
    "go to the next one",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_is_free(text: str) -> None:
    assert [*words(text)] == []


def test_each_word_has_its_line() -> None:
    assert [*words("one\nmend\ncome\nby")] == [(2, "mend"), (3, "come by")]
    source = '"""Good.\n\nmend\n"""\n\nx = f"{y} goes" " on"\n'
    assert listed("switchover/step.py", read_in("switchover/step.py", source)) == [
        "switchover/step.py:3: mend",
        "switchover/step.py:6: goes on",
    ]
    assert [*read_in("docs/README.md", "# mend\n`take_back`")] == [(1, "mend"), (2, "take_back")]
    assert [*read_in("CHANGELOG.md", "`door:`\nmend")] == [(2, "mend")]


FORMER = [
    "class Seen: ...",
    "class TakenBack: ...",
    "def take_back(): ...",
    "def _put_back(self): ...",
    "async def lead_to(): ...",
    "def f(*, pins): ...",
    "def f(**stragglers): ...",
    "x.hindrance = 1",
    "door: int = 5433",
    "DOOR = 1",
    "for following in x: ...",
    "import pathlib as pins",
    "old_leader, x = y",
    "with x as marker: ...",
    "if (widen := 1): ...",
    "[hindering for hindering in x]",
    "def test_it_comes_by_old(): ...",
]


@pytest.mark.parametrize("source", FORMER)
def test_a_former_name_is_found(source: str) -> None:
    assert [*named_in("tasks.py", source)] == [(1, name) for name in {n for _, n in named_in("tasks.py", source)}] != []


NAMES = [
    "pytest.mark.thorough",
    "from rich.live import Live",
    "plot(marker='.')",
    "x = y.seen",
    "seen = wanted = mark = 1",
    "def look(): ...",
    "def indoors(): ...",
    "def names(): ...",
    "class Watch: ...",
    "narrow = 1",
    "spins = 1",
    "def test_what_was_there_is_put_back_afterwards(): ...",
]


@pytest.mark.parametrize("source", NAMES)
def test_other_names_are_free(source: str) -> None:
    assert [*named_in("tasks.py", source)] == []


def test_some_names_are_former_ones_only_in_their_room() -> None:
    source = "def kills(): ...\nclass Watch: ...\ndef look(once): ...\nmark = gap = 1"
    rooms = [
        "tasks.py",
        "lab/tasks.py",
        "lab/judging/inventory.py",
        "switchover/step.py",
        "scripts/server/switch-database",
    ]
    former = {file: {name for _, name in named_in(file, source)} for file in rooms}
    assert former["tasks.py"] == set() and former["lab/tasks.py"] == {"Watch"}
    assert former["lab/judging/inventory.py"] == {"kills", "Watch", "look"}
    assert former["switchover/step.py"] == {"once"} and former["scripts/server/switch-database"] == {"mark", "gap"}


def test_names_in_sh_are_read() -> None:
    source = "leader() { # of both\nx=1; door_back=2\nfor pins in a; do :; done\necho $marker"
    assert [*named_in("scripts/test", source)] == [(1, "leader"), (2, "door_back"), (3, "pins")]


def test_names_of_files_are_read() -> None:
    assert misnamed("templates/database-door.socket.j2") == ["database-door"]
    assert misnamed("switchover/resources/seen.py") == misnamed("tests/unit/test_seen.py") == ["seen"]
    assert misnamed("switchover/dns/names.py") == ["names"] and misnamed("docs/name.md") == []
    assert misnamed("lab/judging/names.py") == misnamed("switchover/database/hold.py") == []
