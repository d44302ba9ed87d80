"""What time may do to one live attempt: start, run time, health, and the steps of a stop.

No clock is read here: whoever owns the attempt passes ``now`` and asks `Vitals.due` when to look
again. The supervision machine keeps one of these per child, `ChildRunner` one per attempt, so that
both end an attempt for the same reasons at the same instants.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING

from trio_supervisor._events.exits import TimedOut, Unhealthy

if TYPE_CHECKING:
    from trio_supervisor._specs.supervisor import ChildSpec


class Stage(IntEnum):
    """How far the ending of a live attempt has got."""

    RUNNING = 0
    STOP_REQUESTED = 1
    CANCELLED = 2
    UNRESPONSIVE = 3


class Vitals:
    """The times that matter to one attempt; all in seconds of the owner's clock."""

    __slots__ = (
        "busy_until",
        "heartbeat_at",
        "ready",
        "ready_at",
        "run_due",
        "stage",
        "start_due",
        "started_at",
        "step_due",
        "was_ready",
    )

    def __init__(self) -> None:
        self.stage = Stage.RUNNING
        self.ready = self.was_ready = False
        self.started_at = self.ready_at = self.heartbeat_at = 0.0
        self.start_due = self.run_due = self.step_due = inf
        self.busy_until = -inf

    def begin(self, spec: ChildSpec[object], now: float) -> None:
        """A new attempt starts."""
        self.stage = Stage.RUNNING
        self.ready = self.was_ready = False
        self.started_at = now
        self.start_due = now + spec.start_timeout
        self.run_due = now + spec.max_runtime
        self.step_due = inf
        self.busy_until = -inf

    def become_ready(self, now: float) -> None:
        """Being ready counts as a sign of life, and arms the watch over silence."""
        self.ready = self.was_ready = True
        self.ready_at = self.heartbeat_at = now
        self.start_due = inf

    def extend_start(self, until: float) -> None:
        """Allow the start to last until ``until``; never shortens, never re-arms a done one."""
        if not self.was_ready and until > self.start_due:
            self.start_due = until

    def begin_grace(self, now: float, grace: float) -> None:
        """The stop was requested; after ``grace`` seconds comes the cancel."""
        self.stage = Stage.STOP_REQUESTED
        self.step_due = now + grace

    def cancel(self, now: float, report_after: float) -> None:
        """The scope was cancelled; after ``report_after`` seconds it is called unresponsive."""
        self.stage = Stage.CANCELLED
        self.step_due = now + report_after

    def become_unresponsive(self) -> None:
        """Named unresponsive: nothing is left to do but to wait."""
        self.stage = Stage.UNRESPONSIVE
        self.step_due = inf

    def due(self, spec: ChildSpec[object]) -> float:
        """When this attempt has to be looked at again, if it sends no word until then."""
        if self.stage:
            return self.step_due
        due = self.run_due if self.run_due < self.start_due else self.start_due
        if self.ready and spec.stale_after < inf:
            due = min(due, self._silent_at(spec))
        return due

    def fault(self, spec: ChildSpec[object], now: float) -> TimedOut | Unhealthy | None:
        """Why a running attempt has to end at ``now``, or `None` if it may go on."""
        if self.stage:
            return None
        if self.start_due <= now:
            return TimedOut("start", self.start_due - self.started_at)
        if self.run_due <= now:
            return TimedOut("run", spec.max_runtime)
        if self.ready and spec.stale_after < inf and self._silent_at(spec) <= now:
            return Unhealthy(now - self.heartbeat_at)
        return None

    def _silent_at(self, spec: ChildSpec[object]) -> float:
        # Silence that was announced (`busy`) is no symptom until it lasts longer than announced.
        return max(self.heartbeat_at + spec.stale_after, self.busy_until)
