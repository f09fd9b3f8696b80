"""New server, as root: PgBouncer holds every query of the application for a moment. Used by the switch, the held
restart of old's PostgreSQL, and the proof.

    with alone():                           one program at a time
        hold = Hold(config)
        try:
            hold.begin(drain=30, longest=5) for 30 s PAUSE is tried; 5 s later the dead man says RESUME
            …                               no query is under way now, and none gets through
            seconds = hold.resume()         they proceed, and one was answered
        finally:
            hold.end()                      the dead man does not come, the pool is as before

*config* says `port`, `pool` and `database`: PgBouncer's, and how many connections it has by its configuration.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ
from refusals import Refused
from servers import as_user, first_line

LOCK = Path("/run/switchover-hold.lock")
SOCKET = "/var/run/postgresql"
DEAD_MAN = "switchover-dead-man"
UNITS = (f"{DEAD_MAN}.timer", f"{DEAD_MAN}.service")
ROLE, PASSFILE = "switchover_app", "/etc/switchover/pgpass"  # as the application logs in to PgBouncer
TRY = 0.2  # seconds that PAUSE may wait for what is under way, as all others wait with it
QUIET = 0.5  # seconds in which a moment without a query is looked for; without one PAUSE is tried all the same
SPARE = 2  # connections beside those that were in use at once
FILLED = 3  # seconds that PgBouncer may take to close the connections that nobody uses, or to open what it lacks
ANSWER = 5  # seconds after which PgBouncer's console counts as hanging
CONNECTIONS = ("sv_active", "sv_idle", "sv_used", "sv_tested")  # in SHOW POOLS, those that are open


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """No program holds meanwhile; waits for one that does."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def alone(seconds: float = 10) -> Iterator[None]:
    """No other program holds meanwhile, and what one that died has left held was let go by its dead man.

    Raises Refused where that is not so within *seconds*.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with LOCK.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = DeadMan.states() == ["inactive", "inactive"]
            except BlockingIOError:
                free = False
            if free:
                yield
                return
        time.sleep(0.1)
    raise Refused("SW09", "PgBouncer is in use by a switch, a proof or a held restart")


def end_on_signals() -> None:
    """A signal that ends this program lets it clean up, once."""

    def ended(number: int, frame: Any) -> None:
        for other in signals:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(1)

    signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    for number in signals:
        signal.signal(number, ended)


def wait(session: Any, seconds: float = ANSWER) -> None:
    """The asynchronous *session* is done with what it does. Raises psycopg2.Error, also where that takes longer."""
    end = time.monotonic() + seconds
    while (state := session.poll()) != POLL_OK:
        left = max(0, end - time.monotonic())
        reading, writing = ([session], []) if state == POLL_READ else ([], [session])
        if not any(select.select(reading, writing, [], left)):
            raise psycopg2.OperationalError(f"PgBouncer does not answer for {seconds:.0f} s")


def application(config: dict[str, Any]) -> Any:
    """A session on the application's way to its database. Raises psycopg2.Error."""
    session = psycopg2.connect(
        host="127.0.0.1", port=config["port"], dbname=config["database"], user=ROLE, passfile=PASSFILE,
        sslmode="disable", application_name="switchover", async_=True,
    )  # fmt: skip
    wait(session)
    return session


