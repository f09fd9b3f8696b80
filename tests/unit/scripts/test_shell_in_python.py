"""Shell stands in files, where people and shellcheck read it: Python has six straight lines of it in a place, no more.

Every string of every Python file is looked at. A loop, a `case`, a function or a here-document is found in a string of
any length, as nothing but sh has them. A long string is sh where it is given to what runs sh, or where enough of its
lines begin with words of sh; so SQL, units, configuration and pages are none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINES = 6
CONSTRUCTS = {
    "a loop": r"(?m)(^|[;&|({]|\b(then|else|do)\b)\s*((while|until)\s[^#]*?|for\s+\S+(\s+in\s[^\n]*?)?)\s*[;\n]\s*do\b",
    "a case": r"(?m)(^|[;&|({]|\b(then|else|do)\b)\s*case\s+\S+\s+in\b",
    "a function": r"(?m)(^|[;&|{])\s*[A-Za-z_]\w*\s*\(\)\s*[{(]",
    "a here-document": r"<<-?\s*(['\"]?)[A-Za-z_]\w*\1[^\n]*\n",
}
# What a line of sh begins with, after a brace, `!` or the like; PROGRAM stands for a value that Python puts in.
COMMAND = re.compile(
    r"""\s*[({!]*\s*(?:
      (?:if|elif|then|else|fi|set|cd|exit|return|trap|export|umask|exec|printf|echo|test|\[|:|\.|refuse|wait_until
        |rm|mkdir|rmdir|mv|cp|ln|cat|touch|chmod|chown|install|install_file|find|grep|sed|awk|tail|head|stat|sort|kill
        |sh|su|sudo|runuser|systemctl|systemd-run|psql|pg_dump|createdb|dropdb|apt-get|useradd|sleep|sync|curl|rsync
        |command|git|ip|mount|update-\S+|/etc/init\.d/\S+)(?:\s|;|$)
      |(?:[a-z_]\w*|[A-Z_]+)=
      |PROGRAM\s+(?:-|[a-z])
    )""",
    re.X,
)


UNIT = re.compile(r"(?m)^\[\w+\]$")  # nor is what has such a line sh, whatever its other lines look like
RUN = {"look", "change", "exec", "exec_bytes", "Command", "succeeds"}  # their words are sh


def python_files() -> list[Path]:
    """All Python of the repository but its tests: by the ending, or by the first line."""
    tops = [ROOT / name for name in ("switchover", "lab", "benchmarks", "scripts")]
    files = [path for top in tops for path in sorted(top.rglob("*")) if path.is_file()]
    return [ROOT / "tasks.py", *(path for path in files if path.suffix == ".py" or _is_program(path))]


def _is_program(path: Path) -> bool:
    first = path.open("rb").readline() if not path.suffix else b""
    return first.startswith(b"#!") and b"python" in first


def strings(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Line and text of every string but docstrings, and whether it is given to what runs sh.

    In an f-string PROGRAM stands for each value.
    """
    passed, run = set(), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            passed.add(id(body[0].value))
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for value in node.values for part in (value, getattr(value, "format_spec", None))}
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            run |= {id(word) for word in (*node.args, *(k.value for k in node.keywords)) if name in RUN}
    for node in ast.walk(tree):
        if id(node) not in passed and (text := _text(node)) is not None:
            yield node.lineno, text, id(node) in run  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) or "PROGRAM" for value in node.values)
    return None


def fault(text: str, run: bool = False) -> str:
    """Why *text* should be a file; empty where it is not sh, or little of it. *run*: it is given to what runs sh."""
    lines = [line for line in text.splitlines() if line.strip()]
    joined = text.replace("\\\n", " ")
    for name, pattern in CONSTRUCTS.items():
        if re.search(pattern, joined):
            return name
    said = [line for line in lines if not line.lstrip().startswith("#")]
    sh = run or (not UNIT.search(text) and sum(bool(COMMAND.match(line)) for line in said) >= len(said) / 3)
    return f"{len(lines)} lines" if sh and len(lines) > LINES else ""


def faults(source: str) -> list[str]:
    """Each place of a Python *source* that has too much sh, by its line."""
    return [f"line {line}: {why}" for line, text, run in strings(ast.parse(source)) if (why := fault(text, run))]


def test_there_is_no_more_shell_in_python() -> None:
    found = {str(path.relative_to(ROOT)): faults(path.read_text()) for path in python_files()}
    assert {name: places for name, places in found.items() if places} == {}


def lines(number: int, line: str) -> str:
    """A literal of so many lines."""
    return repr(f"{line}\n" * number)


QUERY = "SELECT a FROM b WHERE c IN (1, 2)\n  AND CASE WHEN a THEN b END"
UNIT_FILE = "[Service]\nExecStart=/bin/sh -c true"
WRONG = {  # sources
    "seven lines": f"run = {lines(7, 'cd /tmp')}",
    "in parts": f"run = ({lines(4, 'cd /tmp')} {lines(3, 'cd /')})",
    "an f-string": f"run = f{lines(7, 'cd {path}')}",
    "lines that begin with values": f"run = f{lines(7, '{PSQL} -c 1')}",
    "words of nobody, but a server runs them": f"server.look({lines(7, 'frobnicate')})",
    "a loop": r"run = 'cd /tmp\nfor a in b c; do echo $a; done'",
    "a loop in one line": "run = 'until true; do sleep 1; done'",
    "a loop behind a pipe": r"run = 'ls | while read -r a\ndo echo $a; done'",
    "a loop over several lines": r"run = 'for a in b \\\n c\ndo\n echo $a; done'",
    "a case": "run = f'case {mode} in a) echo a;; esac'",
    "a function": "run = f'cd {path}; go() {{ echo; }}'",
    "a here-document": r"""run = "cat <<'END'\nEND\n" """,
    "in a value of an f-string": """run = f"{'while true; do sleep 1; done' if a else b}" """,
}
RIGHT = {
    "six lines": f"run = {lines(6, 'cd /tmp')}",
    "a docstring": f"def f():\n  {lines(7, 'cd /tmp')}",
    "SQL": f"run = {lines(10, QUERY)}",
    "SQL in an f-string": f"run = f{lines(10, QUERY + '{name}')}",
    "a unit": f"run = {lines(4, UNIT_FILE)}",
    "a configuration": f"run = {lines(9, 'listen 80;')}",
    "a page": f"run = {lines(9, '<p>for whoever reads it</p>')}",
    "prose": "run = 'Wait until it is done; do it again. In that case in doubt ask (or not).'",
}


@pytest.mark.parametrize("source", WRONG.values(), ids=WRONG)
def test_what_should_be_a_file_is_found(source: str) -> None:
    assert len(faults(source)) == 1


@pytest.mark.parametrize("source", RIGHT.values(), ids=RIGHT)
def test_what_may_stay_is_not(source: str) -> None:
    assert faults(source) == []


@pytest.mark.parametrize(
    "name", ["switchover/journal.py", "lab/tasks.py", "scripts/server/switch-database", "tasks.py"]
)
def test_python_is_found_wherever_it_is(name: str) -> None:
    assert ROOT / name in python_files()
