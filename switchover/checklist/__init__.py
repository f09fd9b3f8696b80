"""The checklist: a module a section, a function a step, to be read from top to bottom."""

from importlib import import_module

from ..section import Section, section
from ..step import Step

NAMES = (  # of the modules, in the checklist's order
    *("dns_prepare", "prepare_old", "prepare_new", "switch_jobs", "switch_app", "switch_cron", "expand_cert"),
    *("replicate", "switch_db", "finish", "switch_dns"),
    "retire_old",  # days later; not part of `inv move`
)

COLLECTIONS = tuple(section(import_module(f"{__name__}.{name}")) for name in NAMES)
WHOLE: tuple[Section, ...] = tuple(collection.tasks["all"] for collection in COLLECTIONS)
MOVE = WHOLE[:-1]  # what `inv move` does


def steps() -> list[Step]:
    """Every step, in the checklist's order."""
    return [step for section in WHOLE for step in section.steps]
