"""The modules of scripts/server/, without psycopg2, which the servers have and this machine need not."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[3] / "scripts/server"
MODULES = ("servers", "refusals", "hold", "snapshots", "proof", "switch", "database_copy")


class DatabaseError(Exception):
    """psycopg2.Error."""

    pgcode = ""


@pytest.fixture(scope="module")
def modules() -> Iterator[types.SimpleNamespace]:
    """Them by name, each imported anew; and `Error`, which stands for psycopg2's."""
    database, extensions = types.ModuleType("psycopg2"), types.ModuleType("psycopg2.extensions")
    database.Error = database.OperationalError = database.InterfaceError = DatabaseError  # type: ignore[attr-defined]
    extensions.POLL_OK, extensions.POLL_READ, extensions.POLL_WRITE = 0, 1, 2  # type: ignore[attr-defined]
    extras, sql = types.ModuleType("psycopg2.extras"), types.ModuleType("psycopg2.sql")
    extras.LogicalReplicationConnection = sql.SQL = sql.Identifier = sql.Literal = object  # type: ignore[attr-defined]
    errors = types.ModuleType("psycopg2.errors")
    for name in ("Column", "Function", "Object", "Table"):
        setattr(errors, f"Undefined{name}", DatabaseError)
    fakes = {module.__name__: module for module in (database, errors, extensions, extras, sql)}
    kept = {name: sys.modules.pop(name, None) for name in (*fakes, *MODULES)}
    sys.modules |= fakes
    sys.path.insert(0, str(PROGRAMS))
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield types.SimpleNamespace(
            Error=DatabaseError, psycopg2=database, **{name: importlib.import_module(name) for name in MODULES}
        )
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(PROGRAMS))
        for name, module in kept.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
