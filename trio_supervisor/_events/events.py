"""Events: each change in a supervision tree as a typed, frozen, numbered record.

Snapshots, logs and the journal are made from events. An event is identified by `Event.sequence`
within one tree; an attempt by ``(run, path, attempt)`` within the life of its child, since
`Event.run` is unique per attempt of a supervisor. A name that is used again after `ChildRemoved` is
another child, with `ChildAdded` at its beginning. Heartbeats are neither events nor state.
"""

from __future__ import annotations

from typing import Any, final

from trio_supervisor._events.plain import SCHEMA, at_of, to_plain
from trio_supervisor._lazy import public
from trio_supervisor._record import Record, values_of


@public
class Event(Record):
    """The base class of all events, with the fields that each of them has.

    Attributes:
        sequence: Counts from 1 over the whole tree, without gaps.
        time: Trio's clock, in seconds.
        wall: Seconds since the epoch, for readers; no decision depends on it.
        run: The number of the supervisor's run that the event belongs to; unique in the tree.
        path: The child or supervisor concerned, such as ``"app/store"``.
        attempt: The child's attempt, counted from 1; 0 where no attempt is meant.
    """

    sequence: int
    time: float
    wall: float
    run: int
    path: str
    attempt: int

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON values; `event_from_dict` reads them.

        Beside the event's fields there are ``schema``, ``event`` (the name of its class) and ``at``
        (its wall-clock time in ISO 8601, in UTC). An endless duration is `None`.
        """
        head = {"schema": SCHEMA, "event": type(self).__name__, "at": at_of(self.wall)}
        return {**head, **to_plain(self)}


@public
@final
class SupervisorStarted(Event):
    """A supervisor has started.

    Attributes:
        children: The names of the children declared for it, all of them waiting.
    """

    children: tuple[str, ...]


@public
@final
class SupervisorReady(Event):
    """A supervisor's first start is complete: each declared child was ready, or is at rest."""


@public
@final
class SupervisorIdle(Event):
    """All children of a supervisor are at rest, and ``auto_shutdown`` does not end it."""


@public
@final
class SupervisorStopping(Event):
    """The orderly stop of a supervisor has begun.

    Attributes:
        cause: ``shutdown auto_shutdown cancelled fatal limit escalated start_failed quarantined
            broken``.
        reason: The reason in words; may be empty.
    """

    cause: str
    reason: str


@public
@final
class SupervisorFinished(Event):
    """A supervisor has ended: none of its children is alive.

    Attributes:
        cause: As in `SupervisorStopping`.
        reason: As in `SupervisorStopping`.
        seconds: Time since its stop began.
        unresponsive: How many children were unresponsive during the stop.
    """

    cause: str
    reason: str
    seconds: float
    unresponsive: int


@public
@final
class CommandAccepted(Event):
    """A command was accepted; its effect follows in other events.

    Attributes:
        command: ``stop restart quarantine remove``, or ``shutdown`` of the whole tree.
        reason: As given with the command; may be empty.
        user: The operator's login name, for a command that came over the control socket.
        uid: The operator's user id, likewise; `None` for a command of the program itself.
        pid: The operator's process, likewise.
        grace: Seconds that the command gives the live attempt in place of its own grace; `None` if
            the command does not say.
    """

    command: str
    reason: str
    user: str = ""
    uid: int | None = None
    pid: int | None = None
    grace: float | None = None


@public
@final
class CommandHadNoEffect(Event):
    """An operator's command changed nothing: the child already was as the command wants it.

    Recorded for commands over the control socket only. The fields are the same as in
    `CommandAccepted`.
    """

    command: str
    reason: str
    user: str = ""
    uid: int | None = None
    pid: int | None = None


@public
@final
class ChildAdded(Event):
    """A child was added to a running supervisor; the child is waiting.

    Attributes:
        reason: As given with the command; may be empty.
    """

    reason: str = ""


@public
@final
class ChildWaiting(Event):
    """A child should run and cannot yet: it waits for its turn in the ordering or a requirement."""


