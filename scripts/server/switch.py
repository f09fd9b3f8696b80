"""New server, as root: the switch of the application from one database, the source, to the other one, the target.

In a hold: fence the source, wait until the target has its last write, carry the sequences, then commit by one
transaction in the target, which opens it; only then PgBouncer points there, and queries proceed. Who is primary after a
crash is one row in the target (switchover_own.switch): open, committed, or aborted by whoever asks and finds it open.

| interrupted after | source | target | row | PgBouncer | recovery |
|---|---|---|---|---|---|
| pause | admits | fenced | open | holds, points to the source | aborted; queries proceed |
| fence | fenced | fenced | open | holds, points to the source | aborted; the source's fence is lifted, then queries proceed |
| sessions | fenced | fenced | open | holds, points to the source | the same |
| heartbeat | fenced | fenced | open | holds, points to the source | the same |
| sequences | fenced | fenced | open | holds, points to the source | the same; sequences that are ahead on the target do no harm |
| snapshots | fenced | fenced | open | holds, points to the source | the same |
| intent | fenced | fenced | open | holds, points to the source | the same, once the target says that it has not committed |
| commit | fenced | admits | committed | holds, points to the source | PgBouncer points to the target, queries proceed; then the source follows it |
| resume | fenced | admits | committed | points to the target | the source follows the target, from the commit's place in its log |
| release | fenced | admits | committed | points to the target | the same |
| follow | fenced, follows | admits | committed | points to the target | the way back is prepared |
"""  # noqa: E501

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
from hold import DeadMan, Hold, Pooler, soon, systemctl
from proof import compare, counted_on
from refusals import Refused
from servers import OTHER, Server, first_line
from snapshots import Snapshots, heartbeat

NAME = "switchover switch"  # by which switchover_own.end_program knows this program's sessions
INI = Path("/etc/pgbouncer/pgbouncer.ini")
NEAR = 0.05  # seconds in which a heartbeat must arrive at the follower: a gate
OPEN = 0.1  # seconds that a transaction may be old: a gate
CLOCKS = 0.1  # seconds by which the servers' clocks may differ: a gate
LIFE = 4 * 3600  # seconds that the proof may take


def say(event: str, **facts: Any) -> None:
    """A line of JSON for each thing that happened."""
    print(json.dumps({"event": event, **facts}), flush=True)


def note(text: str, kind: str = "note") -> None:
    """A line that the operator is shown; see switchover/progress.py for `warn`."""
    print(f"{kind} {text}", flush=True)


def ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def failpoint(part: str) -> None:
    """For tests: this program is killed after *part*, or by part:SIGSTOP stopped, where they want it."""
    at, _, how = os.environ.get("SWITCHOVER_DIE_AFTER", "").partition(":")
    if at == part:
        os.kill(os.getpid(), getattr(signal, how or "SIGKILL"))


# --- where PgBouncer points, and what recovery begins with ----------------------------------------------------------


def point_pooler_at(role: str, config: dict[str, Any], *, lasting: bool = True) -> None:
    """PgBouncer's configuration is *role*'s, which it reads by RELOAD, or when it starts. *lasting*: on disk."""
    replace(INI, Path(config["ini"][role]).read_bytes(), lasting)


def replace(target: Path, content: bytes, lasting: bool = True) -> None:
    """*target* has *content*, at once; its owner and mode are as they were. *lasting*: on disk."""
    beside = target.with_name(f".{target.name}.switchover")
    beside.write_bytes(content)
    if target.exists():
        now = target.stat()
        os.chown(beside, now.st_uid, now.st_gid)
        beside.chmod(now.st_mode & 0o7777)
    if lasting:
        fsync(beside)
    beside.rename(target)
    if lasting:
        fsync(target.parent)


def fsync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def remember(config: dict[str, Any], number: int, towards: str, phase: str) -> None:
    """What recovery begins with: begun, intent (it may have committed from here on), aborted, committed, finished."""
    replace(Path(config["state"]), json.dumps({"number": number, "towards": towards, "phase": phase}).encode())


def remembered(config: dict[str, Any]) -> dict[str, Any] | None:
    """The last switch: number, towards, phase."""
    state = Path(config["state"])
    return json.loads(state.read_text()) if state.exists() else None


def unfinished(config: dict[str, Any]) -> bool:
    """Whether there is something to recover."""
    last = remembered(config)
    return last is not None and last["phase"] not in ("finished", "aborted")


