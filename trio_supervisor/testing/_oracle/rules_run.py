"""The oracle's rules about a live attempt: its start, its readiness, and the steps of its stop."""

from __future__ import annotations

from math import inf, isclose
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.model import Kid, Node
    from trio_supervisor.testing._oracle.oracle import Oracle


def child_started(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildStarted) -> None:
    """Not while the last one is alive, not while it is to be down, not before its turn."""
    if kid.live:
        oracle.fail("one_live_attempt", f"attempt {kid.attempt} is still alive", event, kid)
    if event.attempt != kid.attempt + 1:
        oracle.fail("events", f"attempt {event.attempt} follows attempt {kid.attempt}", event, kid)
    if event.generation != kid.generation:
        wrong = f"generation {event.generation} after {kid.generation} restarts by hand"
        oracle.fail("events", wrong, event, kid)
    if not node.accepts:
        oracle.fail("shutdown", f"started while {node.path} is {node.state}", event, node.stopping)
    if kid.wish != "up":
        by_hand = kid.wish in ("stopped", "quarantined") or kid.removed_by_hand
        invariant = "operators_wish" if by_hand else "table"
        oracle.fail(invariant, f"started although it is {kid.wish}", event, kid)
    early = kid.held_until - event.time
    if early > oracle.slack:
        oracle.fail("backoff", f"started {early:g} s before its time", event, kid)
    _check_turn(oracle, node, kid, event)
    kid.begin(event)
    oracle.restless[kid] = node


def _check_turn(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildStarted) -> None:
    for target in node.requires(kid):
        if not target.is_met:
            oracle.fail(
                "start_order",
                f"started although it requires {target.name}, which is not ready",
                event,
                target,
            )
    blocker = node.blocker(kid, surely=True) if kid.known else None
    if blocker is not None:
        wrong = f"started before {blocker.name}, which comes before it, was settled"
        oracle.fail("start_order", wrong, event, blocker)
    if not kid.alone:
        leaving = [other for other in node.leaving_with(kid) if other.live]
        if leaving:
            wrong = f"started while {leaving[0].name}, of the same group, was still to be gone"
            oracle.fail("start_order", wrong, event, leaving[0])


def child_ready(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildReady) -> None:
    """Only a live attempt that was not asked to stop is ready, and says so once."""
    if not _is_this(oracle, kid, event, "ready"):
        return
    if kid.ready:
        oracle.fail("events", "ready twice", event, kid)
    if kid.asked_at is not None:
        oracle.fail("events", "ready after it was asked to stop", event, kid)
    if not isclose(event.after, event.time - kid.started_at, abs_tol=oracle.slack) and kid.known:
        oracle.fail("events", f"ready after {event.after:g} s, it says", event, kid)
    if kid.spec is not None and not kid.spec.is_explicit and not kid.was_ready and event.after:
        oracle.fail("events", "an immediate child is ready when it starts", event, kid)
    kid.ready = kid.was_ready = kid.ever_ready = True
    kid.ready_at = event.time
    if kid.doom in ("", "unknown"):
        kid.settled = True
        kid.alone = False


def child_lost_readiness(
    oracle: Oracle, node: Node, kid: Kid, event: ev.ChildLostReadiness
) -> None:
    """Only what was ready can be ready no more."""
    if _is_this(oracle, kid, event, "not ready"):
        if not kid.ready:
            oracle.fail("events", "lost a readiness that it did not have", event, kid)
        kid.forget_failures(event.time)
        kid.ready = False


