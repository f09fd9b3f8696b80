"""What is in old's database: what replicates, what does not, and what new has to have."""

from __future__ import annotations

from ..findings import Checks, Found, blocker, listed, note, warning
from ..quote import ident
from .host import GROUP, DatabaseFacts, names

WHOLE_ROWS = 10_000  # rows: FULL compares all of them for each row that is changed

CHECKS = Checks[[DatabaseFacts]](GROUP)


@CHECKS.add
def encoding(facts: DatabaseFacts) -> Found:
    """Both databases have one encoding."""
    old, new = (side["database"]["encoding"] for _, side in facts.sides)
    if old != new:
        do = f"Create new's database with ENCODING '{old}' TEMPLATE template0"
        yield blocker(f"the encoding is {old} on old, {new} on new", do)


@CHECKS.add
def collation(facts: DatabaseFacts) -> Found:
    """Both databases sort alike, by one collation of one version."""
    old, new = facts.old["database"], facts.new["database"]
    providers = {"c": "libc", "i": "icu", "b": "builtin"}

    def rules(d: dict[str, str]) -> str:
        return f"{providers.get(d['provider'], d['provider'])} {d['locale'] or d['collate']} (LC_CTYPE {d['ctype']})"

    collations = [rules(old), rules(new)]
    if collations[0] != collations[1]:
        do = f"If order matters: create new's database with LC_COLLATE '{old['collate']}' LC_CTYPE '{old['ctype']}'"
        yield warning(f"the collation is {collations[0]} on old, {collations[1]} on new", do)
        return
    if old["collate"] in ("C", "POSIX") or old["provider"] == "b":
        return
    versions = [d["collation_version"] for d in (old, new)]
    if old["provider"] == "c":
        versions = [facts.old["libc"][-1], facts.new["libc"][-1]]
    if versions[0] != versions[1]:
        what = f"the collation's version is {versions[0]} on old, {versions[1]} on new"
        yield note(f"{what}: text may sort a little differently; new builds its indexes afresh")


@CHECKS.add
def extensions(facts: DatabaseFacts) -> Found:
    """new can create every extension that old has."""
    if missing := sorted(set(facts.old["extensions"]) - set(facts.new["available_extensions"])):
        do = f"Install their Debian packages on new (apt-cache search postgresql-.*{missing[0]})"
        yield blocker(f"new lacks the extensions {listed(missing)}", do)


@CHECKS.add
def grants(facts: DatabaseFacts) -> Found:
    """The application's role may read every table."""
    owner = facts.old["owner"]
    if unread := [table for table in facts.old["tables"] if not table["readable"]]:
        do = f"Give it access (GRANT USAGE on their schema, GRANT SELECT ON … TO {ident(owner)}), or drop them"
        yield blocker(f"old: {owner} may not read {names(unread)}", do)


@CHECKS.add
def identity(facts: DatabaseFacts) -> Found:
    """Every table has a key that replication can use."""
    keyless = facts.old.tables(identity=None, unlogged=False, kind="r")
    if indexed := [table for table in keyless if table["offer"]]:
        offers = listed(f"{table['name']} ({table['offer'].removeprefix('public.')})" for table in indexed)
        yield note(f"old: no primary key: {offers}: a unique index is the replica identity during the move")
    rest = [table for table in keyless if not table["offer"]]
    do = "Give each a primary key, or a unique index on columns that are NOT NULL"
    if broken := [table for table in rest if table["incomparable"]]:
        columns = listed(f"{table['name']}.{column}" for table in broken for column in table["incomparable"])
        yield blocker(f"old: no key, and whole rows cannot be compared ({columns}): {names(broken)}", do)
    rest = [table for table in rest if not table["incomparable"]]
    if slow := [table for table in rest if table["rows"] > WHOLE_ROWS and table["changes"]]:
        counts = listed(f"{t['name']} ({t['rows']:,} rows, {t['changes']:,} changes so far)" for t in slow)
        yield warning(f"old: no key, so each change reads the whole table on new (REPLICA IDENTITY FULL): {counts}", do)
    if fine := [table for table in rest if table not in slow]:
        yield note(f"old: no key: {names(fine)}: whole rows are compared (REPLICA IDENTITY FULL)")


