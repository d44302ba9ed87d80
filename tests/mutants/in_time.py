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
        "_child_deadline_passed",
        "machine.cancel(child, now)",
        "pass",
    ),
    Mutant(
        "at the shutdown deadline those already asked are forgotten",
        _OVERDUE,
        "_shutdown_deadline_passed",
        """
        if child.live and child.stage is Stage.STOP_REQUESTED:
            machine.cancel(child, now)
        """,
        "",
    ),
    Mutant(
        "at the shutdown deadline those not asked yet are forgotten",
        _OVERDUE,
        "_shutdown_deadline_passed",
        """
        if child.live and child.stage is Stage.RUNNING:
            machine.request_stop(child, now)
        """,
        "",
    ),
    Mutant(
        "a hold that ends lets only one of the group go on",
        "_brain.windows",
        "SharedBackoff.release",
        "[member for member in self.members if member.backoff is self]",
        "[member for member in self.members if member.backoff is self][:1]",
    ),
    Mutant(
        "a deadline that has moved is not armed again",
        _OVERDUE,
        "_child_deadline_passed",
        """
        if fault is None:
            child.rounds = 0
            machine.rearm(child)
        else:
            ...
        """,
        """
        if fault is None:
            child.rounds = 0
        else:
            ...
        """,
    ),
    Mutant(
        "the unresponsive are not counted",
        _OVERDUE,
        "_child_deadline_passed",
        "machine.unresponsive += 1",
        "",
    ),
    # ---------------------------------------------------------------- the heap
    Mutant(
        "the heap forgets what was re-armed for later",
        _TIMERS,
        "DeadlineHeap.pop_due",
        """
        if thing.wake_at < inf:
            self._push(thing, thing.wake_at)
        """,
        "",
    ),
    Mutant(
        "the heap keeps an entry for each arming",
        _TIMERS,
        "DeadlineHeap.pop_due",
        """
        when, _, thing = heappop(entries)
        ...
        if thing.wake_at <= now:
            ...
            return thing
        """,
        """
        when, _, thing = heappop(entries)
        ...
        if thing.wake_at <= now:
            ...
            thing.queued = when
            return thing
        """,
    ),
    # ---------------------------------------------------------------- the times of one attempt
    Mutant(
        "the start timeout goes on after being ready",
        _VITALS,
        "Vitals.become_ready",
        "self.start_due = inf",
        "",
    ),
    Mutant(
        "silence counts from the start, not from being ready",
        _VITALS,
        "Vitals.become_ready",
        "self.ready_at = self.heartbeat_at = now",
        "self.ready_at = now",
    ),
    Mutant(
        "the run time is counted from being ready",
        _VITALS,
        "Vitals.become_ready",
        "self.start_due = inf",
        """
        self.start_due = inf
        self.run_due += _1 - self.started_at
        """,
    ),
    Mutant(
        "a grace lasts twice as long",
        _VITALS,
        "Vitals.begin_grace",
        "now + grace",
        "now + 2 * grace",
    ),
    Mutant(
        "more time to start is never given",
        _VITALS,
        "Vitals.extend_start",
        "self.start_due = until",
        "pass",
    ),
    Mutant(
        "more time to start may be less",
        _VITALS,
        "Vitals.extend_start",
        "not self.was_ready and until > self.start_due",
        "not self.was_ready",
    ),
    Mutant(
        "announced silence is a symptom all the same",
        _VITALS,
        "Vitals._silent_at",
        "max(self.heartbeat_at + spec.stale_after, self.busy_until)",
        "self.heartbeat_at + spec.stale_after",
    ),
)