def primary(config: dict[str, Any]) -> str:
    """Which database is the application's, once what was interrupted is recovered."""
    last = remembered(config)
    if last is None:
        return "old"
    return str(last["towards"]) if last["phase"] in ("committed", "finished") else OTHER[last["towards"]]


# --- before ---------------------------------------------------------------------------------------------------------


Gates = Iterator[tuple[str, str, Any]]  # the refusal's code; what is so where a gate is open; else why it is not


def firm_gates(source: Server, target: Server) -> Gates:
    """What the switch needs, and no waiting brings."""
    why = source.ask("SELECT switchover_own.cannot_follow(%s)", source.follows)
    yield "SW01", "the way back is open", why and f"{source.role}'s database cannot log in to {target.role}'s: {why}"
    for server in (source, target):
        why = server.ask("SELECT switchover_own.disk_filling()")
        yield "SW02", f"{server.role}'s disk has room", why and f"{server.role} {why}"
    ahead, unsure = clocks(source, target)
    off = f"{source.role}'s clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} {target.role}'s"
    yield "SW03", f"clocks {abs(ahead) * 1000:.0f} ms apart", abs(ahead) - unsure > CLOCKS and off
    note_late_writes(target, source.follows)
    yield "SW04", "no late writes", late_writes(source, target)


def gates(source: Server, target: Server) -> Gates:
    """What the switch has to wait for; the last one changes soonest."""
    why = source.ask("SELECT switchover_own.long_transaction(make_interval(secs => %s))", OPEN)
    yield "SW06", "no long transaction", why and f"a transaction is open on {source.role}: {why}"
    took = heartbeat(source, target, "switch", NEAR)
    behind = f"{target.role} is more than {NEAR * 1000:.0f} ms behind {source.role}"
    yield "SW07", f"{target.role} {(took or 0) * 1000:.0f} ms behind", behind if took is None else None


def open_gates(gates: Gates) -> list[str]:
    """What is so, where all are open. Raises Refused where one is not."""
    facts = []
    for code, fact, why in gates:
        if why:
            raise Refused(code, why)
        facts.append(fact)
    return facts


def clocks(source: Server, target: Server) -> tuple[float, float]:
    """Seconds that *source*'s clock is ahead of *target*'s, and how unsure that is: the best of three looks at each."""
    ahead, unsure = 0.0, 0.0
    for server, sign in ((source, 1), (target, -1)):
        looks = []
        for _ in range(3):
            begin = time.time()
            there = float(server.ask("SELECT extract(epoch FROM clock_timestamp())"))
            end = time.time()
            looks.append(((end - begin) / 2, there - (begin + end) / 2))
        ahead, unsure = ahead + sign * min(looks)[1], unsure + min(looks)[0]
    return ahead, unsure


def note_late_writes(server: Server, slot: str, upto: str | None = None) -> None:
    """Notes on *server*, which follows, what came there by nobody's replication and is in *slot*, *upto* a place."""
    try:
        server.ask("SELECT switchover_own.note_late_writes(%s, %s)", slot, upto)
    except psycopg2.Error as error:  # nothing else depends on it
        note(f"{server.role} could not be searched for late writes: {first_line(error)}")


def late_writes(source: Server, target: Server) -> str | None:
    """Why a switch would lose what somebody wrote past the fence; what it would not is said."""
    if found := target.ask("SELECT switchover_own.late_writes_found()"):
        note(f"{target.role} has what {source.role} lacks, written past the fence: {found}")
    found = source.ask("SELECT switchover_own.late_writes_found()")
    return found and f"{source.role} has what {target.role} lacks, written past the fence: {found}"


# --- the switch -----------------------------------------------------------------------------------------------------


