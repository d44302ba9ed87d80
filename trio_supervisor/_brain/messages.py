"""The signals that the brain receives and the orders that it returns, as plain data."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._record import MutableRecord

if TYPE_CHECKING:
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.decisions import RestartDecision
    from trio_supervisor._specs.supervisor import ChildSpec

# ---------------------------------------------------------------- signals: what happened


class BecameReady(MutableRecord):
    """The attempt has reported readiness."""

    name: str
    attempt: int


class LostReadiness(MutableRecord):
    """The attempt has withdrawn its readiness."""

    name: str
    attempt: int
    reason: str


class Heartbeat(MutableRecord):
    """The attempt has sent a heartbeat at ``at``; silence is allowed until ``busy_until``."""

    name: str
    attempt: int
    at: float
    busy_until: float = -inf


class StartExtended(MutableRecord):
    """The attempt may take until ``until`` to start."""

    name: str
    attempt: int
    until: float


class GraceForfeited(MutableRecord):
    """The attempt waits for its own end, so it gets no grace; ``taken_back`` undoes this."""

    name: str
    attempt: int
    taken_back: bool = False


class Exited(MutableRecord):
    """The attempt has ended: its scope has closed.

    ``exit`` is None after a fatal exception. ``decision`` is what the child's `decide` returned, if
    it was asked, and ``decide_error`` describes what it raised.
    """

    name: str
    attempt: int
    exit: TaskExit | None
    stop_reason: str | None = None
    detail: str = ""
    decision: RestartDecision | None = None
    decide_error: str = ""


# ---------------------------------------------------------------- signals: commands

Operator = tuple[str, int, int] | tuple[()]
"""User name, user id and process id of the operator, for a command from the control socket."""


class FirstStart(StrEnum):
    """The meaning of a failure before the child was ever ready."""

    FAILS_TREE = "fails_tree"
    FORGETS_CHILD = "forgets_child"
    ORDINARY = "ordinary"


class AddChild(MutableRecord):
    """Add a child at run time."""

    spec: ChildSpec[Any]
    first_start: FirstStart
    reason: str = ""
    by: Operator = ()


class StopChild(MutableRecord):
    """Take the child down until `RestartChild`.

    ``grace`` of this and the following commands replaces the grace of the spec for the live
    attempt. It also shortens a stop that is under way; 0 cancels at once. `None` changes nothing.
    """

    name: str
    reason: str = ""
    by: Operator = ()
    grace: float | None = None


class QuarantineChild(MutableRecord):
    """Take the child down and mark it for inspection."""

    name: str
    reason: str = ""
    by: Operator = ()
    grace: float | None = None


class RestartChild(MutableRecord):
    """Start a new attempt now, from whatever state."""

    name: str
    reason: str = ""
    by: Operator = ()
    grace: float | None = None


class RemoveChild(MutableRecord):
    """Stop the child and forget it."""

    name: str
    reason: str = ""
    by: Operator = ()
    grace: float | None = None


class Shutdown(MutableRecord):
    """Stop all children in order and finish; without ``grace`` each is cancelled at its turn.

    At ``deadline``, an absolute time, everything left is cancelled at once. The earliest deadline
    applies.
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

Emit = tuple["type[Event]", str, int, tuple[Any, ...]]
"""Record an event: its class, path, attempt and further fields. A tuple, since these are many.

With some events the shell has more to do: list the children of a supervisor that starts, end the
wait for its first start, account for an attempt that is over, forget a child that was removed.
"""


class OutcomeKind(StrEnum):
    """The reason for which a supervisor ended."""

    SHUTDOWN = "shutdown"
    AUTO_SHUTDOWN = "auto_shutdown"
    CANCELLED = "cancelled"
    FATAL = "fatal"
    LIMIT = "limit"
    ESCALATED = "escalated"
    START_FAILED = "start_failed"
    QUARANTINED = "quarantined"
    BROKEN = "broken"


class Outcome(MutableRecord):
    """The reason for which the supervisor ends, and the child that caused it, if one did.

    ``given_reason`` is the reason that `Escalate` was given; ``reason`` falls back to the exit.
    """

    kind: OutcomeKind
    reason: str
    child: str | None = None
    attempt: int = 0
    given_reason: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the supervisor ends with an error."""
        return self.kind in _FAILURES


_FAILURES = frozenset(
    {
        OutcomeKind.LIMIT,
        OutcomeKind.ESCALATED,
        OutcomeKind.START_FAILED,
        OutcomeKind.QUARANTINED,
        OutcomeKind.BROKEN,
    }
)


class StartAttempt(MutableRecord):
    """Start this attempt of the child."""

    name: str
    attempt: int
    generation: int


class RequestStop(MutableRecord):
    """Request the stop of the attempt; a nested supervisor heeds ``deadline``, absolute."""

    name: str
    attempt: int
    reason: str
    deadline: float
    fault: TaskExit | None


class StopAtOnce(RequestStop):
    """Request the stop of the attempt and cancel its scope in one step: there is no grace."""


class CancelAttempt(MutableRecord):
    """Cancel the attempt's scope: the grace after the request is over."""

    name: str
    attempt: int
    reason: str


class ReportUnresponsive(MutableRecord):
    """Report where the attempt hangs: it is still alive ``seconds`` after its cancel."""

    name: str
    attempt: int
    seconds: float


class JudgedLater(MutableRecord):
    """Children missed a deadline that was handled ``late`` seconds late: judge them later."""

    names: tuple[str, ...]
    late: float


class FailStart(MutableRecord):
    """The start of the child has failed while `start_child` waits for it."""

    name: str
    attempt: int


class StopTree(MutableRecord):
    """Stop the whole tree from its root: a child of this nested supervisor has decided so."""

    reason: str


class Refuse(MutableRecord):
    """Refuse the command; nothing has changed."""

    error: Exception


class Stopping(MutableRecord):
    """The orderly stop begins."""

    outcome: Outcome


class Finish(MutableRecord):
    """The supervisor has finished: no attempt is alive, none will start."""

    outcome: Outcome


Order = (
    StartAttempt
    | RequestStop
    | StopAtOnce
    | CancelAttempt
    | ReportUnresponsive
    | JudgedLater
    | FailStart
    | StopTree
    | Refuse
    | Emit
    | Stopping
    | Finish
)
