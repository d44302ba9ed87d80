"""Handle commands: each changes desired states at once, or is refused with an error.

docs/design.md, Commands, says what each command means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_supervisor._brain import messages as o
from trio_supervisor._brain.lifecycle import ChildLife, DesiredState, StopCause
from trio_supervisor._brain.windows import set_backoff
from trio_supervisor._errors import (
    ChildAlreadyExists,
    ChildNotFound,
    CommandRefused,
    SpecError,
    SupervisorClosed,
    TooManyChildren,
)
from trio_supervisor._specs.supervisor import check_child_of, check_depth
from trio_supervisor._text import no_such_child

if TYPE_CHECKING:
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._specs.supervisor import ChildSpec


def _find(machine: SupervisionMachine, name: str) -> ChildLife | None:
    child = machine.children.get(name)
    if child is None:
        machine.outbox.refuse(ChildNotFound(no_such_child(machine.path, name, machine.children)))
    return child


def _refuse_if_closed(machine: SupervisionMachine, what: str) -> bool:
    if machine.accepts:
        return False
    machine.outbox.refuse(SupervisorClosed(f"{machine.path} is {machine.state}: cannot {what}"))
    return True


def _take_down(
    machine: SupervisionMachine,
    child: ChildLife,
    name: str,
    desired: DesiredState,
    command: o.StopChild | o.QuarantineChild | o.RemoveChild,
    now: float,
) -> None:
    machine.outbox.command_accepted(child, name, command.reason, command.by, command.grace)
    machine.limit_grace(child, command.grace, now)
    machine.take_down(child, desired, command.reason, now, urgent=True)
    child.held_by_operator = True


def _only_limit_grace(
    machine: SupervisionMachine,
    child: ChildLife,
    name: str,
    command: o.StopChild | o.QuarantineChild | o.RestartChild | o.RemoveChild,
    now: float,
) -> None:
    """Let a command that asks for the present desired state shorten the stop under way."""
    orders = machine.outbox.orders
    before = len(orders)
    if child.stop_cause is not None and machine.limit_grace(child, command.grace, now):
        machine.outbox.command_accepted(child, name, command.reason, command.by, command.grace)
        orders.insert(before, orders.pop())  # the command comes before what follows from it
    else:
        machine.outbox.command_had_no_effect(child, name, command.reason, command.by)


def stop_child(machine: SupervisionMachine, command: o.StopChild, now: float) -> None:
    """Take the child down until `restart_child`.

    The desired state of a child that is stopped, quarantined or being removed does not change.
    """
    child = _find(machine, command.name)
    if child is None:
        return
    if child.desired in (DesiredState.UP, DesiredState.DONE):
        _take_down(machine, child, "stop", DesiredState.STOPPED, command, now)
    else:
        _only_limit_grace(machine, child, "stop", command, now)


def quarantine_child(machine: SupervisionMachine, command: o.QuarantineChild, now: float) -> None:
    """Take the child down and mark it for inspection; a stopped child gets the mark, too."""
    child = _find(machine, command.name)
    if child is None:
        return
    if child.desired in (DesiredState.UP, DesiredState.DONE, DesiredState.STOPPED):
        _take_down(machine, child, "quarantine", DesiredState.QUARANTINED, command, now)
    else:
        _only_limit_grace(machine, child, "quarantine", command, now)


def remove_child(machine: SupervisionMachine, command: o.RemoveChild, now: float) -> None:
    """Stop the child and forget it; refused while siblings require it."""
    child = _find(machine, command.name)
    if child is None:
        return
    if child.desired is DesiredState.REMOVED:
        _only_limit_grace(machine, child, "remove", command, now)
        return
    if child.dependents:
        names = ", ".join(dependent.name for dependent in child.dependents)
        error = CommandRefused(f"cannot remove {child.path}: it is required by {names}")
        machine.outbox.refuse(error)
        return
    _take_down(machine, child, "remove", DesiredState.REMOVED, command, now)


def restart_child(machine: SupervisionMachine, command: o.RestartChild, now: float) -> None:
    """Start a new attempt of this child now: its down state and its backoff end."""
    child = _find(machine, command.name)
    if child is None or _refuse_if_closed(machine, f"restart {command.name}"):
        return
    if child.desired is DesiredState.REMOVED:
        machine.outbox.refuse(CommandRefused(f"cannot restart {child.path}: it is being removed"))
        return
    if child.restart_pending:  # the restart that is under way is the one that was asked for
        _only_limit_grace(machine, child, "restart", command, now)
        return
    machine.outbox.command_accepted(child, "restart", command.reason, command.by, command.grace)
    machine.limit_grace(child, command.grace, now)
    child.held_by_operator = False
    child.window = None
    child.desired = DesiredState.UP
    child.reason = ""
    child.restart_pending = True
    child.generation += 1
    child.consecutive_failures = child.failures_in_row = 0
    set_backoff(child, None, machine.timers)
    child.done_by_success = False
    if child.in_start_set or not (machine.is_started or child.ever_ready or child.dynamic):
        # The child takes part in a round, so its successors go on waiting for it. It waits for its
        # predecessors only in the first start: later, a restart by command is a round of one.
        machine.ordering.join_start_set(child)
        child.skips_predecessors = machine.is_started
    machine.ordering.wake_watchers(child)  # they may have given up waiting for this child
    machine.mark_for_stopping(child, StopCause.DESIRED_STATE, command.reason, urgent=True)


def add_child(machine: SupervisionMachine, command: o.AddChild, now: float) -> None:
    """Add a dynamic child, which starts when its requirements are met."""
    error = reason_to_refuse(machine, command.spec)
    if error is not None:
        machine.outbox.refuse(error)
        return
    child = machine.create_child(
        command.spec, command.first_start, now, dynamic=True, reason=command.reason
    )
    machine.place(child)


def reason_to_refuse(machine: SupervisionMachine, spec: ChildSpec[Any]) -> Exception | None:
    """The reason for which ``spec`` cannot be added now, or `None` if it can."""
    if not machine.accepts:
        return SupervisorClosed(f"{machine.path} is {machine.state}: cannot start {spec.name}")
    existing = machine.children.get(spec.name)
    if existing is not None:
        return ChildAlreadyExists(f"{existing.path} exists already (it is {existing.state})")
    most = machine.spec.max_children
    if most is not None and len(machine.children) >= most:
        return TooManyChildren(
            f"{machine.path} is full: max_children={most}; cannot start {spec.name}"
        )
    if not spec.requires and not spec._given and not spec.significant and spec.supervisor is None:
        return None  # it depends on no sibling and on no option of the supervisor
    required = {}
    for name in spec.requires:
        if name in machine.children:
            required[name] = machine.children[name].spec
    try:
        check_child_of(spec, machine.spec, required)
        if spec.supervisor is not None:
            check_depth(f"{machine.path}/{spec.name}", machine.path, spec.supervisor)
    except SpecError as error:
        return error
    for name in spec.requires:
        if machine.children[name].desired is DesiredState.REMOVED:
            return CommandRefused(f"cannot start {spec.name}: {name} is being removed")
    return None


def shutdown(machine: SupervisionMachine, command: o.Shutdown, now: float) -> None:
    """Stop all children in order and finish."""
    kind = command.kind or o.OutcomeKind.SHUTDOWN
    machine.outbox.shutdown_accepted(command.reason, command.by)
    machine.begin_shutdown(
        o.Outcome(kind, command.reason), now, grace=command.grace, deadline=command.deadline
    )
