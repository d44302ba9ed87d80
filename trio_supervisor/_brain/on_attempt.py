"""What each word from an attempt changes: readiness, signs of life, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._brain.on_exit import apply_policy
from trio_supervisor._brain.vitals import Stage
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._brain.machine import SupervisionMachine


def _running(machine: SupervisionMachine, name: str, attempt: int) -> ChildLife | None:
    """The child, if this is its live attempt and was not asked to end; else it is too late."""
    child = machine.children.get(name)
    if (
        child is None
        or not child.live
        or child.attempt != attempt
        or child.stage is not Stage.RUNNING
    ):
        return None
    return child


def became_ready(machine: SupervisionMachine, signal: o.BecameReady, now: float) -> None:
    """Ready, for the first time or again."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None and not child.ready:
        machine.become_ready(child, now)


def lost_readiness(machine: SupervisionMachine, signal: o.LostReadiness, now: float) -> None:
    """Not ready any more: health disarms, those about to start wait, those running do not care."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None and child.ready:
        forget_failures_if_stable(child, now)
        child.ready = False
        machine.rearm(child)
        machine.set_reported(child, ChildState.NOT_READY, now, signal.reason)
        machine.emit(child, ev.ChildLostReadiness, signal.reason)


def heartbeat(machine: SupervisionMachine, signal: o.Heartbeat, now: float) -> None:
    """A sign of life; the deadline over silence is looked at when due, unless it came nearer."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None:
        child.heartbeat_at = max(child.heartbeat_at, signal.at)
        child.busy_until = signal.busy_until
        if child.stop_cause is None and child.due(child.spec) < child.wake_at:
            machine.rearm(child)


def start_extended(machine: SupervisionMachine, signal: o.StartExtended, now: float) -> None:
    """More time to start; the old deadline is corrected when it comes."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None:
        child.extend_start(signal.until)


def grace_forfeited(machine: SupervisionMachine, signal: o.GraceForfeited, now: float) -> None:
    """The attempt waits for its own end: no grace for it."""
    child = machine.children.get(signal.name)
    if child is not None and child.live and child.attempt == signal.attempt:
        child.without_grace = not signal.taken_back
        if child.without_grace and child.stage is Stage.STOP_REQUESTED:
            machine.cancel(child, now)


def exited(machine: SupervisionMachine, signal: o.Exited, now: float) -> None:
    """The attempt is gone; what follows is decided by the wish, or else by policy."""
    child = machine.children.get(signal.name)
    if child is None or not child.live or child.attempt != signal.attempt:
        return
    judged = machine.policy_decides(child)
    if child.consecutive_failures and child.ready:
        forget_failures_if_stable(child, now)
    kind = "fatal" if signal.exit is None else signal.exit.kind
    machine.emit(
        child, ev.ChildExited, kind, signal.detail, now - child.started_at, signal.stop_reason
    )
    machine.attempt_ended(child, now, signal.detail)
    if signal.exit is None:
        outcome = o.Outcome(
            o.OutcomeKind.FATAL, f"{child.path} {signal.detail}", child.name, child.attempt
        )
        machine.begin_shutdown(outcome, now, grace=False)
    elif judged:
        apply_policy(machine, child, signal, signal.exit, now)


def forget_failures_if_stable(child: ChildLife, now: float) -> None:
    """Having been ready for long enough starts the backoff anew."""
    if now - child.ready_at >= child.spec.backoff.reset_after:
        child.consecutive_failures = 0
