"""What the lab sends to its servers and keeps in files: sh with its arguments, templates with their values."""

from __future__ import annotations

from pathlib import Path

from switchover import quote


def script(file: Path, *arguments: object) -> str:
    """The sh in *file*, to be run with these *arguments*."""
    return f"set -- {' '.join(map(quote.sh, arguments))}\n{file.read_text()}"


def render(file: Path, **values: object) -> str:
    """The template in *file*, filled in; it may include others of its folder."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(file.name).render(values)
