"""New server, as root: a pair of snapshots, one on either server, that see the same rows while visitors keep writing.

And the heartbeat: a row that is written on one server and awaited on the other. docs/proof.md says how the numbers of
the transactions prove a pair, whoever writes meanwhile. Read by the programs beside it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
from servers import Server

# Its value tells where it is in the log as well: see switchover_own.keep.
BEAT = """
INSERT INTO switchover.heartbeat (name, value)
VALUES (%s, extract(epoch FROM clock_timestamp()) || ' ' || pg_current_wal_insert_lsn())
ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = clock_timestamp()
RETURNING ARRAY[value, txid_current()::text, txid_current_snapshot()::text]
"""
TAKE = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT ARRAY[pg_export_snapshot(), txid_current_snapshot()::text,
  (SELECT xmin::text FROM switchover.heartbeat WHERE name = 'proof' AND value = %s)]
"""
# A snapshot of a machine that is gone must not keep a server from cleaning up: it ends when a minute nothing is heard.
OPTIONS = (
    "-c idle_in_transaction_session_timeout=60s -c statement_timeout=10s -c search_path=pg_catalog "
    "-c client_min_messages=warning"
)


def heartbeat(source: Server, target: Server, name: str, seconds: float) -> float | None:
    """Seconds until the row *name*, written on *source*, is on *target*; None where it is not within *seconds*.

    Raises psycopg2.Error.
    """
    begin = time.monotonic()
    value = source.ask(BEAT, name)[0]
    return time.monotonic() - begin if _arrives(target, name, value, seconds) else None


def _arrives(target: Server, name: str, value: str, seconds: float, session: Any = None) -> bool:
    end = time.monotonic() + seconds
    while target.ask("SELECT value FROM switchover.heartbeat WHERE name = %s", name, session=session) != value:
        if time.monotonic() > end:
            return False
        time.sleep(0.0005)
    return True


class Snapshots:
    """A session on *source* and one on *target*, which follows it; each keeps a snapshot. Raises psycopg2.Error.

    `names` are for SET TRANSACTION SNAPSHOT, by the server's role.
    """

    def __init__(self, source: Server, target: Server) -> None:
        self.source, self.target = source, target
        self.sessions = {server.role: server.connect(options=OPTIONS) for server in (source, target)}
        self.names: dict[str, str] = {}

    def release(self) -> None:
        """Neither sees a moment of before any more."""
        for server in (self.source, self.target):
            server.ask("ROLLBACK", session=self.sessions[server.role])

    def take(self) -> None:
        """In one round trip each: while nobody writes on either server, both see the same."""
        for server in (self.source, self.target):
            self._take(server, "")

    def take_proved(self, seconds: float = 0.5) -> bool:
        """Whether they see the same, whoever writes; not where the heartbeat takes longer than *seconds*."""
        self.release()
        value, number, before = self.source.ask(BEAT, "proof", session=self.sessions[self.source.role])
        with ThreadPoolExecutor(1) as pool:
            at_target = pool.submit(self._follow, value, seconds)
            at_source = self._take(self.source, value)
        return before == f"{number}:{number}:" and at_source and at_target.result()

    def _follow(self, value: str, seconds: float) -> bool:
        session = self.sessions[self.target.role]
        return _arrives(self.target, "proof", value, seconds, session) and self._take(self.target, value)

    def _take(self, server: Server, value: str) -> bool:
        """Whether the heartbeat *value* was the last transaction of all in the snapshot that is kept from now on."""
        self.names[server.role], seen, row = server.ask(TAKE, value, session=self.sessions[server.role])
        # A snapshot is xmin:xmax:those under way; none was under way where both numbers are the same.
        end = seen.partition(":")[0]
        return bool(seen == f"{end}:{end}:" and row and (int(end) - 1) % 2**32 == int(row))

    def keep(self, seconds: float) -> None:
        """They live for *seconds*, while this program does."""
        threading.Thread(target=self._keep, args=(time.monotonic() + seconds,), daemon=True).start()

    def _keep(self, end: float) -> None:
        with contextlib.suppress(psycopg2.Error):  # who reads in a snapshot that is gone says so
            while time.monotonic() < end:
                for session in self.sessions.values():
                    session.cursor().execute("SELECT 1")
                time.sleep(15)

    def close(self) -> None:
        """Both end."""
        for session in self.sessions.values():
            session.close()
