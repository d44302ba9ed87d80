"""Bugs in what operators order, and in what others require."""

from __future__ import annotations

from typing import Final

from .mutant import Change, Mutant

_COMMANDS = "_brain.on_command"
_LIFE = "_brain.lifecycle"

MUTANTS: Final = (
    # ---------------------------------------------------------------- commands
    Mutant(
        "a removal is overwritten by a later stop",
        _COMMANDS,
        "stop_child",
        "child.desired in (DesiredState.UP, DesiredState.DONE)",
        "child.desired in (DesiredState.UP, DesiredState.DONE, DesiredState.REMOVED)",
        also=(
            Change(
                "_take_down",
                "machine.take_down(child, desired, command.reason, now, urgent=True)",
                """
                child.desired = DesiredState.UP
                machine.take_down(child, desired, command.reason, now, urgent=True)
                """,
            ),
        ),
    ),
    Mutant(
        "a removed child can be restarted",
        _COMMANDS,
        "restart_child",
        """
        if child.desired is DesiredState.REMOVED:
            machine.outbox.refuse(
                CommandRefused(f"cannot restart {child.path}: it is being removed")
            )
            return
        """,
        "",
    ),
    Mutant(
        "a restart by hand keeps the backoff",
        _COMMANDS,
        "restart_child",
        "set_backoff(child, None, machine.timers)",
        "pass",
    ),
    Mutant(
        "a restart by hand keeps the count of failures",
        _COMMANDS,
        "restart_child",
        "child.consecutive_failures = child.failures_in_row = 0",
        "",
    ),
    Mutant(
        "a restart by hand in the first start jumps the line",
        _COMMANDS,
        "restart_child",
        "child.in_start_set or not (machine.is_started or child.ever_ready or child.dynamic)",
        "False",
    ),
    Mutant(
        "a child that others require can be removed",
        _COMMANDS,
        "remove_child",
        """
        if child.dependents:
            ...
        """,
        """
        if False:
            ...
        """,
    ),
    Mutant(
        "a stop undoes a quarantine",
        _COMMANDS,
        "stop_child",
        "(DesiredState.UP, DesiredState.DONE)",
        "(DesiredState.UP, DesiredState.DONE, DesiredState.QUARANTINED)",
    ),
    Mutant(
        "children can be added without limit",
        _COMMANDS,
        "reason_to_refuse",
        "len(machine.children) >= most",
        "len(machine.children) > most",
    ),
    Mutant(
        "a restart by hand does not undo a stop",
        _COMMANDS,
        "restart_child",
        "child.desired = DesiredState.UP",
        """
        if child.desired is not DesiredState.STOPPED:
            child.desired = DesiredState.UP
        """,
    ),
    Mutant(
        "a restart that is under way is begun once more",
        _COMMANDS,
        "restart_child",
        """
        if child.restart_pending:
            ...
        """,
        """
        if False:
            ...
        """,
    ),
    Mutant(
        "a restart by hand is charged",
        _COMMANDS,
        "restart_child",
        "child.generation += 1",
        """
        child.generation += 1
        if _1.window is not None:
            _1.window.charge(_3)
        """,
    ),
    # ---------------------------------------------------------------- requirements
    Mutant(
        "a requirement is met by one that was ready once",
        _LIFE,
        "ChildLife.is_met",
        "self.ready and self.stop_cause is None",
        "self.was_ready",
    ),
    Mutant(
        "a requirement is met by any child that is done",
        _LIFE,
        "ChildLife.is_met",
        "self.desired is DesiredState.DONE and self.done_by_success",
        "self.desired is DesiredState.DONE",
    ),
    Mutant(
        "a requirement is met by one that has to go",
        _LIFE,
        "ChildLife.is_met",
        "self.ready and self.stop_cause is None",
        "self.ready",
    ),
)
