"""Reads the settings' file, in Invoke's stead: a fault in it is one line, not a traceback.

It is read as editors read it: by YAML 1.2, where only `true` and `false` are no texts (`no` is Norwegian) and 0600 is
no octal number; and a key that stands twice is a fault, where PyYAML silently takes the last one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from invoke.config import Config

from .errors import Problem


def read(path: str | Path) -> dict[Any, Any]:
    """The mapping in the YAML file *path*. Raises Problem where there is none, or a key stands in it twice."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        do = "Copy move.example.yaml to move.yaml and describe your servers there"
        raise Problem("there is no such file", str(path), do) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"cannot be read ({error})", str(path), "Save it as UTF-8 text that you can read") from None
    try:
        data, twice = _parse(text)
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        # The last three PyYAML lets through where a tag and its value do not go together (!!bool maybe).
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "no valid text"
        raise Problem(f"is not YAML{line} ({what})", str(path), "Compare it with move.example.yaml") from None
    if twice:
        raise Problem("; ".join(twice), str(path), "Keep one of them")
    if not isinstance(data, dict):
        raise Problem("has no settings", str(path), "Compare it with move.example.yaml")
    return data


def shown(value: object, *, quoted: bool = False) -> str:
    """*value* on one line of at most 70 characters."""
    try:
        text = str(value)
    except ValueError:  # more digits than Python writes
        return "that number"
    if not text or not text.isprintable() or (quoted and isinstance(value, str)):
        text = repr(value)
    return text if len(text) <= 70 else text[:69] + "…"


class _Loader(yaml.SafeLoader):
    """PyYAML's, with the booleans of YAML 1.2 and decimal numbers; a date or a = is a text."""


_OTHERS = (":bool", ":int", ":float", ":timestamp", ":value")  # in YAML 1.1
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if not tag.endswith(_OTHERS)]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), [*"tTfF"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), [*"-+0123456789"])
_FLOAT = r"[-+]?([0-9]+[.][0-9]*|[.][0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?[.](inf|Inf|INF)|[.](nan|NaN|NAN)"
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"({_FLOAT})$"), [*"-+.0123456789"])


def _parse(text: str) -> tuple[Any, list[str]]:
    """What is in the YAML *text*, and a line for each key that stands in its mapping more than once."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        # Before it becomes data, which has no lines; and before the merge keys (<<) become keys of their own.
        twice = list(_twice(loader, node, (), set()))
        return loader.construct_document(node), twice
    finally:
        loader.dispose()


def _twice(loader: _Loader, node: yaml.Node, way: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _twice(loader, item, (*way, str(number)), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[Any, list[int]] = {}
    for key, value in node.value:
        name = key.value
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            name = loader.construct_object(key)  # "a" and a are the same one, 1 and "1" are not
            lines.setdefault(name, []).append(key.start_mark.line + 1)
        yield from _twice(loader, value, (*way, shown(name)), seen)
    for name, places in lines.items():
        if len(places) > 1:
            often = "twice" if len(places) == 2 else f"{len(places)} times"
            *most, last = map(str, dict.fromkeys(places))
            where = f"lines {', '.join(most)} and {last}" if most else f"line {last}"
            yield f"{'.'.join((*way, shown(name)))} is there {often} ({where})"


def take_over() -> None:
    """From now on Invoke leaves the file of its `-f` to us, whatever is in it, and only remembers its name."""

    def load_runtime(self: Config, merge: bool = True) -> None:
        """Nothing: see `settings.load`."""

    Config.load_runtime = load_runtime  # type: ignore[method-assign]