class Switch:
    """One switch *towards* old or new. All sessions are opened here, before anybody is held. Raises psycopg2.Error."""

    def __init__(self, towards: str, config: dict[str, Any]) -> None:
        self.config = config
        self.source, self.target = Server(OTHER[towards], config, NAME), Server(towards, config, NAME)
        self.hold = Hold(config, [sys.executable, str(Path(sys.argv[0]).resolve()), "recover"])
        self.snapshots = Snapshots(self.source, self.target)
        self.snapshots.take()  # sessions that have done it before need less time in the hold
        self.snapshots.release()
        self.number = time.time_ns() // 1_000_000
        self.facts: list[str] = []  # what the gates say
        self.parts: dict[str, float] = {}  # seconds that each part of the hold took
        self.last = 0.0

    def ready(self) -> None:
        """Raises Refused where a gate is not open now."""
        begun = bool(self.facts)
        self.facts = open_gates(gates(self.source, self.target))
        if not begun:  # before anything is changed
            remember(self.config, self.number, self.target.role, "begun")
            self.target.ask("SELECT switchover_own.open_switch(%s)", self.number)

    def run(self) -> None:
        """Raises Refused where visitors stay with the source, or recovery must look after what is left."""
        source, target, config, hold = self.source, self.target, self.config, self.hold
        known = source.ask("SELECT switchover_own.sequences()")
        target.ask("SELECT switchover_own.set_sequences(%s)", json.dumps(known))
        firm = open_gates(firm_gates(source, target))
        say("ready", towards=target.role, sequences=len(known), gates=firm)
        if config.get("max_hold_because"):
            note(f"visitors are {config['max_hold_because']}")
        deadline = hold.begin(config["max_drain"], config["max_hold"], self.ready)
        self.last = hold.since
        try:
            self.part("pause", deadline)
            lsn = self.commit(known, deadline)
        except Exception as error:
            why = error.text if isinstance(error, Refused) else first_line(error)
            right = recover(config)
            say("interrupted", why=why, primary=right, hold_ms=ms(time.monotonic() - hold.since), tries=hold.tries)
            if right == target.role:  # the commit had come through all the same
                return
            code = error.code if isinstance(error, Refused) else "SW14"
            raise Refused(code, f"{why}; visitors stay with {source.role}, nothing was changed") from error
        point_pooler_at(target.role, config, lasting=False)
        hold.pooler.reload()
        seconds = hold.resume(config["max_hold"])
        self.part("resume")
        point_pooler_at(target.role, config)
        remember(config, self.number, target.role, "committed")
        hold.dead_man.disarm()
        parts = {name: ms(took) for name, took in self.parts.items()}
        say("switched", towards=target.role, hold_ms=ms(seconds), tries=hold.tries, parts=parts)
        facts = ", ".join([*firm, "every connection is there", *self.facts])
        note(f"{facts}; held for {seconds * 1000:.0f} ms, at try {hold.tries}")
        self.snapshots.keep(LIFE)
        turn_replication(config, source, target, self.number, lsn)
        self.prove()

    def part(self, name: str, deadline: float = float("inf")) -> None:
        """Part *name* of the hold is done. Raises Refused where that was after *deadline*."""
        now = time.monotonic()
        self.parts[name], self.last = now - self.last, now
        failpoint(name)
        if now > deadline:
            raise Refused("SW11", f"the hold took too long ({name})")

    def commit(self, known: dict[str, int], deadline: float) -> str:
        """From PAUSE to the commit, whose place in the target's log it returns. Raises what goes wrong before it."""
        source, target = self.source, self.target
        source.ask("SELECT switchover_own.fence()")
        self.part("fence", deadline)
        looks = 0
        while looks < 2:
            looks = 0 if source.ask("SELECT switchover_own.end_sessions()") else looks + 1
            if time.monotonic() > deadline:
                raise Refused("SW12", f"sessions on {source.role} do not end")
        self.part("sessions", deadline)
        if heartbeat(source, target, "switch", deadline - time.monotonic()) is None:
            raise Refused("SW13", f"{target.role} did not get the last write of {source.role}")
        self.part("heartbeat", deadline)
        now = source.ask("SELECT switchover_own.sequences()")
        moved = {name: value for name, value in now.items() if known.get(name) != value}
        if moved:
            target.ask("SELECT switchover_own.set_sequences(%s)", json.dumps(moved))
        self.part("sequences", deadline)
        self.snapshots.take()
        self.part("snapshots", deadline)
        remember(self.config, self.number, target.role, "intent")
        failpoint("intent")
        lsn: str = target.ask("SELECT switchover_own.commit_switch(%s)", self.number)
        self.part("commit", deadline)
        return lsn

    def prove(self) -> None:
        """Compares both databases at the moment of the switch, while visitors use the target."""
        old, new = sorted((self.source, self.target), key=lambda server: server.role, reverse=True)
        agree = counted_on if self.target is new else lambda on_old, on_new: counted_on(on_new, on_old)
        try:
            # One session reads on each server: visitors feel it least.
            equal, line = compare(old, new, 1, agree, self.snapshots.names)
        except (Refused, psycopg2.Error) as error:
            equal, line = False, first_line(error)
        if not equal:
            print(line, file=sys.stderr)
        note(f"at the moment of the switch: {line}", "note" if equal else "warn")
        say("proved", equal=equal)


