"""One child as the machine sees it, the rule that moves it, and the table of its states.

Each child has an actual state (is there a live attempt, and how far has its stop got, see
`Vitals.stage`) and a *desired state*: up, or down for a stated reason. A live attempt that has to
end is *marked for stopping* with a `StopCause`. If the cause is the desired state, the desired
state also says what follows the exit. If the cause is a fault (a start, runtime or silence
deadline), the restart table does. The desired state replaces a fault as the cause, never the
other way round. The mark ends with the attempt.

`RULE` is the one rule of the machine: for each situation it names the gate that must be open and
the step that is taken then. `TRANSITIONS` lists every change of state that can follow. The
diagram in docs/lifecycle.md is generated from both tables, and a test compares the machine with
them.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._brain.messages import FirstStart
from trio_supervisor._brain.vitals import Stage, Vitals
from trio_supervisor._events.snapshot import ChildState

if TYPE_CHECKING:
    from trio_supervisor._brain.ordering import GroupRestart
    from trio_supervisor._brain.windows import SharedBackoff, Window
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.supervisor import ChildSpec


class DesiredState(StrEnum):
    """The state that should hold for a child: up, or down for a reason."""

    UP = "up"
    DONE = "done"
    STOPPED = "stopped"
    QUARANTINED = "quarantined"
    SHUTDOWN = "shutdown"
    REMOVED = "removed"


class StopCause(Enum):
    """The reason for which the live attempt has to end."""

    DESIRED_STATE = "desired_state"
    FAULT = "fault"


class Situation(IntEnum):
    """The cases that the rule distinguishes."""

    RUNNING = 0
    MARKED = 1
    STOPPING = 2
    BACKING_OFF = 3
    WAITING = 4
    AT_REST = 5
    REMOVED = 6


class Gate(Enum):
    """The condition under which the step is taken."""

    NONE = "always"
    TURN_TO_STOP = "the stop is urgent, or no successor is still being stopped in order"
    TURN_TO_START = "the child has its turn, and its requirements are met"


class Step(Enum):
    """The machine's next step for a child in a given situation."""

    NOTHING = "nothing"
    REQUEST_STOP = "request stop"
    START = "start attempt"
    REST = "leave the start set"
    FORGET = "forget"


