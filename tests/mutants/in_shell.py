"""Bugs outside the brain: tasks, exits, events, journal, and those who wait."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

MUTANTS: Final = (
    # ---------------------------------------------------------------- exits
    Mutant(
        "a stop that was obeyed is a success",
        "_events.exits",
        "        return Stopped(stop_reason)\n",
        "        return Succeeded(value)\n",
    ),
    Mutant(
        "our cancel is the child's own doing",
        "_events.exits",
        "        if cancel_called:\n            return Aborted",
        "        if False:\n            return Aborted",
    ),
    Mutant(
        "a body that cancels itself was cancelled by us",
        "_events.exits",
        "        return SelfCancelled(cancelled_by)\n",
        "        return Aborted(cancelled_by)\n",
    ),
    Mutant(
        "a child ended for time or health was merely stopped",
        "_events.exits",
        "    if fault is not None:\n        return fault\n",
        "",
    ),
    Mutant(
        "an error of a background task is swallowed",
        "_attempts.attempt",
        "    for error in (attempt.error, background):\n",
        "    for error in (attempt.error,):\n",
    ),
    Mutant(
        "a crash in the cleanup is swallowed",
        "_attempts.attempt",
        "                    attempt.error = exc\n",
        "                    attempt.error = None if attempt.cancel_called else exc\n",
    ),
    Mutant(
        "the failing body's background tasks go on",
        "_attempts.attempt",
        "                        nursery.cancel_scope.cancel(_BODY_FAILED)\n"
        "                if task",
        "                        pass\n                if task",
    ),
    Mutant(
        "a body that is to be cancelled before its first step runs all the same",
        "_attempts.attempt",
        "            if attempt.cancel_called:\n                attempt.body_cancelled = True\n",
        "            if False:\n                attempt.body_cancelled = True\n",
    ),
    Mutant(
        "a stop request wakes nobody in the body",
        "_attempts.attempt",
        "            self.stop_event.set()\n        if self.stop_scopes is not None:\n",
        "            pass\n        if self.stop_scopes is not None:\n",
    ),
    # ---------------------------------------------------------------- collector
    Mutant(
        "a ready value is lost when the child says it twice",
        "_attempts.context",
        "            attempt.ready_value = value\n        elif value is not None:",
        "            attempt.ready_value = None\n        elif value is not None:",
    ),
    Mutant(
        "the alarm is not moved to an earlier deadline",
        "_runtime.collector",
        "            self._alarm.deadline = deadline\n",
        "            pass\n",
    ),
    Mutant(
        "deadlines have their say before those who act in the same instant",
        "_runtime.collector",
        "        self._rang = True\n",
        "        self.carry_out(self.machine.wake(now), now)\n        self._alarm_at = inf\n",
    ),
    Mutant(
        "a heartbeat's notice is sent only once",
        "_runtime.collector",
        "        attempt.beat_noted = False\n",
        "",
    ),
    Mutant(
        "decide is asked although a wish decides",
        "_runtime.collector",
        "        if not self.machine.policy_will_decide(attempt.name, attempt.number, "
        "failed=how.is_failure):\n            return\n",
        "",
    ),
    Mutant(
        "a signal that arrives while the supervisor stops is lost",
        "_runtime.collector",
        '        """Tell the brain, and do what it says."""\n',
        '        """Tell the brain, and do what it says."""\n'
        "        if self.machine.state == 'stopping' and isinstance(signal, o.Shutdown):\n"
        "            return\n",
    ),
    Mutant(
        "commands are still accepted after the end",
        "_runtime.collector",
        "                if not self._waiting or self.is_over:\n",
        "                if not self._waiting:\n",
    ),
    # ---------------------------------------------------------------- shell
    Mutant(
        "those who wait for a child are not woken",
        "_runtime.shell",
        "            for slot in touched:\n                slot.refresh()\n",
        "            pass\n",
    ),
    Mutant(
        "whoever waits when the supervisor ends is forgotten",
        "_runtime.shell",
        "        for slot in list(self.watched.values()):\n            slot.refresh()\n",
        "",
    ),
    Mutant(
        "commands in flight at the end are never answered",
        "_runtime.shell",
        "                subject[-1].answered.set()\n\n        self.drain(answer)",
        "                pass\n\n        self.drain(answer)",
    ),
    Mutant(
        "a cancel is not carried out",
        "_runtime.shell",
        "            self.cancel(attempt, order.reason)\n",
        "            pass\n",
    ),
    Mutant(
        "a stop without grace is a request and no more",
        "_runtime.shell",
        "        self._request_stop(order, now)\n        self._cancel(order, now)\n",
        "        self._request_stop(order, now)\n",
    ),
    Mutant(
        "who stops at once is not asked",
        "_runtime.shell",
        "        self._request_stop(order, now)\n        self._cancel(order, now)\n",
        "        self._cancel(order, now)\n",
    ),
    Mutant(
        "of very many that are stopped before their first step some run",
        "_runtime.collector",
        "        at_once = attempt.nursery is None or attempt.spec.supervisor is not None\n",
        "        at_once = attempt.spec.supervisor is not None\n",
    ),
    Mutant(
        "the fault of an attempt is not told to it",
        "_runtime.shell",
        "            attempt.fault = order.fault\n",
        "",
    ),
    Mutant(
        "a supervisor that has failed ends without its error",
        "_runtime.shell",
        "            self.error = error_of(self, outcome)\n",
        "            pass\n",
    ),
    Mutant(
        "the reports of older attempts are forgotten",
        "_runtime.child_slot",
        "            self._older.append((self.ended, _in_brief(self.exit, self._detail)))\n",
        "            pass\n",
    ),
    Mutant(
        "a value of a child that is ending can still be had",
        "_runtime.child_slot",
        "if attempt is None or not attempt.is_ready or self.life.stage:",
        "if attempt is None:",
    ),
    Mutant(
        "a stop returns before the attempt is gone",
        "_runtime.commands",
        "    return not view.live or view.attempt != reply.attempt\n",
        "    return True\n",
    ),
    Mutant(
        "whoever stops itself waits for its own grace",
        "_runtime.commands",
        "            host.forfeit_grace(attempt)\n",
        "            pass\n",
    ),
    Mutant(
        "a nested supervisor does not hear of its parent's stop",
        "_runtime.block",
        "    attempt.on_stop = stop_asked\n",
        "",
    ),
    Mutant(
        "an outer cancellation reaches nobody",
        "_runtime.block",
        "                self._shell.shut_down(o.Shutdown(reason, grace=False, "
        "kind=o.OutcomeKind.CANCELLED))\n                raise\n",
        "                raise\n",
    ),
    # ---------------------------------------------------------------- events
    Mutant(
        "the journal counts one too many",
        "_events.journal",
        "        if excess > 0:\n            self._builder.extend(self._raws[:excess])\n",
        "        if excess > 0:\n            self._builder.extend(self._raws[: excess - 1])\n",
    ),
    Mutant(
        "the journal skips a number",
        "_events.journal",
        "self._sequence = sequence = self._sequence + 1",
        "self._sequence = sequence = self._sequence + (2 if cls.__name__ == 'ChildDone' else 1)",
    ),
    Mutant(
        "a lost readiness is not told",
        "_brain.on_attempt",
        "        machine.outbox.emit(child, ev.ChildLostReadiness, signal.reason)\n",
        "",
    ),
    Mutant(
        "a backoff that grows longer is not told",
        "_brain.outbox",
        "        if state is child.reported and until == child.reported_until:\n",
        "        if state is child.reported:\n",
    ),
    Mutant(
        "a cancel is not told",
        "_brain.machine",
        "        self.outbox.emit(child, ev.ChildCancelled, child.stop_reason)\n",
        "",
    ),
    Mutant(
        "a subscriber misses what happens while it reads",
        "_runtime.subscription",
        "        if type(event) is SupervisorFinished and event.run == self._run:\n"
        "            self.end()\n        else:\n            self._lot.unpark()\n",
        "        if type(event) is SupervisorFinished and event.run == self._run:\n"
        "            self.end()\n",
    ),
)
