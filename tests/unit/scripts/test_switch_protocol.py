"""The protocol of the switch, by its own code: every actor may stop anywhere, in any order.

`scripts/server/switch.py` and `hold.py` run as they are, against two databases, a pooler and a clock that live in
memory. At each thing it does to them others act: visitors write, strays write past the pooler, changes travel,
servers and the pooler restart, the program dies. Whatever came before, in the end: never do two databases admit the
application, no acknowledged write is missing where the application is, none is taken twice, nobody is held, and what
somebody wrote by hand to the one that follows is known.
"""

from __future__ import annotations

import itertools
import os
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from conftest import PROGRAMS
from conftest import DatabaseError as Error
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

OTHER = {"old": "new", "new": "old"}
FOLLOWS = {"new": "switchover", "old": "switchover_back"}
EXAMPLES = int(os.environ.get("SWITCHOVER_EXAMPLES", "150"))  # a long campaign: 20000
CONFIG = {"database": "shop", "port": 6432, "pool": 1, "max_drain": 10, "max_hold": 5, "user": "u", "passfile": "p"}
EVENTS = ("write", "stray", "by hand", "travel", "travel", "down old", "down new", "up", "pooler dies", "killed")


class Killed(BaseException):
    """The program is gone."""


@dataclass
class Database:
    """One side. *log*: every row it took, in order, with whose it was; a row is taken once, or replication stops."""

    role: str
    admits: bool
    up: bool = True
    strays: bool = False  # somebody is connected past the pooler
    log: list[str] = field(default_factory=list)
    switches: dict[int, tuple[str, int | None]] = field(default_factory=dict)
    follows: str | None = None  # None: no subscription, "prepared", "enabled"
    start: int = 0  # how much of the other's log it has seen or passes over
    slot: int | None = None  # from where on it keeps its log for the other
    beat: int = 0  # where the last heartbeat is that was written here
    broken: bool = False
    noted: set[str] = field(default_factory=set)  # rows that were written here by hand while it followed

    def take(self, row: str) -> None:
        if row in self.log:
            self.broken = True
        else:
            self.log.append(row)


@dataclass
class World:
    """Everything outside the program."""

    databases: dict[str, Database]
    state: dict[str, Any] | None = None  # the program's file
    ini: str = "old"  # PgBouncer's configuration; and as it is on disk, after a loss of power
    lasting: str = "old"
    points_to: str = "old"
    paused: bool = False
    shrunk: bool = False  # the pooler has fewer connections than its configuration says
    pooler: bool = True
    watched: bool = False
    acknowledged: list[str] = field(default_factory=list)
    events: Iterator[str] = field(default_factory=lambda: iter(()))
    rows: int = 0
    slept: int = 0
    beaten: str = ""

    def tick(self) -> None:
        """Before each thing that the program does, something else happens."""
        assert not all(one.admits for one in self.databases.values()), "both admit the application"
        self.happen(next(self.events, ""))

    def happen(self, event: str) -> None:
        what, _, role = event.partition(" ")
        if what == "write":
            one = self.databases[self.points_to]
            if self.pooler and not self.paused and one.up and one.admits:
                self.acknowledge(one)
        elif what == "stray":
            for one in self.databases.values():
                if one.up and (one.strays or one.admits):
                    one.strays = True
                    self.acknowledge(one)
        elif what == "by":  # hand: a superuser who passes every fence, on the one that follows
            for one in self.databases.values():
                if one.up and one.follows == "enabled" and not one.admits:
                    self.rows += 1
                    one.take(f"hand {self.rows}")
        elif what == "travel":
            for one in self.databases.values():
                self.travel(one)
        elif what == "down":
            self.databases[role].up = self.databases[role].strays = False
        elif what == "up":
            for one in self.databases.values():
                one.up = True
        elif what == "pooler":
            self.points_to, self.paused, self.shrunk = self.ini, False, False
        elif what == "killed":
            raise Killed

    def acknowledge(self, one: Database) -> None:
        self.rows += 1
        one.take(f"row {self.rows}")
        self.acknowledged.append(f"row {self.rows}")

    def travel(self, one: Database) -> None:
        """One more change arrives; PostgreSQL before 16 sends what came from here as well."""
        other = self.databases[OTHER[one.role]]
        if one.follows == "enabled" and other.slot is not None and one.up and other.up and not one.broken:
            one.start = max(one.start, other.slot)
            if one.start < len(other.log):
                one.take(other.log[one.start])
                one.start += 1


world = World({})  # each example makes its own


