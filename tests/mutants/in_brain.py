"""Bugs in the machine: wishes, and what follows from signals."""

from __future__ import annotations

from typing import Final

from .mutant import Change, Mutant

_MACHINE = "_brain.machine"
_SIGNALS = "_brain.on_attempt"

MUTANTS: Final = (
    # ---------------------------------------------------------------- wishes
    Mutant(
        "a backoff goes on when the wish goes down",
        _MACHINE,
        "SupervisionMachine.take_down",
        "set_backoff(child, None, self.timers)",
        "pass",
    ),
    Mutant(
        "who is held down keeps its place in the line",
        _MACHINE,
        "SupervisionMachine.take_down",
        "self.ordering.leave_start_set(child)",
        "",
    ),
    Mutant(
        "an operator's wish does not override a fault",
        _MACHINE,
        "SupervisionMachine.mark_for_stopping",
        "child.stop_cause is not _BY_DESIRED_STATE",
        "child.stop_cause is None",
    ),
    Mutant(
        "a stop by hand queues behind a group's stop",
        _MACHINE,
        "SupervisionMachine._gate_is_open",
        "child.urgent or self.ordering.may_stop(child)",
        "self.ordering.may_stop(child)",
    ),
    Mutant(
        "an exit that we asked for is judged as a failure",
        _MACHINE,
        "SupervisionMachine.policy_decides",
        """
        child.desired is _UP
        and child.stop_cause is not _BY_DESIRED_STATE and self.accepts
        """,
        "child.desired is _UP and self.accepts",
    ),
    Mutant(
        "a backoff that ends during the shutdown starts the child",
        _MACHINE,
        "SupervisionMachine._gate_is_open",
        "self.accepts and self.ordering.admit_start(child)",
        "self.ordering.admit_start(child)",
        also=(
            Change(
                "SupervisionMachine.begin_shutdown",
                "reversed(list(self.children.values()))",
                "[c for c in self.children.values() if c.live][::-1]",
            ),
        ),
    ),
    Mutant(
        "an attempt that has to go lets others start when it is ready",
        _MACHINE,
        "SupervisionMachine.become_ready",
        "child.stop_cause is None",
        "True",
    ),
    Mutant(
        "an outer cancel forgets those already asked",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        """
        for child in self.children.values():
            ...
        """,
        "pass",
    ),
    Mutant(
        "an outer cancel still gives grace",
        _MACHINE,
        "SupervisionMachine._grace_of",
        "self.without_grace or child.without_grace",
        "child.without_grace",
    ),
    Mutant(
        "quarantine is taken for a stop when the supervisor ends",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        "desired is _UP",
        "True",
    ),
    Mutant(
        "the supervisor finishes with live children",
        _MACHINE,
        "SupervisionMachine._reconcile",
        "self.live or not self._nothing_is_alive(now)",
        "self.live > 1 or not self._nothing_is_alive(now)",
    ),
    Mutant(
        "an attempt that ended still counts as one that is being waited for",
        _MACHINE,
        "SupervisionMachine.attempt_ended",
        """
        if child.in_stop_set:
            self.ordering.stop_finished(child)
        """,
        "",
    ),
    Mutant(
        "a nested supervisor never hears of a later deadline",
        _MACHINE,
        "SupervisionMachine._set_deadline",
        "self.children.values() if deadline < inf else ()",
        "()",
    ),
    Mutant(
        "the shutdown has no deadline",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        "self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))",
        "self._set_deadline(deadline)",
    ),
    Mutant(
        "those who wait for one that is held down are not told",
        _MACHINE,
        "SupervisionMachine.take_down",
        "self.ordering.wake_dependents(child)",
        "",
    ),
    Mutant(
        "of those who require one that is held down only those are told who wait for it",
        _MACHINE,
        "SupervisionMachine.take_down",
        "self.ordering.wake_dependents",
        "self.ordering.wake_watchers",
    ),
    Mutant(
        "nobody is ever called unresponsive",
        _MACHINE,
        "SupervisionMachine._note_cancel",
        "self.timers.arm(child, child.step_due)",
        "",
    ),
    Mutant(
        "whoever is asked is cancelled in the same moment",
        _MACHINE,
        "SupervisionMachine.request_stop",
        "grace > 0",
        "False",
    ),
    Mutant(
        "a nested supervisor does not heed the deadline of its parent",
        _MACHINE,
        "SupervisionMachine.begin_shutdown",
        "self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))",
        "self._set_deadline(now + self.spec.shutdown_deadline)",
    ),
    Mutant(
        "each start that fails counts as the first one",
        _MACHINE,
        "SupervisionMachine.is_first_start",
        """
        not child.ever_ready and (not child.generation) and (
            child.first_start is not o.FirstStart.ORDINARY
        )
        """,
        "not child.generation and child.first_start is not o.FirstStart.ORDINARY",
    ),
    Mutant(
        "a restart by hand that fails to start counts as a first start",
        _MACHINE,
        "SupervisionMachine.is_first_start",
        """
        not child.ever_ready and (not child.generation) and (
            child.first_start is not o.FirstStart.ORDINARY
        )
        """,
        "not child.ever_ready and child.first_start is not o.FirstStart.ORDINARY",
    ),
    # ---------------------------------------------------------------- signals
    Mutant(
        "the late ready of an old attempt is accepted",
        _SIGNALS,
        "_running",
        """
        child is None or not child.live or child.attempt != attempt or (
            child.stage is not Stage.RUNNING
        )
        """,
        "child is None or not child.live or child.stage is not Stage.RUNNING",
    ),
    Mutant(
        "the ready of an attempt that was asked to stop is accepted",
        _SIGNALS,
        "_running",
        """
        child is None or not child.live or child.attempt != attempt or (
            child.stage is not Stage.RUNNING
        )
        """,
        "child is None or not child.live or child.attempt != attempt",
    ),
    Mutant(
        "the late exit of an old attempt is accepted",
        _SIGNALS,
        "exited",
        "child is None or not child.live or child.attempt != signal.attempt",
        "child is None or not child.live",
    ),
    Mutant(
        "a lost readiness changes nothing",
        _SIGNALS,
        "lost_readiness",
        "child.ready = False",
        "",
    ),
    Mutant(
        "the backoff is never reset",
        _SIGNALS,
        "forget_failures_if_stable",
        "child.consecutive_failures = child.failures_in_row = 0",
        "pass",
    ),
    Mutant(
        "whoever waits for its own end is given all its grace",
        _SIGNALS,
        "grace_forfeited",
        "machine.cancel(child, now)",
        "pass",
    ),
    Mutant(
        "a heartbeat does not count",
        _SIGNALS,
        "heartbeat",
        "child.heartbeat_at = max(child.heartbeat_at, signal.at)",
        "",
    ),
    Mutant(
        "a fatal exception does not end the supervisor",
        _SIGNALS,
        "exited",
        "machine.begin_shutdown(outcome, now, grace=False)",
        "pass",
    ),
    Mutant(
        "a fatal exception leaves everybody their grace",
        _SIGNALS,
        "exited",
        "machine.begin_shutdown(outcome, now, grace=False)",
        "machine.begin_shutdown(outcome, now)",
    ),
    Mutant(
        "the late heartbeat of an old attempt is accepted",
        _SIGNALS,
        "heartbeat",
        "_running(machine, signal.name, signal.attempt)",
        "machine.children.get(signal.name)",
    ),
    Mutant(
        "a moment of being ready resets the backoff",
        "_brain.lifecycle",
        "ChildLife.is_stable",
        "now - self.ready_at >= self.spec.backoff.reset_after",
        "now >= self.ready_at",
    ),
    Mutant(
        "the backoff is reset by having run, not by having been ready",
        "_brain.lifecycle",
        "ChildLife.is_stable",
        "self.ready_at",
        "self.started_at",
    ),
    Mutant(
        "a crash before it was ready is not noticed",
        _SIGNALS,
        "exited",
        "child is None or not child.live or child.attempt != signal.attempt",
        "child is None or child.attempt != signal.attempt or (not child.was_ready)",
    ),
)
