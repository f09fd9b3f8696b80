"""PostgreSQL: what it is asked, and what is true of it: a role of the move's own, a setting."""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

from ..desired import Resource
from ..hosts import Host
from ..journal import Change
from ..programs import programs
from ..quote import ident, sh, sql
from .command import Command

PSQL = "env -C / runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1"

ROUNDS = 1  # of hashing: more of them protect passwords that can be guessed, and each login pays for them


def ask(database: str, questions: str, **variables: str) -> str:
    """sh: what *questions* (SQL, of any length) have for an answer in *database*; *variables* are psql's."""
    values = "".join(f" -v {name}={sh(value)}" for name, value in variables.items())
    return f"printf '%s\\n' {sh(questions)} | {PSQL} -d {sh(database)}{values}"


def says(query: str, answer: object, database: str = "") -> str:
    """sh: succeeds where PostgreSQL answers *query* with *answer*."""
    where = f" -d {sh(database)}" if database else ""
    return f'[ "$({PSQL}{where} -c {sh(query)})" = {answer} ]'


def scram(password: str, salt: bytes | None = None, rounds: int = ROUNDS) -> str:
    """The SCRAM-SHA-256 verifier of *password* (RFC 5803), so that the password itself never meets a server's log."""
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(b).decode() for b in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(rounds, *parts)


# What is set for one role is set for another: a list's value stands there as it is written, any other's in quotes.
AS_SET_FOR = """
SELECT format('ALTER ROLE %I%s SET %I TO %s', {name}, ' IN DATABASE ' || quote_ident(datname), key,
  CASE WHEN key IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
    THEN value ELSE quote_literal(value) END)
FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) entry,
  LATERAL (SELECT split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)) pair (key, value)
WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = {other}) AND key <> 'role' \\gexec
"""


def matches(verifier: str, password: str) -> bool:
    """Whether *verifier*, as pg_authid holds it, is of *password*."""
    try:
        kind, salting, _ = verifier.split("$")
        rounds, salt = salting.split(":")
        return kind == "SCRAM-SHA-256" and scram(password, base64.b64decode(salt), int(rounds)) == verifier
    except ValueError:
        return False


@dataclass(frozen=True)
class Role(Resource):
    """*server*'s PostgreSQL has the role *name*, a member of *member_of*, that logs in with *password*, a random one.

    *acts_as_it*: from its login on it is *member_of*, to whom then belongs what it makes; and what is set for that role
    (ALTER ROLE … SET) holds for this one too. *sets*: what else is set for it.
    """

    server: Host
    name: str
    member_of: str
    password: str
    acts_as_it: bool = False
    sets: tuple[tuple[str, str], ...] = ()

    @property
    def part(self) -> str:
        """The role's name."""
        return f"role {self.name}"

    def change(self) -> Change | None:
        """The role's creation; None where it is there and takes the password."""
        query = f"SELECT rolpassword FROM pg_authid WHERE rolname = {sql(self.name)} AND rolcanlogin"
        query += f" AND pg_has_role(oid, (SELECT oid FROM pg_roles WHERE rolname = {sql(self.member_of)}), 'MEMBER')"
        if self.acts_as_it:
            settings = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = pg_authid.oid"
            query += f" AND {sql(f'role={self.member_of}')} IN ({settings})"
        verifier = self.server.look(f"{PSQL} -c {sh(query)}").out.strip()
        if matches(verifier, self.password):
            return None
        name, group = ident(self.name), ident(self.member_of)
        acts = f"ALTER ROLE {name} SET role = {group}" if self.acts_as_it else ""
        sets = [f"ALTER ROLE {name} SET {ident(key)} = {sql(value)};" for key, value in self.sets]
        alike = AS_SET_FOR.format(name=sql(self.name), other=sql(self.member_of)) if self.acts_as_it else ""
        create = f"""
SET log_min_error_statement = panic; SET log_statement = none;
BEGIN;
SELECT format('CREATE ROLE %I', {sql(self.name)})
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {sql(self.name)}) \\gexec
GRANT {group} TO {name};
ALTER ROLE {name} LOGIN PASSWORD :'verifier';
{alike}
{" ".join(sets)}
{acts};
COMMIT;
"""
        apply = f"""
{{ printf '\\\\set verifier '; printf "'%s'\\n" "$(cat after/verifier)"; cat after/create.sql; }} | {PSQL} >/dev/null
"""
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {sql(self.name)}"
        undo = f"printf '%s\\n' {sh(f'{end};')} {sh(f'DROP ROLE IF EXISTS {name};')} | {PSQL} >/dev/null"
        shown = f"CREATE ROLE {name} LOGIN PASSWORD (not shown); GRANT {group} TO {name}{f'; {acts}' if acts else ''}"
        files = {"verifier": scram(self.password).encode(), "create.sql": create.encode()}
        return Change(shown, apply, undo, (), files)


def setting(server: Host, name: str, value: str, good: str) -> Command:
    """*server*'s PostgreSQL has the setting *name* at *value*, by ALTER SYSTEM, without a restart.

    *good* (SQL, of `setting` as pg_settings has it) is true of the values that may stay. A version of PostgreSQL that
    does not have the setting has nothing to do.
    """
    query = f"SELECT ({good})::text FROM pg_settings WHERE name = {sql(name)}"
    words = f"{sh(name)} {sh(value)}"
    run, undo = f"sh after/setting put {words} {sh(good)}", f"sh after/setting back {words}"
    check = f'may_stay=$({PSQL} -c {sh(query)}) && [ "$may_stay" != false ]'
    shown, part = f"ALTER SYSTEM SET {name} = {sql(value)}", f"setting {name}"
    return Command(server, run, undo, check, shown, files=programs("setting"), part=part)
