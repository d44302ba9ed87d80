"""What happens in a supervision tree, as typed, frozen, numbered facts.

Snapshots, logs and the journal are folds of these. An event is identified by `Event.sequence`
within one tree; an attempt by ``(run, path, attempt)`` within the life of its child, since
`Event.run` is unique per attempt of a supervisor. A name that is used again after `ChildRemoved` is
another child, with `ChildAdded` at its beginning. Heartbeats are neither events nor state.
"""

from __future__ import annotations

from typing import Any, final

from trio_supervisor._events.plain import SCHEMA, at_of, to_plain
from trio_supervisor._lazy import public
from trio_supervisor._record import Record


@public
class Event(Record):
    """What all events have in common.

    Attributes:
        sequence: Counts from 1 over the whole tree, without gaps.
        time: Trio's clock, in seconds.
        wall: Seconds since the epoch, for people; never used for decisions.
        run: Number of the supervisor's run that this belongs to; unique in the tree.
        path: Of the child or supervisor that it speaks of, such as ``"app/store"``.
        attempt: Of the child, counted from 1; 0 where no attempt is meant.
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
    """A supervisor began; ``children`` are the names declared for it, all waiting."""

    children: tuple[str, ...]


@public
@final
class SupervisorReady(Event):
    """Its first start is complete: every declared child was ready, is done, or is held down."""


@public
@final
class SupervisorIdle(Event):
    """Nobody is alive, nobody comes back, and nothing was declared to end it: said once."""


@public
@final
class SupervisorStopping(Event):
    """The orderly stop began. ``cause`` is one of `OutcomeKind`."""

    cause: str
    reason: str


@public
@final
class SupervisorFinished(Event):
    """None of its children is alive. ``unresponsive`` counts those that overran their cancel."""

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
    """A child was added to a running supervisor; it is waiting."""


@public
@final
class ChildWaiting(Event):
    """It should run and cannot yet: its turn in the order, or a requirement, is missing."""


@public
@final
class ChildStarted(Event):
    """An attempt was started. ``generation`` counts restarts by hand, from 0."""

    generation: int


@public
@final
class ChildReady(Event):
    """The attempt said that it is ready, ``after`` seconds from its start."""

    after: float


@public
@final
class ChildLostReadiness(Event):
    """The attempt withdrew its readiness."""

    reason: str


@public
@final
class ChildStopRequested(Event):
    """The attempt was asked to end; after ``grace`` seconds it is cancelled."""

    reason: str
    grace: float


@public
@final
class ChildCancelled(Event):
    """The attempt's scope was cancelled."""

    reason: str


@public
@final
class ChildUnresponsive(Event):
    """Cancelled, and still there: ``stack`` shows where it hangs, one line per task inside."""

    seconds: float
    stack: tuple[str, ...]


@public
@final
class ChildExited(Event):
    """The attempt's scope has closed. ``kind`` is `TaskExit.kind`, ``detail`` one line about it."""

    kind: str
    detail: str
    seconds: float
    stop_reason: str | None


@public
@final
class ExitJudged(Event):
    """What follows from an exit, decided once.

    Attributes:
        action: ``restart done remove quarantine escalate shutdown start_failed``.
        source: Who decided: ``table decide limit first_start``.
        delay: Seconds until the restart is due.
        used: Restarts in the window that was asked (the child's own, or else the shared one), this
            one included.
        limit: That window's ``max_restarts``, or `None` without one.
        within: The window's length in seconds.
        also: Names of the other children that share this fate.
        error: What ``decide`` raised, if it did.
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
    """It will start again at ``until`` on Trio's clock."""

    until: float


@public
@final
class ChildDone(Event):
    """It ended, and nothing is left to do."""


@public
@final
class ChildStopped(Event):
    """It is down by an operator's wish, or because its supervisor ends."""

    reason: str


@public
@final
class ChildQuarantined(Event):
    """It is held down, by policy or by hand, until it is restarted by hand."""

    reason: str


@public
@final
class ChildRemoved(Event):
    """It is forgotten; its name is free."""


@public
@final
class EventGap(Record):
    """Stands in a subscription for ``lost`` events that a slow reader was too late for."""

    lost: int
