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
    from trio_supervisor._brain.windows import SharedBackoff, Window
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.supervisor import ChildSpec


class DesiredState(StrEnum):
    """Where a child should be."""

    UP = "up"
    DONE = "done"
    STOPPED = "stopped"
    QUARANTINED = "quarantined"
    SHUTDOWN = "shutdown"
    REMOVED = "removed"


class StopCause(Enum):
    """Who wants the live attempt to end."""

    DESIRED_STATE = "desired_state"
    FAULT = "fault"


class Situation(IntEnum):
    """Everything about one child that the rule looks at."""

    RUNNING = 0
    MARKED = 1
    STOPPING = 2
    BACKING_OFF = 3
    WAITING = 4
    AT_REST = 5
    REMOVED = 6


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
    Situation.MARKED: (Gate.TURN_TO_STOP, Step.REQUEST_STOP),
    Situation.STOPPING: (Gate.NONE, Step.NOTHING),  # time moves it on, see `Vitals`
    Situation.BACKING_OFF: (Gate.NONE, Step.NOTHING),  # until the hold is released
    Situation.WAITING: (Gate.TURN_TO_START, Step.START),
    Situation.AT_REST: (Gate.NONE, Step.REST),
    Situation.REMOVED: (Gate.NONE, Step.FORGET),
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
    for cause in ("desired state",)
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
    DesiredState.DONE: ChildState.DONE,
    DesiredState.STOPPED: ChildState.STOPPED,
    DesiredState.SHUTDOWN: ChildState.STOPPED,
    DesiredState.QUARANTINED: ChildState.QUARANTINED,
    DesiredState.REMOVED: ChildState.REMOVED,
}


class ChildLife(Vitals):
    """All that the machine knows of one child."""

    __slots__ = (
        "attempt",
        "backoff",
        "consecutive_failures",
        "dependents",
        "dependents_stopping",
        "desired",
        "done_by_success",
        "dynamic",
        "ever_ready",
        "fault_exit",
        "first_start",
        "generation",
        "gone",
        "in_start_set",
        "in_static_round",
        "in_stop_set",
        "index",
        "last_exit",
        "live",
        "name",
        "path",
        "queued",
        "reason",
        "reported",
        "reported_generation",
        "reported_reason",
        "reported_until",
        "requirement_down",
        "requires",
        "restart_pending",
        "restarts",
        "since",
        "skips_predecessors",
        "spec",
        "stop_cause",
        "stop_reason",
        "urgent",
        "wake_at",
        "watchers",
        "window",
        "without_grace",
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
        self.desired = DesiredState.UP
        self.reason = ""  # of the wish
        self.live = False
        self.stop_cause: StopCause | None = None
        self.stop_reason = ""  # why the live attempt is condemned
        self.fault_exit: TaskExit | None = None
        self.urgent = False  # does not queue behind others who leave
        self.without_grace = False
        self.in_stop_set = False  # its attempt is being stopped in order
        self.in_start_set = False  # takes part in a round and is not settled yet
        self.in_static_round = False  # added later, and in a round with declared children
        self.skips_predecessors = False  # restarted by hand: does not wait for its predecessors
        self.requirement_down = (
            False  # waits for one that is held down, or that waits for such a one
        )
        self.backoff: SharedBackoff | None = None
        self.attempt = self.generation = 0
        self.restart_pending = False
        self.consecutive_failures = self.restarts = 0
        self.ever_ready = self.done_by_success = self.gone = False
        self.window: Window | None = None
        self.wake_at = self.queued = inf
        self.dependents_stopping = 0  # direct dependents that are leaving or undrained themselves
        self.requires: tuple[ChildLife, ...] = ()
        self.dependents: dict[ChildLife, None] | None = None
        self.watchers: dict[ChildLife, None] | None = None
        self.last_exit = ""
        self.reported = ChildState.WAITING
        self.reported_until: float | None = None
        self.reported_reason = ""
        self.reported_generation = 0
        self.since = now

    @property
    def situation(self) -> Situation:
        """Where the child is, as the rule sees it."""
        if self.live:
            if self.stage:
                return Situation.STOPPING
            return Situation.RUNNING if self.stop_cause is None else Situation.MARKED
        if self.desired is DesiredState.UP:
            return Situation.WAITING if self.backoff is None else Situation.BACKING_OFF
        return Situation.REMOVED if self.desired is DesiredState.REMOVED else Situation.AT_REST

    @property
    def state(self) -> ChildState:
        """The name that the world knows this situation by."""
        if self.live:
            if self.stage:
                return ChildState.STOPPING
            if self.ready:
                return ChildState.READY
            return ChildState.NOT_READY if self.was_ready else ChildState.STARTING
        if self.desired is DesiredState.UP:
            return ChildState.WAITING if self.backoff is None else ChildState.BACKING_OFF
        return _RESTING_STATE[self.desired]

    @property
    def is_met(self) -> bool:
        """Whether those who require this child may start."""
        if self.live:
            return self.ready and self.stop_cause is None
        return self.desired is DesiredState.DONE and self.done_by_success

    @property
    def is_active(self) -> bool:
        """Whether it is alive, or will be without anybody's help."""
        return self.live or self.desired is DesiredState.UP

    @property
    def is_unresponsive(self) -> bool:
        """Whether it was named so."""
        return self.live and self.stage is Stage.UNRESPONSIVE
