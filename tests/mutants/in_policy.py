"""Bugs in what follows from an exit: the table, windows, backoff, groups, significant children."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_JUDGE = "_brain.on_exit"
_RESTART = "_brain.windows"
_POLICY = "_specs.policy"

MUTANTS: Final = (
    Mutant(
        "a window admits one restart too many",
        _RESTART,
        "        return self.used(now) < self.limit.max_restarts\n",
        "        return self.used(now) <= self.limit.max_restarts\n",
    ),
    Mutant(
        "a window admits one restart too few",
        _RESTART,
        "        return self.used(now) < self.limit.max_restarts\n",
        "        return self.used(now) + 1 < self.limit.max_restarts\n",
    ),
    Mutant(
        "what is exactly as old as the window still counts",
        _RESTART,
        "while times and times[0] <= edge:",
        "while times and times[0] < edge:",
    ),
    Mutant(
        "the window is never emptied",
        _RESTART,
        "            times.popleft()\n",
        "            break\n",
    ),
    Mutant(
        "a transient child that has succeeded is restarted",
        _RESTART,
        "    (RestartPolicy.TRANSIENT, True): DoNotRestart(),\n",
        "    (RestartPolicy.TRANSIENT, True): Restart(),\n",
    ),
    Mutant(
        "a transient child that has failed is not restarted",
        _RESTART,
        "    (RestartPolicy.TRANSIENT, False): Restart(),\n",
        "    (RestartPolicy.TRANSIENT, False): DoNotRestart(),\n",
    ),
    Mutant(
        "a permanent child that returns is not restarted",
        _RESTART,
        "    (RestartPolicy.PERMANENT, True): Restart(),\n",
        "    (RestartPolicy.PERMANENT, True): DoNotRestart(),\n",
    ),
    Mutant(
        "a temporary child that fails is restarted",
        _RESTART,
        "    (RestartPolicy.TEMPORARY, False): REMOVE,\n",
        "    (RestartPolicy.TEMPORARY, False): Restart(),\n",
    ),
    Mutant(
        "a group restart is charged for each member",
        _JUDGE,
        "        machine.window.charge(now)\n    if child.window",
        "        for _ in machine.ordering.group(child):\n            machine.window.charge(now)\n"
        "    if child.window",
    ),
    Mutant(
        "the child's own window is never charged",
        _JUDGE,
        "        child.window.charge(now)\n",
        "        pass\n",
    ),
    Mutant(
        "all children share one window of their own",
        _JUDGE,
        "            child.window = Window(limit)\n",
        "            shared = [c.window for c in machine.children.values() if c.window]\n"
        "            child.window = shared[0] if shared else Window(limit)\n",
    ),
    Mutant(
        "a full window lets everybody pass",
        _RESTART,
        "        return self.used(now) < self.limit.max_restarts\n",
        "        return self.used(now) != self.limit.max_restarts - 1\n",
    ),
    Mutant(
        "the shared window is asked and charged first",
        _JUDGE,
        "        if not child.window.admits(now):\n            _apply_child_limit(",
        "        if not child.window.admits(now):\n"
        "            if machine.window is not None:\n                machine.window.charge(now)\n"
        "            _apply_child_limit(",
    ),
    Mutant(
        "a child at its limit is quarantined, whatever was declared",
        _JUDGE,
        "    if child.spec.on_limit is OnLimit.ESCALATE:\n",
        "    if False:\n",
    ),
    Mutant(
        "a limit ends the supervisor quietly",
        _JUDGE,
        "o.Outcome(o.OutcomeKind.LIMIT, reason, child.name, child.attempt)",
        "o.Outcome(o.OutcomeKind.SHUTDOWN, reason, child.name, child.attempt)",
    ),
    Mutant(
        "a failed first start is retried",
        _JUDGE,
        "    if not how.is_success and machine.is_first_start(child):\n",
        "    if False:\n",
    ),
    Mutant(
        "the backoff does not grow",
        _JUDGE,
        "    child.consecutive_failures += 1\n",
        "",
    ),
    Mutant(
        "the backoff begins with its second step",
        _JUDGE,
        "child.spec.backoff.delay(child.consecutive_failures, machine.random)",
        "child.spec.backoff.delay(child.consecutive_failures + 1, machine.random)",
    ),
    Mutant(
        "a group does not wait for its longest backoff",
        _JUDGE,
        "        if member.backoff is not None and member.backoff.until > until:\n",
        "        if False:\n",
    ),
    Mutant(
        "only the failing child backs off, its group does not",
        _JUDGE,
        "        set_backoff(member, backoff, machine.timers)\n",
        "        set_backoff(member, backoff if member is failed else None, machine.timers)\n",
    ),
    Mutant(
        "the timer of a hold is not armed",
        _JUDGE,
        "        machine.timers.arm(backoff, until)\n",
        "        pass\n",
    ),
    Mutant(
        "siblings are started again without having been stopped",
        _JUDGE,
        "        machine.ordering.join_start_set(member)\n"
        "        machine.mark_for_stopping(member, StopCause.DESIRED_STATE, reason, "
        "in_order=True)\n",
        "        machine.ordering.join_start_set(member)\n",
    ),
    Mutant(
        "a temporary member of a group is restarted",
        _JUDGE,
        "    temporary = member.spec.restart is RestartPolicy.TEMPORARY and member is not failed\n",
        "    temporary = False\n",
    ),
    Mutant(
        "a group restart brings back who is held down",
        _JUDGE,
        "_RESTARTED_WITH_GROUP = frozenset({DesiredState.UP, DesiredState.DONE})",
        "_RESTARTED_WITH_GROUP = frozenset({DesiredState.UP, DesiredState.DONE, "
        "DesiredState.STOPPED, DesiredState.QUARANTINED})",
    ),
    Mutant(
        "a group restart leaves out who is done",
        _JUDGE,
        "_RESTARTED_WITH_GROUP = frozenset({DesiredState.UP, DesiredState.DONE})",
        "_RESTARTED_WITH_GROUP = frozenset({DesiredState.UP})",
    ),
    Mutant(
        "a significant exit is missed",
        _JUDGE,
        "        if mode is AutoShutdown.ANY_SIGNIFICANT:\n",
        "        if False:\n",
    ),
    Mutant(
        "the first significant exit counts as the last",
        _JUDGE,
        "            other.is_active for other in machine.significant if other is not child\n",
        "            False for other in machine.significant if other is not child\n",
    ),
    Mutant(
        "a quarantined significant child ends the supervisor",
        _JUDGE,
        "    machine.take_down(child, DesiredState.QUARANTINED, window.describe())\n"
        "    _after_rest(machine, child, now, counts=False)\n",
        "    machine.take_down(child, DesiredState.QUARANTINED, window.describe())\n"
        "    _after_rest(machine, child, now, counts=True)\n",
    ),
    Mutant(
        "a supervisor whose children are all done goes on",
        _JUDGE,
        "    if mode is AutoShutdown.ALL_DONE and machine.is_idle:\n",
        "    if False:\n",
    ),
    Mutant(
        "being idle is said again and again",
        _JUDGE,
        "        and not machine.idle_reported\n",
        "",
    ),
    Mutant(
        "what decide says is ignored",
        _JUDGE,
        "    if signal.decision is not None:\n",
        "    if False:\n",
    ),
    Mutant(
        "a decide that raises is taken for the success that it judged",
        _JUDGE,
        "succeeded = how.is_success and not signal.decide_error",
        "succeeded = how.is_success",
    ),
    Mutant(
        "the waits of a backoff end one too early",
        _POLICY,
        "self.steps[step] if step < len(self.steps) else self.steps[-1]",
        "self.steps[step] if step < len(self.steps) - 1 else self.steps[0]",
    ),
    Mutant(
        "a hold that a later failure inherits never ends",
        _JUDGE,
        "        machine.timers.arm(backoff, until)\n",
        "        machine.timers.arm(backoff, until if until == now + delay else float('inf'))\n",
    ),
    Mutant(
        "the jitter is the same for everybody",
        _POLICY,
        "random.uniform(-1, 1)",
        "type(random)(42).uniform(-1, 1)",
    ),
    Mutant(
        "there is no jitter",
        _POLICY,
        "        if self.jitter:\n            seconds",
        "        if False:\n            seconds",
    ),
    Mutant(
        "the backoff has no maximum",
        _POLICY,
        "min(self.maximum, self.initial * self.factor**step)",
        "self.initial * self.factor**step",
    ),
    Mutant(
        "what a child escalates ends the supervisor quietly",
        _JUDGE,
        "o.Outcome(o.OutcomeKind.ESCALATED, reason",
        "o.Outcome(o.OutcomeKind.SHUTDOWN, reason",
    ),
    Mutant(
        "a decision to end the tree restarts the child",
        _JUDGE,
        'reason = decision.reason or f"{child.path} asked for it"\n        machine.begin_shutdown(',
        'reason = decision.reason or f"{child.path} asked for it"\n        id(',
    ),
    Mutant(
        "a limit that is reached is not told",
        _JUDGE,
        '_emit_decision(machine, child, "quarantine", "limit", signal, window=window)',
        "pass",
    ),
    Mutant(
        "the delay that decide asks for is ignored",
        _JUDGE,
        "_restart(machine, child, signal, now, decision.delay, source)",
        "_restart(machine, child, signal, now, None, source)",
    ),
    Mutant(
        "a failed start_child keeps its name",
        _JUDGE,
        "desired = DesiredState.STOPPED if child.dependents else DesiredState.REMOVED",
        "desired = DesiredState.STOPPED",
    ),
)
