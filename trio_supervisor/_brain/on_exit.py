"""One exit, one decision: what policy makes of an end that nobody had wished for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._brain.lifecycle import ChildLife, Doom, Wish
from trio_supervisor._brain.windows import REMOVE, TABLE, Hold, Window, put_on_hold
from trio_supervisor._events import events as ev
from trio_supervisor._specs.policy import (
    INHERIT,
    AutoShutdown,
    DoNotRestart,
    Escalate,
    OnLimit,
    Quarantine,
    Restart,
    RestartPolicy,
    ShutdownTree,
)

if TYPE_CHECKING:
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.policy import Decision, RestartLimit


_ACTIONS = {
    DoNotRestart: "done",
    Quarantine: "quarantine",
    Escalate: "escalate",
    ShutdownTree: "shutdown",
}


def judge(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, how: TaskExit, now: float
) -> None:
    """Decide what follows from an exit that no wish explains."""
    if not how.is_success and machine.is_first_start(child):
        _fail_first_start(machine, child, signal, now)
        return
    decision: Decision | str
    if signal.decision is not None:
        decision, source = signal.decision, "decide"
    else:
        succeeded = how.is_success and not signal.decide_error
        decision, source = TABLE[child.spec.restart, succeeded], "table"
    if isinstance(decision, Restart):
        _restart(machine, child, signal, now, decision.delay, source)
        return
    if isinstance(decision, DoNotRestart) and child.spec.restart is RestartPolicy.TEMPORARY:
        decision = REMOVE
    action = decision if isinstance(decision, str) else _ACTIONS[type(decision)]
    _emit_verdict(machine, child, action, source, signal)
    if isinstance(decision, Escalate):
        reason = decision.reason or f"{child.path} {signal.detail}"
        machine.close(o.Outcome(o.OutcomeKind.ESCALATED, reason, child.name, child.attempt), now)
    elif isinstance(decision, ShutdownTree):
        reason = decision.reason or f"{child.path} asked for it"
        machine.close(o.Outcome(o.OutcomeKind.SHUTDOWN, reason, child.name, child.attempt), now)
    elif isinstance(decision, Quarantine):
        machine.hold_down(child, Wish.QUARANTINED, decision.reason or signal.detail)
        _ended(machine, child, now, counts=False)
    else:
        child.done_well = how.is_success
        machine.hold_down(child, Wish.REMOVED if decision == REMOVE else Wish.DONE, "")
        _ended(machine, child, now, counts=True)


def _fail_first_start(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float
) -> None:
    _emit_verdict(machine, child, "start_failed", "first_start", signal)
    if child.first_start is o.FirstStart.FAILS_TREE:
        reason = f"{child.path} failed to start: {signal.detail}"
        machine.close(o.Outcome(o.OutcomeKind.START_FAILED, reason, child.name, child.attempt), now)
        return
    machine.fail_start(child)
    # Somebody who requires it may have been added meanwhile: then name and reason stay.
    wish = Wish.STOPPED if child.dependents else Wish.REMOVED
    machine.hold_down(child, wish, f"failed to start: {signal.detail}")


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
        if not child.window.has_room(now):
            _refuse(machine, child, signal, now, child.window)
            return
    if machine.window is not None:
        if not machine.window.has_room(now):
            _give_up(machine, child, signal, now, machine.window)
            return
        machine.window.charge(now)
    if child.window is not None:
        child.window.charge(now)
    if delay is None:
        delay = child.spec.backoff.delay(child.streak, machine.random)
    child.streak += 1
    child.restarts += 1
    radius = machine.order.radius(child)
    until = now + delay
    for member in radius:
        if member.hold is not None and member.hold.until > until:
            until = member.hold.until
    hold = None
    if until > now:
        hold = Hold(until, radius)
        machine.timers.arm(hold, until)
    also = tuple([m.name for m in radius if m is not child and m.wish in _TAKE_PART])
    _emit_verdict(
        machine,
        child,
        "restart",
        source,
        signal,
        delay=until - now,
        window=child.window or machine.window,
        also=also,
    )
    if len(radius) == 1:
        put_on_hold(child, hold, machine.timers)
        if machine.order.grouped:
            child.alone = False
            machine.order.join_line(child)
        return
    reason = f"restarts with {child.name}"
    for member in radius:
        _recycle(machine, member, child, hold, reason)


_TAKE_PART = frozenset({Wish.UP, Wish.DONE})


def _recycle(
    machine: SupervisionMachine,
    member: ChildLife,
    failed: ChildLife,
    hold: Hold | None,
    reason: str,
) -> None:
    """Let a member of the radius share the fate of the one that failed."""
    temporary = member.spec.restart is RestartPolicy.TEMPORARY and member is not failed
    if member.wish not in _TAKE_PART:
        # Held down: it stays so. But while it is still ending, the others wait for it.
        if member.live:
            machine.condemn(member, Doom.WISH, reason, ordered=True)
    elif temporary and member.live:
        machine.hold_down(member, Wish.REMOVED, reason, ordered=True)
    else:
        if member.wish is Wish.DONE:
            machine.order.wake_watchers(member)
        member.wish = Wish.UP
        put_on_hold(member, hold, machine.timers)
        # Policy's affair again: a restart by hand from now on is a new one.
        member.alone = member.restart_pending = member.hopeless = False
        machine.order.join_line(member)
        machine.condemn(member, Doom.WISH, reason, ordered=True)
    if not failed.dynamic:
        machine.order.join_rest(member)


def child_limit(machine: SupervisionMachine, child: ChildLife) -> RestartLimit | None:
    """The child's own limit, or else what its supervisor sets for each child."""
    limit = child.spec.restart_limit
    return machine.spec.child_restart_limit if limit is INHERIT else limit


