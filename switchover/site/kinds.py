"""How a kind is chosen: by the key `kind` of the settings, among the modules of its room."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Generic, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..hosts import Host
from ..vocabulary import Part

S = TypeVar("S", bound=Part)


class Kind(ABC, Generic[S]):
    """One part of a site on one *server*, as the *settings* describe it: abstract where a kind must say something."""

    def __init__(self, server: Host, settings: S) -> None:
        self.server, self.settings = server, settings

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that must be on the server."""
        return ()

    @property
    def services(self) -> dict[str, str]:
        """Which services must exist there: the settings' key, below the server's -> the service's name."""
        return {}

    @property
    def paths(self) -> dict[str, str]:
        """What must exist there: the settings' key, below the server's -> the path from the root."""
        return {}


@dataclass(frozen=True)
class Watched:
    """What a monitor has to know of a program: its *name*, what starts and stops it, how it is seen to run."""

    name: str
    start: str
    stop: str
    pidfile: str = ""
    runs: str = ""


@cache
def kinds(room: str) -> Mapping[str, type[Part]]:
    """The kinds of a *room*, with what the settings may say of each: the `Settings` of every module in its package."""
    package = _package(room)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    settings = [importlib.import_module(f"{package.__name__}.{name}").Settings for name in names]
    return {get_args(found.model_fields["kind"].annotation)[0]: found for found in settings}


def _package(room: str) -> ModuleType:
    return importlib.import_module(f".{room}", __package__)


@dataclass(frozen=True)
class OneOf:
    """Of a key of the settings: its value is of one kind of a *room*, by its `kind`; without one of the default."""

    room: str

    @property
    def default(self) -> str:
        """The kind that is meant where the settings name none: the room's `DEFAULT`."""
        return str(_package(self.room).DEFAULT)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {
            kind: handler.generate_schema(part) for kind, part in kinds(self.room).items()
        }
        return core_schema.tagged_union_schema(choices, self._kind)

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """By conditions, not by `oneOf`: so an editor names the key that is wrong, and completes those of the kind."""
        parts = {kind: handler(choice) for kind, choice in inner["choices"].items()}
        for part in parts.values():
            part.pop("title", None)  # which is `Settings`, of each
        named = {"enum": list(parts), "default": self.default}
        rules: list[dict[str, Any]] = [
            {"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": part}
            for kind, part in parts.items()
        ]
        rules.append({"if": {"not": {"required": ["kind"]}}, "then": parts[self.default]})
        return {"type": "object", "properties": {"kind": named}, "allOf": rules}

    def _kind(self, value: Any) -> Any:
        kind = value.get("kind", self.default) if isinstance(value, dict) else getattr(value, "kind", self.default)
        return kind if isinstance(kind, str) else str(kind)  # which is none
