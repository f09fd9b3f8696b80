"""What all kinds have in common, and how one is chosen: by the key `kind` of the settings, among its room's modules."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..desired import Nothing
from ..findings import Found
from ..hosts import Host
from ..vocabulary import Part, given

if TYPE_CHECKING:
    from .app import Application


class KindSettings(Part):
    """The settings of a kind; each room has a class of it, and each kind one of its room's."""

    kind: str

    def __init_subclass__(cls, **options: Any) -> None:
        """A kind is called as its file."""
        super().__init_subclass__(**options)
        cls.kind = name = cls.__module__.rpartition(".")[2]
        only = Annotated[Literal[name], Field(description=inspect.getdoc(cls))]  # type: ignore[valid-type]
        cls.__annotations__ = {"kind": only, **cls.__annotations__}


S = TypeVar("S", bound=KindSettings)


@dataclass(eq=False)
class Kind(ABC, Generic[S]):
    """One part of a site on one *server*, as the *settings* describe it.

    A kind defines what is abstract in its room's class, and sets what is annotated there.
    """

    _beside: ClassVar[dict[str, type[Any]]] = {}  # by module: a kind stands beside its settings

    server: Host
    settings: S
    tools: tuple[str, ...] = field(default=(), init=False)  # the programs that must be on the server
    # What must exist there, by the settings' key below the server's: the names of services, absolute paths.
    services: dict[str, str] = field(default_factory=dict, init=False)
    paths: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Sets what depends on the settings."""

    def __init_subclass__(cls) -> None:
        cls._beside.setdefault(cls.__module__, cls)

    def check(self) -> Found:
        """What `inv check` finds."""
        yield from ()

    @classmethod
    def of(cls, server: Host, settings: KindSettings, *others: Any) -> Self:
        """The kind that these *settings* are of, on *server*; *others*: what its room's kinds need besides."""
        kind: Self = cls._beside[type(settings).__module__](server, settings, *others)
        if missing := cls.__annotations__.keys() - dir(kind):
            raise TypeError(f"{type(kind).__name__} does not set {', '.join(sorted(missing))}")
        return kind


@dataclass(eq=False)
class OfApplication(Kind[S]):
    """A part of a site that needs to know the application, *app*, of the same server."""

    app: Application[Any]


def nothing(why: str) -> Callable[..., Nothing]:
    """A method of a kind that has nothing to do; *why*: in it, `{role}` is its server's role."""

    def verb(self: Kind[Any], *_: Any, **__: Any) -> Nothing:
        return Nothing(why.format(role=self.server.role))

    return verb


@dataclass(frozen=True)
class Action:
    """What a kind can do: *sh* does it, and *shown* is what a person sees instead."""

    sh: str
    shown: str


@dataclass(frozen=True)
class Watched:
    """What a monitor needs to know of a program: its *name*, what starts and stops it, how to see that it runs."""

    name: str
    start: str
    stop: str
    pidfile: str = ""
    runs: str = ""


@cache
def kinds(room: str) -> Mapping[str, type[Part]]:
    """The kinds of a *room*, each with its settings: the class `Settings` of every module in the package."""
    package = _package(room)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {name: importlib.import_module(f"{package.__name__}.{name}").Settings for name in names}


def _package(room: str) -> ModuleType:
    return importlib.import_module(f".{room}", __package__)


@dataclass(frozen=True)
class OneOf:
    """The value of a settings key: one kind of a *room*, chosen by its `kind`, else the default."""

    room: str

    @property
    def default(self) -> str:
        """The kind where the settings name none: the room's `DEFAULT`."""
        return str(_package(self.room).DEFAULT)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        parts: dict[Any, CoreSchema] = {kind: handler.generate_schema(p) for kind, p in kinds(self.room).items()}
        return core_schema.tagged_union_schema(parts, self._kind)

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Conditions, not `oneOf`: an editor then names the wrong key, and completes the keys of the kind."""
        parts = {kind: handler(choice) for kind, choice in inner["choices"].items()}
        for part in parts.values():
            part.pop("title", None)  # always `Settings`
        named = {"enum": list(parts), "default": self.default}
        rules: list[Any] = [{"if": given("kind", {"const": kind}), "then": part} for kind, part in parts.items()]
        rules.append({"if": {"not": {"required": ["kind"]}}, "then": parts[self.default]})
        return {"type": "object", "properties": {"kind": named}, "allOf": rules}

    def _kind(self, value: Any) -> Any:
        kind = value.get("kind", self.default) if isinstance(value, dict) else getattr(value, "kind", self.default)
        return kind if isinstance(kind, str) else str(kind)  # no such kind: the schema then says which there are
