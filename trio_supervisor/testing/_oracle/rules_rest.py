"""The oracle's rules about states of rest, and about what has to happen before time passes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.model import Kid, Node
    from trio_supervisor.testing._oracle.oracle import Oracle


def child_backing_off(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildBackingOff) -> None:
    """As long as its verdict said."""
    if kid.live:
        oracle.fail("events", "backing off with a live attempt", event, kid)
    if kid.known and abs(event.until - kid.held_until) > oracle.slack:
        wrong = f"until {event.until:g}, but its verdict says {kid.held_until:g}"
        oracle.fail("backoff", wrong, event, kid)
    kid.held_until = event.until
    oracle.restless[kid] = node


def child_waiting(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildWaiting) -> None:
    """It should run."""
    if kid.live or kid.wish != "up":
        oracle.fail("events", f"waiting, but it is {kid.wish}", event, kid)
    oracle.restless[kid] = node


_RESTING: Final = {
    "ChildDone": "done",
    "ChildStopped": "stopped",
    "ChildQuarantined": "quarantined",
}


def child_rests(oracle: Oracle, node: Node, kid: Kid, event: ev.Event) -> None:
    """Where its wish says."""
    if kid.live:
        oracle.fail("events", "at rest with a live attempt", event, kid)
    shown = _RESTING[type(event).__name__]
    closing = shown == "stopped" and not node.accepts
    if kid.wish != shown and not closing and kid.known:
        oracle.fail("events", f"{shown}, but it should be {kid.wish}", event, kid)
    if not kid.known and kid.wish == "up" and node.accepts:
        kid.wish = shown  # type: ignore[assignment]


def child_removed(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildRemoved) -> None:
    """Nobody knows it any more."""
    if kid.live:
        oracle.fail("events", "removed with a live attempt", event, kid)
    if kid.wish != "removed" and kid.known:
        oracle.fail("events", f"removed, but it should be {kid.wish}", event, kid)
    node.drop(kid)
    for members, _ in node.rounds:
        members.discard(kid.name)  # whoever gets this name next is somebody else
    oracle.restless.pop(kid, None)
    for other in node.kids.values():
        oracle.restless[other] = node


# ---------------------------------------------------------------- when time passes


def at_rest(oracle: Oracle, now: float, *, final: bool = False) -> None:
    """Everything that could happen has: who has not moved needs a reason.

    Args:
        oracle: The oracle.
        now: The time of the next event, or of the last one.
        final: Whether there is no next event.
    """
    for node in list(oracle.nodes.values()):
        if node.must_stop is not None and node.accepts:
            cause, event = node.must_stop
            invariant = "auto_shutdown" if cause == "auto_shutdown" else "shutdown"
            oracle.fail(invariant, f"{node.path} had to stop: {cause}", event)
        alive = node.state == "stopping" and any(kid.live for kid in node.kids.values())
        asked = None if node.above is None else node.above.asked_at
        if node.accepts and asked is not None and asked < now - oracle.slack:
            wrong = f"{node.path} was asked to stop at {asked:g}, and does not begin to"
            oracle.fail("shutdown", wrong, None, node.above)
        if node.state == "stopping" and not alive:
            oracle.fail("shutdown", f"nobody is alive in {node.path}, and it does not end", None)
    for kid, node in list(oracle.restless.items()):
        if _is_at_peace(oracle, node, kid, now):
            oracle.restless.pop(kid, None)


def _is_at_peace(oracle: Oracle, node: Node, kid: Kid, now: float) -> bool:
    if kid.verdict_due is not None:
        oracle.fail("table", "it has ended, and nothing was decided", kid.verdict_due, kid)
        return True
    if kid.live:
        return _check_live(oracle, node, kid, now)
    if kid.wish == "up":
        if node.accepts and kid.known and node.known:
            _check_waiting(oracle, node, kid, now)
        return False
    return True


def _check_live(oracle: Oracle, node: Node, kid: Kid, now: float) -> bool:
    if kid.asked_at is None:
        return _check_running(oracle, node, kid, now)
    if kid.cancelled_at is None:
        due = min(kid.asked_at + kid.asked_grace, node.deadline)
        if due < now - oracle.slack and kid.known:
            oracle.fail("stop_time", f"should have been cancelled at {due:g}", None, kid)
        return False
    if kid.reported:
        return True
    after = inf if node.spec is None else node.spec.report_after
    if kid.cancelled_at + after < now - oracle.slack:
        due = kid.cancelled_at + after
        oracle.fail("stop_time", f"should have been reported at {due:g}", None, kid)
    return False


def _check_running(oracle: Oracle, node: Node, kid: Kid, now: float) -> bool:
    if kid.doom == "hand":
        oracle.fail("operators_wish", "a command was accepted, and nothing is done", None, kid)
    elif kid.doom in ("group", "closing") and kid.known:
        concerned = None if kid.doom == "closing" else node.leaving_with(kid)
        later = [
            other
            for other in node.comes_after(kid)
            if other.live and (concerned is None or other in concerned)
        ]
        if not later:
            wrong = "it has to stop, nobody is left who stops before it, and it is not asked"
            oracle.fail("stuck", wrong, None, kid)
    spec = kid.spec
    if spec is None or spec.max_runtime == inf:
        return kid.doom == ""
    if kid.doom:
        return False  # it has to go anyway, and waits for its turn
    if kid.started_at + spec.max_runtime < now - oracle.slack and kid.known:
        oracle.fail("timeouts", f"alive after more than {spec.max_runtime:g} s", None, kid)
    return False


def _check_waiting(oracle: Oracle, node: Node, kid: Kid, now: float) -> None:
    """It should run and does not: it has to wait for somebody, or for a time to come."""
    if kid.held_until > now - oracle.slack:
        return
    if any(not target.is_met for target in node.requires(kid)):
        return
    if node.blocker(kid, oracle.now) is not None:
        return
    if node.is_grouped and any(leaving for _, leaving in node.rounds):
        return
    if kid.held_until > oracle.now - oracle.slack:
        oracle.fail("backoff", f"should have started at {kid.held_until:g}", None, kid)
        return
    oracle.fail("stuck", "it should run, nothing is in its way, and it does not start", None, kid)