@public
@final
class ChildStarted(Event):
    """An attempt has started.

    Attributes:
        generation: How many times the child had been restarted by command before.
    """

    generation: int


@public
@final
class ChildReady(Event):
    """An attempt is ready, for the first time or again.

    Attributes:
        after: Seconds since the attempt's start.
    """

    after: float


@public
@final
class ChildLostReadiness(Event):
    """An attempt has called `ChildContext.not_ready`.

    Attributes:
        reason: As given; may be empty.
    """

    reason: str


@public
@final
class ChildStopRequested(Event):
    """An attempt was asked to stop.

    Attributes:
        reason: Why: the command's reason, the supervisor's, or the fault (``unhealthy: ...``).
        grace: Seconds until the attempt is cancelled.
    """

    reason: str
    grace: float


@public
@final
class ChildCancelled(Event):
    """An attempt's scope was cancelled.

    Attributes:
        reason: That of the stop request.
    """

    reason: str


@public
@final
class ChildUnresponsive(Event):
    """An attempt was cancelled and is still alive after the supervisor's ``report_after``.

    Attributes:
        seconds: Time since the cancel.
        stack: Where the attempt hangs, one line per task inside it.
    """

    seconds: float
    stack: tuple[str, ...]


@public
@final
class ChildExited(Event):
    """An attempt has ended: its scope has closed.

    Attributes:
        kind: The exit's `TaskExit.kind`, or ``"fatal"``.
        detail: The exit on one line, as `TaskExit.describe` returns it.
        seconds: The duration of the attempt.
        stop_reason: Why the attempt had been asked to stop; `None` if it had not.
        error: The exception behind the exit, for subscribers in the same process that want to
            report it; `None` if there is none. The journal keeps no exceptions: events read from
            it have `None`. It does not count when events are compared, and is not pickled.
    """

    kind: str
    detail: str
    seconds: float
    stop_reason: str | None
    error: BaseException | None = None

    def __eq__(self, other: object) -> bool:
        if type(other) is not ChildExited:
            return NotImplemented
        return values_of(self)[:-1] == values_of(other)[:-1]

    def __hash__(self) -> int:
        return hash((ChildExited, values_of(self)[:-1]))

    def __reduce__(self) -> tuple[Any, ...]:
        return ChildExited, values_of(self)[:-1]


@public
@final
class ExitJudged(Event):
    """The decision that follows from an exit. It is made once.

    Attributes:
        action: ``restart done remove quarantine escalate shutdown start_failed``.
        source: Where the decision comes from: ``table decide limit first_start``.
        delay: Seconds until the restart is due.
        used: Restarts in the window that was asked (the child's own, or else the shared one), this
            one included.
        limit: That window's ``max_restarts``, or `None` without one.
        within: The window's length in seconds.
        also: Names of the other children that restart with this one.
        error: The exception that ``decide`` raised, as text; empty if it raised none.
    """

    action: str
    source: str
    delay: float
    used: int
    limit: int | None
    within: float
    also: tuple[str, ...]
    error: str


@public
@final
class ChildBackingOff(Event):
    """A child waits before its next attempt.

    Attributes:
        until: When the attempt may start, in seconds on Trio's clock.
    """

    until: float


@public
@final
class ChildDone(Event):
    """A child has ended for good; only a command starts it again."""


@public
@final
class ChildStopped(Event):
    """A child was taken down by command, or because its supervisor ends.

    Attributes:
        reason: Why; may be empty.
    """

    reason: str


@public
@final
class ChildQuarantined(Event):
    """A child was taken down by policy or by command, marked for inspection, until a command.

    Attributes:
        reason: Why; may be empty.
    """

    reason: str


@public
@final
class ChildRemoved(Event):
    """A child was removed; its name is free."""


@public
@final
class EventGap(Record):
    """An entry of a subscription in place of events that a slow reader has missed.

    Attributes:
        lost: How many events are missing.
    """

    lost: int
