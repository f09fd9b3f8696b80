"""What pyproject.toml declares: what is imported, what the lock file has, one version, hooks that are there."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import switchover

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
DECLARED = {name: {canonicalize_name(Requirement(line).name) for line in lines} for name, lines in GROUPS.items()}
# Which groups' packages may be imported where.
MAY_IMPORT = {
    "tasks.py": [""],
    "switchover": ["", "dns"],
    "lab": ["", "dns", "lab"],
    "benchmarks": ["", "dns", "lab"],
    "tests": ["", "dns", "lab", "dev"],
}
PROGRAMS = {"mypy", "pytest-xdist", "ruff", "types-pyyaml", "uv"}  # of dev: run, or read by mypy, and imported nowhere


def files(place: str) -> list[Path]:
    found = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    assert found, place
    return found


@cache
def ours() -> set[str]:
    """The names of modules that are this repository's own."""
    return {*(Path(place).stem for place in MAY_IMPORT), *(path.stem for path in files("tests"))}


def imported(source: str) -> set[str]:
    """The packages that a module imports, wherever in it; not those of Python itself and of this repository."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - ours()


@cache
def providers() -> dict[str, set[str]]:
    """Canonical names of the packages that provide a module, by the module's name."""
    return {name: {canonicalize_name(one) for one in found} for name, found in packages_distributions().items()}


def distributions(place: str) -> dict[str, set[str]]:
    """Who provides what *place* imports, by the name that is imported."""
    names: set[str] = set()
    for path in files(place):
        names |= imported(path.read_text())
    return {name: providers().get(name, set()) for name in names}


# --- imports ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_what_is_imported_is_declared(place: str) -> None:
    declared = set().union(*(DECLARED[group] for group in MAY_IMPORT[place]))
    assert {name: by for name, by in distributions(place).items() if not by & declared} == {}


def test_every_way_to_import_is_seen() -> None:
    source = (
        "import a.b, os\nfrom . import c\ndef f():\n  from d.e import g\n  if x:\n    import h as i\nfrom lab import k"
    )
    assert imported(source) == {"a", "d", "h"}


def test_what_is_declared_is_imported_or_a_program() -> None:
    used = set().union(*(by for place in MAY_IMPORT for by in distributions(place).values()))
    assert set().union(*DECLARED.values()) - used == PROGRAMS


def test_the_checklist_is_listed_without_what_takes_long_to_import() -> None:
    slow = (
        "cryptography",
        "dns",
        "fabric",
        "filelock",
        "jinja2",
        "lexicon",
        "matplotlib",
        "paramiko",
        "pydantic",
        "trustme",
    )
    code = f"import sys, tasks; print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- the lock file ------------------------------------------------------------------------------------------------

LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<when>[^\\]+))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def locked_packages() -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and hashes of every entry. Raises AssertionError at a line that is none of one."""
    for entry in re.split(r"^(?=[^ #])", LOCK, flags=re.MULTILINE)[1:]:
        first, *more = entry.splitlines()
        pin = PIN.fullmatch(first)
        assert pin, first
        hashes = [line for line in more if not line.lstrip().startswith("#")]
        assert all(HASH.fullmatch(line) for line in hashes), first
        yield pin["name"], pin["version"], hashes


def test_the_lock_file_satisfies_what_is_declared() -> None:
    versions: dict[str, list[str]] = {}
    for name, version, hashes in locked_packages():
        assert hashes, f"{name} {version} has no hash"
        versions.setdefault(name, []).append(version)
    for line in (line for lines in GROUPS.values() for line in lines):
        desired = Requirement(line)
        locked = versions.get(canonicalize_name(desired.name), [])
        assert locked, f"{line}: not in the lock file. Run scripts/lock"
        assert all(desired.specifier.contains(version) for version in locked), f"{line}: {locked}. Run scripts/lock"


def test_the_lock_file_says_how_it_is_made_and_not_where_packages_come_from() -> None:
    assert LOCK.splitlines()[1].split() == ["#", "scripts/lock"] and (ROOT / "scripts" / "lock").stat().st_mode & 0o111
    assert not re.search(r"://|^\s*(-i|--(extra-)?index-url|--find-links|--trusted-host)\b", LOCK, re.MULTILINE)


# --- version, licence, hooks --------------------------------------------------------------------------------------


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == switchover.__version__


def test_the_licence_that_is_named_is_the_one_that_is_there() -> None:
    [file] = PROJECT["license-files"]
    assert (ROOT / file).read_text().startswith(f"{PROJECT['license']} License\n")


def test_hooks_are_local_and_their_programs_are_there() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = {hook["id"]: hook for hook in repos[0]["hooks"]}
    assert set(hooks) == {"format", "lint", "types", "shellcheck"}
    for hook in hooks.values():
        program = ROOT / shlex.split(hook["entry"])[0]
        assert hook["language"] == "system" and program.stat().st_mode & 0o111, program
