"""The kinds of each room: found by their files, whole, and said by the settings; a new one is one file."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from here import right
from jsonschema import Draft202012Validator

from switchover import site
from switchover.desired import Nothing
from switchover.errors import Problem
from switchover.hosts import Answer
from switchover.move import Move
from switchover.server import Server
from switchover.settings import check
from switchover.site.kinds import Kind, OneOf, kinds

ROOT = Path(__file__).parents[3]
ROOMS = [module.name for module in pkgutil.iter_modules(site.__path__) if module.ispkg]
KINDS = [(room, kind) for room in ROOMS for kind in kinds(room)]
# What the settings of a kind must say, by room and kind; all else has a default.


def listed(names: Iterable[str]) -> str:
    """As a message lists them."""
    *most, last = (f"'{name}'" for name in sorted({*names}))
    return f"{', '.join(most)} or {last}"


WORKERS = listed(kinds("worker"))
LEAST: dict[tuple[str, str], dict[str, Any]] = {
    ("app", "unicorn"): right()["old"]["app"],
    ("app", "service"): right()["old"]["app"] | {"listens": "127.0.0.1:3000"},
    ("worker", "service"): {"service": "sidekiq"},
    ("web", "nginx"): right()["old"]["web"],
}
KEYS = {"monitor": "watch"}  # of the settings, where they are not called as the room


def module(room: str) -> ModuleType:
    return importlib.import_module(f"switchover.site.{room}")


def protocol(room: str) -> type[Kind[Any]]:
    """What the kinds of a room promise."""
    (found,) = [v for v in vars(module(room)).values() if isinstance(v, type) and v.__module__ == module(room).__name__
                and issubclass(v, Kind)]  # fmt: skip
    return found


class Silent(Server):
    """A server that answers nothing."""

    def _run(self, script: str, on_line: object) -> Answer:
        return Answer("", "", 0)


def on_a_server(room: str, kind: str) -> Kind[Any]:
    data, part = right(), {"kind": kind, **LEAST.get((room, kind), {})}
    if room == "certificate":
        data["certificate"] = part
        return Move(check(data, "move.yaml")).certificate
    data["old"][KEYS.get(room, room)] = part
    made: Kind[Any] = getattr(Silent("old", check(data, "move.yaml").old), room)
    return made


# --- each kind is whole ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("room", "kind"), KINDS)
def test_a_kind_is_what_its_room_promises(room: str, kind: str) -> None:
    made = on_a_server(room, kind)
    assert isinstance(made, protocol(room)) and made.settings.kind == kind
    assert all(isinstance(tool, str) for tool in made.tools)
    assert all(path.startswith("/") for path in made.paths.values())
    assert all(made.services.values())


@pytest.mark.parametrize(("room", "kind"), KINDS)
def test_a_kind_is_called_as_its_file(room: str, kind: str) -> None:
    part = kinds(room)[kind]
    assert part.__module__ == f"switchover.site.{room}.{kind}"
    assert issubclass(part, module(room).Settings) and part.model_fields["kind"].default == kind
    assert type(on_a_server(room, kind)).__module__ == part.__module__


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_its_default_among_its_kinds(room: str) -> None:
    assert OneOf(room).default in kinds(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_kind_that_lacks_a_method_cannot_be_made(room: str) -> None:
    promised = protocol(room)
    assert promised.__abstractmethods__
    for name in promised.__abstractmethods__:
        others = dict.fromkeys(promised.__abstractmethods__ - {name})
        with pytest.raises(TypeError, match=f"abstract method '?{name}'?"):
            type("Toy", (promised,), others)(None, None)
    assert not inspect.isabstract(type("Toy", (promised,), dict.fromkeys(promised.__abstractmethods__)))


@pytest.mark.parametrize("lacks", ["a_job", "runs"])
def test_a_kind_that_does_not_set_what_its_room_promises_cannot_be_made(lacks: str) -> None:
    sets = dict.fromkeys((protocol("worker").__abstractmethods__ | {"runs", "works", "did_a_job", "a_job"}) - {lacks})
    toy = type("Toy", (protocol("worker"),), {**sets, "__module__": f"toy.{lacks}"})
    settings = type("Settings", (), {"__module__": toy.__module__})()
    with pytest.raises(TypeError, match=f"^Toy does not set {lacks}$"):
        protocol("worker").of(None, settings, None)


@pytest.mark.parametrize("room", ROOMS)
def test_settings_that_no_kind_is_for_are_on_no_server(room: str) -> None:
    settings = module(room).Settings.model_construct(kind="toy")
    with pytest.raises(TypeError, match="abstract class"):
        protocol(room).of(None, settings)


# --- the settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("worker.kind", "nonesuch", f"old.worker.kind: {WORKERS}, not 'nonesuch'"),
        ("worker.kind", None, f"old.worker.kind: {WORKERS}, not 'None'"),
        ("worker.kind", ["none"], f"old.worker.kind: {WORKERS}, not \"['none']\""),
        ("worker.kind", 1, f"old.worker.kind: {WORKERS}, not '1'"),
        ("worker.kind", {"none": 1}, f"old.worker.kind: {WORKERS}, not \"{{'none': 1}}\""),
        ("worker.kind", "None", f"old.worker.kind: {WORKERS}, not 'None'"),
        ("worker", None, "old.worker: keys with their values, like name: value"),
        ("worker", "none", "old.worker: keys with their values, like name: value, not 'none'"),
        ("worker", ["none"], "old.worker: keys with their values, like name: value"),
        ("worker", {"kind": "none", "command": "x"}, "old.worker.command: unknown key; known here: kind"),
        ("worker", {"kind": "service", "service": "x", "comand": "x"}, "old.worker.comand: unknown key; known here: "),
        ("worker", {"kind": "service"}, "old.worker.service: missing"),
        ("worker.service", "sidekiq", "old.worker.service: unknown key; known here: kind, command, pidfile, log, "),
        ("worker.pidfil", "x", "old.worker.pidfil: unknown key; did you mean 'pidfile'?"),
        ("app.listens", "127.0.0.1:3000", "old.app.listens: unknown key; known here: kind, path, user, "),
        ("app", right()["old"]["app"] | {"kind": "service"}, "old.app.listens: missing"),
        ("watch", {"kind": "none", "app": "/etc/x"}, "old.watch.app: unknown key; known here: kind"),
        ("firewall.allow", ["80/udb"], "old.firewall.allow.0: a port like 443/tcp, not '80/udb'"),
    ],
)  # fmt: skip
def test_a_fault_names_its_key(path: str, value: Any, said: str) -> None:
    data = right()
    *way, last = path.split(".")
    inner = data["old"]
    for key in way:
        inner = inner.setdefault(key, {})
    inner[last] = value
    with pytest.raises(Problem) as raised:
        check(data, "move.yaml")
    first, *faults = raised.value.what.splitlines()
    assert first == "1 to fix:"
    assert faults[0].strip().startswith(said)


@pytest.mark.parametrize("key", ["worker", "code", "watch", "schedule", "deploys", "firewall"])
def test_without_a_kind_it_is_the_default_s(key: str) -> None:
    data = right()
    data["new"][key] = {}
    settings = check(data, "move.yaml")
    room = next((room for room, named in KEYS.items() if named == key), key)
    for part in (getattr(settings.old, key), getattr(settings.new, key)):
        assert part == kinds(room)[module(room).DEFAULT]()


def test_a_kind_s_keys_may_be_given_without_naming_the_default() -> None:
    data = right()
    data["old"]["worker"], data["old"]["watch"] = {"longest_job": 7}, {"worker": "/etc/monit/conf.d/w"}
    old = Move(check(data, "move.yaml")).old
    assert (old.worker.settings.kind, old.worker.settings.longest_job) == ("delayed_job", 7)
    assert old.monitor.starts_worker and not Move(check(right(), "move.yaml")).old.monitor.starts_worker


# --- none -----------------------------------------------------------------------------------------------------------

NONE = [
    ("worker", "none", "old has no worker, as old.worker.kind is none"),
    ("monitor", "none", "old has no monitor, as old.watch.kind is none"),
    ("schedule", "none", "old has no regular tasks, as old.schedule.kind is none"),
    ("schedule", "worker", "old's worker starts regular tasks, as old.schedule.kind is worker"),
    ("deploys", "none", "deploys to old are left alone, as old.deploys.kind is none"),
    ("firewall", "none", "old's firewall is left alone, as old.firewall.kind is none"),
    ("certificate", "copied", "old's certificate stays, as certificate.kind is copied"),
]


@pytest.mark.parametrize(("room", "kind", "why"), NONE)
def test_what_has_nothing_to_do_says_why(room: str, kind: str, why: str) -> None:
    """Whatever it is asked: all that may return Nothing does."""
    made = on_a_server(room, kind)
    promised = {n: f for n in dir(protocol(room)) if inspect.isfunction(f := getattr(protocol(room), n))}
    asked = {
        n: f for n, f in promised.items() if re.search("Nothing|Some|Desired", str(f.__annotations__.get("return")))
    }
    assert len(asked) >= 2
    for name, function in asked.items():
        takes = list(inspect.signature(function).parameters.values())[1:]
        assert getattr(made, name)(**{each.name: None for each in takes}) == Nothing(why), name


# --- a new kind is one file -----------------------------------------------------------------------------------------

TOY = '''"""resque, as a toy."""

from .. import worker
from ..kinds import Action


class Settings(worker.Settings):
    """resque, which a test has put here."""

    queues: str
    """The queues that it works off."""


class Resque(worker.Worker[Settings]):
    """A toy."""

    tools = ("resque",)
    runs = works = did_a_job = a_job = "true"

    def starting(self) -> Action:
        """Starts it."""
        return Action(f"resque {self.settings.queues}", "starts")

    def stopping(self) -> Action:
        """Stops it."""
        return Action("resque stop", "stops")

    def on_deploy(self) -> str:
        """sh: restarts it."""
        return "worker() { :; }"
'''
ASK = """
import json, sys
import switchover
from switchover import settings_reference
from switchover.errors import Problem
from switchover.move import Move
from switchover.settings import check

