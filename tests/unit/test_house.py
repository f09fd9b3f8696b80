"""The house: which room may import from which, in no circle; and functions that fit on a page."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = 40

# Modules and packages below switchover/, the lowest first: each imports from its own level and those above it here.
LEVELS = {
    "words, quoting, output: what knows no server": [
        "errors", "events", "failpoint", "findings", "opening", "outcome", "programs", "progress", "quote",
        "release", "render", "output", "settings_file", "switchover", "vocabulary",
    ],
    "a server, its journal, what a step may want": ["desired", "hosts", "journal"],
    "what shall be true of a server": ["resources"],
    "the site, asked from outside: pages, certificates, names": [
        "certificates", "dns", "http", "mail",
    ],
    "what a Rails site is made of": ["site"],
    "the settings, of all kinds": ["database.settings", "settings", "settings_model", "settings_reference"],
    "a server with its site": ["server"],
    "one move: its settings, servers, journal": ["move"],
    "its database, the life of a step": ["database", "section", "step", "verb"],
    "what is found before, and told beforehand": ["aftercare", "ci", "preflight"],
    "the sections": ["checklist"],
    "the verbs": ["commands"],
    "all of them": ["tasks"],
}  # fmt: skip
PLACES = {name: place for place, names in enumerate(LEVELS.values()) for name in names}


@dataclass(frozen=True)
class Import:
    """That a module imports another; *for_types*: only where a type checker reads it."""

    by: str
    of: str
    for_types: bool = False

    @property
    def upwards(self) -> bool:
        """Whether the other one is on a higher level."""
        return place(self.by) < place(self.of)


def place(module: str) -> int:
    """How high a module stands. Raises KeyError where the table has no place for it."""
    return PLACES[module] if module in PLACES else PLACES[module.split(".")[0]]


def sources() -> dict[str, str]:
    """All modules by name, without the `switchover.` that they have in common."""
    files = {path.relative_to(ROOT / "switchover"): path.read_text() for path in (ROOT / "switchover").rglob("*.py")}
    names = {".".join(path.with_suffix("").parts).removesuffix("__init__").rstrip("."): t for path, t in files.items()}
    return {name or "switchover": text for name, text in names.items()} | {"tasks": (ROOT / "tasks.py").read_text()}


def imports(modules: Mapping[str, str]) -> set[Import]:
    """Which of the *modules* imports which, wherever in it: in a function too."""
    return {one for name, source in modules.items() for one in _imports(name, source, modules)}


def _imports(name: str, source: str, modules: Mapping[str, str]) -> Iterator[Import]:
    tree = ast.parse(source)
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    for_types = {id(node) for guard in guards for statement in guard.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [[alias.name] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(name, node, modules)
            named = [[f"{base}.{alias.name}", base] for alias in node.names]
        else:
            continue
        for names in named:
            short = [one.removeprefix("switchover.") for one in names if one.startswith("switchover")]
            if found := next((one for one in short if one in modules), None):
                yield Import(name, found, id(node) in for_types)


def _base(name: str, node: ast.ImportFrom, modules: Mapping[str, str]) -> str:
    """What stands between `from` and `import`, in full."""
    if not node.level:
        return node.module or ""
    parts = ["switchover", *name.split(".")] if name != "switchover" else ["switchover"]
    is_package = name == "switchover" or any(other.startswith(f"{name}.") for other in modules)
    up = node.level - is_package
    parts = parts[: len(parts) - up]
    return ".".join([*parts, *([node.module] if node.module else [])])


def circle(found: set[Import]) -> list[str]:
    """Modules that import each other when they run, in a circle; empty where none do."""
    graph: dict[str, set[str]] = {}
    for one in found:
        if not one.for_types:
            graph.setdefault(one.by, set()).add(one.of)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_has_its_level() -> None:
    assert [name for name in sources() if name.split(".")[0] not in PLACES] == []


def test_nothing_imports_upwards() -> None:
    """For type checkers alone neither."""
    assert {(one.by, one.of) for one in imports(sources()) if one.upwards} == set()


def test_nothing_imports_in_a_circle() -> None:
    assert circle(imports(sources())) == []


BELOW = {
    "relative": ("dns.resolver", "from ..move import Move", "move", False),
    "a module": ("quote", "from . import hosts", "hosts", False),
    "absolute": ("quote", "from switchover.checklist import WHOLE", "checklist", False),
    "by its name": ("quote", "import switchover.checklist.finish", "checklist.finish", False),
    "out of a package": ("dns", "from .resolver import ask", "dns.resolver", False),
    "in a function": ("output", "def f():\n    from .dns import resolver", "dns.resolver", False),
    "for types": ("output", "if TYPE_CHECKING:\n    from .move import Move", "move", True),
}


@pytest.mark.parametrize(("by", "source", "of", "for_types"), BELOW.values(), ids=BELOW)
def test_every_way_to_import_is_seen(by: str, source: str, of: str, for_types: bool) -> None:
    others = dict.fromkeys(("checklist", "checklist.finish", "dns", "dns.resolver", "hosts", "move", "quote"), "")
    assert imports(others | {by: source}) == {Import(by, of, for_types)}


def test_what_is_wrong_is_seen() -> None:
    up, down = Import("resources.file", "checklist.finish"), Import("checklist.finish", "resources.file")
    assert (up.upwards, down.upwards) == (True, False)
    assert set(circle({up, down})) == {up.by, up.of}
    assert circle({Import(up.by, up.of, for_types=True), down}) == []
    with pytest.raises(KeyError):
        place("attic.box")


# --- functions ----------------------------------------------------------------------------------------------------


def long_functions(source: str) -> dict[str, int]:
    """Functions of more than so many lines, docstring and all; with how many."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = sorted((node.end_lineno - node.lineno + 1, node.name) for node in functions)
    return {name: length for length, name in lengths if length > LINES}


def test_functions_fit_on_a_page() -> None:
    found = {f"switchover.{name}.{f}": n for name, text in sources().items() for f, n in long_functions(text).items()}
    assert found == {}


@pytest.mark.parametrize("head", ["def f():", "class A:\n  async def f(self):"])
def test_a_function_that_is_too_long_is_seen(head: str) -> None:
    assert long_functions(head + "\n    x()" * LINES) == {"f": LINES + 1}
    assert long_functions(head + "\n    x()" * (LINES - 1)) == {}