def _refuse(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float, window: Window
) -> None:
    if child.spec.on_limit is OnLimit.ESCALATE:
        _give_up(machine, child, signal, now, window)
        return
    _emit_verdict(machine, child, "quarantine", "limit", signal, window=window)
    machine.hold_down(child, Wish.QUARANTINED, window.describe())
    _ended(machine, child, now, counts=False)


def _give_up(
    machine: SupervisionMachine, child: ChildLife, signal: o.Exited, now: float, window: Window
) -> None:
    _emit_verdict(machine, child, "escalate", "limit", signal, window=window)
    reason = f"{child.path} gave up: {window.describe()}; last: {signal.detail}"
    machine.close(o.Outcome(o.OutcomeKind.LIMIT, reason, child.name, child.attempt), now)


def _ended(machine: SupervisionMachine, child: ChildLife, now: float, *, counts: bool) -> None:
    """A child came to rest by itself; EEP-56 says whether the supervisor has a reason to go on."""
    mode = machine.spec.auto_shutdown
    reason = ""
    if counts and child.spec.significant:
        if mode is AutoShutdown.ANY_SIGNIFICANT:
            reason = f"significant child {child.name} ended"
        elif mode is AutoShutdown.ALL_SIGNIFICANT and not any(
            other.comes_back for other in machine.significant if other is not child
        ):
            reason = "all significant children ended"
    if mode is AutoShutdown.ALL_DONE and machine.is_idle:
        reason = "all children are done"
    if reason:
        machine.close(
            o.Outcome(o.OutcomeKind.AUTO_SHUTDOWN, reason, child.name, child.attempt), now
        )
    elif (
        mode is AutoShutdown.NEVER
        and not machine.said_idle
        and not child.dynamic
        and machine.is_idle
    ):
        machine.say_idle()


def _emit_verdict(
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
    machine.emit(
        child,
        ev.ExitJudged,
        action,
        source,
        delay,
        0 if window is None else len(window.times),  # `has_room` has just looked
        None if window is None else window.limit.max_restarts,
        0.0 if window is None else window.limit.within,
        also,
        signal.decide_error,
    )
