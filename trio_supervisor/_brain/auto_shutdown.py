"""Decide whether a supervisor finishes because of its children.

docs/design.md, Automatic shutdown, has the rules. Significant children are judged when one of them
comes to rest by itself. ``all_done`` is judged whenever no attempt is alive, whatever the reason:
an exit, a command, a failed start, a removal. A child *keeps the supervisor open* if an attempt of
it is alive or can start without a command, or if an operator has taken it down and may restart it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain import messages as o
from trio_supervisor._brain.lifecycle import DesiredState
from trio_supervisor._events import events as ev
from trio_supervisor._specs.policy import AutoShutdown

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._brain.machine import SupervisionMachine


# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_NEVER = AutoShutdown.NEVER
_ALL_DONE = AutoShutdown.ALL_DONE
_UP = DesiredState.UP


def child_at_rest(
    machine: SupervisionMachine, child: ChildLife, now: float, *, counts: bool
) -> None:
    """Finish the supervisor if the end of ``child``, a significant child, asks for it.

    ``counts`` is whether this kind of end counts (EEP-56). Under ``never``, report once that
    nothing is left to do.
    """
    mode = machine.spec.auto_shutdown
    reason = ""
    if counts and child.spec.significant:
        if mode is AutoShutdown.ANY_SIGNIFICANT:
            reason = f"significant child {child.name} ended"
        elif mode is AutoShutdown.ALL_SIGNIFICANT and not any(
            other.is_active for other in machine.significant if other is not child
        ):
            reason = "all significant children ended"
    if reason:
        machine.begin_shutdown(
            o.Outcome(o.OutcomeKind.AUTO_SHUTDOWN, reason, child.name, child.attempt), now
        )
    elif mode is _NEVER and not machine.idle_reported and not child.dynamic and machine.is_idle:
        machine.idle_reported = True
        machine.outbox.emit_own(ev.SupervisorIdle)


def finish_if_all_done(machine: SupervisionMachine, now: float) -> bool:
    """Finish the supervisor under ``all_done`` if no child keeps it open; no attempt is alive.

    An empty supervisor waits for its first child. Returns whether the shutdown has begun.
    """
    if machine.spec.auto_shutdown is not _ALL_DONE or not machine.had_children:
        return False
    # The child that was found last time is asked first: commands to many children that are down
    # would otherwise walk over all of them each time.
    known = machine.kept_open_by
    if known is not None and not known.gone and _keeps_open(known):
        return False
    for child in machine.children.values():
        if _keeps_open(child):
            machine.kept_open_by = child
            return False
    machine.kept_open_by = None
    machine.begin_shutdown(_outcome(machine), now)
    return True


def _outcome(machine: SupervisionMachine) -> o.Outcome:
    failed = [c for c in machine.children.values() if c.desired is DesiredState.QUARANTINED]
    if not failed:
        return o.Outcome(o.OutcomeKind.AUTO_SHUTDOWN, "all children are done")
    why = "; ".join(f"{child.path} was quarantined: {child.reason}" for child in failed[:3])
    if len(failed) > 3:
        why += f"; and {len(failed) - 3} more"
    first = failed[0]
    return o.Outcome(o.OutcomeKind.QUARANTINED, why, first.name, first.attempt)


def _keeps_open(child: ChildLife) -> bool:
    if child.desired is _UP:
        return not _waits_in_vain(child)
    # SHUTDOWN: `ShutdownTree` was decided here, and the shutdown of the tree is on its way.
    return child.held_by_operator or child.desired is DesiredState.SHUTDOWN


def _waits_in_vain(child: ChildLife) -> bool:
    """Whether a requirement of ``child``, direct or indirect, is down for good.

    One that an operator has taken down keeps the supervisor open by itself.
    """
    found = {child: None}
    stack = [child]
    while stack:
        for required in stack.pop().requires:
            if required in found or required.is_met:
                continue
            if required.desired is not _UP:
                return True
            found[required] = None
            stack.append(required)
    return False
