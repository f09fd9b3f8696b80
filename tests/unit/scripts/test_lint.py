"""`scripts/lint` finds what it checks by patterns, and misses nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.judging.shellcheck import faults
from lab.services.ci import url
from lab.sites.provision import render
from lab.world import SHOP as WORLD

ROOT = Path(__file__).parents[3]
FORMAT, LINT, TYPES = "would be reformatted", "F401", "no-untyped-def"


def test_no_two_test_modules_have_one_name() -> None:
    """pytest knows a module by its name alone, and collects the first."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) > 80 and sorted({name for name in names if names.count(name) > 1}) == []


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # The types of the standard library are looked at once, not for each folder.
    environment = os.environ | {"MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "lint")}
    return subprocess.run([folder / "scripts/lint", *options], capture_output=True, text=True, env=environment)


def listed(folder: Path) -> set[str]:
    done = lint(folder, "--list")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.fixture(params=["git", "an archive"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A repository with a good file of each kind; as git has it, or without git."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for path in ("scripts/lint", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "good.py").write_text('"""Good."""\n')
    (tmp_path / "good.sh").write_text("#!/bin/sh\necho good\n")
    if request.param == "git":
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    return tmp_path


BAD_SHELL = [
    ("bad.sh", "echo $1\n"),
    ("deep/er/bad", "#!/bin/sh -e\nrm $1\n"),
    (".hidden/bad", "#!/usr/bin/env bash\nrm $1\n"),
    ("it is bad", "#! /bin/dash\nrm $1\n"),
    ("-bad.sh", "rm $1\n"),
]
BAD_PYTHON = [
    ("bad.py", "import os\n", LINT),
    ("bad.py", "x=1\n", FORMAT),
    ("bad.py", "def f(x):\n    return x\n", TYPES),
    ("deep/er/bad-program", "#!/usr/bin/env python3\nimport os\n", LINT),
    ("bad-program", "#!/usr/bin/python3 -u\nx=1\n", FORMAT),
    ("deep/bad-program", "#!/usr/bin/env -S python3 -u\ndef f(x):\n    return x\n", TYPES),
]


def put(checkout: Path, name: str, text: str) -> None:
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_passes_what_is_good(checkout: Path) -> None:
    done = lint(checkout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "text"), BAD_SHELL)
def test_it_fails_on_a_bad_shell_script_wherever_it_is(checkout: Path, name: str, text: str) -> None:
    put(checkout, name, text)
    done = lint(checkout, "--shell")
    assert done.returncode != 0 and "SC2086" in done.stdout and name in done.stdout


@pytest.mark.parametrize(("name", "text", "finding"), BAD_PYTHON)
def test_it_fails_on_bad_python_wherever_it_is(checkout: Path, name: str, text: str, finding: str) -> None:
    put(checkout, name, text)
    done = lint(checkout, "--python")
    assert done.returncode != 0 and finding in done.stdout and name in done.stdout


def test_it_finds_as_much_by_a_link_where_the_repository_is_somebody_else_s(checkout: Path) -> None:
    """As by sudo."""
    if os.geteuid() == 0:  # who else may not give it away
        for path in (checkout, checkout / ".git"):
            if path.exists():
                os.chown(path, 65534, 65534)
    before = listed(checkout)
    link = checkout.with_name(f"{checkout.name} by a link")
    link.symlink_to(checkout)
    assert listed(link) == before and len(before) == 3


def test_it_leaves_alone_what_is_neither(checkout: Path) -> None:
    before = listed(checkout)
    put(checkout, "notes", "python3 and sh are programs\n")
    put(checkout, "a.rb", "#!/usr/bin/env ruby\n")
    put(checkout, "sharp", "#!/usr/bin/env shiny\n")
    put(checkout, "a.sh.j2", "#!/bin/sh\n{{ value | sh }}\n")
    (checkout / "a link.sh").symlink_to("nowhere")
    assert listed(checkout) == before


def test_it_fails_where_nothing_is_found(tmp_path: Path) -> None:
    """As in a checkout that git will not list."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".git").touch()
    shutil.copy(ROOT / "scripts/lint", tmp_path / "scripts/lint")
    done = lint(tmp_path)
    assert done.returncode == 1 and "is it a whole checkout?" in done.stderr


def files() -> dict[str, Path]:
    """What is in this repository, by name; asked neither of git nor of the script."""
    ignored = re.compile(r"[.](git|venv|hypothesis|\w+_cache)|__pycache__|reports")
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not ignored.fullmatch(name)]
        paths = (Path(folder, name) for name in names)
        found |= {str(path.relative_to(ROOT)): path for path in paths if path.is_file()}
    return found


def test_no_file_of_this_repository_is_missed() -> None:
    """By another way than the script's own: what its bytes begin with, and who may run it."""
    desired, programs = set(), set()
    for name, file in files().items():
        first = file.read_bytes().partition(b"\n")[0].decode(errors="replace")
        if name.endswith(".j2"):
            continue
        if name.endswith(".py") or re.match(r"#!.*\bpython", first):
            desired.add(f"python {name}")
        elif name.endswith(".sh") or re.match(r"#!.*\b(ba|da)?sh\b", first):
            desired.add(f"shell {name}")
        elif os.access(file, os.X_OK) or first.startswith("#!"):
            programs.add(first)
    assert listed(ROOT) == desired
    assert programs == {"#!/usr/bin/env ruby"}  # what runs and is not looked at: the shop of the lab


# --- templates, which are sh when they are rendered -----------------------------------------------------------------

MOVED = WORLD.sites[0]
PUSHED = {"pusher": MOVED.pushers["ci"], "url": url(WORLD, "old"), "domain": MOVED.domain}
CHANGE = {"title": "About", "token": "0a1b", "seconds": 5}
SERVERS = [
    {"site": site, "role": role, "host": WORLD.hosts[role].name, "behind": behind}
    for role, site in MOVED.servers.items()
    for behind in (True, False)
]
SHOP = {  # of the lab, and in which forms
    "change": [CHANGE | {"change": change} for change in ("broken", "slow", "migration", "harmless")],
    **{
        name: [PUSHED | {"role": role, "behind": role == "new"} for role in ("old", "new", "ci")]
        for name in ("checkout", "commits")
    },
    **dict.fromkeys(("provision", "start", "post-receive", "unicorn-init"), SERVERS),
    **dict.fromkeys(("start-bare", "start-services", "post-receive-services", "web-reload"), SERVERS),
}


def test_shellcheck_finds_nothing_in_the_lab_s_templates() -> None:
    scripts = {}
    for name, forms in SHOP.items():
        for number, values in enumerate(forms):
            text = render(f"{name}.sh.j2", **values)
            scripts[f"{name}-{number}"] = text if text.startswith("#!") else f"#!/bin/sh\n{text}"
    # What an init script reads in (SC1091) is not on this machine.
    assert faults(scripts, "SC1091") == ""


def test_every_template_of_sh_is_looked_at() -> None:
    """By the test above, or by those of the hooks and of certificates."""
    templates = {name: file for name, file in files().items() if name.endswith(".j2")}
    sh = {n for n, file in templates.items() if n.endswith(".sh.j2") or file.read_bytes().startswith(b"#!")}
    hooks = {name for name in templates if name.startswith("hooks/")}
    assert sh == {f"lab/sites/templates/{name}.sh.j2" for name in SHOP} | hooks | {"templates/renewed.sh.j2"}
