"""The settings of a move: what runs on each server, said in `move.yaml` and not in the code.

Everything is checked before a server is touched; each fault names its key and what to write instead.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    ValidationError,
    model_validator,
)

from . import settings_file
from .errors import Problem
from .quote import under

DEFAULT_FILE = "move.yaml"


def _plain(pattern: str, hint: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(hint)
        return value

    return AfterValidator(check)


def _path(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value) or not value.strip():
        raise ValueError("a path is one line of text")
    if ".." in value.split("/"):
        raise ValueError("a path without '..'")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("a path from the root, like /home/app/current")
    return value.rstrip("/") or "/"


def _no_queue(value: str) -> str:
    if re.match(r"/var/spool/(postfix|exim4?|mqueue|nullmailer)(/|$)", value):
        raise ValueError("no queue of mail: old sends what is there, and it would be sent twice")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):  # 1 is an address too, and none that anybody means
        raise ValueError("an IPv4 or IPv6 address, in quotes")
    return value


Name = Annotated[str, _plain(r"[A-Za-z_][A-Za-z0-9_.@-]*", "a name of letters, digits and _ . @ -")]
Domain = Annotated[
    str,
    _plain(
        r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}",
        "a domain like shop.org",
    ),
]
Destination = Annotated[
    str,
    _plain(r"([A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+(:[0-9]{1,5})?", "as for ssh: name, user@name or user@name:port"),
]
AnyPath = Annotated[str, AfterValidator(_path)]
Absolute = Annotated[str, AfterValidator(_path), AfterValidator(_absolute)]
Source = Annotated[AnyPath, AfterValidator(_no_queue)]
Page = Annotated[str, _plain(r"/[^\s\"'\\]*", "a page's path, like /products/1")]
Language = Annotated[str, _plain(r"[a-z]{2}(-[A-Za-z]+)?", "a language like en or pt-BR")]
Text = Annotated[str, _plain(r"[^\x00]*", "text without NUL")]
Email = Annotated[str, _plain(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+", "an address like me@shop.org")]
Address = Annotated[IPvAnyAddress, BeforeValidator(_text)]
Line = Annotated[str, _plain(r"[^\x00-\x1f\x7f]+", "one line of text")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86400)]


class Part(BaseModel):
    """A mapping of the settings in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class App(Part):
    """The Rails application: a directory, its user, its service, where it listens."""

    path: Absolute
    user: Name
    service: Name
    environment: Name = "production"
    socket: AnyPath = "tmp/sockets/unicorn.sock"
    pidfile: AnyPath = "tmp/pids/unicorn.pid"
    build: tuple[Line, ...] = ()
    """Commands after new code is in place, run by the application's user in its path (bundle install …)."""


class Worker(Part):
    """What works off the queue. *longest_job*: seconds to wait for the present job's end."""

    kind: Literal["delayed_job"] = "delayed_job"
    command: AnyPath = "script/delayed_job"
    pidfile: AnyPath = "tmp/pids/delayed_job.pid"
    log: AnyPath = "log/delayed_job.log"
    longest_job: Seconds = 600


class Watch(Part):
    """Who restarts what died: the file of each check."""

    kind: Literal["monit", "none"] = "monit"
    app: Absolute | None = None
    worker: Absolute | None = None


class Schedule(Part):
    """Where regular tasks are started. *install*: the command that installs the crontab (sh, in the application's
    path, by its user), as the deploy hook does; without one, old's crontab is copied and adapted."""

    kind: Literal["crontab", "worker", "none"] = "crontab"
    user: Name | None = None
    install: Line | None = None