def switch(towards: str, config: dict[str, Any]) -> None:
    """Points visitors to old or new, after recovery of an earlier switch. Raises Refused, psycopg2.Error."""
    recover(config)
    if primary(config) == towards:
        point_pooler_at(towards, config)
        proceed(config)
        say("already", towards=towards)
    else:
        Switch(towards, config).run()


# --- after, and whatever happens ------------------------------------------------------------------------------------


def turn_replication(config: dict[str, Any], source: Server, target: Server, number: int, lsn: str) -> None:
    """The source follows the target now, and the way back is prepared. Safe to repeat. Raises Refused, psycopg2.Error.

    In this order: both subscriptions enabled would be an endless loop, and without the start *lsn* the source would
    take its own changes a second time.
    """
    note_late_writes(target, source.follows, lsn)  # the last ones, as long as it can tell
    target.ask("SELECT switchover_own.release(%s)", target.follows)
    failpoint("release")
    keep(source, target.follows)
    source.ask("SELECT switchover_own.follow(%s, %s)", source.follows, lsn)
    failpoint("follow")
    target.ask("SELECT switchover_own.prepare(%s)", target.follows)
    if source.role == "new":
        source.ask("SELECT switchover_own.close()")
    views = target.ask("SELECT switchover_own.refresh()")
    remember(config, number, target.role, "finished")
    say("finished", towards=target.role, views=views)


def keep(server: Server, slot: str) -> None:
    """*server* keeps for the other what comes after the last heartbeat: late writes are found there."""
    for _ in range(100):
        try:
            server.ask("SELECT switchover_own.keep(%s)", slot)
            return
        except psycopg2.Error:  # who has read from it until now is about to end
            if server.session.closed:
                raise
        time.sleep(0.1)
    raise Refused("SW16", f"the slot {slot} on {server.role} cannot be advanced")


def recover(config: dict[str, Any]) -> str:
    """Ends the last switch, whatever became of it; says which database is right. Safe to repeat, at any time.

    Where a server that is needed does not answer it waits for it: no other answer would be right. Raises Refused where
    the source cannot follow yet.
    """
    last = remembered(config)
    if last is None or not unfinished(config):
        return "nothing"
    towards, number = last["towards"], last["number"]
    # Without an intent it cannot have committed: then the target need not answer.
    target = attempt(lambda: Server(towards, config, NAME), tries=3 if last["phase"] == "begun" else None)
    state, lsn = "aborted", ""
    if target is not None:
        end_sessions(target)  # first, so that a COMMIT of unknown outcome is over
        state = target.ask("SELECT (switchover_own.outcome(%s)).state", number)
        lsn = target.ask("SELECT lsn FROM switchover_own.switch WHERE number = %s", number)
    right = towards if state == "committed" else OTHER[towards]
    source = attempt(lambda: Server(OTHER[towards], config, NAME), tries=3 if state == "committed" else None)
    if state == "aborted":
        end_sessions(source)
        source.ask("SELECT switchover_own.unfence()")  # before RESUME, or clients would be turned away
    point_pooler_at(right, config)
    # Where PgBouncer does not run, it will start with that configuration, and holds nobody.
    done = attempt(lambda: proceed(config), tries=3)
    if not done and systemctl("is-active", "pgbouncer").strip() == "active":
        raise Refused("SW15", "PgBouncer's console does not answer, and it may hold queries still")
    DeadMan.disarm()  # before this is over: what ends this program now must find it again
    remember(config, number, towards, state)
    say("recovered", state=state, primary=right)
    if state == "committed":
        if source is None:
            raise Refused("SW17", f"visitors use {right}; {OTHER[towards]} does not answer, and does not follow yet")
        turn_replication(config, source, target, number, lsn)
    return right


def proceed(config: dict[str, Any]) -> bool:
    """PgBouncer points where its configuration says, and holds nobody. Raises psycopg2.Error."""
    pooler = Pooler(config)
    soon(lambda: not any(pool["sv_login"] for pool in pooler.pools()), 1)  # RELOAD would end a login
    pooler.reload()
    pooler.resume()
    return True


def end_sessions(server: Server) -> None:
    """The sessions of a program that is gone have ended there."""
    while server.ask("SELECT switchover_own.end_program()"):
        time.sleep(0.05)


def attempt(make: Callable[[], Any], tries: int | None = None) -> Any:
    """What *make* makes, once its server answers; None where it does not in so many tries, a second apart."""
    attempts = 0
    while True:
        try:
            return make()
        except psycopg2.Error as error:
            attempts += 1
            if attempts == 1:
                say("waiting", why=first_line(error))
            if attempts == tries:
                return None
            time.sleep(1)
