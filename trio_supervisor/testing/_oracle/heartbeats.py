"""Check silence and start deadlines while a tree runs.

Heartbeats are not events, so the events alone cannot show that a silent attempt should have been
ended. The times are taken from the attempt, where the body's own calls put them, and not from
the supervisor's conclusions.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._events import events as ev
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor.testing._oracle.model import ChildModel
    from trio_supervisor.testing._oracle.tree_model import TreeModel

Extensions: TypeAlias = "Mapping[Attempt, float]"

_SLACK: Final = 1e-6
_MOST: Final = 64  # children of one supervisor; checking more would take too long


def overdue(tree: TreeModel, root: Shell, extended: Extensions, now: float) -> Iterator[str]:
    """Yield a text for each attempt that should have been ended before ``now``."""
    for shell in _shells(root):
        supervisor = tree.supervisors.get(shell.path)
        if supervisor is None or len(shell.slots) > _MOST:
            continue
        for name, slot in shell.slots.items():
            attempt, child = slot.attempt, supervisor.children.get(name)
            if attempt is None or child is None:
                continue
            if not child.live or child.attempt != attempt.number:
                continue
            if child.stop_requested_at is not None or child.stop_cause:
                continue  # an attempt that is going to stop anyway, and waits for its turn
            if shell.machine.children[name].round_until >= now - _SLACK - tree.slack:
                continue  # judged one round later, because no task could run
            if _start_due(extended, attempt) < now - _SLACK - tree.slack:
                yield f"{attempt.path} took too long to start, and still runs"
            if _silent_at(child, attempt) < now - _SLACK - tree.slack:
                yield f"{attempt.path} was silent for too long, and still runs"


def untrue_reasons(
    tree: TreeModel, root: Shell, extended: Extensions, event: ev.ChildStopRequested
) -> Iterator[str]:
    """Yield a text if the request names a deadline that the attempt has not missed."""
    above, _, name = event.path.rpartition("/")
    shell = next((shell for shell in _shells(root) if shell.path == above), None)
    supervisor = tree.supervisors.get(above)
    if shell is None or supervisor is None or name not in shell.slots:
        return
    child = supervisor.children.get(name)
    attempt, claim = shell.slots[name].attempt, shell.machine.children[name].fault_exit
    if attempt is None or claim is None or child is None or child.attempt != attempt.number:
        return
    silent_at = _silent_at(child, attempt)
    if claim.kind == "unhealthy" and child.ready and silent_at > event.time + _SLACK:
        yield f"{event.path} is ended for silence, and was not silent for so long"
    in_time = _start_due(extended, attempt) > event.time + _SLACK
    if claim.kind == "timed_out" and getattr(claim, "phase", "") == "start" and in_time:
        yield f"{event.path} is ended for a late start, and still had time"


def _shells(root: Shell) -> Iterator[Shell]:
    pending = [root]
    while pending:
        shell = pending.pop()
        yield shell
        pending.extend(slot.nested for slot in shell.slots.values() if slot.nested is not None)


def _start_due(extended: Extensions, attempt: Attempt) -> float:
    """Return the time until which the attempt has to be ready."""
    if attempt.was_ready or not attempt.spec.is_explicit:
        return inf
    due = attempt.started_at + attempt.spec.start_timeout
    return max(due, extended.get(attempt, -inf))


def _silent_at(child: ChildModel, attempt: Attempt) -> float:
    """Return the time until which the attempt need not send a heartbeat."""
    if not child.ready:
        return inf
    heard = child.ready_at if attempt.beat_at is None else max(child.ready_at, attempt.beat_at)
    return max(heard + attempt.spec.stale_after, attempt.busy_until)
