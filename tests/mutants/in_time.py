"""Bugs in what passing time does."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_OVERDUE = "_brain.on_deadline"
_TIMERS = "_brain.timers"
_VITALS = "_brain.vitals"

MUTANTS: Final = (
    # ---------------------------------------------------------------- what is overdue
    Mutant(
        "nobody is ever cancelled after its grace",
        _OVERDUE,
        "    if child.stage is Stage.STOP_REQUESTED:\n        machine.cancel(child, now)\n",
        "    if child.stage is Stage.STOP_REQUESTED:\n        pass\n",
    ),
    Mutant(
        "at the shutdown deadline those already asked are forgotten",
        _OVERDUE,
        "        elif child.live and child.stage is Stage.STOP_REQUESTED:\n"
        "            machine.cancel(child, now)\n",
        "",
    ),
    Mutant(
        "at the shutdown deadline those not asked yet are forgotten",
        _OVERDUE,
        "        if child.live and child.stage is Stage.RUNNING:\n"
        "            machine.request_stop(child, now)\n        elif",
        "        if",
    ),
    Mutant(
        "a hold that ends lets only one of the group go on",
        _OVERDUE,
        "            child.backoff = None\n            machine.todo.append(child)\n",
        "            child.backoff = None\n            machine.todo.append(child)\n"
        "            break\n",
    ),
    Mutant(
        "a deadline that has moved is not armed again",
        _OVERDUE,
        "        if fault is None:\n            machine.rearm(child)\n        else:",
        "        if fault is not None:",
    ),
    Mutant(
        "the unresponsive are not counted",
        _OVERDUE,
        "        machine.unresponsive += 1\n",
        "",
    ),
    # ---------------------------------------------------------------- the heap
    Mutant(
        "the heap forgets what was re-armed for later",
        _TIMERS,
        "            if thing.wake_at < inf:\n                self._push(thing, thing.wake_at)\n",
        "",
    ),
    Mutant(
        "the heap keeps an entry for each arming",
        _TIMERS,
        "                return thing\n            if thing.wake_at < inf:",
        "                thing.queued = when\n                return thing\n"
        "            if thing.wake_at < inf:",
    ),
    # ---------------------------------------------------------------- the times of one attempt
    Mutant(
        "the start timeout goes on after being ready",
        _VITALS,
        "        self.ready_at = self.heartbeat_at = now\n        self.start_due = inf\n",
        "        self.ready_at = self.heartbeat_at = now\n",
    ),
    Mutant(
        "silence counts from the start, not from being ready",
        _VITALS,
        "        self.ready_at = self.heartbeat_at = now\n",
        "        self.ready_at = now\n",
    ),
    Mutant(
        "the run time is counted from being ready",
        _VITALS,
        "        self.ready_at = self.heartbeat_at = now\n        self.start_due = inf\n",
        "        self.ready_at = self.heartbeat_at = now\n        self.start_due = inf\n"
        "        self.run_due += now - self.started_at\n",
    ),
    Mutant(
        "a grace lasts twice as long",
        _VITALS,
        "        self.step_due = now + grace\n",
        "        self.step_due = now + 2 * grace\n",
    ),
    Mutant(
        "more time to start is never given",
        _VITALS,
        "            self.start_due = until\n",
        "            pass\n",
    ),
    Mutant(
        "more time to start may be less",
        _VITALS,
        "if not self.was_ready and until > self.start_due:",
        "if not self.was_ready:",
    ),
    Mutant(
        "announced silence is a symptom all the same",
        _VITALS,
        "return max(self.heartbeat_at + spec.stale_after, self.busy_until)",
        "return self.heartbeat_at + spec.stale_after",
    ),
)
