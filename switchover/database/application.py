"""The application's database.yml on new: which database it names, and whether the code fits that database."""

from __future__ import annotations

from ..errors import Problem
from ..findings import listed
from ..move import Move
from ..quote import sh
from ..render import render
from ..resources import File
from . import link, pgbouncer
from .replication_status import is_replicated

STEP = "prepare-new.database-yml"  # by which it names old's database


def uses_old_database(move: Move) -> File:
    """new: database.yml names old's database, through PgBouncer where new's replicates it."""
    new = move.new
    if is_replicated(move):
        template, place = "database-pooled", {"port": move.settings.pgbouncer.port, "database": new.database.name}
        login = {"username": pgbouncer.ROLE, "password": pgbouncer.password(move)}
    else:
        template, place = "database", link.to_old(move)
        login = {"username": link.ROLE, "password": link.password(move)}
    content = render(f"templates/{template}.yml.j2", environment=new.app.environment, **place, **login)
    return File(new, new.in_app(new.database.config), content, f"{new.app.user}:{new.app.user}", "600", secret=True)


def uses_own_database(move: Move) -> File | None:
    """new: database.yml is as it was before the move; None where the move did not change it."""
    new = move.new
    path = new.in_app(new.database.config)
    found = move.before(new, STEP)(path)
    return File(new, path, found.content or b"", found.owner, found.mode, secret=True) if found else None


def pending_migrations(move: Move) -> None:
    """Raises Problem where new's code has migrations that old's database has not had."""
    names = f"cd {sh(move.new.app.path)} && ls db/migrate 2>/dev/null | sed -n 's/^\\([0-9]*\\)_.*[.]rb$/\\1/p' | sort"
    done = f"{link.ON_OLD} -c 'SELECT version FROM schema_migrations' || exit 1"
    had, _, has = move.new.look(f"{done}\necho --\n{names}").out.partition("--\n")
    if pending := sorted(set(has.split()) - set(had.split())):
        what = f"pending migrations would run on the live database: {listed(pending)}"
        raise Problem(what, str(move.new), "Deploy old's exact commit (settings: revision), or migrate old first")