def child_stop_requested(
    oracle: Oracle, node: Node, kid: Kid, event: ev.ChildStopRequested
) -> None:
    """Somebody has to have a reason, and those who come after it have to be gone."""
    if not _is_this(oracle, kid, event, "asked"):
        return
    if kid.asked_at is not None:
        oracle.fail("events", "asked twice", event, kid)
    if kid.doom == "":
        kid.doom = "fault"
        if kid.spec is not None and not _has_fault(oracle, kid, event):
            oracle.fail("radius", "asked to stop, and nobody had a reason", event, kid)
    elif kid.doom in ("group", "closing"):
        _check_stop_order(oracle, node, kid, event)
    if kid.spec is not None and event.grace not in (0.0, kid.spec.grace):
        wrong = f"grace {event.grace:g}, declared is {kid.spec.grace:g}"
        oracle.fail("stop_time", wrong, event, kid)
    hurried = node.hurries or event.time >= node.deadline - oracle.slack
    # A stop may be hurried by a second request, of which there is no event.
    excused = hurried or not node.accepts or _from_inside(oracle, kid) or kid.doom == "unknown"
    if kid.spec is not None and event.grace == 0 < kid.spec.grace and not excused:
        oracle.fail("stop_time", f"no grace instead of {kid.spec.grace:g} s", event, kid)
    kid.asked_at = event.time
    kid.asked_grace = event.grace
    kid.asked_reason = event.reason
    oracle.restless[kid] = node


def _from_inside(oracle: Oracle, kid: Kid) -> bool:
    """Whether it waits for its own end, so that to wait for it would be pointless."""
    return oracle.inside is None or (kid.path, kid.attempt) in oracle.inside


def _has_fault(oracle: Oracle, kid: Kid, event: ev.Event) -> bool:
    """Whether time or health may have ended this attempt by now."""
    spec = kid.spec
    assert spec is not None
    now = event.time + oracle.slack
    late = spec.is_explicit and not kid.was_ready and now >= kid.started_at + spec.start_timeout
    long = now >= kid.started_at + spec.max_runtime
    silent = kid.ready and now >= kid.ready_at + spec.stale_after
    return late or long or silent


def _check_stop_order(oracle: Oracle, node: Node, kid: Kid, event: ev.Event) -> None:
    if event.time >= node.deadline - oracle.slack or not kid.known:
        return
    if kid.doom == "closing":
        concerned = {other.name for other in node.kids.values()}
    else:
        concerned = {other.name for other in node.leaving_with(kid)}
    for later in node.comes_after(kid):
        if later.live and later.name in concerned:
            wrong = f"asked to stop before {later.name}, which comes after it, was gone"
            oracle.fail("stop_order", wrong, event, later, kid)
            return


def child_cancelled(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildCancelled) -> None:
    """After its grace; sooner only where nobody has any."""
    if not _is_this(oracle, kid, event, "cancelled"):
        return
    if kid.cancelled_at is not None:
        oracle.fail("events", "cancelled twice", event, kid)
    if kid.asked_at is None:
        oracle.fail("stop_time", "cancelled without having been asked", event, kid)
    elif kid.known:
        due = kid.asked_at + kid.asked_grace
        hurried = node.hurries or event.time >= node.deadline - oracle.slack
        early = event.time < due - oracle.slack
        if early and not (hurried or not node.accepts or _from_inside(oracle, kid)):
            wrong = f"cancelled {due - event.time:g} s before the end of its grace"
            oracle.fail("stop_time", wrong, event, kid)
    kid.cancelled_at = event.time
    oracle.restless[kid] = node


def child_unresponsive(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildUnresponsive) -> None:
    """Once, ``report_after`` seconds after its cancel."""
    if not _is_this(oracle, kid, event, "unresponsive"):
        return
    if kid.reported:
        oracle.fail("events", "reported twice", event, kid)
    after = inf if node.spec is None else node.spec.report_after
    if kid.cancelled_at is None:
        if kid.known:
            oracle.fail("stop_time", "unresponsive without having been cancelled", event, kid)
    elif event.time < kid.cancelled_at + after - oracle.slack:
        oracle.fail("stop_time", f"reported before {after:g} s had passed", event, kid)
    kid.reported = True
    node.unresponsive += 1


def _is_this(oracle: Oracle, kid: Kid, event: ev.Event, what: str) -> bool:
    if not kid.live:
        oracle.fail("events", f"{what}, but it has no live attempt", event, kid)
        return False
    if event.attempt != kid.attempt:
        wrong = f"attempt {event.attempt} is {what}, but alive is attempt {kid.attempt}"
        oracle.fail("events", wrong, event, kid)
        return False
    return True
