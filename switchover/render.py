"""Templates of `templates/`, `nginx/` and `hooks/`, rendered with quoting filters.

A value that a template lacks is an error, never an empty text; every value in a template goes through a
filter that quotes it for where it stands (`|sh`, `|sql`, `|nginx`, `|yaml`, `|html`, `|systemd`, `|line` …).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import quote
from .errors import Problem

if TYPE_CHECKING:
    from jinja2 import Environment

HOME = Path(__file__).resolve().parent.parent
FILTERS = ("sh", "sql", "ident", "nginx", "yaml", "html", "systemd", "pgpass", "line", "quoted", "rendered")
FOLDERS = ("templates", "nginx", "hooks", "scripts")


@cache
def environment() -> Environment:
    """Jinja as every template gets it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # No autoescape, since it is not HTML alone: each value names its own filter, and a test sees to it.
    jinja = Environment(loader=FileSystemLoader(HOME), undefined=StrictUndefined, autoescape=False)  # noqa: S701
    jinja.trim_blocks = jinja.lstrip_blocks = jinja.keep_trailing_newline = True
    jinja.filters |= {name: getattr(quote, name) for name in FILTERS}
    return jinja


def render(template: str, **values: Any) -> bytes:
    """*template* (its path in the repository) with *values*. Raises Problem where the template is at fault."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        return environment().get_template(template).render(**values).encode()
    except (TemplateError, ValueError) as error:
        where = f"{template} line {error.lineno}" if isinstance(error, TemplateSyntaxError) else template
        raise Problem(str(error), where, "Fix the template or the setting") from None
