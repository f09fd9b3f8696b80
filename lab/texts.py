"""What the lab sends to its servers, keeps in files and reads from programs: sh, templates, last lines."""

from pathlib import Path
from typing import Any

from switchover import quote
from switchover.render import environment


def script(file: Path, *arguments: object) -> str:
    """The sh in *file*, to be run with these *arguments*."""
    return f"set -- {' '.join(map(quote.sh, arguments))}\n{file.read_text()}"


def render(file: Path, **values: Any) -> str:
    """The template in *file*, filled in; it may include others of its folder. HTML has its values
    escaped. Those that are functions are filters."""
    from jinja2 import FileSystemLoader  # a server's supervisor needs no templates

    html = ".html" in file.suffixes
    jinja = environment().overlay(loader=FileSystemLoader(file.parent), lstrip_blocks=html, autoescape=html)
    jinja.filters = jinja.filters | {name: value for name, value in values.items() if callable(value)}
    return jinja.get_template(file.name).render(values)


def last_line(*texts: str) -> str:
    """The last line of the first of these that is not empty: a program's error output, else its output."""
    lines = next((text.strip().splitlines() for text in texts if text.strip()), ["no output"])
    return lines[-1][:300]
