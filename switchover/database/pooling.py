"""Who connects to old's database, and what breaks behind PgBouncer in transaction mode."""

from __future__ import annotations

import re
from typing import Any

from ..findings import Checks, Found, blocker, listed, note, warning
from ..quote import ident
from .host import GROUP, OURS, DatabaseFacts, Side, Unknown

# What Rails sets on connecting is the same for all, or is what PgBouncer looks after.
HARMLESS = {"client_min_messages", "standard_conforming_strings", "timezone", "time", "intervalstyle", "datestyle"}
HARMLESS |= {"client_encoding", "application_name"}
INSTEAD = {
    "LISTEN": "Let that part connect to PostgreSQL directly, with a configuration of its own",
    "PREPARE": "Remove PREPARE and EXECUTE from the code",
    "CREATE TEMPORARY": "Create it in one transaction, with ON COMMIT DROP",
    "DECLARE WITH HOLD": "Read the cursor in one transaction, without WITH HOLD",
    "advisory lock": "Use pg_advisory_xact_lock",
}

CHECKS = Checks[[DatabaseFacts]](GROUP)


def _others(facts: DatabaseFacts) -> list[dict[str, Any]]:
    """Roles besides the application's and the move's that have something to do in old's database."""
    able = [role for role in facts.old["roles"] if role["login"] and (role["access"] or role["sessions"])]
    return [role for role in able if role["name"] != facts.old["owner"] and not role["name"].startswith(OURS)]


@CHECKS.add
def roles(facts: DatabaseFacts) -> Found:
    """Only the application has access to old's database."""
    for role in _others(facts):
        now = f" (connected now from {listed(role['from'])})" if role["sessions"] else ""
        do = "Tell the people who use it when: it is locked out during the switch, and new has another address"
        yield warning(f"old: {role['name']} has access too{now}; new gets its role and grants", do)


@CHECKS.add
def passwords(facts: DatabaseFacts) -> Found:
    """Every password that new gets from old works there."""
    if set(facts.new["methods"]) <= {"md5", "password"}:
        return
    if old := [role["name"] for role in _others(facts) if role["password"] == "md5"]:  # noqa: S105
        do = "Set them again on new after `replicate` (\\password), or write md5 in its pg_hba.conf, which allows both"
        yield warning(f"old: md5 passwords of {listed(old)}; new's pg_hba.conf wants scram-sha-256", do)


@CHECKS.add
def pgbouncer(facts: DatabaseFacts) -> Found:
    """new has PgBouncer, or can install it."""
    if _pgbouncer(facts) is None:
        yield blocker("new: the package pgbouncer is not available", "apt update, or add Debian's main archive")


@CHECKS.add
def prepared_statements(facts: DatabaseFacts) -> Found:
    """PgBouncer has prepared statements (1.21 or later), or Rails makes none."""
    version = _pgbouncer(facts)
    if version is None or version >= (1, 21):
        return
    if _rails(facts.old).get("prepared_statements", True) is not False:
        lack = f"PgBouncer {version[0]}.{version[1]} has no prepared statements"
        yield note(f"new: {lack}, and old's database.yml does not turn them off; new's does while PgBouncer is in use")


@CHECKS.add
def advisory_locks(facts: DatabaseFacts) -> Found:
    """Rails takes no advisory locks for migrations."""
    if _rails(facts.old).get("advisory_locks", True) is not False:
        yield note("old: database.yml does not say advisory_locks: false; no migration runs during the move")


@CHECKS.add
def connection_variables(facts: DatabaseFacts) -> Found:
    """database.yml sets no variables when it connects."""
    for role, side in facts.sides:
        variables = sorted(dict(_rails(side).get("variables") or {}))
        if variables and role == "old":
            what = "database.yml sets variables on connecting, which other clients of PgBouncer would get"
            first = f"ALTER ROLE {ident(facts.old['owner'])} SET {variables[0]} = …"
            do = f"Set them with {first} on both servers, and remove `variables:`"
            yield blocker(f"old: {what}: {listed(variables)}", do)
        elif variables:
            yield note(f"new: database.yml sets variables: {listed(variables)}; replaced during the move")


@CHECKS.add
def session_state(facts: DatabaseFacts) -> Found:
    """Nothing depends on a session, as far as pg_stat_statements shows."""
    if facts.old["statements"] is None:
        breaking = "LISTEN, SET, PREPARE, temporary tables or advisory locks, which break in transaction pooling"
        do = "Search the code for them, or add pg_stat_statements to shared_preload_libraries at the next restart"
        yield warning(f"old: without pg_stat_statements nothing shows whether the application uses {breaking}", do)
        return
    for statement in facts.old["statements"]:
        what, calls = statement["what"], int(statement["calls"])
        if what.startswith("SET "):
            if what[4:] not in HARMLESS:
                do = "Use SET LOCAL or ALTER ROLE … SET; if it comes from pg_dump, do nothing"
                yield warning(f"old: {what} ({calls:,} times): applies to other clients too in transaction pooling", do)
        elif what == "migrations' advisory lock":
            yield note(f"old: {what} ({calls:,} times): no migration runs during the move")
        else:
            yield blocker(f"old: {what} ({calls:,} times) breaks in transaction pooling", INSTEAD[what])


def _rails(side: Side) -> dict[str, Any]:
    """database.yml for the environment, without what could be a secret."""
    import yaml

    try:
        environment = yaml.safe_load("\n".join(side["yml"])).get(side["environment"], {})
        # Rails 6: a database a key.
        primary = environment.get("primary", environment)
        return primary if isinstance(primary, dict) else {}
    except (yaml.YAMLError, AttributeError):
        raise Unknown("database.yml") from None


def _pgbouncer(facts: DatabaseFacts) -> tuple[int, int] | None:
    version = re.match(r"(?:\d+:)?(\d+)\.(\d+)", (facts.new.get("pgbouncer") or [""])[-1])
    return (int(version[1]), int(version[2])) if version else None
