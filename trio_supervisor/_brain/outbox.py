"""The orders of one step, and an event for every change of a child's state.

The actual state of a child follows from its situation; `ChildLife.reported` is the state according
to the events so far. A change that has no event of its own is recorded by `Outbox.report_state`, so
that folding the events always gives the actual state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife


# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_STOPPED = ChildState.STOPPED
_QUARANTINED = ChildState.QUARANTINED
_REMOVED = ChildState.REMOVED


class Outbox:
    """Collect the orders of one step of a machine.

    Args:
        path: The supervisor's path, for events that concern the supervisor itself.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.orders: list[o.Order] = []

    def take(self) -> list[o.Order]:
        """Return the orders collected so far, and begin a new list."""
        orders, self.orders = self.orders, []
        return orders

    def emit(self, child: ChildLife, event: type[ev.Event], *fields: object) -> None:
        """Record an event about ``child``."""
        self.orders.append((event, child.path, child.attempt, fields))

    def emit_own(self, event: type[ev.Event], *fields: object) -> None:
        """Record an event about the supervisor."""
        self.orders.append((event, self.path, 0, fields))

    def command_accepted(
        self,
        child: ChildLife,
        command: str,
        reason: str,
        by: o.Operator = (),
        grace: float | None = None,
    ) -> None:
        """Record a command that changes a desired state or a stop that is under way."""
        if grace is None:
            self.emit(child, ev.CommandAccepted, command, reason, *by)
        else:
            self.emit(child, ev.CommandAccepted, command, reason, *(by or _NO_OPERATOR), grace)

    def command_had_no_effect(
        self, child: ChildLife, command: str, reason: str, by: o.Operator
    ) -> None:
        """Record a command that changed nothing, if an operator gave it."""
        if by:
            self.emit(child, ev.CommandHadNoEffect, command, reason, *by)

    def shutdown_accepted(self, reason: str, by: o.Operator) -> None:
        """Record the command to end the supervisor, if an operator gave it."""
        if by:
            self.emit_own(ev.CommandAccepted, "shutdown", reason, *by)

    def refuse(self, error: Exception) -> None:
        """Refuse the command that is being handled."""
        self.orders.append(o.Refuse(error))

    def report_unresponsive(self, child: ChildLife, seconds: float) -> None:
        """Report that the attempt is still alive ``seconds`` after its cancel."""
        self.orders.append(o.ReportUnresponsive(child.name, child.attempt, seconds))

    def fail_start(self, child: ChildLife) -> None:
        """Let the caller that waits for the start of ``child`` know that the start has failed."""
        self.orders.append(o.FailStart(child.name, child.attempt))

    def stop_tree(self, reason: str) -> None:
        """Let the root of the tree stop everything in order."""
        self.orders.append(o.StopTree(reason))

    def report_state(self, child: ChildLife, state: ChildState, now: float) -> None:
        """Record ``state``, the actual state of ``child``, if the events do not say so yet."""
        until = child.backoff.until if child.backoff is not None and not child.live else None
        if state is child.reported and until == child.reported_until:
            return
        reason = child.reason if state in (_STOPPED, _QUARANTINED) else ""
        child.set_reported(state, now, reason)
        child.reported_until = until
        if until is not None:
            self.emit(child, ev.ChildBackingOff, until)
        elif state is _REMOVED:
            self.emit(child, ev.ChildRemoved)
        elif state in _STATE_EVENTS_WITH_REASON:
            self.emit(child, _STATE_EVENTS_WITH_REASON[state], reason)
        else:
            self.emit(child, _STATE_EVENTS[state])


_NO_OPERATOR = ("", None, None)
_STATE_EVENTS: dict[ChildState, type[ev.Event]] = {
    ChildState.WAITING: ev.ChildWaiting,
    ChildState.DONE: ev.ChildDone,
}
_STATE_EVENTS_WITH_REASON: dict[ChildState, type[ev.Event]] = {
    ChildState.STOPPED: ev.ChildStopped,
    ChildState.QUARANTINED: ev.ChildQuarantined,
}
