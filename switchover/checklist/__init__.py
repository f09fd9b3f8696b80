"""The checklist: a module a section, a function a step, to be read from top to bottom."""

from ..section import Section, section
from ..step import Step
from . import (
    dns_prepare,
    expand_cert,
    finish,
    prepare_new,
    prepare_old,
    replicate,
    retire_old,
    switch_app,
    switch_cron,
    switch_db,
    switch_dns,
    switch_jobs,
)

SECTIONS = (
    *(dns_prepare, prepare_old, prepare_new, switch_jobs, switch_app, switch_cron, expand_cert, replicate, switch_db),
    *(finish, switch_dns),
)
LAST = retire_old  # days later; not part of `inv move`

COLLECTIONS = tuple(section(module) for module in (*SECTIONS, LAST))
WHOLE: tuple[Section, ...] = tuple(collection.tasks["all"] for collection in COLLECTIONS)
MOVE = WHOLE[:-1]  # what `inv move` does


def steps() -> list[Step]:
    """Every step, in the checklist's order."""
    return [step for section in WHOLE for step in section.steps]
