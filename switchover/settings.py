"""The settings of a move: what runs on each server, said in `move.yaml` and not in the code.

Everything is checked before a server is touched; each fault names its key and what to write instead.
"""

from __future__ import annotations

import difflib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from . import settings_file
from .database.settings import Database, PgBouncer, Switch
from .dns.settings import Dns
from .errors import Problem
from .quote import under
from .settings_file import shown
from .site import app, certificate, code, deploys, firewall, monitor, schedule, web, worker
from .site.kinds import OneOf, kinds
from .vocabulary import (
    Absolute,
    Address,
    AnyPath,
    Destination,
    Domain,
    Flag,
    Form,
    Language,
    Line,
    Page,
    Part,
    Port,
    Seconds,
    Source,
    Text,
    given,
)

DEFAULT_FILE = "move.yaml"
DEFAULT = Field(default_factory=dict, validate_default=True)  # the room's default kind, with its own defaults

# What a site is made of: each part of one kind of its room.
App = Annotated[app.Settings, OneOf("app")]
Worker = Annotated[worker.Settings, OneOf("worker")]
Code = Annotated[code.Settings, OneOf("code")]
Monitor = Annotated[monitor.Settings, OneOf("monitor")]
Schedule = Annotated[schedule.Settings, OneOf("schedule")]
Deploys = Annotated[deploys.Settings, OneOf("deploys")]
Firewall = Annotated[firewall.Settings, OneOf("firewall")]
Web = Annotated[web.Settings, OneOf("web")]
OwnCertificate = Annotated[certificate.Settings, OneOf("certificate")]


class CertificateFiles(Part):
    """The certificate that nginx shows."""

    fullchain: Absolute
    """The file of the certificate with its chain, from the root."""
    key: Absolute
    """The file of its key, from the root."""


class ServerSettings(Part):
    """One server: how it is reached and what runs there."""

    ssh: Destination
    """How it is reached, as for ssh: `name`, `user@name` or `user@name:port`; the user has sudo."""
    address: Annotated[tuple[Address, ...], Field(min_length=1)]
    """Its public IPv4 and IPv6 addresses, in quotes."""
    app: App
    worker: Worker = DEFAULT
    code: Code = DEFAULT
    watch: Monitor = DEFAULT
    schedule: Schedule = DEFAULT
    deploys: Deploys = DEFAULT
    firewall: Firewall = DEFAULT
    database: Database
    web: Web
    certificate: CertificateFiles

    def in_app(self, path: str) -> str:
        """*path* below the application's directory, unless it is absolute."""
        return under(self.app.path, path)


class Carried(Part):
    """A file that goes from old to new. Relative paths are below the application's directory."""

    source: Source = Field(alias="from")
    """The file on old."""
    target: AnyPath = Field(alias="to")
    """The file on new."""
    secret: Flag = False
    """Its contents are never shown."""
    adapt: Flag = False
    """Old's application path in it becomes new's."""
    replace: dict[Annotated[str, Form(r"[^\x00]+", "the text to be replaced")], Text] = Field(default={})
    """Other texts to be replaced in it, as `before: after`."""


class UploadDirectory(Part):
    """A directory that visitors write to. Relative paths are below the application's directory."""

    source: Source = Field(alias="from")
    """The directory on old."""
    target: AnyPath = Field(alias="to")
    """The directory on new."""


class ThirdParty(Part):
    """A service that may allow by address: asked from both servers, by a `url` or at a port of a `host`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("url"), given("host")]})

    name: Line
    """What to call it."""
    url: Annotated[str, Form(r"""https?://[^\s"'\\]+""", "an address like https://api.example.org/")] | None = None
    """A page of it that is asked."""
    host: Annotated[str, Form(r"[A-Za-z0-9:._-]+", "a host's name or address")] | None = None
    """Instead of a page: the host that is connected to."""
    port: Port = 443
    """The port of that host."""

    @model_validator(mode="after")
    def _one(self) -> ThirdParty:
        if (self.url is None) == (self.host is None):
            raise ValueError("either a url, or a host (with its port)")
        return self


PAGE_TEXTS = {"en": "We are moving to a new server. Please come back in a few minutes; nothing is lost."}


class Page503(Part):
    """The page that visitors see while the database is copied (`strategy: copy`)."""

    retry_after: Seconds = 120
    """Seconds after which a visitor's browser may ask again."""
    texts: Annotated[dict[Language, Text], Field(min_length=1)] = PAGE_TEXTS
    """What it says, by language."""


class Retire(Part):
    """When the old server may go."""

    quiet: Annotated[int, Field(strict=True, ge=0)] = 86400
    """Seconds in which no visitor has come by the old server, before `inv retire-old`."""