class Deploys(Part):
    """How new code arrives. *name*: what people call the server's git remote."""

    kind: Literal["git", "none"] = "git"
    repository: AnyPath = ".git"
    branch: Annotated[str, _plain(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", "a branch's name")] = "master"
    name: Name = "production"


class Ci(Part):
    """The host that deploys after the tests: its user's checkout and the remote there that leads to production."""

    ssh: Destination
    user: Name = "buildkite-agent"
    checkout: Absolute
    remote: Name = "production"


class Firewall(Part):
    """The server's firewall; *allow*: what visitors need, as ufw writes it, besides ssh's own port."""

    kind: Literal["ufw", "none"] = "ufw"
    allow: tuple[Annotated[str, _plain(r"[0-9]{1,5}(/(tcp|udp))?", "a port like 443/tcp")], ...] = ("80/tcp", "443/tcp")


class Database(Part):
    """The application's PostgreSQL database, on the server itself."""

    name: Name
    owner: Name
    config: AnyPath = "config/database.yml"
    host: Name = "localhost"
    port: Port = 5432


class Web(Part):
    """The nginx site of the application."""

    kind: Literal["nginx"] = "nginx"
    site: Absolute


class Certificate(Part):
    """The certificate that nginx shows, with its key."""

    fullchain: Absolute
    key: Absolute


class OwnCertificate(Part):
    """New's own certificate for the production domains: ordered by certbot from an ACME authority (Let's Encrypt unless
    *server* names another's directory); or old's *copied*, which somebody else renews.

    *certbot*: the distribution's package, or the current release (or *version*) in an environment of its own.
    *agree_tos*: the authority's terms are agreed to. *staging*: a trial, with its staging, of which nothing is kept.
    """

    kind: Literal["certbot", "copied"] = "certbot"
    certbot: Literal["package", "current"] = "package"
    version: Annotated[str, _plain(r"[0-9]+([.][0-9]+)*", "a version, in quotes, like '5.8.0'")] | None = None
    server: Annotated[str, _plain(r"https://[^\s\"'\\\\]+", "an address like https://acme.example.org/directory")] = (
        "https://acme-v02.api.letsencrypt.org/directory"
    )
    email: Email | None = None
    agree_tos: Annotated[bool, Field(strict=True)] = False
    staging: Annotated[bool, Field(strict=True)] = False


class Server(Part):
    """One server: how it is reached and what runs there."""

    ssh: Destination
    address: Annotated[tuple[Address, ...], Field(min_length=1)]
    app: App
    worker: Worker = Worker()
    watch: Watch = Watch()
    schedule: Schedule = Schedule()
    deploys: Deploys = Deploys()
    firewall: Firewall = Firewall()
    database: Database
    web: Web
    certificate: Certificate

    def in_app(self, path: str) -> str:
        """*path* below the application's directory, unless it is absolute."""
        return under(self.app.path, path)

    @property
    def address4(self) -> str | None:
        """The first IPv4 address, if any."""
        return next((str(a) for a in self.address if isinstance(a, ipaddress.IPv4Address)), None)

    @property
    def main_address(self) -> str:
        """The address that the other server connects to."""
        return self.address4 or str(self.address[0])


class Carried(Part):
    """A file that goes from old to new. *adapt*: old's application path in it becomes new's."""

    source: Source = Field(alias="from")
    target: AnyPath = Field(alias="to")
    secret: bool = False
    adapt: bool = False
    replace: dict[Annotated[str, _plain(r"[^\x00]+", "the text to be replaced")], Text] = {}


class Uploads(Part):
    """A directory that visitors write to."""

    source: Source = Field(alias="from")
    target: AnyPath = Field(alias="to")


class ThirdParty(Part):
    """A service that may allow by address: asked from both servers, a page (*url*) or a port of a *host*."""

    name: Line
    url: Annotated[str, _plain(r"https?://[^\s\"'\\\\]+", "an address like https://api.example.org/")] | None = None
    host: Annotated[str, _plain(r"[A-Za-z0-9:._-]+", "a host's name or address")] | None = None
    port: Port = 443

    @model_validator(mode="after")
    def _one(self) -> ThirdParty:
        if (self.url is None) == (self.host is None):
            raise ValueError("either a url, or a host (with its port)")
        return self


class Page503(Part):
    """The maintenance page: its texts by language and when a visitor's browser may ask again (seconds)."""

    retry_after: Seconds = 120
    texts: Annotated[dict[Language, Text], Field(min_length=1)] = {
        "en": "We are moving to a new server. Please come back in a few minutes; nothing is lost.",
    }


class PgBouncer(Part):
    """PgBouncer on new, where the new database follows the old one: between the application and either database.

    *port*: where it listens, on new alone. *pool*: its connections to the database, held open all the time. *keep*:
    it stays after the move.
    """

    port: Port = 6432
    pool: Annotated[int, Field(strict=True, ge=1, le=500)] = 20
    keep: bool = False


class Switch(Part):
    """The switch of a database that follows. *max_drain*: seconds in which a moment is looked for when nothing runs
    longer than 0.2 s; *max_hold*: seconds that queries are held at most; then visitors go on with the old database."""

    max_drain: Seconds = 60
    max_hold: Annotated[int, Field(strict=True, ge=1, le=20)] = 5


class Dns(Part):
    """Who changes the name system's records. *ttl*: seconds for which resolvers may remember them during the move.
    *zone*: where it is not found by asking. *within*: seconds until every authoritative server says what was changed.

    `update`: a dynamic update (RFC 2136), signed with the key in the file *key_file*, as `tsig-keygen` writes it, or
    its bare secret, with the name *key* and the *algorithm* said here. *key_on*: where that file lies; *through*: from
    where the update is sent; *server*: who takes it, where that is not the primary server that the zone names.
    `lexicon`: by the API of *provider*, with dns-lexicon, which finds the credentials by itself.
    `by-hand`: the exact records are printed, and looked for. `none`: the names are nobody's business here.
    """

    kind: Literal["by-hand", "update", "lexicon", "none"] = "by-hand"
    ttl: Annotated[int, Field(strict=True, ge=1, le=3600)] = 300
    zone: Domain | None = None
    within: Seconds = 600
    server: Address | None = None
    key: Name | None = None
    algorithm: Literal["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    key_file: AnyPath | None = None
    key_on: Literal["here", "old", "new", "ci"] = "here"
    through: Literal["here", "old", "new"] = "new"
    provider: Name | None = None

    @model_validator(mode="after")
    def _whole(self) -> Dns:
        needed = {"update": "key_file", "lexicon": "provider"}.get(self.kind)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"kind: {self.kind} takes a {needed}")
        return self


class Retire(Part):
    """When the old server may go. *quiet*: seconds in which no visitor has come by it."""

    quiet: Annotated[int, Field(ge=0)] = 86400


class Settings(Part):
    """A whole move."""

    domains: Annotated[tuple[Domain, ...], Field(min_length=1)]
    pages: Annotated[tuple[Page, ...], Field(min_length=1)] = ("/",)
    ssh_config: AnyPath | None = None
    revision: Annotated[str, _plain(r"[0-9a-f]{40}", "a whole commit id, 40 hexadecimal digits")] | None = None
    door: Port = 5433
    """The port of old, open to new alone, that leads to old's database during the move."""
    job_within: Seconds = 120
    """How long the new worker's log is watched for a first job."""
    strategy: Literal["copy", "replicate"] = "replicate"
    """How the database moves: new's follows old's, and visitors are held for a moment; or copied under a page."""
    pgbouncer: PgBouncer = PgBouncer()
    switch: Switch = Switch()
    old: Server
    new: Server
    ci: Ci | None = None
    carry: tuple[Carried, ...] = ()
    uploads: tuple[Uploads, ...] = ()
    third_parties: tuple[ThirdParty, ...] = ()
    maintenance: Page503 = Page503()
    dns: Dns = Dns()
    certificate: OwnCertificate = OwnCertificate()
    retire: Retire = Retire()

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
    "ip_any_address": "an IPv4 or IPv6 address",
}


def _fault(error: dict[str, Any]) -> str:
    keys = [k for k in error["loc"] if k != "[key]"]
    path = ".".join(_shown(k) for k in keys) or "(top)"
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _keys_at(Settings, keys[:-1])
        near = difflib.get_close_matches(str(_shown(keys[-1])), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"  {path}: unknown key; {hint}"
    if kind == "missing":
        return f"  {path}: missing; move.example.yaml shows one"
    message = SAID.get(kind) or str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    given = error.get("input")
    plain = isinstance(given, (str, int, float)) and not _hides(path)
    return f"  {path}: {message[0].lower()}{message[1:]}" + (f", not {_shown(given, quoted=True)}" if plain else "")


def _shown(value: object, *, quoted: bool = False) -> str:
    """*value* on one line of at most 70 characters."""
    try:
        text = (
            str(value)
            if value != "" and str(value).isprintable() and not (quoted and isinstance(value, str))
            else repr(value)
        )
    except ValueError:  # more digits than Python writes
        return "that number"
    return text if len(text) <= 70 else text[:69] + "…"


def _host(destination: str) -> str:
    """The machine (and port) in an ssh destination."""
    return destination.rpartition("@")[2].lower()


def _hides(path: str) -> bool:
    return any(word in path for word in ("password", "secret", "key"))


def _keys_at(model: type[BaseModel], keys: list[Any]) -> list[str]:
    for key in keys:
        if isinstance(key, int):
            continue
        field = next((f for n, f in model.model_fields.items() if key in (n, f.alias)), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return [f.alias or n for n, f in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if found := _model_in(part):
            return found
    return None
