"""Bugs in what operators order, and in what others require."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_COMMANDS = "_brain.on_command"
_LIFE = "_brain.lifecycle"

MUTANTS: Final = (
    # ---------------------------------------------------------------- commands
    Mutant(
        "a removal is overwritten by a later stop",
        _COMMANDS,
        "    if child is not None and child.desired in (DesiredState.UP, DesiredState.DONE):\n"
        '        machine.outbox.command_accepted(child, "stop", command.reason, command.by)\n',
        "    if child is not None and child.desired in (DesiredState.UP, DesiredState.DONE, "
        "DesiredState.REMOVED):\n"
        '        machine.outbox.command_accepted(child, "stop", command.reason, command.by)\n'
        "        child.desired = DesiredState.UP\n",
    ),
    Mutant(
        "a removed child can be restarted",
        _COMMANDS,
        "    if child.desired is DesiredState.REMOVED:\n"
        "        machine.outbox.refuse(CommandRefused("
        'f"cannot restart {child.path}: it is being removed"))\n        return\n',
        "",
    ),
    Mutant(
        "a restart by hand keeps the backoff",
        _COMMANDS,
        "    set_backoff(child, None, machine.timers)\n",
        "    pass\n",
    ),
    Mutant(
        "a restart by hand keeps the count of failures",
        _COMMANDS,
        "    child.generation += 1\n    child.consecutive_failures = 0\n",
        "    child.generation += 1\n",
    ),
    Mutant(
        "a restart by hand in the first start jumps the line",
        _COMMANDS,
        "    if child.in_start_set or not (machine.is_started or child.ever_ready or "
        "child.dynamic):\n",
        "    if False:\n",
    ),
    Mutant(
        "a child that others require can be removed",
        _COMMANDS,
        "    if child.dependents:\n        names",
        "    if False:\n        names",
    ),
    Mutant(
        "a stop undoes a quarantine",
        _COMMANDS,
        "child is not None and child.desired in (DesiredState.UP, DesiredState.DONE):",
        "child is not None and child.desired in (DesiredState.UP, DesiredState.DONE, "
        "DesiredState.QUARANTINED):",
    ),
    Mutant(
        "children can be added without limit",
        _COMMANDS,
        "len(machine.children) >= most",
        "len(machine.children) > most",
    ),
    Mutant(
        "a restart by hand does not undo a stop",
        _COMMANDS,
        "    child.desired = DesiredState.UP\n    child.reason",
        "    if child.desired is not DesiredState.STOPPED:\n"
        "        child.desired = DesiredState.UP\n    child.reason",
    ),
    Mutant(
        "a restart that is under way is begun once more",
        _COMMANDS,
        "    if child.restart_pending:  #",
        "    if False:  #",
    ),
    Mutant(
        "a restart by hand is charged",
        _COMMANDS,
        "    child.generation += 1\n",
        "    child.generation += 1\n    if child.window is not None:\n"
        "        child.window.charge(now)\n",
    ),
    # ---------------------------------------------------------------- requirements
    Mutant(
        "a requirement is met by one that was ready once",
        _LIFE,
        "            return self.ready and self.stop_cause is None\n",
        "            return self.was_ready\n",
    ),
    Mutant(
        "a requirement is met by any child that is done",
        _LIFE,
        "        return self.desired is DesiredState.DONE and self.done_by_success\n",
        "        return self.desired is DesiredState.DONE\n",
    ),
    Mutant(
        "a requirement is met by one that has to go",
        _LIFE,
        "            return self.ready and self.stop_cause is None\n",
        "            return self.ready\n",
    ),
)
