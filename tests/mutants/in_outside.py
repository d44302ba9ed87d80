"""Bugs that those see who stand outside: the caller's block, who gives commands, who looks on."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_BLOCK = "_runtime.block"
_SUBSCRIPTION = "_runtime.subscription"

MUTANTS: Final = (
    # ---------------------------------------------------------------- the block
    Mutant(
        "a nested supervisor that gives up does not hear that its grace is over",
        _BLOCK,
        "Block._leave",
        "not (self._watch or shell.is_over)",
        "False",
    ),
    Mutant(
        "a tree that has failed leaves its block alone",
        _BLOCK,
        "Block.on_failure",
        "self._scope.cancel(reason)",
        "",
    ),
    Mutant(
        "an orderly end cancels the block",
        "_runtime.shell",
        "Shell._begin_stop",
        "outcome.is_failure or outcome.kind is o.OutcomeKind.FATAL",
        "True",
    ),
    Mutant(
        "an outer cancellation is swallowed",
        _BLOCK,
        "_compose",
        "cancelled = error if cancelled is None or error is raised else cancelled",
        "pass",
    ),
    Mutant(
        "an outer cancellation waits for the grace",
        _BLOCK,
        "Block._watch_cancellation",
        "o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED)",
        "o.Shutdown(reason, kind=o.OutcomeKind.CANCELLED)",
    ),
    Mutant(
        "of what the block and the tree raise only one is kept",
        _BLOCK,
        "_compose",
        """
        if len(found) == 1:
            return found[0]
        """,
        """
        if found:
            return found[-1]
        """,
    ),
    Mutant(
        "whoever waits for the end of the supervisor waits for ever",
        "_runtime.closing",
        "end_waits",
        "steps += (shell.finished.set, block.on_finish)",
        "steps += (block.on_finish,)",
    ),
    Mutant(
        "the report leaves out those below",
        "_runtime.shutdown_account",
        "ShutdownAccount.note_below",
        "self._entries.extend(report.children)",
        "pass",
    ),
    # ---------------------------------------------------------------- commands
    Mutant(
        "a start_child that is cancelled leaves its child behind",
        "_runtime.commands",
        "start",
        "await _withdraw(shell, reply)",
        "",
    ),
    Mutant(
        "start_child_soon forgets a child that fails to start",
        "_runtime.supervisor",
        "Supervisor.start_child_soon",
        "o.FirstStart.ORDINARY",
        "o.FirstStart.FORGETS_CHILD",
    ),
    Mutant(
        "whoever ends its supervisor waits for its own grace",
        "_runtime.commands",
        "shut_down",
        "_forfeit_grace(inside)",
        "pass",
    ),
    Mutant(
        "whoever stops one of a similar name loses its own grace",
        "_runtime.commands",
        "attempt_that_waits_for_itself",
        'f"{attempt.path}/".startswith(f"{path}/")',
        "attempt.path.startswith(path)",
    ),
    Mutant(
        "a restart returns before the new attempt is ready",
        "_runtime.commands",
        "restart",
        "view.generation >= wanted and view.live and (view.state is ChildState.READY)",
        "view.generation >= wanted",
    ),
    Mutant(
        "a child added later runs in the context of the first ones",
        "_runtime.shell",
        "Shell.command",
        "copy_context()",
        "self._context",
    ),
    # ---------------------------------------------------------------- looking on
    Mutant(
        "a slow reader is not told what it has missed",
        "_runtime.subscription",
        "Subscription._offer",
        "self._missed += 1",
        "",
    ),
    Mutant(
        "a subscriber of a branch hears of another one with such a name",
        "_runtime.subscription",
        "Subscription._offer",
        'f"{event.path}/".startswith(self._prefix)',
        "event.path.startswith(self._prefix[:-1])",
    ),
    Mutant(
        "subscribers are not woken at the end",
        "_runtime.subscription",
        "Subscription._end",
        "self._wake()",
        "pass",
    ),
    Mutant(
        "reports are kept for ever",
        "_runtime.child_slot",
        "Slot.record",
        "del self._older[0]",
        "pass",
    ),
    Mutant(
        "older reports keep their live exceptions",
        "_runtime.child_slot",
        "Slot.record",
        "(self.ended, _without_objects(self.exit, self._detail))",
        "(self.ended, self.exit)",
    ),
    # ---------------------------------------------------------------- the body's side
    Mutant(
        "a stop that was asked before anybody waits for it is lost",
        "_attempts.context",
        "ChildContext.wait_stop_requested",
        """
        if attempt.stop_requested or attempt.ended_at is not None:
            await trio.lowlevel.checkpoint()
            return
        """,
        "",
    ),
    Mutant(
        "a stop scope that is entered after the request stays open",
        "_attempts.context",
        "_StopScope.__enter__",
        """
        if attempt.stop_requested or attempt.ended_at is not None:
            scope.cancel(attempt.stop_reason)
        """,
        "",
    ),
    Mutant(
        "a heartbeat after the end changes the report",
        "_attempts.context",
        "ChildContext.heartbeat",
        "attempt.ended_at is None",
        "True",
    ),
    Mutant(
        "of overlapping announcements of silence the last one counts",
        "_attempts.busy",
        "BusyBlocks.until",
        "-self._heap[0] if self._heap else -inf",
        "-self._heap[-1] if self._heap else -inf",
    ),
    Mutant(
        "a heartbeat is lost when others have something to say",
        "_runtime.shell",
        "Shell.post_beat",
        "self.collector.post(HeartbeatNotice(attempt))",
        """
        if not self.collector.waiting:
            self.collector.post(HeartbeatNotice(attempt))
        """,
    ),
    Mutant(
        "the supervisor polls",
        "_runtime.collector",
        "ReportCollector._set_alarm",
        """
        if deadline < self._alarm_at:
            ...
        """,
        """
        deadline = min(deadline, trio.current_time() + 1)
        if deadline < self._alarm_at:
            ...
        """,
    ),
    Mutant(
        "deadlines are measured on the wall clock",
        "_runtime.collector",
        "ReportCollector._deadline_passed",
        "now = current_time()",
        'now = __import__("time").time()',
    ),
    Mutant(
        "a Ctrl-C or an exit out of a child is a crash like any other",
        "_events.exits",
        "_judge_error",
        "_with_the_rest(fatal[0], found, error) if len(fatal) == 1 else error",
        "Crashed(RuntimeError(repr(fatal[0])))",
    ),
    Mutant(
        "errors beside a fatal one are forgotten",
        "_events.exits",
        "_with_the_rest",
        "_CAUSE.__set__(fatal, ...)",
        "pass",
    ),
    Mutant(
        "of several fatal things only one is kept",
        "_events.exits",
        "_judge_error",
        "_with_the_rest(fatal[0], found, error) if len(fatal) == 1 else error",
        "_with_the_rest(fatal[0], found, error)",
    ),
    Mutant(
        "what a child has begun elsewhere is taken to be inside of it",
        "_runtime.commands",
        "attempt_that_waits_for_itself",
        "named and _is_inside(attempt)",
        "named",
    ),
    Mutant(
        "of several errors only one is kept",
        "_events.exits",
        "_judge_error",
        "found[0] if len(found) == 1 else error",
        "found[0]",
    ),
    Mutant(
        "an exit is posted before the background tasks are gone",
        "_attempts.attempt",
        "run_attempt",
        "attempt.returned = True",
        """
        attempt.returned = True
        attempt.ended_at = trio.current_time()
        attempt.host.post_exit(attempt)
        attempt.host = NO_HOST
        """,
    ),
    Mutant(
        "an outer cancellation of a lone attempt is swallowed",
        "_attempts.attempt",
        "_sort_out",
        "return cancelled",
        "return None",
    ),
    Mutant(
        "a nursery that a body leaves open is nobody's business",
        "_attempts.attempt",
        "run_attempt",
        "task.child_nurseries[-1] is not nursery",
        "False",
    ),
)
