"""Bugs that those see who stand outside: the caller's block, who gives commands, who looks on."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_ENCLOSURE = "_runtime.block"
_SUBSCRIPTION = "_runtime.subscription"

MUTANTS: Final = (
    # ---------------------------------------------------------------- the block
    Mutant(
        "a tree that has failed leaves its block alone",
        _ENCLOSURE,
        "Enclosure.__aenter__",
        "shell.on_failure = self._block.cancel",
        "",
    ),
    Mutant(
        "an orderly end cancels the block",
        "_runtime.shell",
        "Shell._stopping",
        "outcome.is_failure or outcome.kind is o.OutcomeKind.FATAL",
        "True",
    ),
    Mutant(
        "an outer cancellation is swallowed",
        _ENCLOSURE,
        "_compose",
        "cancelled = error if cancelled is None or error is raised else cancelled",
        "pass",
    ),
    Mutant(
        "an outer cancellation waits for the grace",
        _ENCLOSURE,
        "Enclosure._ring_doorbell",
        "o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED)",
        "o.Shutdown(reason, kind=o.OutcomeKind.CANCELLED)",
    ),
    Mutant(
        "of what the block and the tree raise only one is kept",
        _ENCLOSURE,
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
        "_runtime.shell",
        "Shell._close",
        "self.finished.set()",
        "",
    ),
    Mutant(
        "the report leaves out those below",
        "_runtime.shell",
        "Shell._child_exited",
        "self._gone.extend(slot.nested.report.children)",
        "pass",
    ),
    # ---------------------------------------------------------------- commands
    Mutant(
        "a start_child that is cancelled leaves its child behind",
        "_runtime.supervisor",
        "Supervisor.start_child",
        "await self._withdraw(reply)",
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
        "_runtime.supervisor",
        "Supervisor.shutdown",
        "forfeit_grace_if_inside(self._shell, self.path)",
        "",
    ),
    Mutant(
        "whoever stops one of a similar name loses its own grace",
        "_runtime.commands",
        "forfeit_grace_if_inside",
        'f"{attempt.path}/".startswith(f"{path}/")',
        "attempt.path.startswith(path)",
    ),
    Mutant(
        "a restart returns before the new attempt is ready",
        "_runtime.handle",
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
        _SUBSCRIPTION,
        "Subscription.offer",
        "self._missed += 1",
        "",
    ),
    Mutant(
        "a subscriber of a branch hears of another one with such a name",
        _SUBSCRIPTION,
        "Subscription.offer",
        'f"{event.path}/".startswith(self._prefix)',
        "event.path.startswith(self._prefix[:-1])",
    ),
    Mutant(
        "subscribers are not woken at the end",
        _SUBSCRIPTION,
        "Subscription.end",
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
        "(self.ended, _in_brief(self.exit, self._detail))",
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
        """
        if attempt.ended_at is not None:
            return
        """,
        "",
    ),
    Mutant(
        "of overlapping announcements of silence the last one counts",
        "_runtime.collector",
        "ReportCollector._take_beat",
        "max(attempt.busy, default=-inf)",
        "attempt.busy[-1]",
    ),
    Mutant(
        "a heartbeat is lost when others have something to say",
        "_runtime.collector",
        "ReportCollector.post_beat",
        "self.post(ReportCollector._take_beat, attempt)",
        """
        if not self._waiting:
            self.post(ReportCollector._take_beat, attempt)
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
        "ReportCollector.collect",
        """
        now = trio.current_time()
        while True:
            ...
        """,
        """
        now = __import__("time").time()
        while True:
            ...
        """,
    ),
    Mutant(
        "a Ctrl-C or an exit out of a child is a crash like any other",
        "_events.exits",
        "_judge_error",
        "_with_the_rest(fatal[0], error) if len(fatal) == 1 else error",
        "Crashed(RuntimeError(repr(fatal[0])))",
    ),
    Mutant(
        "errors beside a fatal one are forgotten",
        "_events.exits",
        "_with_the_rest",
        """
        if error is fatal:
            ...
        """,
        "return fatal",
    ),
    Mutant(
        "of several fatal things only one is kept",
        "_events.exits",
        "_judge_error",
        "_with_the_rest(fatal[0], error) if len(fatal) == 1 else error",
        "_with_the_rest(fatal[0], error)",
    ),
    Mutant(
        "what a child has begun elsewhere is taken to be inside of it",
        "_runtime.commands",
        "forfeit_grace_if_inside",
        "named and _is_within(attempt)",
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