@CHECKS.add
def unlogged_tables(facts: DatabaseFacts) -> Found:
    """There are no unlogged tables."""
    if tables := facts.old.tables(unlogged=True):
        do = f"ALTER TABLE {tables[0]['name']} SET LOGGED (this rewrites the table), or drop it"
        yield blocker(f"old: unlogged tables do not replicate: {names(tables)}", do)


@CHECKS.add
def large_objects(facts: DatabaseFacts) -> Found:
    """There are no large objects."""
    if count := facts.old["large_objects"]:
        do = "Keep them in bytea columns or files; `vacuumlo` removes orphans"
        yield blocker(f"old: {count:,} large objects, which do not replicate", do)


@CHECKS.add
def foreign_tables(facts: DatabaseFacts) -> Found:
    """There are no foreign tables."""
    if tables := facts.old.tables(kind="f"):
        yield warning(f"old: foreign tables: {names(tables)}", "Make sure that new reaches their servers")


@CHECKS.add
def triggers(facts: DatabaseFacts) -> Found:
    """No trigger fires for replicated rows."""
    for trigger in facts.old["triggers"]:
        mode = "ALWAYS" if trigger["enabled"] == "A" else "REPLICA"
        name, table = trigger["name"], trigger["table"].removeprefix("public.")
        do = f"ALTER TABLE {table} ENABLE TRIGGER {ident(name)} until the switch"
        yield blocker(f"old: the trigger {name} of {table} is ENABLE {mode}: it would fire again on new", do)


@CHECKS.add
def event_triggers(facts: DatabaseFacts) -> Found:
    """There are no event triggers."""
    for role, side in facts.sides:
        if present := side["event_triggers"]:
            do = "Make sure that they allow the schema's restore and the move's own changes"
            yield warning(f"{role}: event triggers: {listed(present)}", do)


@CHECKS.add
def row_security(facts: DatabaseFacts) -> Found:
    """No table has row security."""
    if tables := facts.old.tables(row_security=True):
        yield note(f"old: row security on {names(tables)}: new gets it too; copy and replication see every row")


@CHECKS.add
def generated_columns(facts: DatabaseFacts) -> Found:
    """There are no generated columns."""
    if tables := [table for table in facts.old["tables"] if table["generated"]]:
        yield note(f"old: generated columns in {names(tables)}: new computes them itself")


@CHECKS.add
def identity_columns(facts: DatabaseFacts) -> Found:
    """There are no identity columns."""
    if tables := [table for table in facts.old["tables"] if table["identity_columns"]]:
        yield note(f"old: identity columns in {names(tables)}: the switch sets their sequences")


@CHECKS.add
def sequences_unowned(facts: DatabaseFacts) -> Found:
    """Every sequence belongs to a column."""
    if sequences := [sequence for sequence in facts.old["sequences"] if not sequence["owned"]]:
        yield note(f"old: sequences of no column: {names(sequences)}: the switch sets them like the others")


@CHECKS.add
def sequences_cached(facts: DatabaseFacts) -> Found:
    """No sequence has CACHE above 1."""
    if sequences := [sequence for sequence in facts.old["sequences"] if sequence["cache"] > 1]:
        yield note(f"old: sequences with CACHE: {names(sequences)}: the switch skips numbers that sessions hold")


@CHECKS.add
def materialised_views(facts: DatabaseFacts) -> Found:
    """There are no materialised views."""
    if views := facts.old.tables(kind="m"):
        size = sum(view["size"] for view in views) / 1e6
        yield note(f"old: materialised views: {names(views)} ({size:,.0f} MB): refreshed on new after the switch")


@CHECKS.add
def role_settings(facts: DatabaseFacts) -> Found:
    """new has the settings that old has by ALTER ROLE and ALTER DATABASE."""
    on_new = {(setting["role"], setting["name"]) for setting in facts.new["role_settings"]}
    for setting in facts.old["role_settings"]:
        role, name = setting["role"], setting["name"]
        if role == facts.old["owner"]:  # it has another name there
            role = facts.new["owner"]
        if (role, name) in on_new:
            continue
        new = ident(facts.new["name"])
        where = " IN DATABASE " + new if setting["here"] else ""
        alter = f"ALTER ROLE {ident(role)}{where}" if role else f"ALTER DATABASE {new}"
        by = f"ALTER ROLE {setting['role']}" if setting["role"] else "ALTER DATABASE"
        do = f"On new: {alter} SET {name} = … (old's: psql -c '\\drds')"
        yield warning(f"old: {by} sets {name}; new does not", do)
