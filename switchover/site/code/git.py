"""A git checkout in the application's directory: new fetches what it lacks from old's, with rsync."""

from typing import Any

from ...errors import Problem
from ...findings import Found, good
from ...quote import sh
from ...resources.command import Command
from ...resources.uploads import on, ssh
from .. import code


class Settings(code.Settings):
    """A git checkout in the application's directory."""


class Checkout(code.Code[Settings]):
    """The checkout of one server."""

    tools = ("git",)

    def __post_init__(self) -> None:
        app = self.app
        self.changed = f"{app.path}/.git/HEAD"
        self._head = f"runuser -u {sh(app.user)} -- git -C {sh(app.path)} rev-parse HEAD"

    def version(self) -> str:
        """Its full commit id. Raises Problem where the directory is no checkout."""
        answer = self.server.look(self._head, check=False)
        commit = answer.out.strip()
        if answer.status != 0 or len(commit) != 40:
            old = self.server.role == "old"
            do = "Set `revision:` to its commit" if old else "Install the application there first, with git"
            raise Problem(f"{self.app.path} is not a git checkout", str(self.server), do)
        return commit

    def is_at(self, version: str, old: code.Code[Any]) -> Command:
        """Its files are those of the commit *version*, and it was built; undone, they are as before."""
        app, owner = self.app, sh(f"{self.app.user}:{self.app.user}")
        objects, here = sh(on(old.server, f"{old.app.path}/.git/objects/")), sh(f"{app.path}/.git/objects/")
        build = "\n".join(app.run(command) for command in app.build)
        run = f"""
{app.run("git rev-parse HEAD")} >before/commit.new
[ -s before/commit ] || mv before/commit.new before/commit
rsync -a -s --chown={owner} --ignore-existing -e {sh(ssh(old.server))} {objects} {here}
{app.run(f"git reset -q --hard {sh(version)}")}
{build}
"""
        reset = app.run('git reset -q --hard "$(cat)"')
        undo = f"if [ -s before/commit ]; then\n{reset} <before/commit\n{build}\nfi"
        shown = f"git reset --hard {version[:12]} in {app.path}"
        return Command(self.server, run, undo, f'[ "$({self._head})" = {sh(version)} ]', shown, part="commit")

    def compared(self, desired: str) -> Found:
        """It is a checkout, at whatever commit."""
        here = self.version()
        yield good(f"the code is at {desired[:12]} on old" + ("" if here == desired else f"; new has {here[:12]} now"))
