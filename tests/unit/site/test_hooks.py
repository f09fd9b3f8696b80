"""The git hooks as they land on the servers: shellcheck finds nothing, in any of their forms."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.judging.shellcheck import faults
from switchover.move import Move
from switchover.render import HOME, render

WHO = {"date": "Thu 8 Feb 2018", "who": 'maikel@it\'s "here"', "domain": "shop.example.org", "branch": "master"}
DEPLOY = {
    "path": "/home/o'fn/current",
    "environment": "production",
}


PARTS = {  # of the hook that deploys, by what the kinds of application and worker put there
    "app-unicorn": {"pidfile": "/home/o'fn/tmp/pids/unicorn.pid"},
    "app-service": {"reload": "sudo systemctl reload 'a shop'", "reloaded": "curl -sf localhost:3000"},
    "worker-delayed_job": {"pidfile": "/home/ofn/tmp/pids/delayed_job.pid", "command": "script/delayed_job"},
    "worker-service": dict.fromkeys(("runs", "quiet", "drained", "stop", "start"), "echo 'it is'"),
    "worker-none": {},
}


def forms() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each hook, in each of its forms."""
    for moved in (True, False):
        yield "old-pre-receive", WHO | {"moved": moved, "remote": "production", "url": "ofn@prod2:a path"}
        yield "new-pre-receive", WHO | {"moved": moved}
    builds = ((), ("bundle install --deployment", "bin/rails assets:precompile"))
    restarts = [name for name in PARTS if name.startswith("app-")]
    workers = [name for name in PARTS if name.startswith("worker-")]
    for app, worker in itertools.product(restarts, workers):
        parts = {"restart": part(app), "worker": part(worker)}
        for build, migrate, cron in itertools.product(builds, (True, False), (None, "whenever -i 'a b'")):
            yield "new-post-receive", WHO | DEPLOY | parts | {"build": build, "migrate": migrate, "cron": cron}


def part(name: str) -> str:
    """A part of the hook that deploys."""
    return render(f"hooks/{name}.sh.j2", **PARTS[name]).decode()


FORMS = list(forms())


def test_all_hooks_are_looked_at() -> None:
    named = {f"{name}.j2" for name, _ in FORMS} | {f"{name}.sh.j2" for name in PARTS}
    assert named == {path.name for path in (HOME / "hooks").iterdir()}


def test_shellcheck_finds_nothing() -> None:
    hooks = {f"{n}-{name}": render(f"hooks/{name}.j2", **values).decode() for n, (name, values) in enumerate(FORMS)}
    assert faults(hooks, "") == ""


# --- what they do with a push ------------------------------------------------------------------------------------


def git(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    line = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder), *words]
    return subprocess.run(line, capture_output=True, text=True, check=check)


@pytest.fixture
def push(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Pushes a file to a repository that has these hooks."""
    server, mine = tmp_path / "server", tmp_path / "mine"
    git(tmp_path, "init", "-q", "-b", "master", str(server))
    git(server, "config", "receive.denyCurrentBranch", "ignore")
    git(server, "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path, "clone", "-q", str(server), str(mine))

    def run(hook: str, path: str, **values: Any) -> subprocess.CompletedProcess[str]:
        target = server / ".git/hooks" / hook.partition("-")[2]
        target.write_bytes(render(f"hooks/{hook}.j2", **WHO | values))
        target.chmod(0o755)
        (mine / path).parent.mkdir(parents=True, exist_ok=True)
        (mine / path).write_text("x")
        git(mine, "add", path)
        git(mine, "commit", "-q", "-m", path)
        return git(mine, "push", "-q", "origin", "HEAD:master", check=False)

    return run


@pytest.mark.parametrize("path", ["db/migrate/20180208_x.rb", "db/schema.rb", "db/structure.sql"])
@pytest.mark.parametrize(("moved", "says"), [(False, "migrations have to wait"), (True, "inv retire-old")])
def test_a_schema_change_is_refused_and_told(push: Any, path: str, moved: bool, says: str) -> None:
    done = push("new-pre-receive", path, moved=moved)
    assert done.returncode != 0 and says in done.stderr and "changes the database's schema" in done.stderr


def test_what_leaves_the_schema_alone_passes(push: Any) -> None:
    assert push("new-pre-receive", "app/models/x.rb", moved=True).returncode == 0


def test_old_refuses_with_the_new_address(push: Any) -> None:
    done = push("old-pre-receive", "app/x.rb", moved=True, remote="production", url="ofn@prod2:app")
    assert done.returncode != 0 and "git remote set-url production ofn@prod2:app" in done.stderr


def test_migrations_wait_while_a_database_follows(here: Callable[..., Move]) -> None:
    """After `finish` old's follows new's; `retire-old` lets them pass."""
    from switchover.checklist import finish, retire_old

    move = here()
    hooks = {file.path.rpartition("/")[2]: file for file in finish.deploy_hook.desired(move)}
    assert b"inv retire-old" in hooks["pre-receive"].content and b"db:migrate" not in hooks["post-receive"].content
    after = {one.path.rpartition("/")[2]: one for one in retire_old.deploy_hook.desired(move)}
    assert not hasattr(after["pre-receive"], "content") and b"db:migrate" in after["post-receive"].content
