"""Decide what follows from an exit while the child's desired state is *up*.

If the desired state or a shutdown had already marked the attempt for stopping, this module is not
asked. docs/design.md, What follows an exit, has the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._brain.auto_shutdown import child_at_rest
from trio_supervisor._brain.lifecycle import ChildLife, DesiredState, StopCause
from trio_supervisor._brain.windows import REMOVE, TABLE, SharedBackoff, Window, set_backoff
from trio_supervisor._events import events as ev
from trio_supervisor._specs.decisions import (
    Escalate,
    Quarantine,
    Restart,
    ShutdownTree,
)
from trio_supervisor._specs.policy import INHERIT, OnLimit, RestartPolicy

if TYPE_CHECKING:
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.decisions import RestartDecision
    from trio_supervisor._specs.policy import RestartLimit


# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_TEMPORARY = RestartPolicy.TEMPORARY
_REMOVED = DesiredState.REMOVED
_DONE = DesiredState.DONE


def apply_policy(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, how: TaskExit, now: float
) -> None:
    """Apply the decision of `decide`, or else the restart table, to the exit ``how``."""
    if not how.is_success and machine.is_first_start(child):
        _fail_first_start(machine, child, signal, now)
        return
    decision: RestartDecision | str
    if signal.decision is not None:
        decision, source = signal.decision, "decide"
    else:
        succeeded = how.is_success and not signal.decide_error
        decision, source = TABLE[child.spec.restart, succeeded], "table"
    if decision is REMOVE:
        _come_to_rest(machine, child, signal, how, now, source)
    elif isinstance(decision, Restart):
        _restart(machine, child, signal, now, decision.delay, source)
    elif isinstance(decision, Escalate):
        _emit_decision(machine, child, "escalate", source, signal)
        reason = decision.reason or f"{child.path} {signal.detail}"
        machine.begin_shutdown(
            o.Outcome(o.OutcomeKind.ESCALATED, reason, child.name, child.attempt, decision.reason),
            now,
        )
    elif isinstance(decision, ShutdownTree):
        _emit_decision(machine, child, "shutdown", source, signal)
        _shut_down_tree(machine, child, decision.reason or f"{child.path} asked for it", now)
    elif isinstance(decision, Quarantine):
        _emit_decision(machine, child, "quarantine", source, signal)
        machine.take_down(child, DesiredState.QUARANTINED, decision.reason or signal.detail, now)
        child_at_rest(machine, child, now, counts=False)
    else:
        _come_to_rest(machine, child, signal, how, now, source)


def _come_to_rest(
    machine: SupervisionMachine,
    child: ChildLife,
    signal: o.Exited,
    how: TaskExit,
    now: float,
    source: str,
) -> None:
    """Do not restart ``child``; a temporary one is forgotten."""
    removed = child.spec.restart is _TEMPORARY
    _emit_decision(machine, child, "remove" if removed else "done", source, signal)
    child.done_by_success = how.is_success
    machine.take_down(child, _REMOVED if removed else _DONE, "", now)
    child_at_rest(machine, child, now, counts=True)


def _shut_down_tree(machine: SupervisionMachine, child: ChildLife, reason: str, now: float) -> None:
    if machine.nested:
        # The root begins, in order: this supervisor goes on until its turn to stop has come.
        machine.outbox.stop_tree(reason)
        machine.take_down(child, DesiredState.SHUTDOWN, reason, now)
    else:
        outcome = o.Outcome(o.OutcomeKind.SHUTDOWN, reason, child.name, child.attempt)
        machine.begin_shutdown(outcome, now)


def _fail_first_start(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float
) -> None:
    _emit_decision(machine, child, "start_failed", "first_start", signal)
    if child.first_start is o.FirstStart.FAILS_TREE:
        reason = f"{child.path} failed to start: {signal.detail}"
        machine.begin_shutdown(
            o.Outcome(o.OutcomeKind.START_FAILED, reason, child.name, child.attempt), now
        )
        return
    machine.outbox.fail_start(child)
    # A dependent may have been added while this child was starting. Removing the child would leave
    # that requirement without a target, so the child stays, stopped, with the reason.
    desired = DesiredState.STOPPED if child.dependents else DesiredState.REMOVED
    machine.take_down(child, desired, f"failed to start: {signal.detail}", now)


def _restart(
    machine: SupervisionMachine,
    child: ChildLife,
    signal: o.Exited,
    now: float,
    delay: float | None,
    source: str,
) -> None:
    limit = child_limit(machine, child)
    if limit is not None:
        if child.window is None:
            child.window = Window(limit)
        if not child.window.admits(now):
            _apply_child_limit(machine, child, signal, now, child.window)
            return
    if machine.window is not None:
        if not machine.window.admits(now):
            _escalate_at_limit(machine, child, signal, now, machine.window)
            return
        machine.window.charge(now)
    if child.window is not None:
        child.window.charge(now)
    if delay is None:
        delay = child.spec.backoff.delay(child.consecutive_failures, machine.random)
    child.consecutive_failures += 1
    child.restarts += 1
    group = machine.ordering.group_of(child)
    backoff = _shared_backoff(machine, child, group, now + delay, now)
    also = tuple([m.name for m in group if m is not child and m.desired in _RESTARTED_WITH_GROUP])
    _emit_decision(
        machine,
        child,
        "restart",
        source,
        signal,
        delay=0.0 if backoff is None else backoff.until - now,
        window=child.window or machine.window,
        also=also,
    )
    if len(group) == 1:
        set_backoff(child, backoff, machine.timers)
        if machine.ordering.grouped:
            child.skips_predecessors = False
            machine.ordering.join_start_set(child)
        return
    reason = f"restarts with {child.name}"
    restart = machine.ordering.begin_group_restart(child)
    for member in group:
        _restart_member(machine, member, child, backoff, reason, now)
        if restart is not None:
            machine.ordering.join_group_restart(member, restart)


def _shared_backoff(
    machine: SupervisionMachine, child: ChildLife, group: list[ChildLife], until: float, now: float
) -> SharedBackoff | None:
    """The backoff that the group waits for: the longest that a failure in it asks for."""
    causes: dict[ChildLife, float] | None = None
    if len(group) > 1:
        causes = {child: until}
        for old in {member.backoff: None for member in group if member.backoff is not None}:
            old.add_causes(causes, now)
        until = max(causes.values())
    if until <= now:
        return None
    backoff = SharedBackoff(until, group, causes)
    machine.timers.arm(backoff, until)
    return backoff


_RESTARTED_WITH_GROUP = frozenset({DesiredState.UP, DesiredState.DONE})


def _restart_member(
    machine: SupervisionMachine,
    member: ChildLife,
    failed: ChildLife,
    backoff: SharedBackoff | None,
    reason: str,
    now: float,
) -> None:
    """Restart a member of the group of ``failed``, unless it is down or temporary."""
    temporary = member.spec.restart is RestartPolicy.TEMPORARY and member is not failed
    if member.desired not in _RESTARTED_WITH_GROUP:
        # The member stays down. While its attempt is still ending, the others wait for it.
        if member.live:
            machine.mark_for_stopping(member, StopCause.DESIRED_STATE, reason, in_order=True)
    elif temporary and member.live:
        machine.take_down(member, DesiredState.REMOVED, reason, now, in_order=True)
    else:
        if member.desired is DesiredState.DONE:
            machine.ordering.wake_watchers(member)
        member.desired = DesiredState.UP
        set_backoff(member, backoff, machine.timers)
        # A restart by command that is pending is replaced: from now on a new one is accepted.
        member.skips_predecessors = member.restart_pending = member.requirement_down = False
        machine.ordering.join_start_set(member)
        machine.mark_for_stopping(member, StopCause.DESIRED_STATE, reason, in_order=True)


def child_limit(machine: SupervisionMachine, child: ChildLife) -> RestartLimit | None:
    """The restart limit of ``child``: its own, or else the one of its supervisor for each child."""
    limit = child.spec.restart_limit
    return machine.spec.child_restart_limit if limit is INHERIT else limit


def _apply_child_limit(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float, window: Window
) -> None:
    if child.spec.on_limit is OnLimit.ESCALATE:
        _escalate_at_limit(machine, child, signal, now, window)
        return
    _emit_decision(machine, child, "quarantine", "limit", signal, window=window)
    machine.take_down(child, DesiredState.QUARANTINED, window.describe(), now)
    child_at_rest(machine, child, now, counts=False)


def _escalate_at_limit(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float, window: Window
) -> None:
    _emit_decision(machine, child, "escalate", "limit", signal, window=window)
    reason = f"{child.path} gave up: {window.describe()}; last: {signal.detail}"
    machine.begin_shutdown(o.Outcome(o.OutcomeKind.LIMIT, reason, child.name, child.attempt), now)


def _emit_decision(
    machine: SupervisionMachine,
    child: ChildLife,
    action: str,
    source: str,
    signal: o.Exited,
    *,
    delay: float = 0.0,
    window: Window | None = None,
    also: tuple[str, ...] = (),
) -> None:
    machine.outbox.emit(
        child,
        ev.ExitJudged,
        action,
        source,
        delay,
        0 if window is None else len(window.times),  # `admits` has just looked
        None if window is None else window.limit.max_restarts,
        0.0 if window is None else window.limit.within,
        also,
        signal.decide_error,
    )
