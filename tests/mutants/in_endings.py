"""Bugs in what counts as ended, in beginning anew, and in the end of a delay."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_AUTO = "_brain.auto_shutdown"
_COMMANDS = "_brain.on_command"
_EXIT = "_brain.on_exit"
_MACHINE = "_brain.machine"
_WINDOWS = "_brain.windows"

MUTANTS: Final = (
    # ---------------------------------------------------------------- all children are done
    Mutant(
        "an empty supervisor does not wait for its first child",
        _AUTO,
        "finish_if_all_done",
        "not machine.had_children",
        "False",
    ),
    Mutant(
        "a child that an operator stopped counts as done",
        _AUTO,
        "_keeps_open",
        "child.held_by_operator or child.desired is DesiredState.SHUTDOWN",
        "child.desired is DesiredState.SHUTDOWN",
    ),
    Mutant(
        "a child that policy quarantined keeps the supervisor open",
        _AUTO,
        "_keeps_open",
        "child.held_by_operator",
        "(child.held_by_operator or child.desired is DesiredState.QUARANTINED)",
    ),
    Mutant(
        "a child that waits for one that was given up keeps the supervisor open",
        _AUTO,
        "_keeps_open",
        "not _waits_in_vain(child)",
        "True",
    ),
    Mutant(
        "of a chain of requirements only the first link is looked at",
        _AUTO,
        "_waits_in_vain",
        "stack.append(required)",
        "pass",
    ),
    Mutant(
        "a child that was restarted by command is still held by the operator",
        _COMMANDS,
        "restart_child",
        "child.held_by_operator = False",
        "",
    ),
    Mutant(
        "being quarantined is taken for being done",
        _AUTO,
        "_outcome",
        "o.OutcomeKind.QUARANTINED",
        "o.OutcomeKind.AUTO_SHUTDOWN",
    ),
    Mutant(
        "the child that keeps the supervisor open is remembered for ever",
        _AUTO,
        "finish_if_all_done",
        "known is not None and (not known.gone) and _keeps_open(known)",
        "known is not None",
    ),
    # ---------------------------------------------------------------- the end of the whole tree
    Mutant(
        "a decision to end the tree ends the nested supervisor only",
        _EXIT,
        "_shut_down_tree",
        "machine.nested",
        "False",
    ),
    Mutant(
        "a decision to end the tree restarts the nested child",
        _EXIT,
        "_shut_down_tree",
        "machine.take_down(child, DesiredState.SHUTDOWN, reason, now)",
        "pass",
    ),
    Mutant(
        "a stop of the past counts as unresponsive in this one",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        "self.unresponsive = 0",
        "",
    ),
    Mutant(
        "a child that hangs already when the stop begins is not counted",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        "self.unresponsive += child.is_unresponsive",
        "",
    ),
    # ---------------------------------------------------------------- beginning anew
    Mutant(
        "a restart by command begins with a used window",
        _COMMANDS,
        "restart_child",
        "child.window = None",
        "",
    ),
    Mutant(
        "a restart by command keeps the failures in a row",
        _COMMANDS,
        "restart_child",
        "child.consecutive_failures = child.failures_in_row = 0",
        "child.consecutive_failures = 0",
    ),
    Mutant(
        "the failure at hand is not one of the failures in a row",
        "_brain.lifecycle",
        "ChildLife.count_failures",
        "failed + (0 if earlier and self.is_stable(now) else earlier)",
        "0 if earlier and self.is_stable(now) else earlier",
    ),
    Mutant(
        "failures in a row are not forgotten after a stable period",
        "_brain.lifecycle",
        "ChildLife.count_failures",
        "0 if earlier and self.is_stable(now) else earlier",
        "self.failures_in_row",
    ),
    Mutant(
        "a success counts as a failure in a row",
        "_brain.on_attempt",
        "exited",
        "signal.exit.is_failure",
        "True",
    ),
    Mutant(
        "a shutdown of a branch ends the branch only",
        "_runtime.commands",
        "request_shutdown",
        "shell.link is None or not shell.link.is_child",
        "True",
    ),
    # ---------------------------------------------------------------- delays of a group
    Mutant(
        "the delay of a group outlives the child that asked for it",
        _MACHINE,
        "SupervisionMachine.take_down",
        "end_delays(child, self.timers, self.todo, now)",
        "pass",
    ),
    Mutant(
        "the delay of another failure ends, too",
        _WINDOWS,
        "end_delays",
        "max(causes.values(), default=now)",
        "now",
    ),
    Mutant(
        "a delay that becomes shorter keeps its timer",
        _WINDOWS,
        "end_delays",
        """
        backoff.until = until
        timers.arm(backoff, until)
        """,
        "backoff.until = until",
    ),
    Mutant(
        "a shorter delay is not shown",
        _WINDOWS,
        "end_delays",
        "todo.extend(member for member in backoff.members if member.backoff is backoff)",
        "pass",
    ),
    # ---------------------------------------------------------------- the grace of a command
    Mutant(
        "the grace of a command is ignored",
        _MACHINE,
        "SupervisionMachine._grace_of",
        "child.command_grace is not None",
        "False",
    ),
    Mutant(
        "a command cannot shorten a stop that is under way",
        _MACHINE,
        "SupervisionMachine.limit_grace",
        "child.stage is not Stage.STOP_REQUESTED or now + grace >= child.step_due",
        "True",
    ),
    Mutant(
        "a command can prolong a stop that is under way",
        _MACHINE,
        "SupervisionMachine.limit_grace",
        "child.stage is not Stage.STOP_REQUESTED or now + grace >= child.step_due",
        "child.stage is not Stage.STOP_REQUESTED",
    ),
    Mutant(
        "the grace of a command outlives the attempt",
        _MACHINE,
        "SupervisionMachine.attempt_ended",
        "child.command_grace = None",
        "",
    ),
    # ---------------------------------------------------------------- lateness is not silence
    Mutant(
        "a child is judged for time in which no task could run",
        "_brain.vitals",
        "Vitals.grant_round",
        "late <= LATE or self.rounds >= _MOST_ROUNDS",
        "True",
    ),
    Mutant(
        "the collector does not say how late it is",
        "_runtime.collector",
        "ReportCollector._deadline_passed",
        "self._wake(now, late)",
        "self._wake(now, 0.0)",
    ),
    Mutant(
        "a child that is late for ever is never judged",
        "_brain.vitals",
        "Vitals.grant_round",
        "late <= LATE or self.rounds >= _MOST_ROUNDS",
        "late <= LATE",
    ),
    Mutant(
        "a round granted for lateness has no length",
        "_brain.vitals",
        "Vitals.grant_round",
        "now + max(late, 1.0)",
        "now",
    ),
    # ---------------------------------------------------------------- the default grace
    Mutant(
        "no attempt gets a grace by default",
        "_brain.machine",
        "SupervisionMachine._grace_of",
        "self.hears_stop(child.name, child.attempt)",
        "False",
    ),
    Mutant(
        "an attempt that cannot hear a stop is waited for",
        "_brain.machine",
        "SupervisionMachine._grace_of",
        "self.hears_stop(child.name, child.attempt)",
        "True",
    ),
)