class Pooler:
    """PgBouncer's console, by two sessions: one may wait in PAUSE while the other lets go. Neither waits for ever."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.size = 0  # connections that it may have; 0: as many as its configuration says
        self.first, self.second = self.connect(), self.connect()

    def connect(self) -> Any:
        """A session with the console. Raises psycopg2.Error."""
        with as_user("postgres"):  # it lets its own user in, by the socket, without a password
            session = psycopg2.connect(
                host=SOCKET, port=self.config["port"], user="pgbouncer", dbname="pgbouncer", async_=True
            )
            wait(session)
        return session

    def rows(self, command: str) -> list[dict[str, Any]]:
        """The console's answer. Raises psycopg2.Error, also where there is none in time."""
        cursor = self.second.cursor()
        cursor.execute(command)
        wait(self.second)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row)) for row in cursor.fetchall()] if names else []

    def pools(self) -> list[dict[str, Any]]:
        """Those that have clients, with their connections to the database; PgBouncer does not fill the others."""
        pools = [pool for pool in self.rows("SHOW POOLS") if pool["database"] != "pgbouncer"]
        pools = [pool for pool in pools if pool["cl_active"] + pool["cl_waiting"]]
        return [{**pool, "connections": sum(pool[name] for name in CONNECTIONS)} for pool in pools]

    def missing(self) -> str | None:
        """Why PAUSE or RELOAD must not be tried now: a login under way would fail, and so would who waits for it."""
        for pool in self.pools():
            if pool["sv_login"] or pool["connections"] < max(self.size, 1):
                return f"PgBouncer has {pool['connections']} connections to the database, and is making more"
        return None

    def shrink_pool(self) -> None:
        """PgBouncer has as many connections as visitors use now and some more, and makes no other, until restore_pool.

        PAUSE closes them all, and while twenty processes of PostgreSQL end at once nothing else gets far.
        """
        used = 0
        for _ in range(20):
            used = max([used, *(pool["sv_active"] + pool["cl_waiting"] for pool in self.pools())])
            time.sleep(0.02)
        self.size = min(used + SPARE, self.config["pool"])
        self.rows(f"SET default_pool_size = {self.size}")
        soon(lambda: all(not pool["sv_login"] and pool["connections"] == self.size for pool in self.pools()))

    def restore_pool(self) -> None:
        """It may have all its connections again. RELOAD would end a login under way, and fail who waits for it."""
        if self.size:
            soon(lambda: not self.missing())
            self.reload()

    def reload(self) -> None:
        """It is as its configuration says."""
        self.rows("RELOAD")
        self.size = 0

    def wait_for_idle(self, seconds: float) -> None:
        """Waits for a moment in which no query is under way, for which PAUSE would wait; not longer than *seconds*."""
        soon(lambda: not any(pool["sv_active"] or pool["cl_waiting"] for pool in self.pools()), seconds, 0.0005)

    def pause(self, seconds: float) -> bool:
        """All queries are held; or not within *seconds*, and then none is."""
        with contextlib.suppress(psycopg2.Error):
            cursor = self.first.cursor()  # which must live for as long as it waits
            cursor.execute("PAUSE")
            wait(self.first, seconds)
            return True
        self.resume()
        self.first.close()
        self.first = self.connect()
        self.resume()  # what was paused at the very last moment
        return False

    def resume(self) -> None:
        """Queries proceed. Safe to repeat; where this console is gone or hangs, by a new one. Raises psycopg2.Error."""
        for last in (False, True):
            try:
                self.rows("RESUME")
                return
            except psycopg2.Error as error:
                if "not paused" in str(error):
                    return
                if last:
                    raise
                self.second = self.connect()


def soon(what: Callable[[], bool], seconds: float = FILLED, pause: float = 0.02) -> bool:
    """Waits until *what* is so, and not longer than *seconds*. Whether it is."""
    end = time.monotonic() + seconds
    while not (done := what()) and time.monotonic() < end:
        time.sleep(pause)
    return done


