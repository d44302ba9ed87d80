"""Bugs in the machine: wishes, and what follows from signals."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_MACHINE = "_brain.machine"
_SIGNALS = "_brain.on_attempt"

MUTANTS: Final = (
    # ---------------------------------------------------------------- wishes
    Mutant(
        "a backoff goes on when the wish goes down",
        _MACHINE,
        "            set_backoff(child, None, self.timers)\n",
        "            pass\n",
    ),
    Mutant(
        "who is held down keeps its place in the line",
        _MACHINE,
        "        self.ordering.leave_start_set(child)\n"
        "        self.ordering.wake_dependents(child)\n"
        "        self.mark_for_stopping(",
        "        self.ordering.wake_dependents(child)\n        self.mark_for_stopping(",
    ),
    Mutant(
        "an operator's wish does not override a fault",
        _MACHINE,
        "            if child.stop_cause is not StopCause.DESIRED_STATE:\n"
        "                child.stop_cause = cause",
        "            if child.stop_cause is None:\n                child.stop_cause = cause",
    ),
    Mutant(
        "a stop by hand queues behind a group's stop",
        _MACHINE,
        "return child.urgent or self.ordering.may_stop(child)",
        "return self.ordering.may_stop(child)",
    ),
    Mutant(
        "an exit that we asked for is judged as a failure",
        _MACHINE,
        "            and child.stop_cause is not StopCause.DESIRED_STATE\n",
        "",
    ),
    Mutant(
        "a backoff that ends during the shutdown starts the child",
        _MACHINE,
        "return self.accepts and self.ordering.admit_start(child)",
        "return self.ordering.admit_start(child)",
        also=(
            (
                "            for child in reversed(list(self.children.values())):\n",
                "            for child in [c for c in self.children.values() if c.live][::-1]:\n",
            ),
        ),
    ),
    Mutant(
        "an attempt that has to go lets others start when it is ready",
        _MACHINE,
        "        if child.stop_cause is None:\n            if child.in_start_set:",
        "        if True:\n            if child.in_start_set:",
    ),
    Mutant(
        "an outer cancel forgets those already asked",
        _MACHINE,
        "            for child in self.children.values():\n"
        "                if child.live and child.stage is Stage.STOP_REQUESTED:\n"
        "                    self.cancel(child, now)\n",
        "            pass\n",
    ),
    Mutant(
        "an outer cancel still gives grace",
        _MACHINE,
        "grace = 0.0 if self.without_grace or child.without_grace else child.spec.grace",
        "grace = 0.0 if child.without_grace else child.spec.grace",
    ),
    Mutant(
        "quarantine is taken for a stop when the supervisor ends",
        _MACHINE,
        "                if desired is DesiredState.UP:\n",
        "                if True:\n",
    ),
    Mutant(
        "the supervisor finishes with live children",
        _MACHINE,
        "if self.state is SupervisorState.STOPPING and not self.live:",
        "if self.state is SupervisorState.STOPPING and self.live <= 1:",
    ),
    Mutant(
        "an attempt that ended still counts as one that is being waited for",
        _MACHINE,
        "        if child.in_stop_set:\n            self.ordering.stop_finished(child)\n",
        "",
    ),
    Mutant(
        "a nested supervisor never hears of a later deadline",
        _MACHINE,
        "        for child in self.children.values() if deadline < inf else ():\n",
        "        for child in ():\n",
    ),
    Mutant(
        "the shutdown has no deadline",
        _MACHINE,
        "self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))",
        "self._set_deadline(deadline)",
    ),
    Mutant(
        "those who wait for one that is held down are not told",
        _MACHINE,
        "        self.ordering.leave_start_set(child)\n"
        "        self.ordering.wake_dependents(child)\n"
        "        self.mark_for_stopping(",
        "        self.ordering.leave_start_set(child)\n        self.mark_for_stopping(",
    ),
    Mutant(
        "of those who require one that is held down only those are told who wait for it",
        _MACHINE,
        "        self.ordering.wake_dependents(child)\n        self.mark_for_stopping(",
        "        self.ordering.wake_watchers(child)\n        self.mark_for_stopping(",
    ),
    Mutant(
        "nobody is ever called unresponsive",
        _MACHINE,
        "        self.timers.arm(child, child.step_due)\n"
        "        self.outbox.emit(child, ev.ChildCancelled",
        "        self.outbox.emit(child, ev.ChildCancelled",
    ),
    Mutant(
        "whoever is asked is cancelled in the same moment",
        _MACHINE,
        "        if grace > 0:\n",
        "        if False:\n",
    ),
    Mutant(
        "a nested supervisor does not heed the deadline of its parent",
        _MACHINE,
        "self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))",
        "self._set_deadline(now + self.spec.shutdown_deadline)",
    ),
    Mutant(
        "each start that fails counts as the first one",
        _MACHINE,
        "            not child.ever_ready\n            and not child.generation\n",
        "            not child.generation\n",
    ),
    Mutant(
        "a restart by hand that fails to start counts as a first start",
        _MACHINE,
        "            not child.ever_ready\n            and not child.generation\n",
        "            not child.ever_ready\n",
    ),
    # ---------------------------------------------------------------- signals
    Mutant(
        "the late ready of an old attempt is accepted",
        _SIGNALS,
        "        or child.attempt != attempt\n        or child.stage is not Stage.RUNNING\n",
        "        or child.stage is not Stage.RUNNING\n",
    ),
    Mutant(
        "the ready of an attempt that was asked to stop is accepted",
        _SIGNALS,
        "        or child.attempt != attempt\n        or child.stage is not Stage.RUNNING\n",
        "        or child.attempt != attempt\n",
    ),
    Mutant(
        "the late exit of an old attempt is accepted",
        _SIGNALS,
        "if child is None or not child.live or child.attempt != signal.attempt:\n        return\n"
        "    judged",
        "if child is None or not child.live:\n        return\n    judged",
    ),
    Mutant(
        "a lost readiness changes nothing",
        _SIGNALS,
        "        child.ready = False\n",
        "",
    ),
    Mutant(
        "the backoff is never reset",
        _SIGNALS,
        "        child.consecutive_failures = 0\n",
        "        pass\n",
    ),
    Mutant(
        "whoever waits for its own end is given all its grace",
        _SIGNALS,
        "            machine.cancel(child, now)\n",
        "            pass\n",
    ),
    Mutant(
        "a heartbeat does not count",
        _SIGNALS,
        "        child.heartbeat_at = max(child.heartbeat_at, signal.at)\n",
        "",
    ),
    Mutant(
        "a fatal exception does not end the supervisor",
        _SIGNALS,
        "        machine.begin_shutdown(outcome, now, grace=False)\n",
        "        pass\n",
    ),
    Mutant(
        "a fatal exception leaves everybody their grace",
        _SIGNALS,
        "        machine.begin_shutdown(outcome, now, grace=False)\n",
        "        machine.begin_shutdown(outcome, now)\n",
    ),
    Mutant(
        "the late heartbeat of an old attempt is accepted",
        _SIGNALS,
        "    child = _running(machine, signal.name, signal.attempt)\n"
        "    if child is not None:\n        child.heartbeat_at = max",
        "    child = machine.children.get(signal.name)\n"
        "    if child is not None:\n        child.heartbeat_at = max",
    ),
    Mutant(
        "a moment of being ready resets the backoff",
        _SIGNALS,
        "now - child.ready_at >= child.spec.backoff.reset_after",
        "now >= child.ready_at",
    ),
    Mutant(
        "the backoff is reset by having run, not by having been ready",
        _SIGNALS,
        "now - child.ready_at >= child.spec.backoff.reset_after",
        "now - child.started_at >= child.spec.backoff.reset_after",
    ),
    Mutant(
        "a crash before it was ready is not noticed",
        _SIGNALS,
        "if child is None or not child.live or child.attempt != signal.attempt:\n        return\n"
        "    judged",
        "if child is None or child.attempt != signal.attempt or not child.was_ready:\n"
        "        return\n    judged",
    ),
)
