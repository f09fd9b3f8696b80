"""An inventory of a server: everything that a move could leave changed, and the comparison of two inventories.

It is a dictionary: a thing (`file /etc/hosts`, `service nginx.service`, `role openfoodweb`) and its state. Taken as
root inside the server with the programs that every Debian has, before the first section and after the last undo. What
the comparison leaves out is the one list `LEFT_OUT`, with the reasons; the report prints it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from switchover import quote

from ..machine.server import LabServer
from ..world import World
from .allowed import Allowed

HERE = Path(__file__).parent
Inventory = dict[str, str]
YOUNG = 5  # seconds: younger programs come and go

RUNNING = tuple(f"file /home/*/tmp/{name}" for name in ("cache*", "pids/*", "sockets/*"))
UPLOADS = tuple(f"file /home/*/public/system/{name}" for name in ("uploads/*", "uploads"))
TIMERS = ("systemd-tmpfiles-clean", "logrotate", "certbot", "dpkg-db-backup", "e2scrub_all", "man-db")
GIT = tuple(f"file */.git/{name}" for name in ("objects/*", "logs/*", "index", "ORIG_HEAD", "FETCH_HEAD"))
HOUSEKEEPING = tuple(f"service {name}.service" for name in TIMERS)

LEFT_OUT = (
    Allowed(("file /home/*/log/*", "file /home/*/log"), "logs: both applications wrote them all the time"),
    Allowed(RUNNING, "cache, pid files and sockets of running programs"),
    Allowed(HOUSEKEEPING, "housekeeping that the system's timers start now and then"),
    Allowed(UPLOADS, "uploads of the visitors: the audit compares each of them with what was acknowledged"),
    Allowed(("process postfix *",), "the mail server's helpers, which come and go with the mail"),
    Allowed(GIT, "git's own notes: objects that no branch has, what moved when, when it last looked at files"),
    Allowed(("file /home/*/.sudo_as_admin_successful",), "Debian notes here that somebody used sudo"),
)


def left_out(world: World) -> tuple[Allowed, ...]:
    """`LEFT_OUT`, and what only the sites of a lab's world tell."""
    rows = tuple(f"rows of {site.servers['old'].database}.*" for site in world.sites)
    checkouts = tuple(f"file {site.pushers['dev'].checkout}*" for site in world.sites if "dev" in site.pushers)
    why = "rows of the shop's database on old: visitors write them all the time; the audit looks at each order"
    rules = [Allowed(rows, why), Allowed(checkouts, "the developer's own checkout, where they commit what they push")]
    return (*LEFT_OUT, *(rule for rule in rules if rule.what))


@dataclass(slots=True, frozen=True)
class Difference:
    """One thing of a server that has changed; *before* or *after* is None where it did not exist."""

    server: str
    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.server}: {self.what} is new: {_short(self.after)}"
        if self.after is None:
            return f"{self.server}: {self.what} is gone, was: {_short(self.before)}"
        return f"{self.server}: {self.what} was {_changed(self.before, self.after)}"


