"""Bugs in the machine: wishes, signals, commands, and what time does."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_MACHINE = "_brain.machine"
_COMMANDS = "_brain.commands"
_SIGNALS = "_brain.signals"
_OVERDUE = "_brain.overdue"
_LIFE = "_brain.lifecycle"
_VITALS = "_brain.vitals"
_TIMERS = "_brain.timers"

MUTANTS: Final = (
    # ---------------------------------------------------------------- wishes
    Mutant(
        "a backoff goes on when the wish goes down",
        _MACHINE,
        "            put_on_hold(child, None, self.timers)\n",
        "            pass\n",
    ),
    Mutant(
        "a removal is overwritten by a later stop",
        _COMMANDS,
        "    if child is not None and child.wish in (Wish.UP, Wish.DONE):\n"
        '        machine.command_accepted(child, "stop", command.reason)\n',
        "    if child is not None and child.wish in (Wish.UP, Wish.DONE, Wish.REMOVED):\n"
        '        machine.command_accepted(child, "stop", command.reason)\n'
        "        child.wish = Wish.UP\n",
    ),
    Mutant(
        "who is held down keeps its place in the line",
        _MACHINE,
        "        self.order.leave_line(child)\n        self.order.wake_watchers(child)\n"
        "        self.condemn(",
        "        self.order.wake_watchers(child)\n        self.condemn(",
    ),
    Mutant(
        "an operator's wish does not override a fault",
        _MACHINE,
        "            if child.condemned is not Doom.WISH:\n                child.condemned = doom",
        "            if child.condemned is None:\n                child.condemned = doom",
    ),
    Mutant(
        "a stop by hand queues behind a group's stop",
        _MACHINE,
        "            else child.urgent or self.order.may_stop(child)\n",
        "            else self.order.may_stop(child)\n",
    ),
    Mutant(
        "an exit that we asked for is judged as a failure",
        _MACHINE,
        "return child.wish is Wish.UP and child.condemned is not Doom.WISH and self.accepts",
        "return child.wish is Wish.UP and self.accepts",
    ),
    Mutant(
        "a backoff that ends during the shutdown starts the child",
        _MACHINE,
        "        return self.accepts and self.order.may_start(child)\n",
        "        return self.order.may_start(child)\n",
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
        "        if child.condemned is None:\n            if child.in_line:",
        "        if True:\n            if child.in_line:",
    ),
    Mutant(
        "an outer cancel forgets those already asked",
        _MACHINE,
        "            for child in self.children.values():\n"
        "                if child.live and child.stage is Stage.ASKED:\n"
        "                    self.cancel(child, now)\n",
        "            pass\n",
    ),
    Mutant(
        "an outer cancel still gives grace",
        _MACHINE,
        "grace = 0.0 if self.hurry or child.no_grace else child.spec.grace",
        "grace = 0.0 if child.no_grace else child.spec.grace",
    ),
    Mutant(
        "quarantine is taken for a stop when the supervisor ends",
        _MACHINE,
        "wish = Wish.SHUTDOWN if child.wish is Wish.UP else child.wish",
        "wish = Wish.SHUTDOWN",
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
        "        if child.leaving:\n            self.order.leave_leaving(child)\n",
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
        "        child.streak = 0\n",
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
        "        child.beat_at = max(child.beat_at, signal.at)\n",
        "",
    ),
    Mutant(
        "a fatal exception does not end the supervisor",
        _SIGNALS,
        "        machine.close(outcome, now, grace=False)\n",
        "        pass\n",
    ),
    # ---------------------------------------------------------------- time
    Mutant(
        "nobody is ever cancelled after its grace",
        _OVERDUE,
        "    if child.stage is Stage.ASKED:\n        machine.cancel(child, now)\n",
        "    if child.stage is Stage.ASKED:\n        pass\n",
    ),
    Mutant(
        "at the shutdown deadline those already asked are forgotten",
        _OVERDUE,
        "        elif child.live and child.stage is Stage.ASKED:\n"
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
        "            child.hold = None\n            machine.todo.append(child)\n",
        "            child.hold = None\n            machine.todo.append(child)\n"
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
    Mutant(
        "the start timeout goes on after being ready",
        _VITALS,
        "        self.ready_at = self.beat_at = now\n        self.start_due = inf\n",
        "        self.ready_at = self.beat_at = now\n",
    ),
    Mutant(
        "silence counts from the start, not from being ready",
        _VITALS,
        "        self.ready_at = self.beat_at = now\n",
        "        self.ready_at = now\n",
    ),
    Mutant(
        "the run time is counted from being ready",
        _VITALS,
        "        self.ready_at = self.beat_at = now\n        self.start_due = inf\n",
        "        self.ready_at = self.beat_at = now\n        self.start_due = inf\n"
        "        self.run_due += now - self.started_at\n",
    ),
    Mutant(
        "a grace lasts twice as long",
        _VITALS,
        "        self.step_due = now + grace\n",
        "        self.step_due = now + 2 * grace\n",
    ),
    # ---------------------------------------------------------------- commands
    Mutant(
        "a removed child can be restarted",
        _COMMANDS,
        "    if child.wish is Wish.REMOVED:\n        machine.refuse(CommandRefused("
        'f"cannot restart {child.path}: it is being removed"))\n        return\n',
        "",
    ),
    Mutant(
        "a restart by hand keeps the backoff",
        _COMMANDS,
        "    put_on_hold(child, None, machine.timers)\n",
        "    pass\n",
    ),
    Mutant(
        "a restart by hand keeps the count of failures",
        _COMMANDS,
        "    child.generation += 1\n    child.streak = 0\n",
        "    child.generation += 1\n",
    ),
    Mutant(
        "a restart by hand in the first start jumps the line",
        _COMMANDS,
        "    if child.in_line or not (machine.is_started or child.ever_ready or child.dynamic):\n",
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
        "child is not None and child.wish in (Wish.UP, Wish.DONE):",
        "child is not None and child.wish in (Wish.UP, Wish.DONE, Wish.QUARANTINED):",
    ),
    Mutant(
        "children can be added without limit",
        _COMMANDS,
        "len(machine.children) >= most",
        "len(machine.children) > most",
    ),
    Mutant(
        "a requirement is met by one that was ready once",
        _LIFE,
        "            return self.ready and self.condemned is None\n",
        "            return self.was_ready\n",
    ),
    Mutant(
        "a requirement is met by any child that is done",
        _LIFE,
        "        return self.wish is Wish.DONE and self.done_well\n",
        "        return self.wish is Wish.DONE\n",
    ),
)
