"""The settings of the database: where it is on each server, PgBouncer in front of it, and the switch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..vocabulary import AnyPath, Flag, Name, Part, Port, Seconds


class Database(Part):
    """The application's PostgreSQL database, on the server itself."""

    name: Name
    """The database's name."""
    owner: Name
    """The role that the application logs in with."""
    config: AnyPath = "config/database.yml"
    """The application's settings of it; a relative path is below the application's directory."""
    host: Name = "localhost"
    """Where it listens, as the application's settings have it."""
    port: Port = 5432
    """The port where it listens."""


class PgBouncer(Part):
    """PgBouncer on new, between the application and either database (`strategy: replicate`)."""

    port: Port = 6432
    """The port where it listens, for new alone."""
    pool: Annotated[int, Field(strict=True, ge=1, le=500)] = 20
    """Its connections to the database, which stay open all the time."""
    keep: Flag = False
    """Whether it stays when the move is over."""


class Switch(Part):
    """The switch of a replicated database (`strategy: replicate`)."""

    max_drain: Seconds = 60
    """Seconds to wait for a moment when no query runs longer than 0.2 s."""
    max_hold: Annotated[int, Field(strict=True, ge=1, le=20)] = 5
    """Seconds that queries are held, at most; then visitors continue connected to old's database."""
