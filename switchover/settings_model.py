"""The model of the settings, read: which parts a key may hold, and what to write where a value is at fault."""

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .settings_file import shown
from .site.kinds import OneOf, kinds


def faults(error: ValidationError, settings: type[BaseModel]) -> list[str]:
    """A line for each fault: its key in the *settings*' model, and what to write instead."""
    errors = error.errors()
    inner = {tuple(fault["loc"][:n]) for fault in errors for n in range(len(fault["loc"]))}
    # pydantic calls a list too short as well where one of its items is at fault.
    return [_fault(e, settings) for e in errors if e["type"] != "too_short" or tuple(e["loc"]) not in inner]


# What pydantic says in Python's words.
MESSAGES = {
    "tuple_type": "a list, like [one, two]",
    "model_type": "keys with their values, like name: value",
    "dict_type": "keys with their values, like name: value",
    "string_type": "a text; in quotes where it looks like something else",
    "too_short": "at least one is needed",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "ip_any_address": "an IPv4 or IPv6 address",
}


def _fault(error: ErrorDetails, settings: type[BaseModel]) -> str:
    keys, model = _written(error["loc"], settings)
    path = ".".join(shown(key) for key in keys) or "(top)"
    kind = error["type"]
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()] if model else []
        near = difflib.get_close_matches(str(shown(keys[-1])), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"  {path}: unknown key; {hint}"
    if kind == "missing":
        return f"  {path}: missing; docs/settings.md says what it is"
    if kind == "union_tag_invalid":
        return f"  {path}.kind: {_listed(error['ctx']['expected_tags'])}, not {shown(error['ctx']['tag'], quoted=True)}"
    message = MESSAGES.get(kind) or str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    value = error.get("input")
    secret = any(word in path for word in ("password", "secret", "key"))
    plain = isinstance(value, (str, int, float)) and (kind == "bool_type" or not secret)
    return f"  {path}: {message[0].lower()}{message[1:]}" + (f", not {shown(value, quoted=True)}" if plain else "")


def _listed(words: str) -> str:
    """Quoted words with commas between them, as pydantic gives them, for people."""
    *most, last = words.split(", ")
    return f"{', '.join(most)} or {last}" if most else last


def _written(place: tuple[Any, ...], settings: type[BaseModel]) -> tuple[list[Any], type[BaseModel] | None]:
    """The keys of *place* as a person has written them, without the kinds that pydantic puts between them; and the
    part of the settings that the last one is in, None where that is a plain value."""
    keys: list[Any] = []
    model: type[BaseModel] | None = settings
    rest = [key for key in place if key != "[key]"]
    while rest:
        key = rest.pop(0)
        keys.append(key)
        if isinstance(key, int):
            continue
        field = next((f for n, f in model.model_fields.items() if key in (n, f.alias)), None) if model else None
        if field is None or not rest:
            break
        room = room_of(field)
        model = kinds(room.room).get(rest.pop(0)) if room else part_in(field.annotation)
    return keys + rest, model


def room_of(field: FieldInfo) -> OneOf | None:
    """Of which room a key holds one kind; None where it holds something else."""
    return next((rule for rule in field.metadata if isinstance(rule, OneOf)), None)


def parts_of(field: FieldInfo) -> list[type[BaseModel]]:
    """The parts that a key may hold: one, or one a kind with the default's first; none where it holds a plain value."""
    if room := room_of(field):
        parts = dict(kinds(room.room))
        return [parts.pop(room.default), *parts.values()]
    part = part_in(field.annotation)
    return [part] if part else []


def part_in(annotation: Any) -> type[BaseModel] | None:
    """The part of the settings that a key of this type holds, or holds several of; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if inner := part_in(part):
            return inner
    return None