said = {}
for name, data in json.load(sys.stdin).items():
    try:
        worker = Move(check(data, "move.yaml")).old.worker
        said[name] = [type(worker).__name__, worker.starting().sh, worker.tools]
    except Problem as problem:
        said[name] = problem.what
said["home"], said["page"] = switchover.__file__, settings_reference.page()
said["schema"] = json.loads(settings_reference.schema())
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of this repository says with one more file in it, and nothing else."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "switchover", home / "switchover", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("templates", "hooks", "nginx", "scripts"):
        (home / name).symlink_to(ROOT / name)
    (home / "switchover/site/worker/resque.py").write_text(TOY)
    asked = {}
    for name, worker in {
        "right": {"kind": "resque", "queues": "mail"},
        "unknown key": {"kind": "resque", "queues": "mail", "queue": "x"},
        "missing key": {"kind": "resque"},
        "unknown kind": {"kind": "rescue"},
        "default": {},
    }.items():
        asked[name] = right()
        asked[name]["old"]["worker"] = worker
    ran = subprocess.run([sys.executable, "-c", ASK], cwd=home, input=json.dumps(asked), capture_output=True, text=True,
                         env=os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    assert answer["home"] == str(home / "switchover/__init__.py")
    return answer


def test_the_settings_know_the_new_kind(said: dict[str, Any]) -> None:
    assert said["right"] == ["Resque", "resque mail", ["resque"]]
    assert said["default"][0] == "DelayedJob"


def test_its_faults_are_named_as_any_kind_s(said: dict[str, Any]) -> None:
    assert said["unknown key"] == "1 to fix:\n  old.worker.queue: unknown key; did you mean 'queues'?"
    assert said["missing key"] == "1 to fix:\n  old.worker.queues: missing; docs/settings.md says what it is"
    tags = listed([*kinds("worker"), "resque"])
    assert said["unknown kind"] == f"1 to fix:\n  old.worker.kind: {tags}, not 'rescue'"


def test_the_reference_has_it(said: dict[str, Any]) -> None:
    start = said["page"].index("**`kind: resque`**: resque, which a test has put here.")
    table = said["page"][start:].split("\n\n")[1]
    assert table.splitlines()[2:] == ["| `queues` | The queues that it works off. | **needed** |"]


def test_editors_know_it(said: dict[str, Any]) -> None:
    editor = Draft202012Validator(said["schema"])
    for worker, is_right in [
        ({"kind": "resque", "queues": "mail"}, True),
        ({"kind": "resque", "queues": 1}, False),
        ({"kind": "resque", "queues": "mail", "queue": "x"}, False),
        ({"kind": "resque"}, False),
        ({"kind": "rescue"}, False),
        ({"kind": "none"}, True),
    ]:
        data = right()
        data["old"]["worker"] = worker
        assert editor.is_valid(data) == is_right, worker
