"""The oracle's rules about a live attempt: its start, its readiness, and the steps of its stop."""

from __future__ import annotations

from math import inf, isclose
from typing import TYPE_CHECKING

from trio_supervisor._specs.body import DEFAULT_GRACE

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.model import ChildModel, SupervisorModel
    from trio_supervisor.testing._oracle.tree_model import TreeModel


def child_started(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildStarted
) -> None:
    """Check that no attempt is alive, that the child should be up, and that it is its turn."""
    if child.live:
        tree.fail("one_live_attempt", f"attempt {child.attempt} is still alive", event, child)
    if event.attempt != child.attempt + 1:
        tree.fail(
            "events", f"attempt {event.attempt} follows attempt {child.attempt}", event, child
        )
    if event.generation != child.generation and child.known:
        wrong = f"generation {event.generation} after {child.generation} restarts by command"
        tree.fail("events", wrong, event, child)
    if not supervisor.accepts:
        tree.fail(
            "shutdown",
            f"started while {supervisor.path} is {supervisor.state}",
            event,
            supervisor.stopping,
        )
    if child.desired != "up" and not child.unsure:
        by_hand = child.desired in ("stopped", "quarantined") or child.removed_by_hand
        invariant = "operators_wish" if by_hand else "table"
        tree.fail(invariant, f"started although it is {child.desired}", event, child)
    early = child.backing_off_until - event.time
    if early > tree.slack and not (child.unsure or child.unsure_delay):
        tree.fail("backoff", f"started {early:g} s before its time", event, child)
    _check_turn(tree, supervisor, child, event)
    child.generation = event.generation
    child.begin(event)
    tree.pending[child] = supervisor


def _check_turn(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildStarted
) -> None:
    for target in supervisor.requires(child):
        if not target.is_met:
            tree.fail(
                "start_order",
                f"started although it requires {target.name}, which is not ready",
                event,
                target,
            )
    blocker = supervisor.blocker(child, surely=True) if child.known else None
    if blocker is not None:
        wrong = f"started before {blocker.name}, which comes before it, was settled"
        tree.fail("start_order", wrong, event, blocker)
    if not child.skips_predecessors:
        still_stopping = [other for other in supervisor.stopping_with(child) if other.live]
        if still_stopping:
            wrong = (
                f"started while {still_stopping[0].name}, of the same group, was still to be gone"
            )
            tree.fail("start_order", wrong, event, still_stopping[0])


def child_ready(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildReady
) -> None:
    """Check that a live attempt becomes ready, once, before any stop request."""
    if not _is_this(tree, child, event, "ready"):
        return
    if child.ready:
        tree.fail("events", "ready twice", event, child)
    if child.stop_requested_at is not None:
        tree.fail("events", "ready after it was asked to stop", event, child)
    if not isclose(event.after, event.time - child.started_at, abs_tol=tree.slack) and child.known:
        tree.fail("events", f"ready after {event.after:g} s, it says", event, child)
    if (
        child.spec is not None
        and not child.spec.is_explicit
        and not child.was_ready
        and event.after
    ):
        tree.fail("events", "an immediate child is ready when it starts", event, child)
    child.ready = child.was_ready = child.ever_ready = True
    child.ready_at = event.time
    if child.stop_cause in ("", "unknown"):
        child.settled = True
        child.skips_predecessors = False


def child_lost_readiness(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildLostReadiness
) -> None:
    """Check that only a ready attempt loses its readiness."""
    if _is_this(tree, child, event, "not ready"):
        if not child.ready:
            tree.fail("events", "lost a readiness that it did not have", event, child)
        child.forget_failures(event.time)
        child.ready = False


