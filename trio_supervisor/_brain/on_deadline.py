"""What passing time changes: steps of a stop, faults, the end of a hold or of all patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._brain.lifecycle import ChildLife, Doom
from trio_supervisor._brain.vitals import Stage
from trio_supervisor._brain.windows import Hold

if TYPE_CHECKING:
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._brain.timers import Due


def deal_with(machine: SupervisionMachine, thing: Due, now: float) -> None:
    """A deadline has passed."""
    if isinstance(thing, ChildLife):
        _child_overdue(machine, thing, now)
    elif isinstance(thing, Hold):
        _release(machine, thing)
    else:
        _cut_short(machine, now)


def _child_overdue(machine: SupervisionMachine, child: ChildLife, now: float) -> None:
    if child.stage is Stage.ASKED:
        machine.cancel(child, now)
    elif child.stage is Stage.CANCELLED:
        child.give_up_waiting()
        machine.unresponsive += 1
        machine.report_unresponsive(child, machine.spec.report_after)
    elif child.live and child.condemned is None:
        fault = child.fault(child.spec, now)
        if fault is None:
            machine.rearm(child)
        else:
            child.fault_exit = fault
            machine.condemn(child, Doom.FAULT, fault.describe(), urgent=True)


def _release(machine: SupervisionMachine, hold: Hold) -> None:
    for child in hold.members:
        if child.hold is hold:
            child.hold = None
            machine.todo.append(child)
    hold.members = []


def _cut_short(machine: SupervisionMachine, now: float) -> None:
    """The shutdown's deadline: everything that is left, at once."""
    machine.hurry = True
    for child in machine.children.values():
        if child.live and child.stage is Stage.RUNNING:
            machine.request_stop(child, now)
        elif child.live and child.stage is Stage.ASKED:
            machine.cancel(child, now)
