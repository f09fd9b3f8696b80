"""Values of move.yaml that try to become shell, SQL or nginx syntax: refused with one line, or harmless.

Every text in the settings' model is tried, found by walking the model, so that a new one is covered. What is rendered
is read by the programs' own rules: shells run it, libpq, PyYAML and an nginx reader parse it.
"""

from __future__ import annotations

import html.parser
import re
import subprocess
import typing
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml
from here import right
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from pydantic import BaseModel

from switchover import certificates, checklist
from switchover.database import replication_status, schema
from switchover.desired import Resource
from switchover.errors import Problem
from switchover.hosts import Answer, Host
from switchover.journal import Change, Entry, Journal
from switchover.move import Move
from switchover.render import render
from switchover.resources.file import File, FileState
from switchover.server import Server
from switchover.settings import Settings, check
from switchover.settings_model import parts_of
from switchover.site.certificate import certbot

PWNED = "switchover-pwned"
EVIL = [
    f"x; touch {PWNED}",
    f"x$(touch {PWNED})",
    f"x`touch {PWNED}`",
    f"x' ; touch {PWNED} ; '",
    f'x" ; touch {PWNED} ; "',
    f"x\ntouch {PWNED}\n",
    f"x && touch {PWNED} #",
    f"x | touch {PWNED}",
    "x'; DROP TABLE orders; --",
    'x"; DROP TABLE orders; --',
    "x\\'; DROP TABLE orders; --",
    "x; } server { listen 666; }",
    'x"; } server { listen 666; } #',
    "x}\n}\nload_module evil.so;",
    "x$host${request_uri}",
    "-oProxyCommand=touch",
    "--help",
    "x: {{ 7 * 7 }} {% raw %}",
    "x: !!binary [id]",
    "x %i%n $$HOME \\n",
    'x"><script>alert(1)<!--',
    "END",
    "ä ö ü ß 'é' \u2028 🍎",
]
# (no slash in any of them: where it ends a path, a part of it alone would be quoted differently)
# Commands of the operator's, meant to be run: sh is what they are.
COMMANDS = (
    *("app.build.0", "app.reload", "app.reloaded", "schedule.install", "code.version"),
    *(f"worker.{verb}" for verb in ("quiet", "drained", "stop", "start", "did_a_job", "a_job", "queue_length")),
)


def full() -> dict[str, Any]:
    """Right settings in which every key of the model stands."""
    data = right()
    for role in ("old", "new"):
        one = data[role]
        one["app"] |= {"environment": "production", "socket": "s.sock", "pidfile": "u.pid", "build": ["true"]}
        one["worker"] = {"command": "script/delayed_job", "pidfile": "d.pid", "log": "d.log"}
        one["watch"] = {"app": "/etc/monit/a", "worker": "/etc/monit/b"}
        one["schedule"] = {"user": "ofn", "install": "true"}
        one["deploys"] = {"repository": ".git", "branch": "master", "name": "production"}
        one["firewall"] = {"allow": ["80/tcp"]}
        one["database"] |= {"config": "config/database.yml", "host": "localhost"}
    return data | {
        "pages": ["/"],
        "ssh_config": "ssh_config",
        "revision": "0" * 40,
        "ci": {"ssh": "ci.example.org", "user": "agent", "checkout": "/home/agent/shop", "remote": "production"},
        "carry": [{"from": "a.yml", "to": "b.yml", "replace": {"one": "two"}}],
        "uploads": [{"from": "public/system/", "to": "public/system/"}],
        "third_parties": [{"name": "bank", "url": "https://bank.example.org/"}, {"name": "relay", "host": "mx.org"}],
        "maintenance": {"texts": {"en": "Soon."}},
        "dns": {"kind": "update", "zone": "example.org", "key": "op", "key_file": "op.key", "provider": "cloudns"},
        "certificate": {
            "email": "me@shop.org",
            "server": "https://acme.org/dir",
            "version": "5.8.0",
            "agree_tos": True,
        },
    }


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts stand in *data*; a mapping's own words too, as (…, key, None)."""
    if isinstance(data, str):
        yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))
        if at and at[-1] in ("replace", "texts"):
            yield (*at, key, None)


def put(data: Any, place: tuple[Any, ...], value: str) -> Any:
    """*data* with *value* in that place."""
    *way, last = place
    if last is None:
        *way, last = way
    inner = data
    for key in way:
        inner = inner[key]
    if place[-1] is None:
        inner[value] = inner.pop(last)
    else:
        inner[last] = value
    return data


