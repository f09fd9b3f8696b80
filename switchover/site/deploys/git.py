"""Deploys by a push to a git repository on the server, whose hooks do the rest."""

from collections.abc import Callable
from typing import Annotated, Any

from ...desired import Precondition, Resource
from ...findings import Found, blocker
from ...hosts import Host
from ...quote import sh
from ...render import render
from ...resources.command import Command
from ...resources.file import Absent, File, FileState
from ...resources.precondition import succeeds
from ...vocabulary import AnyPath, Form, Name
from .. import deploys

LONGEST = 900  # seconds that a deploy may take


class Settings(deploys.Settings):
    """By a push to a git repository on the server."""

    repository: AnyPath = ".git"
    """The repository that is pushed to; a relative path is below the application's directory."""
    branch: Annotated[str, Form(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", "a branch's name")] = "master"
    """The branch that is deployed."""
    name: Name = "production"
    """The usual name of the server's git remote."""


class Pushes(deploys.Deploys[Settings]):
    """Pushes to the repository of one server."""

    tools = ("git",)

    def __post_init__(self) -> None:
        self.repository = self.app.within(self.settings.repository)
        self.url = f"{self.app.user}@{self.server.name}:{self.app.path}"  # to push to

    def _hook(self, name: str, content: bytes) -> File:
        user = self.app.user
        return File(self.server, self.hook(name), content, f"{user}:{user}", "755", test_file="sh -n")

    def hook(self, name: str) -> str:
        """The path of the hook *name*."""
        return f"{self.repository}/hooks/{name}"

    def check(self) -> Found:
        """Its repository exists."""
        look = f"runuser -u {sh(self.app.user)} -- git --git-dir={sh(self.repository)} rev-parse --git-dir"
        if self.server.look(f"{look} >/dev/null 2>&1", check=False).status != 0:
            role = self.server.role
            do = f"Fix {role}.deploys.repository; to leave deploys alone set {role}.deploys.kind: none"
            yield blocker(f"{self.repository} is not a git repository, so pushes cannot be refused", do)

    def refused(self, notice: deploys.Notice, to: deploys.Deploys[Any] | None = None) -> list[Resource]:
        """old: a push is refused, with the reason, and the new URL where there is one."""
        remote, url = (to.settings.name, to.url) if isinstance(to, Pushes) else ("", "")
        content = render("hooks/old-pre-receive.j2", **vars(notice), moved=to is not None, remote=remote, url=url)
        return [self._hook("pre-receive", content)]

    def ended(self) -> Precondition:
        """old: no push is running."""
        running = f"pgrep -u {sh(self.app.user)} -f 'git.receive-pack|hooks/post-receive' >/dev/null"
        return succeeds(self.server, f"not {running}", "a deploy is still running on old", within=LONGEST)

    def accepted(self, notice: deploys.Notice, *, cron: bool, moved: bool = False) -> list[Resource]:
        """new: a push deploys, unless it changes the schema."""
        refuses = render("hooks/new-pre-receive.j2", moved=moved, branch=self.settings.branch, **vars(notice))
        return [self._post_receive(cron=cron, migrate=False), self._hook("pre-receive", refuses)]

    def complete(self, before: Callable[[str], FileState | None]) -> list[Resource]:
        """new: a push deploys everything; the hook that refused migrations is as it was before the move."""
        path = self.hook("pre-receive")
        state = before(path)
        hook: Resource = Absent(self.server, path)
        if state is not None and state.content is not None:
            hook = File(self.server, path, state.content, state.owner, state.mode)
        return [self._post_receive(cron=True, migrate=True), hook]

    def _post_receive(self, *, cron: bool, migrate: bool) -> File:
        app, scheduled = self.app, self.schedule.on_deploy if cron else None
        code = {"branch": self.settings.branch, "path": app.path, "environment": app.environment, "build": app.build}
        parts = {"restart": app.on_deploy(), "worker": self.worker.on_deploy(), "cron": scheduled}
        return self._hook("post-receive", render("hooks/new-post-receive.j2", migrate=migrate, **code, **parts))

    def remote(self, ci: deploys.Ci, host: Host) -> Command:
        """ci: its remote is this server."""
        git = f"runuser -u {sh(ci.user)} -- git -C {sh(ci.checkout)} remote"
        url, remote = sh(self.url), sh(ci.remote)
        run = f"[ -s before/url ] || {git} get-url {remote} >before/url\n{git} set-url {remote} {url}"
        undo = f'[ ! -s before/url ] || {git} set-url {remote} "$(cat before/url)"'
        check = f'[ "$({git} get-url {remote})" = {url} ]'
        return Command(host, run, undo, check, f"git remote set-url {ci.remote} {self.url}")

    def deploys(self, ci: deploys.Ci, host: Host) -> Command:
        """ci: a push to this server deploys."""
        to = f"{sh(ci.remote)} HEAD:{sh(self.settings.branch)}"
        push = f"GIT_SSH_COMMAND='ssh -o BatchMode=yes' git -C {sh(ci.checkout)} push {to}"
        # git reports a push as successful when the deploy fails, as that hook runs after it: its output has the error.
        run = f"""
s=0; out=$(runuser -u {sh(ci.user)} -- sh -c {sh(push)} 2>&1) || s=$?
why=$(printf '%s\\n' "$out" | sed -n 's/^remote: *\\[ERROR\\] *//p' | head -n 1)
{{ [ "$s" -eq 0 ] && [ -z "$why" ]; }} || refuse "${{why:-$(printf '%s\\n' "$out" | tail -n 1)}}"
"""
        return Command(host, run, shown=f"git push {ci.remote} HEAD:{self.settings.branch}")
