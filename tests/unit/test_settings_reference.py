"""The JSON schema and the page of the settings: current, and the schema says what the settings' model says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import regress
import yaml
from here import right
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError as Refused
from jsonschema.validators import extend
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefinedType
from test_bad_settings import EVIL, PLACES, around, full, named, other, put
from test_settings import FAULTS, paths
from test_settings import put as put_key

from lab import settings as lab
from lab.world import SHOP
from switchover import settings_file, settings_reference
from switchover.errors import Problem
from switchover.settings import Settings, check
from switchover.settings_model import parts_of

ROOT = Path(__file__).parents[2]
INV = Path(sys.executable).with_name("inv")
EXAMPLE = ROOT / "move.example.yaml"
SCHEMA = json.loads(settings_reference.schema())


regex = cache(lambda pattern: regress.Regex(pattern, "u"))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Refused]:
    if isinstance(value, str) and not regex(pattern).find(value):
        yield Refused(f"{value!r} has not the form {pattern}")


def as_an_editor(schema: Any) -> Draft202012Validator:
    """Reads the schema as an editor does: by JavaScript's regular expressions, and with the formats of addresses."""
    formats = Draft202012Validator.FORMAT_CHECKER
    return extend(Draft202012Validator, {"pattern": _pattern})(schema, format_checker=formats)


EDITOR = as_an_editor(SCHEMA)


def by_model(data: Any) -> bool:
    """Whether the settings' model takes *data*."""
    try:
        Settings.model_validate(data)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("task", "file"), [("schema", "move.schema.json"), ("docs", "docs/settings.md")])
def test_what_is_checked_in_is_what_is_printed(task: str, file: str) -> None:
    made = subprocess.run([INV, f"settings.{task}"], cwd=ROOT, capture_output=True, check=True).stdout
    assert made == (ROOT / file).read_bytes(), f"Make it anew: inv settings.{task} > {file}"


def test_the_schema_is_one_and_says_where_it_stands() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"] and SCHEMA["title"] and SCHEMA["description"]
    assert all(part["additionalProperties"] is False for part in (SCHEMA, *SCHEMA["$defs"].values()))
    assert {"from", "to"} <= SCHEMA["$defs"]["Carried"]["properties"].keys()


def test_the_example_names_the_schema_in_its_first_line_and_is_right_by_it() -> None:
    name = EXAMPLE.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / name).resolve() == ROOT / "move.schema.json"
    EDITOR.validate(settings_file.read(EXAMPLE))


@pytest.mark.parametrize("ci", [True, False])
def test_settings_that_are_right_are_right_by_the_schema(ci: bool) -> None:
    for data in (right(), full(), other(), yaml.safe_load(lab.text(SHOP, ci=ci))):
        EDITOR.validate(data)
        check(data, "move.yaml")


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in parts_of(field):
            yield from models(part)


@pytest.mark.parametrize("model", dict.fromkeys(models()), ids=lambda model: model.__name__)
def test_every_key_says_in_words_what_it_means(model: type[BaseModel]) -> None:
    assert model.__doc__ and model.__doc__ != Settings.__base__.__doc__
    for name, field in model.model_fields.items():
        part = next(iter(parts_of(field)), None)
        what = field.description or (part.__doc__ if part else "") or ""
        assert len(what) > 10 and what.endswith("."), f"{model.__name__}.{name}"
        if part is None and any(word in str(field.metadata) for word in ("le=86400", "le=3600")):
            assert "econds" in what, f"{model.__name__}.{name} does not say its unit"


TEXTS = ["", " ", "x", "/x", "x.org", "..", "/x/../y", "a..b", "/x/..", "x\n", "/var/spool/exim4", "x@y.z", "\0"]
NOT_THE_SCHEMAS = "there is no such user here"  # what only this machine knows


@pytest.mark.parametrize(("path", "value", "said"), [f for f in FAULTS if NOT_THE_SCHEMAS not in f[2]])
def test_a_fault_is_one_by_the_schema_too(path: str, value: Any, said: str) -> None:
    data = put_key(right(), path, value)
    assert not EDITOR.is_valid(data)
    with pytest.raises(Problem):
        check(data, "move.yaml")


@pytest.mark.parametrize("path", ["domains", "old", "new.app", "old.ssh", "old.database.name", "new.web.site"])
def test_what_is_missing_is_missing_by_the_schema_too(path: str) -> None:
    *way, last = path.split(".")
    data = inner = right()
    for key in way:
        inner = inner[key]
    del inner[last]
    assert not EDITOR.is_valid(data)


# "new" is the same part as "old".
@pytest.mark.parametrize("place", [place for place in PLACES if place[0] != "new"], ids=named)
def test_the_schema_refuses_the_texts_that_the_model_refuses(place: tuple[Any, ...]) -> None:
    """In each place of the settings where a text stands: the same forms, by Python's and by JavaScript's patterns."""
    top = place[0]
    editor = as_an_editor(SCHEMA | {"properties": {top: SCHEMA["properties"][top]}, "required": [top]})
    answers = set()
    for text in (*EVIL, *TEXTS, None):
        data = around(place) if text is None else put(around(place), place, text)
        answers.add(right_by_model := by_model(data))
        assert editor.is_valid({top: data[top]}) == right_by_model, text
    assert len(answers) == 2  # there is something to refuse in each place, and something to take


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@hypothesis(max_examples=100, deadline=None)
def test_what_the_model_takes_the_schema_takes(draw: st.DataObject) -> None:
    way = draw.draw(st.sampled_from(paths(full())), label="way")
    data = inner = full()
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = draw.draw(json_values, label="value")
    assert not by_model(data) or EDITOR.is_valid(data)


# --- the example ------------------------------------------------------------------------------------------------------


def commented() -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys behind a # in move.example.yaml that have a value there: their path and that value."""
    way: list[tuple[int, str]] = []
    for line in EXAMPLE.read_text().splitlines():
        found = re.match(r"( *)(?:# ( *))?([a-z_0-9]+):(?: +(\{.*?\}|\[.*?\]|[^\s#]+))?", line)
        if found:
            indent = len(found[1] + (found[2] or ""))
            way = [*[one for one in way if one[0] < indent], (indent, found[3])]
            if found[2] is not None and found[4]:
                yield tuple(key for _, key in way), yaml.safe_load(found[4])


def test_each_default_of_the_example_is_one() -> None:
    lines = list(commented())
    assert len(lines) > 20 and {line[0] for line, _ in lines} >= {"relay", "old", "certificate", "dns"}
    for way, value in lines:
        model, default = Settings, None
        for key in way:
            field = next(f for n, f in model.model_fields.items() if key in (n, f.alias))
            model, default = next(iter(parts_of(field)), model), field.default
        if isinstance(default, PydanticUndefinedType):  # the room's default kind
            default = model()
        if isinstance(default, BaseModel):
            default = {key: getattr(default, key) for key in value}
        # Examples of what has no default: a file, a commit; and other kinds than the default's.
        if default is None or value in ("https://…",) or (way == ("dns",) and value["kind"] != "by-hand"):
            continue
        assert (list(default) if isinstance(default, tuple) else default) == value, ".".join(way)
