"""Bugs in what follows from an exit: the table, windows, backoff, groups, significant children."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_JUDGE = "_brain.on_exit"
_RESTART = "_brain.windows"
_AUTO = "_brain.auto_shutdown"
_POLICY = "_specs.policy"

MUTANTS: Final = (
    Mutant(
        "a window admits one restart too many",
        _RESTART,
        "Window.admits",
        "self.used(now) < self.limit.max_restarts",
        "self.used(now) <= self.limit.max_restarts",
    ),
    Mutant(
        "a window admits one restart too few",
        _RESTART,
        "Window.admits",
        "self.used(now)",
        "self.used(now) + 1",
    ),
    Mutant(
        "what is exactly as old as the window still counts",
        _RESTART,
        "Window.used",
        "times[0] <= edge",
        "times[0] < edge",
    ),
    Mutant(
        "the window is never emptied",
        _RESTART,
        "Window.used",
        "times.popleft()",
        "break",
    ),
    Mutant(
        "a transient child that has succeeded is restarted",
        _RESTART,
        "",
        "DoNotRestart",
        "Restart",
    ),
    Mutant(
        "a transient child that has failed is not restarted",
        _RESTART,
        "",
        "{**..., (RestartPolicy.TRANSIENT, False): Restart(), **...}",
        "{**..., (RestartPolicy.TRANSIENT, False): DoNotRestart(), **...}",
    ),
    Mutant(
        "a permanent child that returns is not restarted",
        _RESTART,
        "",
        "{**..., (RestartPolicy.PERMANENT, True): Restart(), **...}",
        "{**..., (RestartPolicy.PERMANENT, True): DoNotRestart(), **...}",
    ),
    Mutant(
        "a temporary child that fails is restarted",
        _RESTART,
        "",
        "{**..., (RestartPolicy.TEMPORARY, False): REMOVE, **...}",
        "{**..., (RestartPolicy.TEMPORARY, False): Restart(), **...}",
    ),
    Mutant(
        "a group restart is charged for each member",
        _JUDGE,
        "_restart",
        """
        if not machine.window.admits(now):
            ...
        machine.window.charge(now)
        """,
        """
        if not machine.window.admits(now):
            ...
        for _ in machine.ordering.group(_2):
            machine.window.charge(now)
        """,
    ),
    Mutant(
        "the child's own window is never charged",
        _JUDGE,
        "_restart",
        """
        if child.window is not None:
            child.window.charge(now)
        """,
        """
        if child.window is not None:
            pass
        """,
    ),
    Mutant(
        "all children share one window of their own",
        _JUDGE,
        "_restart",
        "child.window = Window(limit)",
        """
        shared = [c.window for c in _1.children.values() if c.window]
        child.window = shared[0] if shared else Window(limit)
        """,
    ),
    Mutant(
        "a full window lets everybody pass",
        _RESTART,
        "Window.admits",
        "self.used(now) < self.limit.max_restarts",
        "self.used(now) != self.limit.max_restarts - 1",
    ),
    Mutant(
        "the shared window is asked and charged first",
        _JUDGE,
        "_restart",
        "_apply_child_limit(machine, child, signal, now, child.window)",
        """
        if machine.window is not None:
            machine.window.charge(now)
        _apply_child_limit(machine, child, signal, now, child.window)
        """,
    ),
    Mutant(
        "a child at its limit is quarantined, whatever was declared",
        _JUDGE,
        "_apply_child_limit",
        "child.spec.on_limit is OnLimit.ESCALATE",
        "False",
    ),
    Mutant(
        "a limit ends the supervisor quietly",
        _JUDGE,
        "_escalate_at_limit",
        "o.OutcomeKind.LIMIT",
        "o.OutcomeKind.SHUTDOWN",
    ),
    Mutant(
        "a failed first start is retried",
        _JUDGE,
        "apply_policy",
        "not how.is_success and machine.is_first_start(child)",
        "False",
    ),
    Mutant(
        "the backoff does not grow",
        _JUDGE,
        "_restart",
        "child.consecutive_failures += 1",
        "",
    ),
    Mutant(
        "the backoff begins with its second step",
        _JUDGE,
        "_restart",
        "child.spec.backoff.delay(child.consecutive_failures, machine.random)",
        "child.spec.backoff.delay(child.consecutive_failures + 1, machine.random)",
    ),
    Mutant(
        "a group does not wait for its longest backoff",
        _JUDGE,
        "_shared_backoff",
        "old.add_causes(causes, now)",
        "pass",
    ),
    Mutant(
        "only the failing child backs off, its group does not",
        _JUDGE,
        "_restart_member",
        "set_backoff(member, backoff, machine.timers)",
        "set_backoff(member, backoff if member is _3 else None, machine.timers)",
    ),
    Mutant(
        "the timer of a hold is not armed",
        _JUDGE,
        "_shared_backoff",
        "machine.timers.arm(backoff, until)",
        "pass",
    ),
    Mutant(
        "siblings are started again without having been stopped",
        _JUDGE,
        "_restart_member",
        """
        member.desired = DesiredState.UP
        ...
        machine.mark_for_stopping(member, StopCause.DESIRED_STATE, reason, in_order=True)
        """,
        """
        member.desired = DesiredState.UP
        ...
        """,
    ),
    Mutant(
        "a temporary member of a group is restarted",
        _JUDGE,
        "_restart_member",
        "member.spec.restart is RestartPolicy.TEMPORARY and member is not failed",
        "False",
    ),
    Mutant(
        "a group restart brings back who is held down",
        _JUDGE,
        "",
        "{DesiredState.UP, DesiredState.DONE}",
        "{DesiredState.UP, DesiredState.DONE, DesiredState.STOPPED, DesiredState.QUARANTINED}",
    ),
    Mutant(
        "a group restart leaves out who is done",
        _JUDGE,
        "",
        "{DesiredState.UP, DesiredState.DONE}",
        "{DesiredState.UP}",
    ),
    Mutant(
        "a significant exit is missed",
        _AUTO,
        "child_at_rest",
        "mode is AutoShutdown.ANY_SIGNIFICANT",
        "False",
    ),
    Mutant(
        "the first significant exit counts as the last",
        _AUTO,
        "child_at_rest",
        "other.is_active",
        "False",
    ),
    Mutant(
        "a quarantined significant child ends the supervisor",
        _JUDGE,
        "_apply_child_limit",
        "False",
        "True",
    ),
    Mutant(
        "a supervisor whose children are all done goes on",
        _AUTO,
        "finish_if_all_done",
        "not machine.had_children",
        "True",
    ),
    Mutant(
        "being idle is said again and again",
        _AUTO,
        "child_at_rest",
        """
        mode is _NEVER and (not machine.idle_reported) and (
            not child.dynamic
        ) and machine.is_idle
        """,
        "mode is _NEVER and (not child.dynamic) and machine.is_idle",
    ),
    Mutant(
        "what decide says is ignored",
        _JUDGE,
        "apply_policy",
        "signal.decision is not None",
        "False",
    ),
    Mutant(
        "a decide that raises is taken for the success that it judged",
        _JUDGE,
        "apply_policy",
        "how.is_success and (not signal.decide_error)",
        "how.is_success",
    ),
    Mutant(
        "the waits of a backoff end one too early",
        _POLICY,
        "BackoffPolicy.delay",
        "self.steps[step] if step < len(self.steps) else self.steps[-1]",
        "self.steps[step] if step < len(self.steps) - 1 else self.steps[0]",
    ),
    Mutant(
        "a hold that a later failure inherits never ends",
        _JUDGE,
        "_shared_backoff",
        """
        backoff = SharedBackoff(until, group, causes)
        machine.timers.arm(backoff, until)
        """,
        """
        backoff = SharedBackoff(until, group, causes)
        if causes is None or len(causes) == 1:
            machine.timers.arm(backoff, until)
        """,
    ),
    Mutant(
        "the jitter is the same for everybody",
        _POLICY,
        "BackoffPolicy.delay",
        "_share(random)",
        "_share(type(random)(42))",
    ),
    Mutant(
        "there is no jitter",
        _POLICY,
        "BackoffPolicy.delay",
        """
        if self.jitter:
            ...
        """,
        """
        if False:
            ...
        """,
    ),
    Mutant(
        "the backoff has no maximum",
        _POLICY,
        "BackoffPolicy.delay",
        "min(self.maximum, self.initial * self.factor**step)",
        "self.initial * self.factor**step",
    ),
    Mutant(
        "what a child escalates ends the supervisor quietly",
        _JUDGE,
        "apply_policy",
        "o.OutcomeKind.ESCALATED",
        "o.OutcomeKind.SHUTDOWN",
    ),
    Mutant(
        "a decision to end the tree restarts the child",
        _JUDGE,
        "_shut_down_tree",
        "machine.begin_shutdown(outcome, now)",
        "id(outcome)",
    ),
    Mutant(
        "a limit that is reached is not told",
        _JUDGE,
        "_apply_child_limit",
        '_emit_decision(machine, child, "quarantine", "limit", signal, window=window)',
        "pass",
    ),
    Mutant(
        "the delay that decide asks for is ignored",
        _JUDGE,
        "apply_policy",
        "_restart(machine, child, signal, now, decision.delay, source)",
        "_restart(machine, child, signal, now, None, source)",
    ),
    Mutant(
        "a failed start_child keeps its name",
        _JUDGE,
        "_fail_first_start",
        "DesiredState.STOPPED if child.dependents else DesiredState.REMOVED",
        "DesiredState.STOPPED",
    ),
)