def other() -> dict[str, Any]:
    """The same, of the kinds that have keys of their own beside the usual ones."""
    data = full()
    for role in ("old", "new"):
        app = {key: data[role]["app"][key] for key in ("path", "user", "service", "environment", "build")}
        verbs = dict.fromkeys(("quiet", "drained", "stop", "start", "did_a_job", "a_job", "queue_length"), "true")
        data[role] |= {
            "app": app | {"kind": "service", "listens": "tmp/s.sock", "reload": "true", "reloaded": "true"},
            "worker": {"kind": "service", "service": "shop-worker", **verbs},
            "code": {"kind": "none", "version": "cat REVISION"},
        }
    return data


USUAL = list(places(full()))
PLACES = USUAL + [place for place in places(other()) if place not in USUAL and place[-1] != "kind"]


def around(place: tuple[Any, ...]) -> dict[str, Any]:
    """Right settings in which there is such a place."""
    return full() if place in USUAL else other()


def named(place: tuple[Any, ...]) -> str:
    return ".".join(str(key) for key in place if key is not None)


def texts_of(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """The texts that a model holds, by name: what a person may write."""

    def walk(kind: Any, name: str) -> Iterator[str]:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from texts_of(kind, name)
        elif kind is str:
            yield name
        elif typing.get_origin(kind) is not typing.Literal:
            for part in typing.get_args(kind):
                yield from walk(part, name)

    for name, field in model.model_fields.items():
        for part in parts_of(field) or [field.annotation]:
            yield from walk(part, f"{at}.{field.alias or name}".strip("."))


def test_every_text_of_the_model_is_tried() -> None:
    tried = {re.sub(r"\.\d+", "", named(place)) for place in PLACES}
    lacking = [t for t in texts_of(Settings) if not any(one == t or one.startswith(f"{t}.") for one in tried)]
    assert lacking == []


# --- the whole move, with such a value in one place --------------------------------------------------------------


class Listed(Server):
    """A server that runs nothing and keeps what it is asked; what it answers makes every step want a change."""

    def _run(self, script: str, on_line: Any) -> Answer:
        self.asked.append(script)
        if script.startswith("p="):  # a file is read
            return Answer("root:root 644\ndGV4dDpzZWNyZXQK\n", "", 0)
        for part, said in (("rev-parse HEAD", "1" * 40), ("is-enabled", "stopped off"), ("passwd", "/home/ofn")):
            if part in script:
                return Answer(f"{said}\n", "", 0 if "[" not in script else 1)
        return Answer("", "", 1)

    port = 22

    @property
    def user(self) -> str:
        return "ofn"


class InTurn:
    """In the place of threads: whoever is asked is asked in the same order each time."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Any, *given: Any) -> list[Any]:
        return [work(*one) for one in zip(*given, strict=False)]


@pytest.fixture(autouse=True, scope="module")
def in_turn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (replication_status, schema):
            patch.setattr(module, "ThreadPoolExecutor", InTurn)
        patch.setattr(certbot.Certbot, "name", lambda self: self.front.domains[0])
        patch.setattr(
            certificates, "read_pem", lambda content: certificates.CertificateFacts((), "--key-type rsa", "1", "")
        )
        yield


def scripts(settings: Settings) -> tuple[list[str], list[tuple[str, str]]]:
    """Every script that a whole move would run on servers, and every file that it would write there.

    Raises Problem where a value is refused.
    """
    move, asked, files = Move(settings), [], []
    for name in ("old", "new"):
        one = Listed(name, getattr(settings, name))
        one.asked = asked
        setattr(move, name, one)
    if settings.ci:
        kind = type("ListedHost", (Host,), {"_run": Listed._run, "asked": asked, "user": "agent"})
        move.ci = kind("ci", settings.ci.ssh)
    move.journal = Journal(move.journal.identity, [])
    move.journal.home, move.journal._entries = f"/var/lib/switchover/{settings.domain}", []
    for one in checklist.steps():
        try:
            desired = one.desired(move)
        except Problem as problem:
            if "Fix the template or the setting" in str(problem):
                raise
            continue
        for resource in desired:
            change = _change(resource)
            if change is not None:
                entry = Entry(resource.server, 1, one.line, resource.part, one.summary, "anna@laptop", NOW, "recorded")
                asked += [move.journal._recording(entry, change), change.apply, change.undo]
            if isinstance(resource, File):
                files.append((resource.path, resource.content.decode()))
            files += [(n, data.decode()) for n, data in (change.files.items() if change else ()) if n.endswith(".sql")]
    return asked, files


NOW = "2026-01-01 00:00:00Z"


def _change(resource: Any) -> Change | None:
    if isinstance(resource, File):
        return resource.plan(FileState(b"somebody's", "root:root", "644"))
    with suppress(Problem, ValueError, IndexError):
        if isinstance(resource, Resource):
            return resource.change()
        resource.missing()
    return None


UNPACKED = re.compile(r"\bprintf %s [A-Za-z0-9+/]*=* \| base64 -d\b")


class Shell:
    """A script's text with each quoted word of it as `Q`, and those words: by the rules of a POSIX shell."""

    def __init__(self, script: str) -> None:
        self.text, self.at, self.out, self.words = script, 0, "", []
        self._plain("")

    def _plain(self, end: str) -> None:
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == end and depth == 0:
                return
            depth += (char == "(") - (char == ")") if end else 0
            if char == "'":
                self._quoted()
            elif char == '"':
                self._double()
            elif char == "#" and (self.at == 0 or self.text[self.at - 1] in " \n;\t"):
                self.at = (self.text + "\n").index("\n", self.at)
            elif here := re.compile(r"<<'([^'\n]+)'[^'\"\n]*\n").match(self.text, self.at):
                self.at = self.text.index(f"\n{here[1]}", self.at) + 1 + len(here[1])
            elif file := UNPACKED.match(
                self.text, self.at
            ):  # the recorded scripts among them are looked at by themselves
                self.at = file.end()
            else:
                self._take(2 if char == "\\" else 1)

    def _double(self) -> None:
        self._take(1)
        while self.text[self.at] != '"':
            if self.text.startswith("$(", self.at):
                self._take(2)
                self._plain(")")
            self._take(2 if self.text[self.at] == "\\" else 1)
        self._take(1)

    def _quoted(self) -> None:
        word = ""
        while True:
            stop = self.text.index("'", self.at + 1)
            word += self.text[self.at + 1 : stop]
            self.at = stop + 1
            if not self.text.startswith("\"'\"'", self.at):
                break
            word, self.at = word + "'", self.at + 3
        self.words.append((self.out[-24:], word))
        self.out += "Q"

    def _take(self, count: int) -> None:
        self.out += self.text[self.at : self.at + count]
        self.at += count


def same_shell(evil: str, plain: str, value: str, like: str) -> None:
    """Both scripts have the same commands; where the plain one has *like* as data the evil one has *value*."""
    if evil == plain:
        return
    one, two = Shell(evil), Shell(plain)
    assert one.out == two.out
    for (where, word), (_, desired) in zip(one.words, two.words, strict=True):
        if where.endswith("sh -c ") or word != desired.replace(like, value):
            # A script in the script, or SQL, quoted in its turn.
            if re.search(r"SELECT|ALTER|DROP|GRANT", word) and "sh -c " not in where:
                assert sql(word) == sql(desired)
            else:
                same_shell(word, desired, value, like)


def sql(text: str) -> str:
    """SQL without what its literals and quoted names hold."""
    return re.sub(r"""\bE'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|"(?:""|[^"])*\"""", "Q", text)


def nginx(text: str) -> list[str]:
    """The tokens of an nginx configuration: `Q` for a quoted one, as nginx reads them."""
    found = []
    for quoted, mark, word in re.findall(
        r"#[^\n]*\n|(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|([;{}])|([^\s;{}\"']+)", text
    ):
        found += [mark or ("Q" if quoted else word)] if quoted or mark or word else []
    return found


def tags(text: str) -> list[str]:
    """The tags of a page."""
    found: list[str] = []

    class Page(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.append(f"{tag} {' '.join(name for name, _ in attributes)}")

    Page().feed(text)
    return found


def keys(text: str) -> list[str]:
    """What stands before the first `=` or blank of each line."""
    return [re.split(r"[=\s]", line.lstrip(), maxsplit=1)[0] for line in text.split("\n")]


def same_file(path: str, evil: str, plain: str, value: str, like: str) -> None:
    """Both files have the same statements, by the rules of the program that reads them."""
    if evil.startswith("#!/bin/sh"):
        same_shell(evil, plain, value, like)
    elif path.endswith(".sql"):
        assert sql(evil) == sql(plain)
    elif "nginx" in path:
        assert nginx(evil) == nginx(plain)
    elif path.endswith(".html"):
        assert tags(evil) == tags(plain)
    elif path.endswith("database.yml"):
        one, two = (next(iter(yaml.safe_load(text).values())) for text in (evil, plain))
        assert {k: v for k, v in two.items() if v != one[k] and like not in str(v)} == {}
        assert one.keys() == two.keys()
    elif "monit" in path:
        assert re.sub(r"\"[^\"]*\"|'[^']*'", "Q", evil) == re.sub(r"\"[^\"]*\"|'[^']*'", "Q", plain)
    else:
        assert keys(evil) == keys(plain)


PLAINS = ("pl ain", "pl;ain")  # have to be quoted too, so that both scripts have the same words quoted
WORD = r"[A-Za-z0-9_@%+=:,./-]+"  # is one everywhere


def with_value(place: tuple[Any, ...], value: str) -> tuple[list[str], list[tuple[str, str]]] | None:
    """What a move would do with *value* in that place; None where it is refused, by a message for people."""
    data: Any = around(place)
    for key in () if place[-1] is None else place:
        data = data[key]
    # So that it is not refused for its beginning alone.
    whole = f"/{value}" if isinstance(data, str) and data.startswith("/") else value
    try:
        return scripts(check(put(around(place), place, whole), "move.yaml"))
    except Problem as problem:
        assert problem.code == 1 and all(len(line) < 300 for line in str(problem).splitlines())
        return None


# New's settings are of the same model as old's, and take as long again.
EACH = [pytest.param(place, marks=[pytest.mark.thorough] if place[0] == "new" else []) for place in PLACES]


@pytest.mark.parametrize("place", EACH, ids=[named(place) for place in PLACES])
def test_a_value_is_refused_or_harmless(place: tuple[Any, ...]) -> None:
    plains = [(like, with_value(place, like)) for like in PLAINS]
    like, plain = next((one for one in plains if one[1]), ("", None))
    whole: list[str] = []
    for evil in EVIL:
        found = with_value(place, evil)
        if found is None:
            continue
        whole += found[0]
        if named(place).endswith(COMMANDS) or re.fullmatch(WORD, evil):
            continue
        assert plain is not None, f"{evil!r} is taken"
        assert len(found[0]) == len(plain[0]) > 100
        for one, two in zip(found[0], plain[0], strict=True):
            same_shell(one, two, evil, like)
        for (path, one), (_, two) in zip(found[1], plain[1], strict=True):
            same_file(path, one, two, evil, like)
    well_formed(whole)
    # A path, a command or a text may hold nearly anything.
    many = ("path", "file", "site", "command", "log", "config", "from", "to", "texts.en", "replace.one")
    assert whole or place[-1] is None or not named(place).endswith(many)


def well_formed(whole: list[str]) -> None:
    """Every script is one that a shell reads to its end."""
    text = "\n".join(f"f{n}() {{\n{script or ':'}\n}}" for n, script in enumerate(dict.fromkeys(whole)))
    done = subprocess.run(["sh", "-n"], input=text.encode(errors="replace"), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_readers_here_notice_what_is_not_quoted() -> None:
    """Of each kind one that is wrong."""
    value, like = EVIL[0], PLAINS[0]
    same_shell(f"rm '/{value}'", f"rm '/{like}'", value, like)
    for evil, plain in (
        (f"rm /{value}", f"rm /{like}"),
        (f"sh -c 'rm {value}'", f"sh -c 'rm {like}'"),
        ("psql -c 'SELECT '\"'\"'x'\"'\"'; DROP'", "psql -c 'SELECT '\"'\"'pl ain'\"'\"''"),
    ):
        with pytest.raises(AssertionError):
            same_shell(evil, plain, value, like)
    for path in ("/etc/nginx/a", "/etc/systemd/a.socket"):
        with pytest.raises(AssertionError):
            same_file(path, "root /x; } server {\nb", "root /pl;", "x", like)


# --- a password with every special character ---------------------------------------------------------------------

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=1)


@given(printable)
@hypothesis(max_examples=300, deadline=None)
def test_database_yml_holds_any_password(password: str) -> None:
    given = {"environment": "production", "host": "h", "port": 1, "database": "d", "username": "u", "certificate": "/c"}
    text = render("templates/database.yml.j2", password=password, **given).decode()
    assert yaml.safe_load(text)["production"]["password"] == password
