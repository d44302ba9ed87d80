"""The oracle's rules about supervisors: their start, their stop, and operators' wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor.testing._oracle.model import Kid, Node

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor.testing._oracle.oracle import Oracle


def supervisor_started(oracle: Oracle, event: ev.SupervisorStarted) -> None:
    """Once for each attempt, with the children that were declared."""
    over_path, _, name = event.path.rpartition("/")
    over = oracle.nodes.get(over_path)
    above = None if over is None else over.kids.get(name)
    if above is not None and not above.live:
        oracle.fail("events", "it began without an attempt of it", event, above)
    spec = oracle.spec_at(event.path, above)
    node = Node(event.path, event.run, spec, above, over)
    if above is None:
        oracle.root = node
    else:
        if above.node is not None:
            oracle.fail("one_live_attempt", f"run {above.node.run} still goes on", event, above)
        above.node = node
    oracle.nodes[event.path] = node
    declared = {} if spec is None else {child.name: child for child in spec.children}
    if spec is not None and tuple(declared) != event.children:
        wrong = f"begins with {event.children}, declared: {tuple(declared)}"
        oracle.fail("events", wrong, event)
    for child in event.children:
        kid = Kid(f"{event.path}/{child}", declared.get(child), node.count)
        node.count += 1
        node.add(kid)
        oracle.restless[kid] = node


def child_added(oracle: Oracle, node: Node, event: ev.ChildAdded) -> None:
    """A name of its own, and not while everything stops."""
    name = event.path.rpartition("/")[2]
    if name in node.kids:
        oracle.fail("events", "added, but it exists", event, node.kids[name])
    if not node.accepts:
        oracle.fail("shutdown", f"added while {node.path} is {node.state}", event, node.stopping)
    most = None if node.spec is None else node.spec.max_children
    if most is not None and len(node.kids) >= most:
        oracle.fail("events", f"added, but {most} children are allowed", event)
    kid = Kid(event.path, oracle.spec_of_added(event), node.count, dynamic=True)
    node.count += 1
    node.add(kid)
    kid.history.append(event)
    oracle.restless[kid] = node


def supervisor_ready(oracle: Oracle, node: Node, event: ev.SupervisorReady) -> None:
    """Once, when every declared child is settled."""
    if node.state != "starting":
        oracle.fail("events", f"ready while it is {node.state}", event)
        return
    node.state = "running"
    for kid in node.statics():
        if node.known and node.blocks(kid) and not kid.let_go:
            wrong = f"ready, but {kid.name} was never ready and is not held down"
            oracle.fail("start_order", wrong, event, kid)
            return


def supervisor_idle(oracle: Oracle, node: Node, event: ev.SupervisorIdle) -> None:
    """Nobody is alive, and nobody comes back."""
    busy = [kid for kid in node.kids.values() if kid.comes_back]
    if busy:
        oracle.fail("auto_shutdown", f"idle, but {busy[0].name} comes back", event, busy[0])
    if node.idle_said:
        oracle.fail("events", "said twice", event)
    node.idle_said = True


def supervisor_stopping(oracle: Oracle, node: Node, event: ev.SupervisorStopping) -> None:
    """Once, for a cause that the events before it show, if it comes from inside."""
    if not node.accepts:
        oracle.fail("shutdown", f"stops while it is {node.state}", event, node.stopping)
        return
    due, node.must_stop = node.must_stop, None
    if due is not None and due[0] != event.cause:
        wrong = f"stops because of {event.cause}, but {due[0]} came first"
        oracle.fail("shutdown", wrong, event, due[1])
    inner = ("auto_shutdown", "limit", "escalated", "start_failed", "fatal")
    if due is None and event.cause in inner and node.known:
        invariant = "auto_shutdown" if event.cause == "auto_shutdown" else "shutdown"
        oracle.fail(invariant, f"stops because of {event.cause}, but nothing shows that", event)
    node.stopping = event
    node.state = "stopping"
    for kid in node.kids.values():
        oracle.restless[kid] = node
        kid.settled = True
        if kid.live and kid.doom != "hand":
            kid.doom = "closing"


def supervisor_finished(oracle: Oracle, node: Node, event: ev.SupervisorFinished) -> None:
    """After its stop, with nobody alive."""
    if node.stopping is None:
        if node.known:
            oracle.fail("shutdown", "finished without having begun to stop", event)
    elif event.cause != node.stopping.cause:
        wrong = f"finished because of {event.cause}, stopped because of {node.stopping.cause}"
        oracle.fail("shutdown", wrong, event, node.stopping)
    for kid in node.kids.values():
        if kid.live:
            oracle.fail("nothing_left", f"finished while {kid.name} was alive", event, kid)
            break
    if node.known and event.unresponsive != node.unresponsive:
        wrong = f"{event.unresponsive} unresponsive, {node.unresponsive} were reported"
        oracle.fail("events", wrong, event)
    node.state = "finished"


def command_accepted(oracle: Oracle, node: Node, kid: Kid, event: ev.CommandAccepted) -> None:
    """From here on the operator's wish is what counts."""
    if node.state == "finished":
        oracle.fail("operators_wish", "accepted after the end", event)
    oracle.restless[kid] = node
    for members, _ in node.rounds:
        members.discard(kid.name)  # from now on it goes its own way
    if event.command == "restart":
        if not node.accepts:
            oracle.fail("shutdown", "a restart was accepted during the stop", event, node.stopping)
        if kid.wish == "removed":
            oracle.fail("operators_wish", "a restart was accepted after its removal", event, kid)
        kid.wish = "up" if kid.wish != "removed" else kid.wish
        kid.generation += 1
        kid.streak = 0
        kid.done_well = False
        kid.held_until = float("-inf")
        starting = node.state == "starting"
        if not kid.settled or (starting and not (kid.ever_ready or kid.dynamic)):
            # In a round, those after it go on waiting; else it is a round of one.
            kid.settled = kid.let_go = False
            kid.alone = not starting
    else:
        if event.command == "remove" and any(
            other.spec is not None and kid.name in other.spec.requires
            for other in node.kids.values()
        ):
            oracle.fail("operators_wish", "removed, but somebody requires it", event, kid)
        if kid.wish != "removed":
            wishes = {"stop": "stopped", "quarantine": "quarantined", "remove": "removed"}
            kid.wish = wishes[event.command]  # type: ignore[assignment]
        kid.removed_by_hand |= event.command == "remove"
        kid.held_until = float("-inf")
        kid.settled = True
    if kid.live:
        kid.doom = "hand"
        kid.history.append(event)