def compare(
    server: str, before: Inventory, after: Inventory, left_out: Sequence[Allowed] = LEFT_OUT
) -> list[Difference]:
    """The differences between two inventories of a server, without what is left out; sorted by name."""
    return [
        Difference(server, key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not any(rule.covers(key) for rule in left_out)
    ]


def _short(text: str | None, length: int = 120) -> str:
    flat = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", " ".join((text or "").split()))  # a sum says nothing
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _changed(before: str, after: str) -> str:
    """Of long texts only the lines that differ: a whole schema says nothing."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) > 1 or len(new) > 1:
        gone = [line for line in old if line not in new]
        came = [line for line in new if line not in old]
        if gone or came:
            return f"{_short(' / '.join(gone) or 'without')}, is {_short(' / '.join(came) or 'without')}"
    return f"{_short(before)}, is {_short(after)}"


# --- the parts of an inventory ------------------------------------------------------------------------------

# Each part prints a text of its own, which the function beside it takes apart.
# Visitors' uploads come and go meanwhile, half ones too; their sums are the audit's. Another file that is gone before
# it was read has none.
_FIND = "find {folders} -ignore_readdir_race"
_FILES = f"{_FIND} -printf '%p\\t%y %m %u:%g %l\\n'"
_SUMS = f"""{_FIND} -type f ! -path '*/public/system/uploads/*' -print0 | xargs -0r sha256sum 2>&1 |
awk '!/^sha256sum: /; /^sha256sum: / && !/: No such file or directory$/ {{{{ print >"/dev/stderr"; exit 1 }}}}'"""
_KINDS = "--plain --no-legend --no-pager --type=service,socket,timer,path"
_UNITS = f"""
systemctl list-unit-files {_KINDS} | awk '{{print $1 "\\tat boot", $2}}'
systemctl list-units --all {_KINDS} | awk '{{print $1 "\\tnow", $3}}'
"""
_FIREWALL = """
ufw status verbose 2>&1 | sed 's/^/ufw\\t/'
iptables-save 2>/dev/null | sed -n 's/ *\\[[0-9]*:[0-9]*\\]//; /^[^#]/s/^/ipv4\\t/p'
ip6tables-save 2>/dev/null | sed -n 's/ *\\[[0-9]*:[0-9]*\\]//; /^[^#]/s/^/ipv6\\t/p'
"""
_RECORDS = (HERE / "records.sh").read_text()
_PORTS = "ss -Hlntup | awk '{print $1, $5 \"\\t\" $7}'"
_PROCESSES = "exec ps -e -o ppid= -o user:32= -o etimes= -o args="
# Past Debian's wrappers in Perl, which take longer than most answers.
_POSTGRES = "cd / && PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH runuser -u postgres -- "
_DATABASES = f"""psql -XAt -F "$(printf '\\t')" -c {quote.sh((HERE / "databases.sql").read_text())}"""
_COUNT = "query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')"
_ROWS = f"""psql -XAt -F "$(printf '\\t')" -c "SELECT relname, (xpath('/row/n/text()', {_COUNT}))[1]
FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace" """
_NAMES = 'psql -XAt -c "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"'


def take(server: LabServer) -> Inventory:
    """The inventory of a server, its databases included where it has any. Changes nothing there.

    Raises Problem when the server does not answer.
    """

    def ask(command: str) -> str:
        return server.exec(command).stdout

    seen: Inventory = {}
    folders = _folders(server.world)
    sums = ask(_SUMS.format(folders=folders)).splitlines()
    by_path = {path: digest for digest, _, path in (line.partition("  ") for line in sums)}
    for path, facts in _pairs(ask(_FILES.format(folders=folders))):
        seen[f"file {path}"] = f"{facts.strip()} {by_path.get(path, '')}".strip()
    for kind, command, glue in (("service", _UNITS, ", "), ("firewall", _FIREWALL, "\n"), ("record", _RECORDS, ", ")):
        seen |= _joined(((f"{kind} {name}", value) for name, value in _pairs(ask(command))), glue)
    seen |= ports(ask(_PORTS))
    seen |= processes(ask(_PROCESSES))
    if server.role != "ci":
        seen |= _databases(ask)
    return seen


def take_all(servers: Sequence[LabServer]) -> dict[str, Inventory]:
    """The inventories of several servers, by their roles."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([server.role for server in servers], pool.map(take, servers), strict=True))


def differences(
    before: dict[str, Inventory], after: dict[str, Inventory], left_out: Sequence[Allowed]
) -> list[Difference]:
    """The differences between the inventories of several servers, without what is left out."""
    return [difference for role in before for difference in compare(role, before[role], after[role], left_out)]


def _folders(world: World) -> str:
    """The folders whose files count, for a shell. Of the ci host's agents what a move changes, not their builds."""
    agents = [site.pushers["ci"] for site in world.sites if "ci" in site.pushers]
    paths = [path for agent in agents for path in (f"{agent.home}/.ssh", f"{agent.checkout}/.git/config")]
    return " ".join(["/etc /home /root /var/spool/cron", *(f"$(ls -d {path} 2>/dev/null)" for path in paths)])


def _databases(ask: Callable[[str], str]) -> Inventory:
    seen = roles(ask(_POSTGRES + "pg_dumpall --roles-only")) | dict(_pairs(ask(_POSTGRES + _DATABASES)))
    for name in ask(_POSTGRES + _NAMES).split():
        seen |= {f"rows of {name}.{table}": rows for table, rows in _pairs(ask(f"{_POSTGRES}{_ROWS} '{name}'"))}
        seen[f"schema of {name}"] = schema(ask(f"{_POSTGRES}pg_dump --schema-only '{name}'"))
    return seen


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(key, value) for key, tab, value in (line.partition("\t") for line in text.splitlines()) if tab]


def _joined(pairs: Iterable[tuple[str, str]], glue: str = ", ") -> Inventory:
    """One entry a name, of all values with that name."""
    seen: Inventory = {}
    for name, value in pairs:
        seen[name] = f"{seen[name]}{glue}{value}" if name in seen else value
    return seen


def ports(text: str) -> Inventory:
    """From ss: who listens where, without process numbers."""
    seen: dict[str, set[str]] = {}
    for address, users in _pairs(text):
        seen.setdefault(f"port {address}", set()).update(re.findall(r'\("([^"]+)"', users))
    # While a mail comes in, postfix's smtpd holds its master's port as well.
    return {key: " ".join(sorted(names - {"smtpd"})) for key, names in seen.items()}


def processes(text: str, at_least: int = YOUNG) -> Inventory:
    """From ps: which programs run for whom. Not how many, and none younger than some seconds: those come and go.

    Those without a parent are the first process and what the lab runs there from outside, as this question.
    """
    return {name: "runs" for name, age in _ages(text) if age >= at_least}


def young(server: LabServer) -> list[str]:
    """Which programs of a server are too young to be in an inventory that is taken now."""
    return [name for name, age in _ages(server.exec(_PROCESSES).stdout) if age < YOUNG]


def _ages(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        parent, user, seconds, command = line.split(None, 3)
        # One that has ended is there until its parent asks: monit does so when it next looks.
        if parent != "0" and not command.endswith("<defunct>"):
            # One that began within this tick is 4123168608 s old for ps.
            yield f"process {user} {_program(command)}", int(seconds) if int(seconds) < 1_000_000_000 else 0


def _program(command: str) -> str:
    """A command line without what changes from start to start: paths, numbers, what a program shows as its state."""
    first = command.split()[0]
    if first.endswith(":"):  # nginx: worker process, postgres: 15/main: autovacuum launcher
        return first.rstrip(":")
    return re.sub(r"[\d.]+$", "", first.rpartition("/")[2]) or first


def roles(text: str) -> Inventory:
    """From pg_dumpall --roles-only: each role with all statements about it, password included."""
    named = [(re.match(r"(?:CREATE|ALTER) ROLE (\S+?);?(?:\s|$)", line), line) for line in _sql(text)]
    # Without a name it is GRANT one TO another.
    return _joined(((f"role {name[1]}" if name else "roles", line) for name, line in named), "\n")


def schema(text: str) -> str:
    """From pg_dump --schema-only: without comments, empty lines, and the key that newer ones make up each time."""
    return "\n".join(_sql(text))


def _sql(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))]