class Server:
    """What the program's Server does, in memory; the functions of switch.sql by name."""

    def __init__(self, role: str, config: dict[str, Any], name: str = "") -> None:
        self.role, self.follows, self.session = role, FOLLOWS[role], None
        self.one = world.databases[role]
        self.other = world.databases[OTHER[role]]
        self.connect()

    def connect(self, **options: Any) -> None:
        world.tick()
        if not self.one.up:
            raise Error("does not answer")

    def ask(self, sql: str, *values: Any, session: Any = None) -> Any:
        world.tick()
        if not self.one.up:
            raise Error("the connection was lost")
        return next(answer for part, answer in self.ANSWERS.items() if part in sql)(self, *values)

    def _open(self, number: int) -> None:
        self.one.switches.setdefault(number, ("open", None))

    def _fence(self) -> None:
        self.one.admits = False

    def _unfence(self) -> None:
        self.one.admits = True

    def _end_sessions(self) -> int:
        there, self.one.strays = self.one.strays, False
        return int(there)

    def _beat(self, name: str) -> list[str]:
        self.one.beat = len(self.one.log)
        Clock.now += 0.0001
        world.beaten = f"{Clock.now:.6f}"
        self.one.take(f"beat {world.beaten}")
        return [world.beaten]

    def _beaten(self, name: str) -> str | None:
        for _ in range(len(self.other.log) + 1):
            world.travel(self.one)
        beats = [row.split()[1] for row in self.one.log if row.startswith("beat")]
        return beats[-1] if beats else None

    def _commit(self, number: int) -> int:
        if self.one.switches[number][0] != "open":
            raise Error("the switch was aborted meanwhile")
        self.one.switches[number] = ("committed", len(self.one.log))
        self.one.admits = True
        return len(self.one.log)

    def _outcome(self, number: int) -> str:
        state, lsn = self.one.switches.get(number, ("aborted", None))
        if state == "open":
            state = "aborted"
        if number in self.one.switches:
            self.one.switches[number] = (state, lsn)
        return state

    def _lsn(self, number: int) -> int | None:
        return self.one.switches.get(number, ("", None))[1]

    def _release(self, name: str) -> None:
        self.one.follows = None

    def _follow(self, name: str, lsn: int) -> None:
        if self.one.follows == "prepared":
            self.one.start = max(self.one.start, lsn)
            self.one.follows = "enabled"

    def _prepare(self, name: str) -> None:
        if self.one.follows is None:
            self.one.follows, self.one.start = "prepared", 0

    def _keep(self, name: str) -> None:
        self.one.slot = max(self.one.slot or 0, self.one.beat)

    def _note(self, name: str, upto: int | None) -> None:
        """What is in the slot by hand; a slot is passed over by nobody here, so all that it ever held is."""
        if self.one.follows == "enabled" and self.one.slot is not None:
            self.one.noted |= {row for row in self.one.log[self.one.slot : upto] if row.startswith("hand")}

    ANSWERS: ClassVar[dict[str, Callable[..., Any]]] = {
        "ROLLBACK": lambda self: None,
        "open_switch": _open,
        "unfence()": _unfence,
        "fence()": _fence,
        "end_sessions": _end_sessions,
        "end_program": lambda self: 0,
        "INSERT INTO switchover.heartbeat": _beat,
        "SELECT value FROM switchover.heartbeat": _beaten,
        "cannot_follow(": lambda self, name: None,
        "disk_filling": lambda self: None,
        "note_late_writes(": _note,
        "late_writes_found": lambda self: None,  # carried over at once
        "long_transaction": lambda self, most: None,
        "clock_timestamp())": lambda self: Clock.now,
        "set_sequences": lambda self, wanted: None,
        "sequences()": lambda self: {},
        "pg_export_snapshot": lambda self, value: ["snapshot", "1:1:", None],
        "commit_switch": _commit,
        "outcome": _outcome,
        "SELECT lsn": _lsn,
        "close()": lambda self: None,
        "release": _release,
        "own.follow(": _follow,
        "prepare(": _prepare,
        "keep(": _keep,
        "refresh": lambda self: 0,
    }


class Pooler:
    """PgBouncer's console, in memory."""

    def __init__(self, config: dict[str, Any]) -> None:
        world.tick()

    def missing(self) -> str | None:
        return (
            None
            if world.databases[world.points_to].up and world.databases[world.points_to].admits
            else "no connections"
        )

    def pools(self) -> list[dict[str, int]]:
        return []

    def shrink_pool(self) -> None:
        world.tick()
        world.shrunk = True

    def restore_pool(self) -> None:
        if world.shrunk:
            self.reload()

    def wait_for_idle(self, seconds: float) -> None:
        world.tick()

    def pause(self, seconds: float) -> bool:
        world.tick()
        world.paused = True
        world.tick()
        return True

    def resume(self) -> None:
        world.tick()
        world.paused = False

    def reload(self) -> None:
        world.tick()
        world.points_to, world.shrunk = world.ini, False