class Settings(Part):
    """A whole move."""

    model_config = ConfigDict(
        json_schema_extra={"if": given("dns", given("key_on", {"const": "ci"})), "then": given("ci")}
    )

    domains: Annotated[tuple[Domain, ...], Field(min_length=1)]
    """The site's domains; the first is the main one, and names the move."""
    pages: Annotated[tuple[Page, ...], Field(min_length=1)] = ("/",)
    """Pages that are asked on both servers and compared: status and title."""
    ssh_config: AnyPath | None = None
    """The file of ssh's settings, where it is not your own; a relative path is beside the settings."""
    revision: Annotated[str, Form(r"[0-9a-f]{40}", "a whole commit id, 40 hexadecimal digits")] | None = None
    """The commit for new; old's own unless it is given."""
    relay: Port = 5433
    """The port of old, open to new alone, that leads to old's database during the move."""
    job_within: Seconds = 120
    """Seconds for which the new worker's log is watched for a first job."""
    strategy: Literal["copy", "replicate"] = "replicate"
    """`replicate`: new's database follows old's, and visitors are held for a moment; `copy`: it is copied under a
    maintenance page. `inv check` says where only `copy` is possible."""
    pgbouncer: PgBouncer = PgBouncer()
    switch: Switch = Switch()
    old: ServerSettings
    """The server that the site leaves."""
    new: ServerSettings
    """The server that the site moves to."""
    ci: deploys.Ci | None = None
    """The host that deploys after the tests, if there is one."""
    carry: tuple[Carried, ...] = ()
    """Files that go from old to new."""
    uploads: tuple[UploadDirectory, ...] = ()
    """Directories that visitors write to."""
    third_parties: tuple[ThirdParty, ...] = ()
    """Services that may allow by address: `inv check` asks each from both servers."""
    maintenance: Page503 = Page503()
    dns: Dns = Dns()
    certificate: OwnCertificate = DEFAULT
    retire: Retire = Retire()

    @field_validator("carry", "uploads")
    @classmethod
    def _each_once(
        cls, listed: tuple[Carried | UploadDirectory, ...], so_far: ValidationInfo
    ) -> tuple[Carried | UploadDirectory, ...]:
        new = so_far.data.get("new")  # without one, that is the fault
        places = [PurePosixPath(new.in_app(one.target) if new else one.target) for one in listed]
        if twice := next(
            (one.target for one, place in zip(listed, places, strict=True) if places.count(place) > 1), None
        ):
            raise ValueError(f"{twice.rstrip('/')} is there twice after `to:`; leave one of them")
        return listed

    @property
    def domain(self) -> str:
        """The site's main domain, which also names the move."""
        return self.domains[0]


def load(path: str | Path) -> Settings:
    """The settings in the file *path*.

    Raises Problem with every fault in it, each with the key's path and a hint.
    """
    return check(settings_file.read(path), str(path), Path(path).parent)


def check(data: dict[Any, Any], name: str, beside: Path = Path()) -> Settings:
    """The settings in *data*; *name* is the file's name for messages, relative paths are below *beside*."""
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found: list[dict[str, Any]] = [dict(e) for e in error.errors()]
        inner = {tuple(e["loc"][:n]) for e in found for n in range(len(e["loc"]))}
        # A list is said to be too short as well where one of its items is at fault.
        faults = [_fault(e) for e in found if e["type"] != "too_short" or tuple(e["loc"]) not in inner]
        raise Problem("\n".join([f"{len(faults)} to mend:", *faults]), name) from None
    old, new = settings.old, settings.new
    if _host(old.ssh) == _host(new.ssh) or set(old.address) & set(new.address):
        raise Problem(
            "old and new are the same server (new.ssh, new.address)",
            name,
            "Give the new server's own name and addresses",
        )
    if settings.ssh_config:
        path = _beside(settings.ssh_config, beside, "ssh_config", name)
        settings = settings.model_copy(update={"ssh_config": path})
    if settings.dns.key_on == "ci" and settings.ci is None:
        raise Problem("dns.key_on: there is no ci in these settings", name, "Say where the key is: here, old or new")
    if settings.dns.key_file and settings.dns.key_on == "here":
        dns = settings.dns.model_copy(update={"key_file": _beside(settings.dns.key_file, beside, "dns.key_file", name)})
        settings = settings.model_copy(update={"dns": dns})
    return settings


def _beside(path: str, beside: Path, key: str, name: str) -> str:
    """A file of this machine, which may be written as one from the settings' directory, or from a home."""
    try:
        return str(beside / Path(path).expanduser())
    except RuntimeError:
        raise Problem(f"{key}: there is no such user here", name, "Write the path from the root") from None


# What pydantic says in Python's words.
SAID = {
    "tuple_type": "a list, like [one, two]",
    "model_type": "keys with their values, like name: value",
    "dict_type": "keys with their values, like name: value",
    "string_type": "a text; in quotes where it looks like something else",
    "too_short": "at least one is needed",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "ip_any_address": "an IPv4 or IPv6 address",
}


def _fault(error: dict[str, Any]) -> str:
    keys, model = _written(error["loc"])
    path = ".".join(shown(k) for k in keys) or "(top)"
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
    message = SAID.get(kind) or str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    value = error.get("input")
    plain = isinstance(value, (str, int, float)) and (kind == "bool_type" or not _hides(path))
    return f"  {path}: {message[0].lower()}{message[1:]}" + (f", not {shown(value, quoted=True)}" if plain else "")


def _listed(words: str) -> str:
    """Quoted words with commas between them, as pydantic gives them, for people."""
    *most, last = words.split(", ")
    return f"{', '.join(most)} or {last}" if most else last


def _written(place: tuple[Any, ...]) -> tuple[list[Any], type[BaseModel] | None]:
    """The keys of *place* as a person has written them, without the kinds that pydantic puts between them; and the
    part of the settings that the last one is in, None where that is a plain value."""
    keys: list[Any] = []
    model: type[BaseModel] | None = Settings
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


def _host(destination: str) -> str:
    """The machine (and port) in an ssh destination."""
    return destination.rpartition("@")[2].lower()


def _hides(path: str) -> bool:
    return any(word in path for word in ("password", "secret", "key"))


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
        if found := part_in(part):
            return found
    return None
