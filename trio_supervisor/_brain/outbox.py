"""Telling the world: orders to be carried out, and events for every change of state.

What a child's state *is* follows from its situation; what it was last *shown* as is kept beside it.
Whatever changes it without an event of its own is told by `Teller.show`, so that the fold of the
events is always the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife


class Outbox:
    """Collects the orders of one step of a machine."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.idle_reported = False
        self._orders: list[o.Order] = []

    def emit(self, child: ChildLife, event: type[ev.Event], *fields: object) -> None:
        """Record something about ``child``."""
        self._orders.append(o.Emit(event, child.path, child.attempt, fields))

    def command_accepted(
        self, child: ChildLife, command: str, reason: str, by: o.Operator = ()
    ) -> None:
        """Record an operator's wish."""
        self._emit(ev.CommandAccepted, child.path, child.attempt, command, reason, *by)

    def command_had_no_effect(
        self, child: ChildLife, command: str, reason: str, by: o.Operator
    ) -> None:
        """Record a command that changed nothing, if an operator gave it."""
        if by:
            self._emit(ev.CommandHadNoEffect, child.path, child.attempt, command, reason, *by)

    def shutdown_accepted(self, reason: str, by: o.Operator) -> None:
        """Record the command to end the whole tree, if an operator gave it."""
        if by:
            self._emit(ev.CommandAccepted, self.path, 0, "shutdown", reason, *by)

    def report_idle(self) -> None:
        """Nothing is left to do, and nothing was declared to end the supervisor: said once."""
        self.idle_reported = True
        self._emit(ev.SupervisorIdle, self.path, 0)

    def refuse(self, error: Exception) -> None:
        """The command at hand is not accepted."""
        self._orders.append(o.Refuse(error))

    def report_unresponsive(self, child: ChildLife, seconds: float) -> None:
        """The attempt was cancelled ``seconds`` ago and is still there."""
        self._orders.append(o.ReportUnresponsive(child.name, child.attempt, seconds))

    def fail_start(self, child: ChildLife) -> None:
        """Whoever waits for the start of ``child`` must hear that it failed."""
        self._orders.append(o.FailStart(child.name, child.attempt))

    def _emit(self, event: type[ev.Event], path: str, attempt: int, *fields: object) -> None:
        self._orders.append(o.Emit(event, path, attempt, fields))

    def set_reported(
        self, child: ChildLife, state: ChildState, now: float, reason: str = ""
    ) -> None:
        """The child's state, as the event that follows tells it."""
        child.reported = state
        child.since = now
        child.reported_reason = reason
        child.reported_until = None

    def report_state(self, child: ChildLife, state: ChildState, now: float) -> None:
        """Record ``state``, the child's, if no event of its own has told it yet."""
        until = child.backoff.until if child.backoff is not None and not child.live else None
        if state is child.reported and until == child.reported_until:
            return
        reason = child.reason if state in (ChildState.STOPPED, ChildState.QUARANTINED) else ""
        self.set_reported(child, state, now, reason)
        child.reported_until = until
        if until is not None:
            self.emit(child, ev.ChildBackingOff, until)
        elif state in _STATE_EVENTS_WITH_REASON:
            self.emit(child, _STATE_EVENTS_WITH_REASON[state], reason)
        else:
            self.emit(child, _STATE_EVENTS[state])


_STATE_EVENTS: dict[ChildState, type[ev.Event]] = {
    ChildState.WAITING: ev.ChildWaiting,
    ChildState.DONE: ev.ChildDone,
    ChildState.REMOVED: ev.ChildRemoved,
}
_STATE_EVENTS_WITH_REASON: dict[ChildState, type[ev.Event]] = {
    ChildState.STOPPED: ev.ChildStopped,
    ChildState.QUARANTINED: ev.ChildQuarantined,
}
