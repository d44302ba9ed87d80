"""Handle deadlines: the steps of a stop, faults, the end of a backoff or of the shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain.lifecycle import ChildLife, StopCause
from trio_supervisor._brain.vitals import Stage
from trio_supervisor._brain.windows import SharedBackoff

if TYPE_CHECKING:
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._brain.timers import Due


def handle(machine: SupervisionMachine, thing: Due, now: float, late: float) -> None:
    """Do what is due now that the deadline of ``thing`` has passed."""
    if isinstance(thing, ChildLife):
        _child_deadline_passed(machine, thing, now, late)
    elif isinstance(thing, SharedBackoff):
        machine.todo.extend(thing.release())
    else:
        _shutdown_deadline_passed(machine, now)


def _child_deadline_passed(
    machine: SupervisionMachine, child: ChildLife, now: float, late: float
) -> None:
    if child.stage is Stage.STOP_REQUESTED:
        machine.cancel(child, now)
    elif child.stage is Stage.CANCELLED:
        child.become_unresponsive()
        machine.unresponsive += 1
        machine.outbox.report_unresponsive(child, machine.spec.report_after)
    elif child.live and child.stop_cause is None:
        fault = child.fault(child.spec, now)
        if fault is None:
            child.rounds = 0
            machine.rearm(child)
        elif child.grant_round(now, late):
            machine.judged_later.append(child.name)
            machine.rearm(child)
        else:
            child.fault_exit = fault
            machine.mark_for_stopping(child, StopCause.FAULT, fault.describe(), urgent=True)


def _shutdown_deadline_passed(machine: SupervisionMachine, now: float) -> None:
    """Cancel every live attempt that has not been cancelled yet, without waiting for its turn.

    An attempt without a stop request gets the request in the same step. The event of it has the
    grace that the attempt would have had, which tells that it was cut off.
    """
    for child in machine.children.values():
        if child.live and child.stage is Stage.RUNNING:
            machine.request_stop(child, now)
        if child.live and child.stage is Stage.STOP_REQUESTED:
            machine.cancel(child, now)
    machine.without_grace = True