class DeadMan:
    """The timer, in memory."""

    def __init__(self, command: list[str]) -> None: ...

    def arm(self, seconds: float) -> None:
        self.disarm()
        world.watched = True
        world.tick()

    @staticmethod
    def disarm() -> bool:
        world.watched, watched = False, world.watched
        world.tick()
        return watched


class Client:
    """A client of the pooler's; it sees nothing that the invariants do not."""

    def __init__(self, config: dict[str, Any]) -> None: ...

    def cursor(self) -> Client:
        return self

    def execute(self, sql: str) -> None: ...

    def poll(self) -> int:
        return 0


def _remember(config: dict[str, Any], number: int, towards: str, phase: str) -> None:
    world.tick()
    # Who comes next after a loss of power does not look at it again.
    assert phase in ("begun", "intent") or world.lasting == (OTHER[towards] if phase == "aborted" else towards)
    world.state = {"number": number, "towards": towards, "phase": phase}


def _point_pooler_at(role: str, config: dict[str, Any], *, lasting: bool = True) -> None:
    world.tick()
    world.ini = role
    if lasting:
        world.lasting = role


class Clock:
    """Time that passes as the program asks; who waits long sees servers come back."""

    now = 0.0

    def monotonic(self) -> float:
        Clock.now += 0.0001
        return Clock.now

    time = monotonic

    def time_ns(self) -> int:
        Clock.now += 0.01
        return int(Clock.now * 1e9)

    def sleep(self, seconds: float) -> None:
        Clock.now += seconds
        world.slept += 1
        world.happen("travel")
        if world.slept % 3 == 0:
            world.happen("up")


@pytest.fixture(scope="module")
def program(modules: types.SimpleNamespace) -> types.ModuleType:
    """switch.py, its hands and eyes replaced."""
    switch: types.ModuleType = modules.switch
    values = {"Server": Server, "remember": _remember, "point_pooler_at": _point_pooler_at}
    values |= {"remembered": lambda config: world.state, "compare": lambda *_: (True, ""), "say": lambda *_, **__: None}
    for name, value in values.items():
        setattr(switch, name, value)
    for module in (switch, modules.hold):
        for name, value in {"Pooler": Pooler, "DeadMan": DeadMan, "application": Client}.items():
            setattr(module, name, value)
    for module in (switch, modules.hold, modules.snapshots):
        module.time = Clock()
    modules.snapshots.Snapshots.keep = lambda self, seconds: None
    return switch


def begin(towards: str) -> None:
    """A world in which the database *towards* follows the other one."""
    global world
    source, target = Database(OTHER[towards], admits=True), Database(towards, admits=False)
    source.slot, target.follows = 0, "enabled"
    target.slot, source.follows = 0, "prepared"
    world = World(
        {source.role: source, target.role: target}, ini=source.role, lasting=source.role, points_to=source.role
    )
    if source.role == "new":
        world.state = {"number": 1, "towards": "new", "phase": "finished"}


