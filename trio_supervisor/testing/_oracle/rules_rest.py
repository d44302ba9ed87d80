"""The oracle's rules about states of rest, and about what has to happen before time passes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from trio_supervisor.testing._oracle.rules_exit import judge_unexplained

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.model import ChildModel, SupervisorModel
    from trio_supervisor.testing._oracle.tree_model import TreeModel


def child_backing_off(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildBackingOff
) -> None:
    """Check that the child backs off for as long as the decision said."""
    if child.live:
        tree.fail("events", "backing off with a live attempt", event, child)
    late = event.until - child.backing_off_until
    early = -late if not child.unsure_delay else 0.0
    if child.known and child.has_policy and max(late, early) > tree.slack:
        wrong = f"until {event.until:g}, but its decision says {child.backing_off_until:g}"
        tree.fail("backoff", wrong, event, child)
    child.backing_off_until = event.until
    if not (child.known or child.delays):
        child.unsure_delay = True  # it was decided before the first event that was seen
    if child.unsure:
        child.desired, child.unsure = "up", False
    tree.pending[child] = supervisor


def child_waiting(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildWaiting
) -> None:
    """Check that a waiting child is one that should run."""
    if child.live or (child.desired != "up" and not child.unsure):
        tree.fail("events", f"waiting, but it is {child.desired}", event, child)
    if child.unsure:
        child.desired, child.unsure = "up", False
    tree.pending[child] = supervisor


_RESTING: Final = {
    "ChildDone": "done",
    "ChildStopped": "stopped",
    "ChildQuarantined": "quarantined",
}


def child_rests(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.Event
) -> None:
    """Check that the child rests in the state that is desired."""
    if child.live:
        tree.fail("events", "at rest with a live attempt", event, child)
    shown = _RESTING[type(event).__name__]
    closing = shown == "stopped" and not supervisor.accepts
    if child.desired != shown and not closing and child.known and child.has_policy:
        tree.fail("events", f"{shown}, but it should be {child.desired}", event, child)
    if not (child.known and child.has_policy) and child.desired == "up" and supervisor.accepts:
        child.desired = shown  # type: ignore[assignment]


def child_removed(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildRemoved
) -> None:
    """Check that only a child at rest is removed, and forget it."""
    if child.live:
        tree.fail("events", "removed with a live attempt", event, child)
    if child.desired != "removed" and child.known and child.has_policy:
        tree.fail("events", f"removed, but it should be {child.desired}", event, child)
    supervisor.drop(child)
    for members, _ in supervisor.rounds:
        members.discard(child.name)  # the next child of this name is another one
    tree.pending.pop(child, None)
    for other in supervisor.children.values():
        tree.pending[other] = supervisor


# ---------------------------------------------------------------- when time passes


def at_rest(tree: TreeModel, now: float, *, final: bool = False) -> None:
    """Check that each child that has not changed before time passes has a reason.

    Args:
        oracle: The tree.
        now: The time of the next event, or of the last one.
        final: Whether there is no next event.
    """
    for supervisor in list(tree.supervisors.values()):
        if supervisor.unexplained:
            judge_unexplained(tree, supervisor)
        if supervisor.must_stop is not None and supervisor.accepts:
            cause, event = supervisor.must_stop
            invariant = "auto_shutdown" if cause == "auto_shutdown" else "shutdown"
            tree.fail(invariant, f"{supervisor.path} had to stop: {cause}", event)
        if supervisor.accepts and not supervisor.has_unknown and supervisor.all_done():
            wrong = f"all children of {supervisor.path} are done, and it goes on"
            tree.fail("auto_shutdown", wrong, None)
        if supervisor.accepts and supervisor.tree_must_stop is not None:
            tree.fail("shutdown", "the tree had to stop", supervisor.tree_must_stop)
        alive = supervisor.state == "stopping" and any(
            child.live for child in supervisor.children.values()
        )
        asked = None if supervisor.above is None else supervisor.above.stop_requested_at
        if supervisor.accepts and asked is not None and asked < now - tree.slack:
            wrong = f"{supervisor.path} was asked to stop at {asked:g}, and does not begin to"
            tree.fail("shutdown", wrong, None, supervisor.above)
        if supervisor.state == "stopping" and not alive:
            tree.fail(
                "shutdown", f"no child is alive in {supervisor.path}, and it does not end", None
            )
    for child, supervisor in list(tree.pending.items()):
        if not child.live and now > tree.now and child.desired != "done":
            # A change before the first event has taken effect by now; but a child that is done may
            # wait for its turn in a group restart, and shows no sign of that.
            child.unsure = False
        if _is_settled(tree, supervisor, child, now):
            tree.pending.pop(child, None)


def _is_settled(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, now: float
) -> bool:
    if child.decision_due is not None:
        tree.fail("table", "it has ended, and nothing was decided", child.decision_due, child)
        return True
    if child.live:
        return _check_live(tree, supervisor, child, now)
    if child.desired == "up":
        if supervisor.accepts and child.known and child.has_policy and supervisor.known:
            _check_waiting(tree, supervisor, child, now)
        return False
    return True


def _check_live(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, now: float
) -> bool:
    if child.stop_requested_at is None:
        return _check_running(tree, supervisor, child, now)
    if child.cancelled_at is None:
        due = min(child.stop_requested_at + child.stop_grace, supervisor.deadline)
        if due < now - tree.slack and child.known:
            tree.fail("stop_time", f"should have been cancelled at {due:g}", None, child)
        return False
    if child.reported:
        return True
    after = inf if supervisor.spec is None else supervisor.spec.report_after
    if child.cancelled_at + after < now - tree.slack:
        due = child.cancelled_at + after
        tree.fail("stop_time", f"should have been reported at {due:g}", None, child)
    return False


def _check_running(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, now: float
) -> bool:
    if child.stop_cause == "command":
        tree.fail("operators_wish", "a command was accepted, and had no effect", None, child)
    elif child.stop_cause in ("group", "shutdown") and child.known:
        concerned = None if child.stop_cause == "shutdown" else supervisor.stopping_with(child)
        later = [
            other
            for other in supervisor.comes_after(child)
            if other.live and (concerned is None or other in concerned)
        ]
        if not later:
            wrong = (
                "it has to stop, no child is left that stops before it, and no stop is requested"
            )
            tree.fail("stuck", wrong, None, child)
    spec = child.spec
    if spec is None or spec.max_runtime == inf:
        return child.stop_cause == ""
    if child.stop_cause:
        return False  # it is going to stop anyway, and waits for its turn
    if child.started_at + spec.max_runtime < now - tree.slack and child.known:
        tree.fail("timeouts", f"alive after more than {spec.max_runtime:g} s", None, child)
    return False


def _check_waiting(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, now: float
) -> None:
    """Check that a child that should run and does not is waiting for a child or for a time."""
    if child.backing_off_until > now - tree.slack:
        return
    if any(not target.is_met for target in supervisor.requires(child)):
        return
    if supervisor.blocker(child, tree.now) is not None:
        return
    if supervisor.is_grouped and any(still_stopping for _, still_stopping in supervisor.rounds):
        return
    if child.backing_off_until > tree.now - tree.slack:
        tree.fail("backoff", f"should have started at {child.backing_off_until:g}", None, child)
        return
    tree.fail("stuck", "it should run, nothing is in its way, and it does not start", None, child)
