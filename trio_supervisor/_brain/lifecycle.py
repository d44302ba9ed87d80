"""A child's wish, stage and state, and the table of moves.

A child is where its attempt is (`Vitals.stage`), and it should be where its *wish* says. An attempt
that has to go although it runs is *condemned*: by a wish (then the wish decides what follows) or by
a fault, that is time or health (then the decision table does). A wish overrides a fault, never the
other way round; the condemnation dies with the attempt.

`RULE` is the one rule of the machine: it says for each situation which gate must be open and which
step is then taken. `TRANSITIONS` lists every change of state that this can amount to; the diagram
in the documentation is made from it, and a test holds the machine to it.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._brain.messages import FirstStart
from trio_supervisor._brain.vitals import Stage, Vitals
from trio_supervisor._events.snapshot import ChildState

if TYPE_CHECKING:
    from trio_supervisor._brain.windows import Hold, Window
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.supervisor import ChildSpec


class Wish(StrEnum):
    """Where a child should be."""

    UP = "up"
    DONE = "done"
    STOPPED = "stopped"
    QUARANTINED = "quarantined"
    SHUTDOWN = "shutdown"
    REMOVED = "removed"


class Doom(Enum):
    """Who wants the live attempt to end."""

    WISH = "wish"
    FAULT = "fault"


class Situation(IntEnum):
    """Everything about one child that the rule looks at."""

    RUNNING = 0
    CONDEMNED = 1
    ENDING = 2
    HELD = 3
    WANTED = 4
    RESTING = 5
    UNWANTED = 6


class Gate(Enum):
    """What has to be true before the step is taken."""

    NONE = "always"
    TURN_TO_STOP = "urgent, or nobody who comes after it in its round is still leaving"
    TURN_TO_START = "its turn in the order, and its requirements are met"


class Step(Enum):
    """What the machine does with the child."""

    NOTHING = "nothing"
    REQUEST_STOP = "request stop"
    START = "start attempt"
    REST = "leave the line"
    FORGET = "forget"


RULE: dict[Situation, tuple[Gate, Step]] = {
    Situation.RUNNING: (Gate.NONE, Step.NOTHING),
    Situation.CONDEMNED: (Gate.TURN_TO_STOP, Step.REQUEST_STOP),
    Situation.ENDING: (Gate.NONE, Step.NOTHING),  # time moves it on, see `Vitals`
    Situation.HELD: (Gate.NONE, Step.NOTHING),  # until the hold is released
    Situation.WANTED: (Gate.TURN_TO_START, Step.START),
    Situation.RESTING: (Gate.NONE, Step.REST),
    Situation.UNWANTED: (Gate.NONE, Step.FORGET),
}

_LIVE = (
    (ChildState.STARTING, "ready", ChildState.READY),
    (ChildState.READY, "not ready", ChildState.NOT_READY),
    (ChildState.NOT_READY, "ready", ChildState.READY),
    (ChildState.STARTING, "stop", ChildState.STOPPING),
    (ChildState.READY, "stop", ChildState.STOPPING),
    (ChildState.NOT_READY, "stop", ChildState.STOPPING),
    (ChildState.STARTING, "exit", ChildState.WAITING),
    (ChildState.READY, "exit", ChildState.WAITING),
    (ChildState.NOT_READY, "exit", ChildState.WAITING),
    (ChildState.STOPPING, "exit", ChildState.WAITING),
)
_DOWN = tuple(
    (start, cause, end)
    for start, ends in {
        ChildState.WAITING: ("backing_off", "done", "stopped", "quarantined", "removed"),
        ChildState.BACKING_OFF: ("waiting", "backing_off", "stopped", "quarantined", "removed"),
        ChildState.DONE: ("waiting", "backing_off", "stopped", "quarantined", "removed"),
        ChildState.STOPPED: ("waiting", "quarantined", "removed"),
        ChildState.QUARANTINED: ("waiting", "removed"),
    }.items()
    for end in map(ChildState, ends)
    for cause in ("wish",)
)
_START = tuple(
    (state, "start", ChildState.STARTING)
    for state in (
        ChildState.WAITING,
        ChildState.BACKING_OFF,
        ChildState.DONE,
        ChildState.STOPPED,
        ChildState.QUARANTINED,
    )
)
TRANSITIONS: frozenset[tuple[ChildState, str, ChildState]] = frozenset(_LIVE + _DOWN + _START)

_RESTING_STATE = {
    Wish.DONE: ChildState.DONE,
    Wish.STOPPED: ChildState.STOPPED,
    Wish.SHUTDOWN: ChildState.STOPPED,
    Wish.QUARANTINED: ChildState.QUARANTINED,
    Wish.REMOVED: ChildState.REMOVED,
}


class ChildLife(Vitals):
    """All that the machine knows of one child."""

    __slots__ = (
        "alone",
        "attempt",
        "condemned",
        "dependents",
        "done_well",
        "drain",
        "dynamic",
        "ever_ready",
        "fault_exit",
        "first_start",
        "generation",
        "gone",
        "hold",
        "hopeless",
        "in_line",
        "in_rest",
        "index",
        "last_exit",
        "leaving",
        "live",
        "name",
        "no_grace",
        "path",
        "queued",
        "reason",
        "requires",
        "restart_pending",
        "restarts",
        "shown",
        "shown_generation",
        "shown_reason",
        "shown_until",
        "since",
        "spec",
        "stop_reason",
        "streak",
        "urgent",
        "wake_at",
        "watchers",
        "window",
        "wish",
    )

    def __init__(
        self,
        spec: ChildSpec[Any],
        path: str,
        index: int,
        dynamic: bool,
        first_start: FirstStart,
        now: float,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.name = spec.name
        self.path = path
        self.index = index
        self.dynamic = dynamic
        self.first_start = FirstStart.ORDINARY if spec.retry_first_start else first_start
        self.wish = Wish.UP
        self.reason = ""  # of the wish
        self.live = False
        self.condemned: Doom | None = None
        self.stop_reason = ""  # why the live attempt is condemned
        self.fault_exit: TaskExit | None = None
        self.urgent = False  # does not queue behind others who leave
        self.no_grace = False
        self.leaving = False  # its attempt is being stopped in order
        self.in_line = False  # takes part in a round and is not settled yet
        self.in_rest = False  # added later, and in a round with declared children
        self.alone = False  # restarted by hand: does not wait for its predecessors
        self.hopeless = False  # waits for one that is held down, or that waits for such a one
        self.hold: Hold | None = None
        self.attempt = self.generation = 0
        self.restart_pending = False
        self.streak = self.restarts = 0
        self.ever_ready = self.done_well = self.gone = False
        self.window: Window | None = None
        self.wake_at = self.queued = inf
        self.drain = 0  # direct dependents that are leaving or undrained themselves
        self.requires: tuple[ChildLife, ...] = ()
        self.dependents: dict[ChildLife, None] | None = None
        self.watchers: dict[ChildLife, None] | None = None
        self.last_exit = ""
        self.shown = ChildState.WAITING
        self.shown_until: float | None = None
        self.shown_reason = ""
        self.shown_generation = 0
        self.since = now

    @property
    def situation(self) -> Situation:
        """Where the child is, as the rule sees it."""
        if self.live:
            if self.stage:
                return Situation.ENDING
            return Situation.RUNNING if self.condemned is None else Situation.CONDEMNED
        if self.wish is Wish.UP:
            return Situation.WANTED if self.hold is None else Situation.HELD
        return Situation.UNWANTED if self.wish is Wish.REMOVED else Situation.RESTING

    @property
    def state(self) -> ChildState:
        """The name that the world knows this situation by."""
        if self.live:
            if self.stage:
                return ChildState.STOPPING
            if self.ready:
                return ChildState.READY
            return ChildState.NOT_READY if self.was_ready else ChildState.STARTING
        if self.wish is Wish.UP:
            return ChildState.WAITING if self.hold is None else ChildState.BACKING_OFF
        return _RESTING_STATE[self.wish]

    @property
    def is_met(self) -> bool:
        """Whether those who require this child may start."""
        if self.live:
            return self.ready and self.condemned is None
        return self.wish is Wish.DONE and self.done_well

    @property
    def comes_back(self) -> bool:
        """Whether it is alive, or will be without anybody's help."""
        return self.live or self.wish is Wish.UP

    @property
    def is_unresponsive(self) -> bool:
        """Whether it was named so."""
        return self.live and self.stage is Stage.UNRESPONSIVE
