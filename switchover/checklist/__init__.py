"""The checklist: a module a section, a function a step, to be read from top to bottom."""

from . import prepare_new, prepare_old, switch_app, switch_db, switch_jobs

SECTIONS = (prepare_old, prepare_new, switch_jobs, switch_app, switch_db)
