"""Labs in which a part of the move is done already: made once, and kept as long as the program stays the same."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import yaml

from .commands import ROOT, must
from .judging.audit import Shop
from .machine import cache
from .machine.locks import locked
from .place import place
from .servers import Lab

# Whatever may have a part in how a server is after a section, and a little more.
PARTS = ("switchover", "templates", "scripts", "nginx", "hooks", "lab", "requirements.lock")
MADE_FROM = [ROOT / part for part in PARTS]
STATE = "reached"
DAYS = 0.1  # another version's is of no use: unused for so long, it goes when one is made


@contextmanager
def reached(
    *sections: str, sql: str = "", settings: Mapping[str, Any] | None = None, ci: bool = True,
    strategy: str = "replicate", seed_mb: int = 5,
) -> Iterator[Lab]:  # fmt: skip
    """A lab in which these sections were done, from a kept state where there is one; made otherwise.

    *settings*: of its move.yaml, in place of the lab's own. *sql*: run in old's database before.
    Raises Problem when a section fails.
    """
    options: dict[str, Any] = {"ci": ci, "strategy": strategy, "seed_mb": seed_mb}
    parts = [*sections, sql, repr(settings), repr(options)]
    states = place().reached / f"{sections[-1]}-{cache.digest(*parts, files=MADE_FROM)}"
    with ExitStack() as ends:
        with locked(states.with_name(f".{states.name}.lock")):
            cache.used(states)
            if Lab(**options, states=states).has_state(STATE):
                lab = ends.enter_context(Lab(state=STATE, states=states))
            else:
                lab = ends.enter_context(Lab(**options, states=states))
                data = yaml.safe_load(lab.settings.read_text()) | (settings or {})
                lab.settings.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
                if sql:
                    Shop(lab.old).psql(sql)
                must(lab.settings, *sections)
                cache.prune(states.parent, days=DAYS)
                lab.save(STATE)
        yield lab
