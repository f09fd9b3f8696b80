"""No product of a kind is named in code below switchover/ but in site/: another kind is one new file there.

Code is all of it: identifiers, texts, docstrings, comments. Free are what people type and read in the checklist (the
steps' names, their docstrings and their sections'), keys of the settings, and names of files in this repository.
"""

from __future__ import annotations

import ast
import io
import re
import token
import tokenize
from collections.abc import Collection
from functools import cache

import pytest
from pydantic import BaseModel
from repository import ROOT, files

from switchover.checklist import WHOLE
from switchover.settings import Settings
from switchover.settings_model import parts_of

PRODUCT = re.compile(r"unicorn|puma|delayed[_ -]?job|sidekiq|monit(?!or|ion)|ufw|crontab", re.IGNORECASE)
WORD = re.compile(r"[\w./-]*\w")  # a name with its dots, or a path
TEXT = {token.STRING, token.COMMENT, *(kind for name, kind in vars(token).items() if name.startswith("FSTRING_"))}


def products(text: str, free: Collection[str] = ()) -> list[str]:
    """The words of *text* with a product in them, but for those that are *free* as a whole."""
    rest = WORD.sub(lambda word: "" if word[0] in free else word[0], text)
    return [found[0] for found in PRODUCT.finditer(rest)]


def named(source: str, free: Collection[str] = (), keys: Collection[str] = (), section: bool = False) -> list[str]:
    """Where Python code names a product: `line: text`. *section*: it is a module of the checklist."""
    lines = checklist_lines(source, section)
    found = []
    for part in tokenize.generate_tokens(io.StringIO(source).readline):
        if part.type == token.NAME:
            words = [] if part.string in keys or (part.start, part.string) in lines else products(part.string)
        elif part.type in TEXT and (part.start, "") not in lines:
            words = products(part.string, free)
        else:
            continue
        found += [f"{part.start[0]}: {word}" for word in words]
    return found


def checklist_lines(source: str, section: bool) -> set[tuple[tuple[int, int], str]]:
    """Where the checklist's lines stand in code: the docstrings of steps, and of a *section*; and the steps' names."""
    tree = ast.parse(source)
    steps = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and is_step(node)]
    free = {((step.lineno, step.col_offset + len("def ")), step.name) for step in steps}
    for node in [*steps, *([tree] if section else [])]:
        if ast.get_docstring(node):
            free.add(((node.body[0].lineno, node.body[0].col_offset), ""))
    return free


def is_step(function: ast.FunctionDef) -> bool:
    """Whether it is a line of the checklist."""
    return any(re.fullmatch(r"step|step_by\(.*\)", ast.unparse(decorator)) for decorator in function.decorator_list)


# --- the code -------------------------------------------------------------------------------------------------------


def code() -> list[str]:
    """The files that name no product."""
    return [f for f in files() if re.fullmatch(r"switchover/(?!site/).*\.(py|sql)", f)]


@cache
def free() -> frozenset[str]:
    """Names that may stand in texts: of steps, as in `inv replicate.monit`, and of files here."""
    return frozenset({step.line for whole in WHOLE for step in whole.steps} | {f for f in files() if "/" in f})


@cache
def keys(model: type[BaseModel] = Settings) -> frozenset[str]:
    """The keys of the settings."""
    below = [keys(part) for field in model.model_fields.values() for part in parts_of(field)]
    return frozenset(model.model_fields).union(*below)


@pytest.mark.parametrize("file", code())
def test_no_product_is_named_outside_site(file: str) -> None:
    text = (ROOT / file).read_text()
    assert products(file) == []
    if file.endswith(".sql"):
        assert products(text) == []
    else:
        assert named(text, free(), keys(), file.startswith("switchover/checklist/")) == []


def test_all_code_is_read() -> None:
    assert {"switchover/checklist/finish.py", "switchover/settings.py", "switchover/database/host.sql"} <= {*code()}
    assert not any(file.startswith("switchover/site/") for file in code())
    assert "replicate.monit" in free() and "pidfile" in keys()


# --- what is found, and what is not ---------------------------------------------------------------------------------

NAMED = [
    "unicorn = 1",
    "from .site.worker import delayed_job",
    "def restart_puma(): ...",
    "class DelayedJob: ...",
    "class MonitFile: ...",
    "x.monit.file",
    "f(crontab=1)",
    "from . import sidekiq_web as web",
    "x = 'delayed-job'",
    "x = 'two delayed jobs'",
    "x = '/etc/monit/conf.d/x'",
    "x = '/etc/crontab'",
    "x = f'{y} has ufw'",
    "x = f'{ufw}'",
    "x = f'''\nmonit -t\n'''",
    "x = b'UFW'",
    "x = 1  # monit restarts it",
    '"""Puma."""',
    'def f():\n    """It restarts unicorn."""',
    "@property\ndef monit(self): ...",
    "@step\ndef f(move):\n    return 'monit'",
    '@step\ndef f(move):\n    """old: true."""\n    \'ufw\'',
    "@step\ndef f(ufw): ...",
    "class A:\n    @stepwise\n    def monit(self): ...",
    "x = 'replicate.monit_off'",
    "x = 'replicate.monit by monit'",
    "x = 'no/templates/monit-app.j2'",
    "x = 'templates/monit-{name}.j2'",
]


@pytest.mark.parametrize("source", NAMED)
def test_a_product_is_found(source: str) -> None:
    assert len(named(source, {"replicate.monit", "templates/monit-app.j2"})) == 1


FREE = [
    "@step\ndef monit(move): ...",
    "@step_by('copy')\ndef monit_off(move):\n    '''old: monit no longer watches, and ufw is on.'''",
    "@step\ndef f(move):\n    '''old: true.\n\n    The crontab is empty.\n    '''",
    "move.new.monitor.watches()  # monitoring",
    "def monitor(): ...",
    "admonition = 'admonitory'",
    "off = 'replicate.monit'",
    "off = 'see inv replicate.monit.'",
    "render('templates/monit-app.j2')",
    "settings.crontab_user",
    "jobs = 'a job that was delayed'",
]


@pytest.mark.parametrize("source", FREE)
def test_what_is_free_is_not_found(source: str) -> None:
    assert named(source, {"replicate.monit", "templates/monit-app.j2"}, {"crontab_user"}) == []


def test_a_section_s_lines_are_free_and_no_other_module_s() -> None:
    source = '"""Switch delayed jobs.\n\nUndo: monit.\n"""\n'
    assert named(source, section=True) == [] and len(named(source)) == 2
    assert named(source + "x = 'monit'", section=True) == ["5: monit"]
