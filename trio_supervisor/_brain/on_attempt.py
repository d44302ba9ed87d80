"""Handle the signals of an attempt: readiness, heartbeats, and the exit."""

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
    """The child, if ``attempt`` is its live attempt; `None` if it has ended or is being stopped."""
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
    """Record that the attempt is ready, for the first time or again."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None and not child.ready:
        machine.become_ready(child, now)


def lost_readiness(machine: SupervisionMachine, signal: o.LostReadiness, now: float) -> None:
    """Record that the attempt is not ready any more.

    Its silence is not judged until it is ready again. Dependents that are about to start wait;
    dependents that run are not affected.
    """
    child = _running(machine, signal.name, signal.attempt)
    if child is not None and child.ready:
        forget_failures_if_stable(child, now)
        child.ready = False
        child.rounds = 0
        machine.rearm(child)
        child.set_reported(ChildState.NOT_READY, now, signal.reason)
        machine.outbox.emit(child, ev.ChildLostReadiness, signal.reason)


def heartbeat(machine: SupervisionMachine, signal: o.Heartbeat, now: float) -> None:
    """Record a heartbeat.

    The silence deadline is corrected when it comes up; it is armed anew only if it is nearer now,
    at the end of an announced silence.
    """
    child = _running(machine, signal.name, signal.attempt)
    if child is not None:
        child.heartbeat_at = max(child.heartbeat_at, signal.at)
        child.busy_until = signal.busy_until
        if child.stop_cause is None and child.due(child.spec) < child.wake_at:
            machine.rearm(child)


def start_extended(machine: SupervisionMachine, signal: o.StartExtended, now: float) -> None:
    """Allow more time to start; the armed deadline is corrected when it comes up."""
    child = _running(machine, signal.name, signal.attempt)
    if child is not None:
        child.extend_start(signal.until)


def grace_forfeited(machine: SupervisionMachine, signal: o.GraceForfeited, now: float) -> None:
    """Take the grace of an attempt that waits for its own end, or give it back."""
    child = machine.children.get(signal.name)
    if child is not None and child.live and child.attempt == signal.attempt:
        child.without_grace = not signal.taken_back
        if child.without_grace and child.stage is Stage.STOP_REQUESTED:
            machine.cancel(child, now)


def exited(machine: SupervisionMachine, signal: o.Exited, now: float) -> None:
    """Record the exit of an attempt, and apply policy unless the desired state decides."""
    child = machine.children.get(signal.name)
    if child is None or not child.live or child.attempt != signal.attempt:
        return
    judged = machine.policy_decides(child)
    if child.ready and (child.consecutive_failures or child.failures_in_row):
        forget_failures_if_stable(child, now)
    if signal.exit is not None and signal.exit.is_failure and not child.restart_pending:
        child.failures_in_row += 1
    kind = "fatal" if signal.exit is None else signal.exit.kind
    seconds = now - child.started_at
    machine.outbox.emit(child, ev.ChildExited, kind, signal.detail, seconds, signal.stop_reason)
    machine.attempt_ended(child, now, signal.detail)
    if signal.exit is None:
        outcome = o.Outcome(
            o.OutcomeKind.FATAL, f"{child.path} {signal.detail}", child.name, child.attempt
        )
        machine.begin_shutdown(outcome, now, grace=False)
    elif judged:
        apply_policy(machine, child, signal, signal.exit, now)


def forget_failures_if_stable(child: ChildLife, now: float) -> None:
    """Reset the consecutive failures if the attempt has been ready for ``reset_after``."""
    if child.is_stable(now):
        child.consecutive_failures = child.failures_in_row = 0
