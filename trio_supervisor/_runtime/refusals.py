"""Errors for commands that the shell refuses before the machine has seen them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_supervisor._errors import ChildAlreadyExists, SupervisorClosed, TooManyChildren

if TYPE_CHECKING:
    from collections.abc import Collection

    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._specs.supervisor import ChildSpec


def refuse_with_pending(
    machine: SupervisionMachine, spec: ChildSpec[Any], pending: Collection[str]
) -> Exception | None:
    """Return why ``spec`` cannot be added once ``pending``, the names added before, are there."""
    path, most = machine.path, machine.spec.max_children
    if spec.name in pending:
        return ChildAlreadyExists(f"{path}/{spec.name} is being added already")
    if most is not None and len(machine.children) + len(pending) >= most:
        count = f"max_children={most}, {len(pending)} of them are being added"
        return TooManyChildren(f"{path} is full: {count}; cannot start {spec.name}")
    return None


def closed_error(shell: Shell) -> SupervisorClosed:
    """Return the error for a command to a supervisor that has ended; it says what to do instead.

    A `Supervisor` belongs to one run. A program may have kept that of an earlier run of a nested
    supervisor, which was restarted since.
    """
    link = shell.link
    parent = None if link is None else link.parent
    slot = None if link is None or parent is None else parent.slots.get(link.attempt.name)
    if slot is None or slot.nested is None or slot.nested is shell:
        return SupervisorClosed(f"{shell.path} has ended")
    name, now = shell.path.rpartition("/")[2], slot.nested.run
    return SupervisorClosed(
        f"{shell.path} has ended: this Supervisor is that of run {shell.run}, and run {now} has "
        f"followed. Take the new one: supervisor.child({name!r}).value of {slot.shell.path}"
    )
