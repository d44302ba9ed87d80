"""Bugs outside the brain: tasks, exits, events, journal, and those who wait."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

MUTANTS: Final = (
    # ---------------------------------------------------------------- exits
    Mutant(
        "a stop that was obeyed is a success",
        "_events.exits",
        "classify",
        "Stopped(stop_reason)",
        "Succeeded(_6)",
    ),
    Mutant(
        "our cancel is the child's own doing",
        "_events.exits",
        "classify",
        """
        if cancel_called:
            ...
        return SelfCancelled(cancelled_by)
        """,
        """
        if False:
            ...
        return SelfCancelled(cancelled_by)
        """,
    ),
    Mutant(
        "a body that cancels itself was cancelled by us",
        "_events.exits",
        "classify",
        "SelfCancelled",
        "Aborted",
    ),
    Mutant(
        "a child ended for time or health was merely stopped",
        "_events.exits",
        "classify",
        """
        if fault is not None:
            return fault
        """,
        "",
    ),
    Mutant(
        "an error of a background task is swallowed",
        "_attempts.attempt",
        "_sort_out_several",
        "(attempt.error, background)",
        "(attempt.error,)",
    ),
    Mutant(
        "a crash in the cleanup is swallowed",
        "_attempts.attempt",
        "run_attempt",
        "attempt.error = exc",
        "attempt.error = None if attempt.cancel_called else exc",
    ),
    Mutant(
        "the failing body's background tasks go on",
        "_attempts.attempt",
        "run_attempt",
        "nursery.cancel_scope.cancel(_BODY_FAILED)",
        "pass",
    ),
    Mutant(
        "a body that is to be cancelled before its first step runs all the same",
        "_attempts.attempt",
        "run_attempt",
        "attempt.cancel_called",
        "False",
    ),
    Mutant(
        "a stop request wakes nobody in the body",
        "_attempts.attempt",
        "Attempt._mark_stopping",
        "self.stop_event.set()",
        "pass",
    ),
    # ---------------------------------------------------------------- collector
    Mutant(
        "a ready value is lost when the child says it twice",
        "_attempts.context",
        "ChildContext.ready",
        """
        attempt.ready_at = now
        attempt.ready_value = value
        """,
        """
        attempt.ready_at = now
        attempt.ready_value = None
        """,
    ),
    Mutant(
        "the alarm is not moved to an earlier deadline",
        "_runtime.collector",
        "ReportCollector._set_alarm",
        "self._alarm.deadline = deadline",
        "pass",
    ),
    Mutant(
        "deadlines have their say before those who act in the same instant",
        "_runtime.collector",
        "ReportCollector._deadline_passed",
        """
        for turn in range(...):
            ...
        self._handle_all()
        """,
        "pass",
    ),
    Mutant(
        "a heartbeat's notice is sent only once",
        "_runtime.shell",
        "Shell._take_heartbeat_notice",
        "attempt.beat_noted = False",
        "",
    ),
    Mutant(
        "decide is asked although a wish decides",
        "_runtime.exits",
        "exit_signal",
        """
        attempt.spec.decide is not None and shell.machine.policy_will_decide(
            attempt.name, attempt.number, failed=how.is_failure
        )
        """,
        "attempt.spec.decide is not None",
    ),
    Mutant(
        "a signal that arrives while the supervisor stops is lost",
        "_runtime.shell",
        "Shell.feed",
        "self.carry_out(self.machine.receive(signal, now), now)",
        """
        if self.machine.state == "stopping" and isinstance(signal, o.Shutdown):
            return
        self.carry_out(self.machine.receive(signal, now), now)
        """,
    ),
    Mutant(
        "commands are still accepted after the end",
        "_runtime.collector",
        "ReportCollector._handle_all",
        "messages and not self.is_closed",
        "messages",
    ),
    # ---------------------------------------------------------------- shell
    Mutant(
        "those who wait for a child are not woken",
        "_runtime.shell",
        "Shell.carry_out",
        """
        for slot in changed:
            slot.refresh()
        """,
        "pass",
    ),
    Mutant(
        "whoever waits when the supervisor ends is forgotten",
        "_runtime.closing",
        "end_waits",
        "*[slot.end_waiting for slot in shell.watched.values()]",
        "*[]",
    ),
    Mutant(
        "commands in flight at the end are never answered",
        "_runtime.closing",
        "_answer_commands",
        "reply.refuse(SupervisorClosed(...))",
        "pass",
    ),
    Mutant(
        "a cancel is not carried out",
        "_runtime.shell",
        "Shell._cut_off",
        "self.collector.cancel(attempt, order.reason)",
        "pass",
    ),
    Mutant(
        "a stop without grace is a request and no more",
        "_runtime.shell",
        "Shell._stop_at_once",
        "self.collector.cancel(attempt, order.reason)",
        "pass",
    ),
    Mutant(
        "who stops at once is not asked",
        "_runtime.shell",
        "Shell._stop_at_once",
        "attempt.request_stop(order.reason, order.deadline, order.fault)",
        "",
    ),
    Mutant(
        "of very many that are stopped before their first step some run",
        "_runtime.collector",
        "ReportCollector.cancel",
        "attempt.nursery is None or attempt.spec.supervisor is not None",
        "attempt.spec.supervisor is not None",
    ),
    Mutant(
        "the fault of an attempt is not told to it",
        "_attempts.attempt",
        "Attempt.request_stop",
        "self.fault = fault",
        "pass",
    ),
    Mutant(
        "a supervisor that has failed ends without its error",
        "_runtime.shell",
        "Shell._begin_stop",
        "self.error = error_of(self, outcome)",
        "pass",
    ),
    Mutant(
        "the reports of older attempts are forgotten",
        "_runtime.child_slot",
        "Slot.record",
        "self._older.append((self.ended, _without_objects(self.exit, self._detail)))",
        "pass",
    ),
    Mutant(
        "a value of a child that is ending can still be had",
        "_runtime.child_slot",
        "Slot.ready_value",
        "attempt is None or not attempt.is_ready or self.life.stage",
        "attempt is None",
    ),
    Mutant(
        "a stop returns before the attempt is gone",
        "_runtime.commands",
        "is_down",
        "not view.live or view.attempt != reply.attempt",
        "True",
    ),
    Mutant(
        "whoever stops itself waits for its own grace",
        "_runtime.commands",
        "give",
        "_forfeit_grace(inside)",
        "pass",
    ),
    Mutant(
        "a nested supervisor does not hear of its parent's stop",
        "_runtime.nested",
        "NestedLink.enter",
        "attempt.add_stop_listener(stop_requested)",
        "",
    ),
    Mutant(
        "an outer cancellation reaches nobody",
        "_runtime.block",
        "Block._watch_cancellation",
        "self._shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED))",
        "",
    ),
    # ---------------------------------------------------------------- events
    Mutant(
        "the journal counts one too many",
        "_events.journal",
        "EventRecorder._trim",
        "self._builder.extend(self._raws[:excess])",
        "self._builder.extend(self._raws[: excess - 1])",
    ),
    Mutant(
        "the journal skips a number",
        "_events.journal",
        "EventRecorder.append",
        "1",
        '2 if cls.__name__ == "ChildDone" else 1',
    ),
    Mutant(
        "a lost readiness is not told",
        "_brain.on_attempt",
        "lost_readiness",
        "machine.outbox.emit(child, ev.ChildLostReadiness, signal.reason)",
        "",
    ),
    Mutant(
        "a backoff that grows longer is not told",
        "_brain.outbox",
        "Outbox.report_state",
        "state is child.reported and until == child.reported_until",
        "state is child.reported",
    ),
    Mutant(
        "a cancel is not told",
        "_brain.machine",
        "SupervisionMachine._note_cancel",
        "self.outbox.emit(child, ev.ChildCancelled, child.stop_reason)",
        "",
    ),
    Mutant(
        "a subscriber misses what happens while it reads",
        "_runtime.subscription",
        "Subscription._offer",
        "reschedule(sleeper)",
        "pass",
    ),
)
