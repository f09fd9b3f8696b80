"""The settings' reference, made from `settings.py`: the JSON schema for editors, and docs/settings.md for people."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from .settings import Settings
from .settings_model import parts_of, room_of

INTRODUCTION = """\
# Settings

Every key that `move.yaml` can have. `move.example.yaml` is the one to copy: what it leaves out stays at its default.
Times are in seconds. Editors with a YAML language server complete the keys and mark what is wrong, from the JSON schema
`move.schema.json` that the example's first line names; so does `inv check`, which says what to write instead.

It is made from the settings' model and the kinds in `switchover/site/`: `inv settings.docs > docs/settings.md`."""


def schema() -> str:
    """The JSON schema of move.yaml, as the text of move.schema.json."""
    made = Settings.model_json_schema(schema_generator=_Schema)
    for part in made["$defs"].values():
        del part["title"]
    made = json.loads(json.dumps(made), object_hook=_on_one_line)
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": "urn:switchover:move.yaml"}
    about = "The settings of a move: what runs on the two servers. docs/settings.md lists them."
    made |= head | {"title": "Switchover's move.yaml", "description": about}
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


class _Schema(GenerateJsonSchema):
    """pydantic's, without titles that repeat a key, and without defaults that the keys of a part have themselves."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        if default is None or isinstance(default, BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        # pydantic's would take any value under a key that has not the key's form.
        keys, values = self.generate_inner(schema["keys_schema"]), self.generate_inner(schema["values_schema"])
        made = {"type": "object", "propertyNames": keys, "additionalProperties": values}
        self.update_with_validations(made, schema, self.ValidationsMapping.object)
        return made


def _on_one_line(part: dict[str, Any]) -> dict[str, Any]:
    """*part* of the schema: a description of several lines in the code has one there."""
    text = part.get("description")
    return part | {"description": _line(text)} if isinstance(text, str) else part


def page() -> str:
    """All settings by part, as the text of docs/settings.md."""
    return "\n\n".join([INTRODUCTION, *_part("", Settings)]) + "\n"


def _part(heading: str, model: type[BaseModel], plural: bool = False) -> Iterator[str]:
    """A table of the model's keys, then those of the parts below it; *heading* begins with its name."""
    if heading:
        yield f"{_level(heading)} {heading}\n\n{_line(model.__doc__ or '')}" + (" A list of these:" if plural else "")
    prefixes = re.findall(r"`([^`]+)`", heading) or [""]
    below, rows = [], []
    # Two keys of one kind side by side, as old and new are, share what follows.
    for parts, group in groupby(model.model_fields.items(), lambda item: parts_of(item[1])):
        fields = list(group)
        names = [".".join(filter(None, (prefix, f.alias or n))) for prefix in prefixes for n, f in fields]
        title = " and ".join(f"`{name}`" for name in names)
        if parts:
            below.append((title, fields[0][1], parts))
        for name, field in fields:
            needed = "**needed**, " if parts and field.is_required() else ""
            default = f"{needed}[its keys](#{anchor(title)})" if parts else _default(field)
            rows.append((f"`{field.alias or name}`", _what(field, parts), default))
    yield _table(rows)
    for title, field, parts in below:
        if room_of(field):
            yield from _kinds(title, parts)
        else:
            yield from _part(title, parts[0], get_origin(field.annotation) is tuple)


def _kinds(heading: str, parts: Sequence[type[BaseModel]]) -> Iterator[str]:
    """The tables of a part that may be of several kinds, the default's first."""
    yield f"{_level(heading)} {heading}\n\n{_line(_base(parts).__doc__ or '')}"
    for number, part in enumerate(parts):
        kind = part.model_fields["kind"].default
        fields = [(name, field) for name, field in part.model_fields.items() if name != "kind"]
        rows = [(f"`{field.alias or name}`", _what(field, []), _default(field)) for name, field in fields]
        yield f"**`kind: {kind}`**{' (the default)' * (number == 0)}: {_line(part.__doc__ or '')}"
        if rows:
            yield _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The rows' cells may have `|` in them, which would end a cell there."""
    lines = [" | ".join(cell.replace("|", r"\|") for cell in cells) for cells in rows]
    return "\n".join(["| key | what | default |", "|---|---|---|", *(f"| {line} |" for line in lines)])


def _level(heading: str) -> str:
    return "##" + "#" * heading.split(" ")[0].count(".")


def _base(parts: Sequence[type[BaseModel]]) -> type[BaseModel]:
    """What the kinds of a room have in common."""
    base: type[BaseModel] = parts[0].__mro__[1]
    return base


def _line(text: str) -> str:
    return " ".join(text.split())


def _what(field: FieldInfo, parts: Sequence[type[BaseModel]]) -> str:
    """A key's description, and which words or numbers it may have where it does not say so itself."""
    part = (_base(parts) if room_of(field) else parts[0]) if parts else None
    what = _line(field.description or (part.__doc__ if part else "") or "")
    if get_origin(field.annotation) is Literal:
        words = [f"`{word}`" for word in get_args(field.annotation)]
        if not all(word in what for word in words):
            what += f" One of {', '.join(words)}." if len(words) > 1 else f" Always {words[0]}."
    low = next((m.ge for m in field.metadata if isinstance(m, Ge)), None)
    high = next((m.le for m in field.metadata if isinstance(m, Le)), None)
    return f"{what} From {low} to {high}." if high is not None else what


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    if field.default in (None, (), {}):
        return ""
    plain = list(field.default) if isinstance(field.default, tuple) else field.default
    text = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return f"`{text.strip().removesuffix('...').strip()}`"


def anchor(heading: str) -> str:
    """What a link to a heading ends with, on the pages that show Markdown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
