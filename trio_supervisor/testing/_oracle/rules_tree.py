"""The oracle's rules about supervisors: their start, their stop, and operators' desired_states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor.testing._oracle.model import ChildModel, SupervisorModel

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.tree_model import TreeModel


def supervisor_started(tree: TreeModel, event: ev.SupervisorStarted) -> None:
    """Check that a run starts once for each attempt, with the declared children."""
    over_path, _, own_name = event.path.rpartition("/")
    over = tree.supervisors.get(over_path)
    above = None if over is None else over.children.get(own_name)
    if above is not None and not above.live:
        tree.fail("events", "it began without an attempt of it", event, above)
    spec = tree.spec_at(event.path, above)
    supervisor = SupervisorModel(event.path, event.run, spec, above, over)
    if above is None:
        tree.root = supervisor
    else:
        if above.below is not None:
            tree.fail("one_live_attempt", f"run {above.below.run} still goes on", event, above)
        above.below = supervisor
    tree.supervisors[event.path] = supervisor
    declared = {} if spec is None else {child.name: child for child in spec.children}
    if spec is not None and tuple(declared) != event.children:
        wrong = f"begins with {event.children}, declared: {tuple(declared)}"
        tree.fail("events", wrong, event)
    for name in event.children:
        child = ChildModel(f"{event.path}/{name}", declared.get(name), supervisor.count)
        supervisor.count += 1
        supervisor.add(child)
        tree.pending[child] = supervisor


def child_added(tree: TreeModel, supervisor: SupervisorModel, event: ev.ChildAdded) -> None:
    """Check that an added child has a free name, and that the supervisor is not stopping."""
    name = event.path.rpartition("/")[2]
    if name in supervisor.children:
        tree.fail("events", "added, but it exists", event, supervisor.children[name])
    if not supervisor.accepts:
        tree.fail(
            "shutdown",
            f"added while {supervisor.path} is {supervisor.state}",
            event,
            supervisor.stopping,
        )
    most = None if supervisor.spec is None else supervisor.spec.max_children
    if most is not None and len(supervisor.children) >= most:
        tree.fail("events", f"added, but {most} children are allowed", event)
    child = ChildModel(event.path, tree.spec_of_added(event), supervisor.count, dynamic=True)
    supervisor.count += 1
    supervisor.add(child)
    child.history.append(event)
    tree.pending[child] = supervisor


def supervisor_ready(
    tree: TreeModel, supervisor: SupervisorModel, event: ev.SupervisorReady
) -> None:
    """Check that the supervisor is ready once, when every declared child is settled."""
    if supervisor.state != "starting":
        tree.fail("events", f"ready while it is {supervisor.state}", event)
        return
    supervisor.state = "running"
    for child in supervisor.statics():
        if not (supervisor.known and child.has_policy):
            continue
        if supervisor.blocks(child) and not child.excused:
            wrong = f"ready, but {child.name} was never ready and is not held down"
            tree.fail("start_order", wrong, event, child)
            return


def supervisor_idle(tree: TreeModel, supervisor: SupervisorModel, event: ev.SupervisorIdle) -> None:
    """Check that no child is alive, and that none comes back without a command."""
    children = supervisor.children.values()
    busy = [child for child in children if child.comes_back and not child.unsure]
    if busy:
        tree.fail("auto_shutdown", f"idle, but {busy[0].name} comes back", event, busy[0])
    if supervisor.idle_said:
        tree.fail("events", "said twice", event)
    supervisor.idle_said = True


def supervisor_stopping(
    tree: TreeModel, supervisor: SupervisorModel, event: ev.SupervisorStopping
) -> None:
    """Check that the stop begins once; a cause inside the tree has to be in the events."""
    if not supervisor.accepts:
        tree.fail("shutdown", f"stops while it is {supervisor.state}", event, supervisor.stopping)
        return
    if event.cause == "broken":
        supervisor.unexplained.clear()
    due, supervisor.must_stop = supervisor.must_stop, None
    if due is not None and due[0] != event.cause:
        wrong = f"stops because of {event.cause}, but {due[0]} came first"
        tree.fail("shutdown", wrong, event, due[1])
    inner = ("auto_shutdown", "quarantined", "limit", "escalated", "start_failed", "fatal")
    may_end = supervisor.all_done() == event.cause or (
        # A child without a known declaration may be significant.
        event.cause in ("auto_shutdown", "quarantined") and supervisor.has_unknown
    )
    if due is None and event.cause in inner and supervisor.known and not may_end:
        invariant = "auto_shutdown" if event.cause == "auto_shutdown" else "shutdown"
        tree.fail(invariant, f"stops because of {event.cause}, but nothing shows that", event)
    supervisor.stopping = event
    supervisor.state = "stopping"
    supervisor.unresponsive = 0
    for child in supervisor.children.values():
        supervisor.unresponsive += child.live and child.reported
        tree.pending[child] = supervisor
        child.settled = True
        if child.live and child.stop_cause != "command":
            child.stop_cause = "shutdown"


def supervisor_finished(
    tree: TreeModel, supervisor: SupervisorModel, event: ev.SupervisorFinished
) -> None:
    """Check that the run finishes after its stop, with no child alive."""
    if supervisor.stopping is None:
        if supervisor.known:
            tree.fail("shutdown", "finished without having begun to stop", event)
    elif event.cause != supervisor.stopping.cause:
        wrong = f"finished because of {event.cause}, stopped because of {supervisor.stopping.cause}"
        tree.fail("shutdown", wrong, event, supervisor.stopping)
    for child in supervisor.children.values():
        if child.live:
            tree.fail("nothing_left", f"finished while {child.name} was alive", event, child)
            break
    if supervisor.known and event.unresponsive != supervisor.unresponsive:
        wrong = f"{event.unresponsive} unresponsive, {supervisor.unresponsive} were reported"
        tree.fail("events", wrong, event)
    supervisor.state = "finished"


def command_accepted(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.CommandAccepted
) -> None:
    """Set the desired state that the command asks for."""
    if supervisor.state == "finished":
        tree.fail("operators_wish", "accepted after the end", event)
    tree.pending[child] = supervisor
    child.unsure = False
    _limit_grace(child, event)
    if _only_shortens(supervisor, child, event):
        return
    for members, _ in supervisor.rounds:
        members.discard(child.name)  # a command takes it out of every round
    if event.command == "restart":
        if not supervisor.accepts:
            tree.fail(
                "shutdown", "a restart was accepted during the stop", event, supervisor.stopping
            )
        if child.desired == "removed":
            tree.fail("operators_wish", "a restart was accepted after its removal", event, child)
        child.desired = "up" if child.desired != "removed" else child.desired
        child.generation += 1
        child.consecutive_failures = 0
        child.done_well = child.held_by_operator = child.ends_with_tree = False
        child.charges.clear()
        child.end_backoff()
        starting = supervisor.state == "starting"
        if not child.settled or (starting and not (child.ever_ready or child.dynamic)):
            # In a round, successors go on waiting; otherwise it is a round of one.
            child.settled = child.excused = False
            child.skips_predecessors = not starting
    else:
        if event.command == "remove" and any(
            other.spec is not None and child.name in other.spec.requires
            for other in supervisor.children.values()
        ):
            tree.fail("operators_wish", "removed, but another child requires it", event, child)
        if child.desired != "removed":
            desired_states = {"stop": "stopped", "quarantine": "quarantined", "remove": "removed"}
            child.desired = desired_states[event.command]  # type: ignore[assignment]
        child.removed_by_hand |= event.command == "remove"
        child.held_by_operator = True
        child.end_backoff()
        for other in supervisor.end_delays(child, event.time):
            tree.pending[other] = supervisor
        child.settled = True
    if child.live:
        child.stop_cause = "command"
        child.history.append(event)


def _limit_grace(child: ChildModel, event: ev.CommandAccepted) -> None:
    """Note the grace of a command; of a stop under way it can only shorten the grace."""
    if event.grace is None or not child.live:
        return
    if child.stop_requested_at is None:
        known = event.grace if child.command_grace is None else child.command_grace
        child.command_grace = min(event.grace, known)
    else:
        due = min(child.stop_requested_at + child.stop_grace, event.time + event.grace)
        child.stop_grace = due - child.stop_requested_at


def _only_shortens(
    supervisor: SupervisorModel, child: ChildModel, event: ev.CommandAccepted
) -> bool:
    """Return whether the desired state held already, so that only the grace is changed."""
    if event.grace is None:
        return False
    if not supervisor.accepts:
        return True
    if event.command == "restart":
        return child.live and child.stop_cause == "command" and child.desired == "up"
    if event.command == "stop":
        return child.desired in ("stopped", "quarantined", "removed")
    return child.desired == "removed" or (
        event.command == "quarantine" and child.desired == "quarantined"
    )
