"""New server, as root: sessions with the application's database on either server. Read by the programs beside it."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from typing import Any

import psycopg2

OTHER = {"old": "new", "new": "old"}
# The subscription by which a server follows the other; its slot and publication there have the same name.
FOLLOWS = {"new": "switchover", "old": "switchover_back"}
# Whatever a role or a database has set.
OPTIONS = "-c client_min_messages=warning -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"


def own_environment() -> None:
    """libpq takes nothing from this program's environment but the way to old (`service=old`)."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    os.environ["PGSERVICEFILE"] = "/etc/switchover/pg_service.conf"


@contextlib.contextmanager
def as_user(name: str) -> Iterator[None]:
    """PostgreSQL and PgBouncer ask the kernel which user connects to a socket. Not while another thread does this."""
    os.seteuid(pwd.getpwnam(name).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Server:
    """The application's database on *role* (old or new), with as many sessions as are asked for.

    *config* says `database`, new's name of it. *name* is what PostgreSQL shows as application_name.
    """

    def __init__(self, role: str, config: dict[str, Any], name: str = "switchover") -> None:
        self.role, self.config, self.name = role, config, name
        self.follows = FOLLOWS[role]
        self.session = self.connect()

    def connect(self, **options: Any) -> Any:
        """A session that commits each statement by itself; *options* are libpq's. Raises psycopg2.Error."""
        options = {"application_name": self.name, "options": OPTIONS, "connect_timeout": 5, **options}
        if self.role == "new":
            with as_user("postgres"):
                session = psycopg2.connect(dbname=self.config["database"], user="postgres", **options)
        else:
            # A server that is gone is noticed in some 10 s.
            gone = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10000}
            session = psycopg2.connect(service="old", **gone, **options)
        session.autocommit = True
        return session

    def ask(self, sql: str, *values: Any, session: Any = None) -> Any:
        """The first value of the answer; None where there is none. Raises psycopg2.Error."""
        with (session or self.session).cursor() as cursor:
            cursor.execute(sql, values)
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def first_line(error: Exception) -> str:
    """What *error* says, on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
