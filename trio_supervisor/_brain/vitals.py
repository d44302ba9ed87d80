"""The deadlines of one live attempt: start, runtime, silence, and the steps of a stop.

No clock is read here: the owner passes ``now`` and asks `Vitals.due` when to look again. The
supervision machine has one `Vitals` per child, `ChildRunner` one per attempt, so that both end an
attempt for the same reasons at the same instants.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Final

from trio_supervisor._events.exits import TimedOut, Unhealthy

if TYPE_CHECKING:
    from trio_supervisor._specs.supervisor import ChildSpec


LATE: Final = 0.05
"""Seconds after which a deadline that is handled late is not held against an attempt."""
_MOST_ROUNDS: Final = 3


class Stage(IntEnum):
    """The stage that the stop of a live attempt has reached."""

    RUNNING = 0
    STOP_REQUESTED = 1
    CANCELLED = 2
    UNRESPONSIVE = 3


# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_RUNNING = Stage.RUNNING
_STOP_REQUESTED = Stage.STOP_REQUESTED
_CANCELLED = Stage.CANCELLED


class Vitals:
    """The times of one attempt that deadlines depend on, in seconds on the owner's clock."""

    __slots__ = (
        "busy_until",
        "heartbeat_at",
        "ready",
        "ready_at",
        "round_until",
        "rounds",
        "run_due",
        "stage",
        "start_due",
        "started_at",
        "step_due",
        "was_ready",
    )

    def __init__(self) -> None:
        self.stage = _RUNNING
        self.ready = self.was_ready = False
        self.started_at = self.ready_at = self.heartbeat_at = 0.0
        self.start_due = self.run_due = self.step_due = inf
        self.busy_until = self.round_until = -inf
        self.rounds = 0  # granted in a row because the owner was late

    def begin(self, spec: ChildSpec[object], now: float) -> None:
        """Reset everything for an attempt that starts now."""
        self.stage = _RUNNING
        self.ready = self.was_ready = False
        self.started_at = now
        self.start_due = now + spec.start_timeout
        self.run_due = now + spec.max_runtime
        self.step_due = inf
        self.busy_until = self.round_until = -inf
        self.rounds = 0

    def become_ready(self, now: float) -> None:
        """Record readiness: it counts as a heartbeat and arms the silence deadline."""
        self.ready = self.was_ready = True
        self.ready_at = self.heartbeat_at = now
        self.start_due = inf
        self.rounds = 0

    def grant_round(self, now: float, late: float) -> bool:
        """Judge the attempt one round later, because it could not run: the owner is ``late``.

        The round lasts as long as the lateness, and at least a second. After three rounds in a row
        the attempt is judged all the same.

        Returns:
            Whether the round is granted.
        """
        if late <= LATE or self.rounds >= _MOST_ROUNDS:
            return False
        self.rounds += 1
        self.round_until = now + max(late, 1.0)
        return True

    def extend_start(self, until: float) -> None:
        """Allow the start to last until ``until``; has no effect once the attempt was ready."""
        if not self.was_ready and until > self.start_due:
            self.start_due = until

    def begin_grace(self, now: float, grace: float) -> None:
        """Record the stop request; the cancel is due after ``grace`` seconds."""
        self.stage = _STOP_REQUESTED
        self.step_due = now + grace

    def cancel(self, now: float, report_after: float) -> None:
        """Record the cancel; the attempt is unresponsive after ``report_after`` seconds."""
        self.stage = _CANCELLED
        self.step_due = now + report_after

    def become_unresponsive(self) -> None:
        """Record that the attempt has been reported; no deadline is left."""
        self.stage = Stage.UNRESPONSIVE
        self.step_due = inf

    def due(self, spec: ChildSpec[object]) -> float:
        """The time to look at this attempt again if no signal comes first."""
        if self.stage:
            return self.step_due
        due = self.run_due if self.run_due < self.start_due else self.start_due
        if self.ready and spec.stale_after < inf:
            due = min(due, self._silent_at(spec))
        return due if due > self.round_until else self.round_until

    def fault(self, spec: ChildSpec[object], now: float) -> TimedOut | Unhealthy | None:
        """The fault that ends a running attempt at ``now``; `None` if it may go on."""
        if self.stage or self.round_until > now:
            return None
        if self.start_due <= now:
            return TimedOut("start", self.start_due - self.started_at)
        if self.run_due <= now:
            return TimedOut("run", spec.max_runtime)
        if self.ready and spec.stale_after < inf and self._silent_at(spec) <= now:
            return Unhealthy(now - self.heartbeat_at)
        return None

    def _silent_at(self, spec: ChildSpec[object]) -> float:
        # Silence that was announced (`busy`) is allowed for as long as it was announced.
        return max(self.heartbeat_at + spec.stale_after, self.busy_until)
