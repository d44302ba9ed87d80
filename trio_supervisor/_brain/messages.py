"""What goes into the brain and what comes out of it, as plain data."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._record import Note

if TYPE_CHECKING:
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.policy import Decision
    from trio_supervisor._specs.supervisor import ChildSpec

# ---------------------------------------------------------------- signals: what happened


class BecameReady(Note):
    """The attempt says that it is ready."""

    name: str
    attempt: int


class LostReadiness(Note):
    """The attempt says that it is not ready any more."""

    name: str
    attempt: int
    reason: str


class Heartbeat(Note):
    """A sign of life, made at ``at``; ``busy_until`` announces silence."""

    name: str
    attempt: int
    at: float
    busy_until: float = -inf


class StartExtended(Note):
    """The attempt asks for time to start, until ``until``."""

    name: str
    attempt: int
    until: float


class GraceForfeited(Note):
    """The attempt waits for its own end, so that waiting for it is pointless."""

    name: str
    attempt: int
    taken_back: bool = False


class Exited(Note):
    """The attempt's scope has closed.

    ``exit`` is None when a fatal exception came out. ``decision`` is what the child's `decide`
    said, if it was asked, and ``decide_error`` what it raised.
    """

    name: str
    attempt: int
    exit: TaskExit | None
    stop_reason: str | None = None
    detail: str = ""
    decision: Decision | None = None
    decide_error: str = ""


# ---------------------------------------------------------------- signals: commands

Operator = tuple[str, int, int] | tuple[()]
"""User name, user id and process id of the operator, for a command from the control socket."""


class FirstStart(StrEnum):
    """What a failure before a child was ever ready means."""

    FAILS_TREE = "fails_tree"
    FORGETS_CHILD = "forgets_child"
    ORDINARY = "ordinary"


class AddChild(Note):
    """Add a child at run time."""

    spec: ChildSpec[Any]
    first_start: FirstStart
    reason: str = ""
    by: Operator = ()


class StopChild(Note):
    """Hold the child down until it is restarted by hand."""

    name: str
    reason: str = ""
    by: Operator = ()


class QuarantineChild(Note):
    """Hold the child down, visibly as a case for inspection."""

    name: str
    reason: str = ""
    by: Operator = ()


class RestartChild(Note):
    """A new attempt, now, whatever held the child down."""

    name: str
    reason: str = ""
    by: Operator = ()


class RemoveChild(Note):
    """Stop the child and forget it."""

    name: str
    reason: str = ""
    by: Operator = ()


class Shutdown(Note):
    """Stop all children in order; without ``grace`` each is cancelled at its turn.

    ``deadline`` is absolute: at it everything left is cancelled at once; the earliest one rules.
    """

    reason: str
    grace: bool = True
    deadline: float = inf
    kind: OutcomeKind | None = None
    by: Operator = ()


Command = AddChild | StopChild | QuarantineChild | RestartChild | RemoveChild
Signal = (
    BecameReady
    | LostReadiness
    | Heartbeat
    | StartExtended
    | GraceForfeited
    | Exited
    | Command
    | Shutdown
)


# ---------------------------------------------------------------- orders


class OutcomeKind(StrEnum):
    """Why a supervisor ended."""

    SHUTDOWN = "shutdown"
    AUTO_SHUTDOWN = "auto_shutdown"
    CANCELLED = "cancelled"
    FATAL = "fatal"
    LIMIT = "limit"
    ESCALATED = "escalated"
    START_FAILED = "start_failed"
    BROKEN = "broken"


class Outcome(Note):
    """Why the supervisor ends, and which child's attempt was the reason, if one was."""

    kind: OutcomeKind
    reason: str
    child: str | None = None
    attempt: int = 0

    @property
    def is_failure(self) -> bool:
        """Whether the supervisor ends with an error."""
        return self.kind in _FAILURES


_FAILURES = frozenset(
    {OutcomeKind.LIMIT, OutcomeKind.ESCALATED, OutcomeKind.START_FAILED, OutcomeKind.BROKEN}
)


class StartAttempt(Note):
    """Start this attempt of the child."""

    name: str
    attempt: int
    generation: int


class RequestStop(Note):
    """Ask the attempt to end. ``deadline`` (absolute) binds a nested supervisor."""

    name: str
    attempt: int
    reason: str
    deadline: float
    fault: TaskExit | None


class StopAtOnce(RequestStop):
    """Ask the attempt to end and cancel its scope in one step: there is no grace."""


class CancelAttempt(Note):
    """Cancel the attempt's scope: the grace after the request is over."""

    name: str
    attempt: int
    reason: str


class ReportUnresponsive(Note):
    """The attempt was cancelled ``seconds`` ago and is still there: show where it hangs."""

    name: str
    attempt: int
    seconds: float


class FailStart(Note):
    """The start of a child that somebody waits for has failed; it is forgotten."""

    name: str
    attempt: int


class Refuse(Note):
    """The command could not be accepted; nothing has changed."""

    error: Exception


class Emit(Note):
    """Record an event."""

    event: type[Event]
    path: str
    attempt: int
    fields: tuple[Any, ...]


class Stopping(Note):
    """The orderly stop begins."""

    outcome: Outcome


class Finish(Note):
    """Nobody is alive, nobody is coming back."""

    outcome: Outcome


Order = (
    StartAttempt
    | RequestStop
    | StopAtOnce
    | CancelAttempt
    | ReportUnresponsive
    | FailStart
    | Refuse
    | Emit
    | Stopping
    | Finish
)