def child_stop_requested(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildStopRequested
) -> None:
    """Check that the stop has a cause, and that the successors have ended."""
    if not _is_this(tree, child, event, "asked"):
        return
    if child.stop_requested_at is not None:
        tree.fail("events", "asked twice", event, child)
    if child.stop_cause == "":
        child.stop_cause = "fault"
        if child.spec is not None and not _has_fault(tree, child, event):
            tree.fail("radius", "asked to stop without a cause", event, child)
    elif child.stop_cause in ("group", "shutdown"):
        _check_stop_order(tree, supervisor, child, event)
    grace = child.command_grace
    if grace is None:
        grace = None if child.spec is None else child.spec.grace
    if grace is None:  # then it depends on what the body has used of its context
        if event.grace not in (0.0, DEFAULT_GRACE) and child.spec is not None:
            tree.fail("stop_time", f"grace {event.grace:g}, by default", event, child)
        grace = 0.0
    elif child.spec is not None and event.grace not in (0.0, grace):
        wrong = f"grace {event.grace:g}, should be {grace:g}"
        tree.fail("stop_time", wrong, event, child)
    no_grace = supervisor.without_grace or event.time >= supervisor.deadline - tree.slack
    # A second request may end the grace of a stop under way; there is no event of it.
    excused = (
        no_grace
        or not supervisor.accepts
        or _from_inside(tree, supervisor, child)
        or child.stop_cause == "unknown"
    )
    if child.spec is not None and event.grace == 0 < grace and not excused:
        tree.fail("stop_time", f"no grace instead of {grace:g} s", event, child)
    child.stop_requested_at = event.time
    child.stop_grace = event.grace
    child.stop_request_reason = event.reason
    tree.pending[child] = supervisor


def _from_inside(tree: TreeModel, supervisor: SupervisorModel, child: ChildModel) -> bool:
    """Return whether the attempt may wait for its own end, and so has no grace."""
    return tree.inside is None or (supervisor.run, child.path, child.attempt) in tree.inside


def _has_fault(tree: TreeModel, child: ChildModel, event: ev.Event) -> bool:
    """Return whether a deadline or silence may have ended this attempt by now."""
    spec = child.spec
    assert spec is not None
    now = event.time + tree.slack
    late = spec.is_explicit and not child.was_ready and now >= child.started_at + spec.start_timeout
    long = now >= child.started_at + spec.max_runtime
    silent = child.ready and now >= child.ready_at + spec.stale_after
    return late or long or silent


def _check_stop_order(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.Event
) -> None:
    if event.time >= supervisor.deadline - tree.slack or not child.known:
        return
    if child.stop_cause == "shutdown":
        concerned = {other.name for other in supervisor.children.values()}
    else:
        concerned = {other.name for other in supervisor.stopping_with(child)}
    for later in supervisor.comes_after(child):
        if later.live and later.name in concerned:
            wrong = f"asked to stop before {later.name}, which comes after it, was gone"
            tree.fail("stop_order", wrong, event, later, child)
            return


def child_cancelled(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildCancelled
) -> None:
    """Check that the cancel comes after the grace, or that the attempt has none."""
    if not _is_this(tree, child, event, "cancelled"):
        return
    if child.cancelled_at is not None:
        tree.fail("events", "cancelled twice", event, child)
    if child.stop_requested_at is None:
        tree.fail("stop_time", "cancelled without having been asked", event, child)
    elif child.known:
        due = child.stop_requested_at + child.stop_grace
        no_grace = supervisor.without_grace or event.time >= supervisor.deadline - tree.slack
        early = event.time < due - tree.slack
        if early and not (
            no_grace or not supervisor.accepts or _from_inside(tree, supervisor, child)
        ):
            wrong = f"cancelled {due - event.time:g} s before the end of its grace"
            tree.fail("stop_time", wrong, event, child)
    child.cancelled_at = event.time
    tree.pending[child] = supervisor


def child_unresponsive(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildUnresponsive
) -> None:
    """Check that the report comes once, ``report_after`` seconds after the cancel."""
    if not _is_this(tree, child, event, "unresponsive"):
        return
    if child.reported:
        tree.fail("events", "reported twice", event, child)
    after = inf if supervisor.spec is None else supervisor.spec.report_after
    if child.cancelled_at is None:
        if child.known:
            tree.fail("stop_time", "unresponsive without having been cancelled", event, child)
    elif event.time < child.cancelled_at + after - tree.slack:
        tree.fail("stop_time", f"reported before {after:g} s had passed", event, child)
    child.reported = True
    supervisor.unresponsive += 1


def _is_this(tree: TreeModel, child: ChildModel, event: ev.Event, what: str) -> bool:
    if not child.live:
        tree.fail("events", f"{what}, but it has no live attempt", event, child)
        return False
    if event.attempt != child.attempt:
        wrong = f"attempt {event.attempt} is {what}, but alive is attempt {child.attempt}"
        tree.fail("events", wrong, event, child)
        return False
    return True