class DeadMan:
    """A timer of systemd: whatever becomes of this program, *command* ends what it holds."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command

    @staticmethod
    def states() -> list[str]:
        """Of its timer and of its service: active, inactive or in between."""
        return systemctl("is-active", *UNITS).split()

    def arm(self, seconds: float) -> None:
        """It comes after so many seconds, in place of an earlier one."""
        self.disarm()
        options = ["--quiet", "--collect", f"--unit={DEAD_MAN}", f"--on-active={seconds}"]
        options += ["--timer-property=AccuracySec=20ms", "--setenv=SWITCHOVER_DEAD_MAN=1"]
        subprocess.run(["systemd-run", *options, *self.command], check=True)

    @staticmethod
    def disarm() -> bool:
        """It does not come any more; whether it was still to come."""
        states = DeadMan.states()
        # The program of the dead man itself must not be ended by this.
        systemctl("stop", *UNITS[: 1 if "SWITCHOVER_DEAD_MAN" in os.environ else 2])
        return states == ["active", "inactive"]


def systemctl(*words: str) -> str:
    """What systemctl prints; that a unit is not there is no error."""
    command = ["systemctl", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def let_go(port: int) -> list[str]:
    """The command of a dead man that needs no file of ours: the pool is restored, and queries proceed."""
    command = "env --chdir=/ -u PGOPTIONS setpriv --reuid=postgres --regid=postgres --init-groups psql -XAq"
    return f"{command} -h {SOCKET} -p {port} -U pgbouncer pgbouncer -c RELOAD -c RESUME".split()


class Hold:
    """All queries of the application; see `alone`. *recovery*: the dead man's command, in place of `let_go`."""

    def __init__(self, config: dict[str, Any], recovery: Sequence[str] = ()) -> None:
        self.pooler, self.client = Pooler(config), application(config)
        self.cursor = self.client.cursor()
        self.dead_man = DeadMan(recovery or let_go(config["port"]))
        self.since = self.lost = 0.0  # when all was held; seconds that tries which came to nothing have held
        self.tries = 0

    def check(self) -> None:
        """Raises Refused where PAUSE must not be tried now."""
        if why := self.pooler.missing():
            raise Refused("SW05", why)

    def begin(self, drain: float, longest: float, ready: Callable[[], None] = lambda: None) -> float:
        """Every query is held from here on, for *longest* seconds at most; returns their end (time.monotonic()).

        *ready* raises Refused where that must not be tried now. Raises Refused where *drain* seconds were not enough.
        """
        begun = time.monotonic()
        while True:
            try:
                self.check()
                ready()
                self.pooler.shrink_pool()
                self.check()
                ready()
            except Refused as refused:
                why, pause = refused, 0.1
            else:
                end = time.monotonic() + longest
                if self._tried(longest):
                    return end
                why = Refused("SW08", f"a query ran longer than {TRY * 1000:.0f} ms in each of {self.tries} tries")
                pause = 0.5  # what has waited proceeds now
            self.pooler.restore_pool()
            waited = time.monotonic() - begun
            if waited > drain:
                raise Refused(why.code, f"{why.text}, for {drain:.0f} s; nothing was changed")
            print(f"doing {why.text}\nprogress {waited:.0f} {drain:.0f} seconds", flush=True)
            time.sleep(pause)

    def _tried(self, longest: float) -> bool:
        self.tries += 1
        self.dead_man.arm(longest)
        self.pooler.wait_for_idle(min(QUIET, longest / 2))
        self.since = time.monotonic()
        if self.pooler.pause(TRY):
            self.cursor.execute("SELECT 1")  # it waits among the first; when it is answered, visitors are
            return True
        self.lost += time.monotonic() - self.since
        self.dead_man.disarm()
        return False

    def resume(self, seconds: float = 10) -> float:
        """Queries proceed; returns the seconds that they were held, all tries together.

        Raises Refused where none is answered within *seconds*.
        """
        self.pooler.resume()
        try:
            wait(self.client, seconds)
        except psycopg2.Error as error:
            raise Refused("SW15", f"the application's database: {first_line(error)}") from error
        return time.monotonic() - self.since + self.lost

    def end(self) -> bool:
        """Nothing is held, whatever was begun, and the pool is restored. Returns whether the dead man did not do it."""
        self.pooler.resume()
        in_time = self.dead_man.disarm()
        self.pooler.restore_pool()
        return in_time
