"""Signs of life: heartbeats are no events, so what follows from silence is checked while it runs.

What a body said to its context is taken from the attempt, and not from what the supervisor made of
it: when it beat last, until when it is busy, how much time it asked for.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._events import events as ev
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor.testing._oracle.model import Kid
    from trio_supervisor.testing._oracle.watch import WatchedTree

_SLACK: Final = 1e-6
_MOST: Final = 64  # children of one supervisor, that time does not become long


def check_alive(tree: WatchedTree, root: Shell, now: float) -> None:
    """It is ``now`` already: is there an attempt that should have been ended before?"""
    for shell in _shells(root):
        node = tree.oracle.nodes.get(shell.path)
        if node is None or len(shell.slots) > _MOST:
            continue
        for name, slot in shell.slots.items():
            attempt, kid = slot.attempt, node.kids.get(name)
            if attempt is None or kid is None or not kid.live or kid.attempt != attempt.number:
                continue
            if kid.asked_at is not None or kid.doom:
                continue  # who has to go anyway, and waits for its turn, may be late
            if _start_due(tree, attempt) < now - _SLACK:
                tree.fail("timeouts", f"{attempt.path} took too long to start, and still runs")
            if _silent_at(kid, attempt) < now - _SLACK:
                tree.fail("timeouts", f"{attempt.path} was silent for too long, and still runs")


def check_reason(tree: WatchedTree, root: Shell, event: ev.ChildStopRequested) -> None:
    """An attempt is asked to stop: if for time or health, is that true?"""
    above, _, name = event.path.rpartition("/")
    shell = next((shell for shell in _shells(root) if shell.path == above), None)
    node = tree.oracle.nodes.get(above)
    if shell is None or node is None or name not in shell.slots or name not in node.kids:
        return
    attempt, life, kid = shell.slots[name].attempt, shell.machine.children[name], node.kids[name]
    claim = life.fault_exit
    if attempt is None or claim is None or kid.attempt != attempt.number:
        return
    if claim.kind == "unhealthy" and kid.ready and _silent_at(kid, attempt) > event.time + _SLACK:
        tree.fail("timeouts", f"{event.path} is ended for silence, and was not silent for so long")
    in_time = _start_due(tree, attempt) > event.time + _SLACK
    if claim.kind == "timed_out" and getattr(claim, "phase", "") == "start" and in_time:
        tree.fail("timeouts", f"{event.path} is ended for a late start, and still had time")


def _shells(root: Shell) -> Iterator[Shell]:
    pending = [root]
    while pending:
        shell = pending.pop()
        yield shell
        pending.extend(slot.nested for slot in shell.slots.values() if slot.nested is not None)


def _start_due(tree: WatchedTree, attempt: Attempt) -> float:
    """Until when it has to be ready."""
    if attempt.was_ready or not attempt.spec.is_explicit:
        return inf
    due = attempt.started_at + attempt.spec.start_timeout
    return max(due, tree.extended.get(attempt, -inf))


def _silent_at(kid: Kid, attempt: Attempt) -> float:
    """Until when it need not give a sign of life."""
    if not kid.ready:
        return inf
    heard = kid.ready_at if attempt.beat_at is None else max(kid.ready_at, attempt.beat_at)
    return max(heard + attempt.spec.stale_after, max(attempt.busy or (), default=-inf))
