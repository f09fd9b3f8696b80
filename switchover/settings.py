"""The settings of a move: what runs on each server, written in `move.yaml` and not in the code.

Everything is checked before a server is touched; each fault names its key and what to write instead.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from . import settings_file
from . import vocabulary as words
from .database.settings import Database, PgBouncer, Switch
from .dns.settings import Dns
from .errors import Problem
from .quote import under
from .settings_model import faults
from .site import app, certificate, code, deploys, firewall, monitor, schedule, web, worker
from .site.kinds import OneOf
from .vocabulary import Form, Part, given

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
    """The certificate that nginx serves."""

    fullchain: words.Absolute
    """The file of the certificate with its chain, from the root."""
    key: words.Absolute
    """The file of its key, from the root."""


class ServerSettings(Part):
    """One server: how it is reached and what runs there."""

    ssh: words.Destination
    """How to reach it by ssh: `name`, `user@name` or `user@name:port`; the user has sudo."""
    address: Annotated[tuple[words.Address, ...], Field(min_length=1)]
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
    """A file that is copied from old to new. Relative paths are below the application's directory."""

    source: words.Source = Field(alias="from")
    """The file on old."""
    target: words.AnyPath = Field(alias="to")
    """The file on new."""
    secret: words.Flag = False
    """Whether its contents are never shown."""
    adapt: words.Flag = False
    """Whether old's application path in it becomes new's."""
    replace: dict[Annotated[str, Form(r"[^\x00]+", "the text to be replaced")], words.Text] = Field(default={})
    """Other texts to replace in it, as `before: after`."""


class UploadDirectory(Part):
    """A directory that visitors write to. Relative paths are below the application's directory."""

    source: words.Source = Field(alias="from")
    """The directory on old."""
    target: words.AnyPath = Field(alias="to")
    """The directory on new."""


Listed = tuple[Carried | UploadDirectory, ...]


class ThirdParty(Part):
    """A service that may allow access by address: requested from both servers, by a `url` or at a port of a `host`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("url"), given("host")]})

    name: words.Line
    """What to call it."""
    url: Annotated[str, Form(r"""https?://[^\s"'\\]+""", "an address like https://api.example.org/")] | None = None
    """A page of it to request."""
    host: Annotated[str, Form(r"[A-Za-z0-9:._-]+", "a host's name or address")] | None = None
    """Instead of a page: the host to connect to."""
    port: words.Port = 443
    """The port of that host."""

    @model_validator(mode="after")
    def _one(self) -> ThirdParty:
        if (self.url is None) == (self.host is None):
            raise ValueError("either a url, or a host (with its port)")
        return self


PAGE_TEXTS = {"en": "We are moving to a new server. Please come back in a few minutes; nothing is lost."}


class Page503(Part):
    """The maintenance page, while the database is copied (`strategy: copy`)."""

    retry_after: words.Seconds = 120
    """Seconds after which a visitor's browser may ask again."""
    texts: Annotated[dict[words.Language, words.Text], Field(min_length=1)] = PAGE_TEXTS
    """What it says, by language."""


class Retire(Part):
    """When the old server may be retired."""

    quiet: Annotated[int, Field(strict=True, ge=0)] = 86400
    """Seconds without a visitor who is proxied by old, before `inv retire-old`."""


KEY_ON_CI = given("dns", given("key_on", {"const": "ci"}))


class Settings(Part):
    """A whole move."""

    model_config = ConfigDict(json_schema_extra={"if": KEY_ON_CI, "then": given("ci")})

    domains: Annotated[tuple[words.Domain, ...], Field(min_length=1)]
    """The site's domains; the first is the main one, and names the move."""
    pages: Annotated[tuple[words.Page, ...], Field(min_length=1)] = ("/",)
    """Pages that are requested from both servers and compared: status and title."""
    ssh_config: words.AnyPath | None = None
    """ssh's configuration file, if not your own; a relative path is beside the settings."""
    revision: Annotated[str, Form(r"[0-9a-f]{40}", "a full commit id, 40 hexadecimal digits")] | None = None
    """The commit for new; by default the one that old runs."""
    relay: words.Port = 5433
    """The port of old, open to new alone, that relays to old's database during the move."""
    job_within: words.Seconds = 120
    """Seconds in which the new worker's log must show a first job."""
    strategy: Literal["copy", "replicate"] = "replicate"
    """`replicate`: new's database replicates old's, and visitors are held for a moment; `copy`: it is copied under a
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
    """Files that are copied from old to new."""
    uploads: tuple[UploadDirectory, ...] = ()
    """Directories that visitors write to."""
    third_parties: tuple[ThirdParty, ...] = ()
    """Services that may allow access by address: `inv check` requests each from both servers."""
    maintenance: Page503 = Page503()
    dns: Dns = Dns()
    certificate: OwnCertificate = DEFAULT
    retire: Retire = Retire()

    @field_validator("carry", "uploads")
    @classmethod
    def _each_once(cls, listed: Listed, so_far: ValidationInfo) -> Listed:
        new = so_far.data.get("new")  # where there is none, that is the fault
        targets = [item.target for item in listed]
        paths = [PurePosixPath(new.in_app(target) if new else target) for target in targets]
        if twice := next((t for t, path in zip(targets, paths, strict=True) if paths.count(path) > 1), None):
            raise ValueError(f"{twice.rstrip('/')} is there twice after `to:`; keep one of them")
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
        lines = faults(error, Settings)
        raise Problem("\n".join([f"{len(lines)} to fix:", *lines]), name) from None
    old, new = settings.old, settings.new
    if _host(old.ssh) == _host(new.ssh) or set(old.address) & set(new.address):
        what = "old and new are the same server (new.ssh, new.address)"
        raise Problem(what, name, "Write the new server's own name and addresses")
    if settings.ssh_config:
        settings = settings.model_copy(update={"ssh_config": _beside(settings.ssh_config, beside, "ssh_config", name)})
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
        raise Problem(f"{key}: there is no such user here", name, "Write an absolute path") from None


def _host(destination: str) -> str:
    """The machine (and port) in an ssh destination."""
    return destination.rpartition("@")[2].lower()