def machine(program: types.ModuleType) -> type[RuleBasedStateMachine]:
    """The state machine around *program*."""

    class Switches(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            begin("new")

        def run(self, what: Callable[[], Any], events: list[str]) -> None:
            world.events = iter(events)
            try:
                what()
            except (Killed, Error, program.Refused):
                pass
            finally:
                world.events = iter(())

        @rule(
            towards=st.sampled_from(["old", "new"]), events=st.lists(st.sampled_from(EVENTS + ("",) * 12), max_size=60)
        )
        def switch(self, towards: str, events: list[str]) -> None:
            self.run(lambda: program.switch(towards, CONFIG), events)

        @rule(events=st.lists(st.sampled_from(EVENTS + ("",) * 6), max_size=30))
        def recover(self, events: list[str]) -> None:
            self.run(lambda: program.recover(CONFIG), events)

        @rule(event=st.sampled_from(EVENTS[:-1]))
        def happens(self, event: str) -> None:
            world.happen(event)

        @invariant()
        def never_do_both_admit_the_application(self) -> None:
            assert not all(one.admits for one in world.databases.values())

        @invariant()
        def nothing_is_taken_twice(self) -> None:
            assert not any(one.broken for one in world.databases.values())

        @invariant()
        def who_is_held_has_somebody_to_release_them(self) -> None:
            assert not world.paused or world.watched

        def teardown(self) -> None:
            world.events = iter(())
            world.happen("up")
            program.recover(CONFIG)
            right = world.databases[world.points_to]
            assert right.admits and not world.paused and not world.shrunk and world.ini == world.points_to
            for _ in range(len(right.log) + 2):
                world.happen("travel")
            assert set(world.acknowledged) <= set(right.log)
            other = world.databases[OTHER[right.role]]
            assert not other.admits
            assert set(world.acknowledged) <= set(other.log), "the way back lacks writes"
            program.note_late_writes(Server(other.role, CONFIG), FOLLOWS[right.role])
            for one in (right, other):
                alone = {row for row in one.log if row.startswith("hand")} - set(world.databases[OTHER[one.role]].log)
                assert alone <= one.noted, "somebody's row is not noted"

    return Switches


def check(program: types.ModuleType, examples: int, *phases: Phase) -> None:
    """Drives the machine; raises AssertionError where it comes to what must never be."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=8,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )
    run_state_machine_as_test(machine(program), settings=chosen)


def test_whoever_stops_wherever_nothing_is_lost_and_nobody_is_held(program: types.ModuleType) -> None:
    check(program, EXAMPLES, Phase.generate, Phase.shrink)


FAULTS: dict[str, dict[str, Callable[..., Any]]] = {
    "no fence": {"unfence()": Server._unfence, "fence()": lambda self: None},
    "strays stay connected": {"end_sessions": lambda self: 0},
    "the way back begins anywhere": {"own.follow(": lambda self, name, lsn: Server._follow(self, name, 0)},
    "late writes are not looked for": {"note_late_writes(": lambda self, name, upto: None},
    "the last write is not awaited": {"SELECT value FROM switchover.heartbeat": lambda self, name: world.beaten},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_what_it_is_for(
    program: types.ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    others = {part: answer for part, answer in Server.ANSWERS.items() if part not in FAULTS[fault]}
    monkeypatch.setattr(Server, "ANSWERS", FAULTS[fault] | others)
    with pytest.raises(AssertionError):
        check(program, 1000, Phase.generate)


# --- the table of states ----------------------------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """The table of states in *text*, without its headings."""
    lines = text[text.index("| interrupted after |") :].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    assert len(cells) > 10
    return cells


STATES = rows((PROGRAMS / "switch.py").read_text())


def test_the_page_has_the_same_states() -> None:
    assert rows((PROGRAMS.parents[1] / "docs/switch.md").read_text()) == STATES


def test_every_point_at_which_it_can_die_has_a_state() -> None:
    code = (PROGRAMS / "switch.py").read_text()
    points = re.findall(r'(?:failpoint|self\.part)\("(\w+)"', code)
    assert sorted(points) == sorted(state[0] for state in STATES)


@pytest.mark.parametrize("away", [False, True], ids=["", "target-away"])
@pytest.mark.parametrize("towards", ["new", "old"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state[0])
def test_after_an_interruption_all_is_as_the_table_says(
    program: types.ModuleType, monkeypatch: pytest.MonkeyPatch, state: list[str], towards: str, away: bool
) -> None:
    """*away*: the target does not answer for a while when recovery begins."""
    part, source, target, row, pooler, _ = state
    begin(towards)

    def failpoint(name: str) -> None:
        if name == part:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(program, "failpoint", failpoint)
        with pytest.raises(Killed):
            program.switch(towards, CONFIG)
    left, right = world.databases[OTHER[towards]], world.databases[towards]
    points_to = {"source": OTHER[towards], "target": towards}
    assert [left.admits, right.admits] == [source == "admits", target == "admits"]
    assert (left.follows == "enabled") == ("follows" in source)
    assert [state for state, _ in right.switches.values()] == [row]
    assert (world.paused, world.points_to) == ("holds" in pooler, points_to[pooler.rpartition(" ")[2]])
    assert world.watched == world.paused or part == "resume"
    right.up = not away
    program.recover(CONFIG)
    assert world.state and world.state["phase"] == ("finished" if row == "committed" else "aborted")
    assert not world.paused and not world.watched
    assert world.points_to == (towards if row == "committed" else OTHER[towards])
    assert [left.admits, right.admits] == ([False, True] if row == "committed" else [True, False])
    if row == "committed":
        assert (left.follows, right.follows, left.slot) == ("enabled", "prepared", left.beat)