RULE: dict[Situation, tuple[Gate, Step]] = {
    Situation.RUNNING: (Gate.NONE, Step.NOTHING),
    Situation.MARKED: (Gate.TURN_TO_STOP, Step.REQUEST_STOP),
    Situation.STOPPING: (Gate.NONE, Step.NOTHING),  # deadlines move it on, see `Vitals`
    Situation.BACKING_OFF: (Gate.NONE, Step.NOTHING),  # until the backoff ends
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

# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_UP = DesiredState.UP
_REMOVED = DesiredState.REMOVED
_RUNNING, _MARKED, _STOPPING, _BACKING_OFF, _WAITING, _AT_REST, _GONE = Situation
_SEEN_READY, _SEEN_STOPPING = ChildState.READY, ChildState.STOPPING
_SEEN_WAITING = ChildState.WAITING


_RESTING_STATE = {
    DesiredState.DONE: ChildState.DONE,
    DesiredState.STOPPED: ChildState.STOPPED,
    DesiredState.SHUTDOWN: ChildState.STOPPED,
    DesiredState.QUARANTINED: ChildState.QUARANTINED,
    DesiredState.REMOVED: ChildState.REMOVED,
}


class ChildLife(Vitals):
    """Everything that the machine knows about one child.

    One object per child, over all of its attempts. What concerns only the live attempt is reset by
    `SupervisionMachine.attempt_ended`.
    """

    __slots__ = (
        "attempt",
        "backoff",
        "command_grace",
        "consecutive_failures",
        "delaying",
        "dependents",
        "dependents_stopping",
        "desired",
        "done_by_success",
        "dynamic",
        "ever_ready",
        "failures_in_row",
        "fault_exit",
        "first_start",
        "generation",
        "gone",
        "groups",
        "held_by_operator",
        "in_start_set",
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
        "unmet_from",
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
        self.desired = _UP
        self.reason = ""  # of the desired state
        self.live = False
        self.stop_cause: StopCause | None = None
        self.stop_reason = ""  # why the live attempt has to end
        self.fault_exit: TaskExit | None = None
        self.urgent = False  # this stop does not wait for its turn
        self.without_grace = False
        self.command_grace: float | None = None  # of a command, for the live attempt
        self.held_by_operator = False  # taken down by a command: the operator may restart it
        self.in_stop_set = False  # the live attempt is being stopped in order
        self.in_start_set = False  # takes part in a round and has not settled
        self.groups: tuple[GroupRestart, ...] = ()  # that it stops for, or starts in
        self.skips_predecessors = False  # restarted by command inside a round
        self.requirement_down = False  # requires a sibling that is down, directly or indirectly
        self.backoff: SharedBackoff | None = None
        self.delaying: dict[SharedBackoff, None] | None = None  # groups that its failures delay
        self.attempt = self.generation = 0
        self.restart_pending = False
        self.consecutive_failures = self.restarts = 0  # the former is the step of the backoff
        self.failures_in_row = 0
        self.ever_ready = self.done_by_success = self.gone = False
        self.window: Window | None = None
        self.wake_at = self.queued = inf
        self.dependents_stopping = 0  # see `ordering`, Algorithm
        self.requires: tuple[ChildLife, ...] = ()
        self.unmet_from = 0  # where `requires` is searched first; above 0: none of them is down
        self.dependents: dict[ChildLife, None] | None = None
        self.watchers: dict[ChildLife, None] | None = None
        self.last_exit = ""
        self.reported = ChildState.WAITING
        self.reported_until: float | None = None
        self.reported_reason = ""
        self.reported_generation = 0
        self.since = now

    def set_reported(self, state: ChildState, now: float, reason: str = "") -> None:
        """Note the state that the event to be recorded next reports."""
        self.reported = state
        self.since = now
        self.reported_reason = reason
        self.reported_until = None

    def is_stable(self, now: float) -> bool:
        """Whether the live attempt has been ready for so long that past failures do not count."""
        return self.ready and now - self.ready_at >= self.spec.backoff.reset_after

    def count_failures(self, now: float, *, failed: bool) -> int:
        """The failures in a row if the live attempt ends now, by a failure or not."""
        earlier = self.failures_in_row
        return failed + (0 if earlier and self.is_stable(now) else earlier)

    @property
    def situation(self) -> Situation:
        """The case of the rule that applies now."""
        if self.live:
            if self.stage:
                return _STOPPING
            return _RUNNING if self.stop_cause is None else _MARKED
        if self.desired is _UP:
            return _WAITING if self.backoff is None else _BACKING_OFF
        return _GONE if self.desired is _REMOVED else _AT_REST

    @property
    def state(self) -> ChildState:
        """The state that users see."""
        if self.live:
            if self.stage:
                return _SEEN_STOPPING
            if self.ready:
                return _SEEN_READY
            return ChildState.NOT_READY if self.was_ready else ChildState.STARTING
        if self.desired is _UP:
            return _SEEN_WAITING if self.backoff is None else ChildState.BACKING_OFF
        return _RESTING_STATE[self.desired]

    @property
    def is_met(self) -> bool:
        """Whether this child, as a requirement, lets its dependents start."""
        if self.live:
            return self.ready and self.stop_cause is None
        return self.desired is DesiredState.DONE and self.done_by_success

    @property
    def is_down_for_dependents(self) -> bool:
        """Whether only a command can start this child or what it requires."""
        return self.desired is not _UP or self.requirement_down

    @property
    def is_active(self) -> bool:
        """Whether an attempt is alive or will start without a command."""
        return self.live or self.desired is _UP

    @property
    def is_unresponsive(self) -> bool:
        """Whether the live attempt has been reported as unresponsive."""
        return self.live and self.stage is Stage.UNRESPONSIVE
