"""Write the events of one tree to the log, and aggregate repeated failures.

A child that crashes, restarts and crashes again records four events each time. Formatting one
traceback costs more than all of that, and nothing is learnt from the second one. The first failure
of a kind is logged with its traceback. The same failure within a minute is only counted, without so
much as asking the logger; one line per minute, and one when the repetition ends, gives the count.
See `trio_supervisor._logging.repeats` for what is suppressed meanwhile.

A record's time is the time of the event. There is no timer here: `TreeLog.due` is when something is
to be said of what has *not* happened, and a collector, which has a timer, calls `TreeLog.tick`.

`TreeLog.take` only collects. `TreeLog.flush` writes, when all events of one step are recorded: a
handler that looks at the tree finds state and journal in agreement.
"""

from __future__ import annotations

import logging
from logging import DEBUG, ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Final, final

from trio_supervisor._events import events as ev
from trio_supervisor._events.events import ChildExited, ExitJudged
from trio_supervisor._logging import lines
from trio_supervisor._logging.repeats import WINDOW, Folding
from trio_supervisor._logging.safe import say_surprise
from trio_supervisor._logging.waits import Waits
from trio_supervisor._text import one_line, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._logging.memory import ChildMemory

__all__ = ["WINDOW", "TreeLog"]

# What ends a supervisor. A nested one may be started again, and then end in the same way.
_GIVES_UP: Final = frozenset({"escalate", "start_failed"})
_COMES_TO_REST: Final = frozenset({"done", "remove"})


@final
class TreeLog(Waits):
    """Writes the events of one tree as lines of a log.

    Never raises: what goes wrong in here is one more line, and what handlers raise goes to standard
    error. Never keeps an exception for longer than until the event after the exit that it caused
    (or `flush`).

    Args:
        logger: Where the lines go. Left to Python's defaults, warnings and errors reach stderr.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        super().__init__(logging.getLogger("trio_supervisor") if logger is None else logger)
        self.pending: list[tuple[RawEvent, BaseException | None]] = []
        self._step = self.pending  # what `flush` is writing
        self._calm: RawEvent | None = None  # an exit of which there is nothing to say so far
        self._exited: RawEvent | None = None  # waits for its decision, or for none to come
        self._error: BaseException | None = None

    def take(self, raw: RawEvent, error: BaseException | None = None) -> None:
        """Collect the next event of the tree, with the exception behind it; see `on_event`."""
        # Of most events there is nothing to say or to note: each kind has a rule that says when.
        is_idle = _IDLE.get(raw[0])
        if is_idle is not None and error is None and raw[2] < self.due and is_idle(self, raw):
            self._newest = raw
            return
        calm, self._calm = self._calm, None
        if calm is not None and calm[1] + 1 == raw[1] and raw[0] is ExitJudged:
            self.pending.append((calm, None))  # the exit that is judged
        self.pending.append((raw, error))

    def on_event(self, raw: RawEvent, error: BaseException | None = None) -> None:
        """Write what there is to say of the next event of the tree.

        Args:
            raw: The event.
            error: The exception behind the event, for `ChildExited`.
        """
        self._newest = raw
        cls, _, now, _, _, path, _, fields = raw
        try:
            if now >= self.due:
                self._go_on(now)
            exited = self._exited
            if exited is not None:
                if cls is ExitJudged:
                    child = self._children.get(path)
                    if child is not None and child.fails_again(exited, self._error, fields):
                        self._exited = self._error = None
                    else:
                        self._judged(exited, raw)
                    return
                self._unjudged(exited, raw)
            if cls is ChildExited:
                self._exited = raw
                self._error = error
                if self._stops:
                    self._stops.pop(path, None)
                if self._held_back:
                    self._held_back.pop(path, None)
                return
            write = _WRITERS.get(cls)
            if write is not None:
                write(self, raw)
        except BaseException as surprise:
            self._surprised(f"{path} {cls.__name__}", surprise)

    # ------------------------------------------------------------ nothing to say

    def _is_idle(self, raw: RawEvent) -> bool:
        return not self.pending and self._exited is None

    def _is_idle_about_start(self, raw: RawEvent) -> bool:
        return not self._logger.isEnabledFor(DEBUG)

    def _is_idle_about_readiness(self, raw: RawEvent) -> bool:
        if self.pending:
            return False
        child = self._children.get(raw[5])
        if child is not None:
            return child.holds_back(raw)
        return not (self._suppressed or self._held_back or self._logger.isEnabledFor(INFO))

    def _is_idle_about_stop(self, raw: RawEvent) -> bool:
        reason, grace = raw[7]
        return grace <= 0 and not reason.startswith(lines.FAULTS)

    def _is_idle_about_cancel(self, raw: RawEvent) -> bool:
        if raw[5] in self._stops:
            return False
        # The deadline asks and cancels in one step.
        return not self.pending or self.pending[-1][0][5] != raw[5]

    def _is_idle_about_addition(self, raw: RawEvent) -> bool:
        if self._is_idle(raw):
            self._child_added(raw)
            return True
        return False

    def _is_idle_about_exit(self, raw: RawEvent) -> bool:
        if raw[7][0] in lines.CALM and self._knows_nothing_of(raw[5]):
            self._calm = raw
            return True
        return False

    def _is_idle_about_decision(self, raw: RawEvent) -> bool:
        calm, (action, _, _, _, _, _, _, decide_error) = self._calm, raw[7]
        if calm is not None and calm[1] + 1 == raw[1]:
            return action in _COMES_TO_REST and not decide_error
        if len(self.pending) != 1 or self._stops or self._held_back:
            return False
        ((exited, error),) = self.pending
        child = self._children.get(raw[5])
        if child is None or exited[1] + 1 != raw[1] or not child.fails_again(exited, error, raw[7]):
            return False
        self.pending.clear()
        return True

    def _is_idle_about_rest(self, raw: RawEvent) -> bool:
        path = raw[5]
        supervisor = self._supervisor_of(path)
        if path in supervisor.verdict_logged or not self._knows_nothing_of(path):
            return False
        if raw[0] is ev.ChildRemoved:
            supervisor.size -= 1
            if self.levels:
                self.levels.pop(path, None)
        return True

    def _knows_nothing_of(self, path: str) -> bool:
        """Whether nothing is remembered of the child, and lines of level INFO are not wanted."""
        return not (
            self.pending
            or path in self._children
            or path in self._supervisors
            or self._stops
            or self._held_back
            or self._logger.isEnabledFor(INFO)
        )

    def flush(self) -> None:
        """Write what `take` has collected. No decision follows the last exit any more."""
        while self.pending:
            self._step, self.pending = self.pending, []
            for raw, error in self._step:
                self.on_event(raw, error)
        self._step = self.pending
        exited = self._exited
        if exited is not None:
            try:
                self._unjudged(exited, None)
            except BaseException as surprise:
                self._surprised(f"{exited[5]} ChildExited", surprise)

    def close(self, now: float) -> None:
        """Write what is left: the tree has broken down and will not say that it has finished."""
        self.flush()
        try:
            for path in list(self._supervisors):
                self._end(path, now)
        except BaseException as surprise:
            self._surprised("what is left", surprise)

    def untie(self) -> None:
        """Forget everything: the tree has ended. What was to be looked at later refers to this."""
        self.looks.clear()
        self._alarms.clear()

    def tick(self, now: float) -> None:
        """Write what is due: counts of repeated failures, and what has not happened for long."""
        try:
            self._go_on(now)
        except BaseException as surprise:
            self._surprised("what goes on", surprise)

    def _surprised(self, what: str, surprise: BaseException) -> None:
        """A mistake of this library, or something in an event that it should not hold."""
        self._exited = self._error = None
        say_surprise(self._logger, what, surprise)
        try:
            self._begin_anew()
        except BaseException as another:
            say_surprise(self._logger, "what went on", another)

    # ------------------------------------------------------------ exits

    def _unjudged(self, exited: RawEvent, following: RawEvent | None) -> None:
        """Write an exit that policy does not judge: the attempt was to end anyway."""
        error = self._error
        self._exited = self._error = None
        _, _, now, _, _, path, _, (kind, _, _, stop_reason) = exited
        child = self._children.get(path)
        if child is not None:
            child.held_back = None
        if kind in lines.CALM:
            if stop_reason is not None and not self._comes_to_rest(exited, following):
                self._stopped_for_a_while(exited, child)
            return
        if kind == "fatal":  # propagates to the caller of the tree, with its traceback
            self._say(WARNING, path, lines.fatal_line(exited), exited)
            return
        failure = None if child is None else child.find(kind, error, None)
        if failure is None:
            written = self._say(WARNING, path, lines.unjudged_line(exited), exited, error=error)
            self._remember(exited, error, None, (), written=written)
        else:
            self._count(failure, now)

    def _comes_to_rest(self, exited: RawEvent, following: RawEvent | None) -> bool:
        """Whether what is recorded next of the child says that it stays down."""
        path = exited[5]
        if following is None or following[5] != path:
            # The turn of a sibling that has waited for this exit may come first.
            of_child = (raw for raw, _ in self._step if raw[5] == path and raw[1] > exited[1])
            following = next(of_child, None)
        return following is not None and following[0] in _AT_REST

    def _stopped_for_a_while(self, exited: RawEvent, child: ChildMemory | None) -> None:
        """Write that a child has been stopped and starts again: with its group, or by command."""
        path = exited[5]
        if child is not None and child.suppressed_by:
            return
        supervisor = self._supervisor_of(path)
        if supervisor.stopping or not self._logger.isEnabledFor(INFO) or self._is_suppressed(path):
            return
        self._say(INFO, path, lines.stopped_line(exited), exited)

    def _judged(self, exited: RawEvent, judged: RawEvent) -> None:
        error, self._error = self._error, None
        self._exited = None
        _, _, now, _, _, _, _, (kind, *_) = exited
        _, _, _, _, _, path, _, (action, _, _, _, _, _, also, decide_error) = judged
        # The type alone: the text of what `decide` raises may be a new one each time.
        decide_type = decide_error.partition(":")[0]
        # In a nested supervisor, which its parent may start again.
        gives_up = action in _GIVES_UP and "/" in parent_of(path)
        child = self._children.get(path)
        known = None
        if child is not None:
            child.held_back = None
            known = child.find(kind, error, decide_type)
            if known is not None and (action == "restart" or (gives_up and known.gave_up)):
                self._count(known, now)
                if gives_up:
                    self._supervisor_of(path).suppressed = True
                return
            if gives_up:
                self._pause(child.failures, now)
            elif action != "restart":
                self._close(child.failures, now)
        # Of a known failure, the traceback was logged a moment ago, unless the level was too low.
        shown = None if known is not None and known.traced else error
        written = self._say_verdict(exited, shown, judged, child)
        if action == "restart" or (gives_up and known is None):
            known = self._remember(exited, error, decide_type, also, written=written)
        if gives_up and known is not None:
            known.gave_up = True

    def _say_verdict(
        self,
        exited: RawEvent,
        error: BaseException | None,
        judged: RawEvent,
        child: ChildMemory | None,
    ) -> bool:
        _, _, _, _, _, path, _, (action, source, _, _, _, _, _, decide_error) = judged
        if decide_error:
            line = f"decide() raised {one_line(decide_error)}; the restart policy decides"
            self._say(ERROR, path, line, judged)
        restarts = action == "restart"
        kind = exited[7][0]
        returned = restarts and kind == "succeeded" and source == "table"
        warn = returned and (child is None or not child.returned)
        level = lines.verdict_level(exited, judged, warn_returned=warn)
        written = False
        if self._logger.isEnabledFor(level):
            line = lines.verdict_line(exited, judged, warn_returned=warn)
            written = self._say(level, path, line, exited, judged, error=error)
        if warn:
            self._child_at(path).returned = True
        elif not restarts:
            self._supervisor_of(path).verdict_logged.add(path)
        return written

    # ------------------------------------------------------------ the lines

    def _supervisor_started(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, (children, *_) = raw
        supervisor = self._supervisor_at(path)
        supervisor.begin(children, now)
        self._keep_declared(supervisor, now)  # an earlier run that broke did not get so far
        if children and path in self.looks:
            self._watch_start(supervisor)
        if self._logger.isEnabledFor(DEBUG) and not self._is_suppressed(path):
            self._say(DEBUG, path, f"started with {lines.counted(supervisor.size)}", raw)

    def _supervisor_ready(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, _ = raw
        supervisor = self._supervisors.get(path)
        if supervisor is None:
            return
        supervisor.ready = True
        if not self._is_suppressed(path):
            # Of a nested one its child's own line says the same, unless it took long.
            level = DEBUG if "/" in path and not supervisor.delay_logged else INFO
            after = lines.seconds(now - supervisor.started)
            self._say(level, path, f"ready after={after} ({lines.counted(supervisor.size)})", raw)

    def _supervisor_idle(self, raw: RawEvent) -> None:
        self._say(INFO, raw[5], lines.IDLE, raw)

    def _supervisor_stopping(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, (cause, reason) = raw
        supervisor = self._supervisor_at(path)
        supervisor.stopping = True
        if cause in lines.FAILING:
            supervisor.reason = reason
        if "/" not in path:
            self._close_all(path, now)
            for each in sorted(supervisor.below):
                if not self._supervisors[each].running:
                    self._end(each, now)
        elif supervisor.suppressed or self._is_suppressed(path):
            supervisor.suppressed = True
            return
        elif cause not in lines.FAILING:
            for child in list(supervisor.children.values()):
                self._pause(child.failures, now)
        self._say(INFO, path, lines.stopping_line(raw), raw)

    def _supervisor_finished(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, (_, _, _, unresponsive) = raw
        supervisor = self._supervisor_at(path)
        self.looks.pop(path, None)
        if "/" in path:  # its parent may start it again
            supervisor.running = False
            self._keep_declared(supervisor, now)
            self._let_go(path)
        else:
            self._end(path, now)
        if unresponsive or not supervisor.suppressed:
            level = WARNING if unresponsive else INFO
            self._say(level, path, lines.finished_line(raw, supervisor.size), raw)

    def _command_accepted(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, (command, reason, *by) = raw
        child = self._children.get(path)
        if child is not None:  # what follows is the command's effect, not a repetition
            self._close(child.failures, now)
            child.budget = max(child.budget, 1)
        line = f"accepted {command}{lines.because(reason)}{lines.by_whom(by)}"
        self._say(INFO, path, line, raw)

    def _child_added(self, raw: RawEvent) -> None:
        self._supervisor_of(raw[5]).size += 1

    def _child_started(self, raw: RawEvent) -> None:
        _, _, _, _, _, path, attempt, _ = raw
        child = self._children.get(path)
        if child is not None and child.suppressed_by:
            return
        if self._logger.isEnabledFor(DEBUG) and not self._is_suppressed(path):
            self._say(DEBUG, path, f"started attempt={attempt}", raw)

    def _child_unresponsive(self, raw: RawEvent) -> None:
        path = raw[5]
        stop = self._stops.get(path)
        why = "" if stop is None else lines.because(stop.reason)
        self._say(WARNING, path, f"{lines.unresponsive_line(raw)}{why}", raw)

    def _child_down(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, _, _ = raw
        child = self._children.get(path)
        if child is not None:
            child.held_back = None
        supervisor = self._supervisor_of(path)
        # Otherwise its supervisor stops, and may start again.
        if raw[0] is ev.ChildRemoved or not supervisor.stopping or "/" not in supervisor.path:
            if child is not None:
                self._close(child.failures, now)
            self._end(path, now)
        if path in supervisor.verdict_logged:
            supervisor.verdict_logged.remove(path)
        elif not supervisor.suppressed and self._logger.isEnabledFor(INFO):
            self._say(INFO, path, lines.down_line(raw, supervisor.reason), raw)

    def _child_removed(self, raw: RawEvent) -> None:
        path = raw[5]
        supervisor = self._supervisor_of(path)
        supervisor.size -= 1
        known = path in self._children or path in self._supervisors
        if not known and path in supervisor.verdict_logged:  # its end was told: nothing is left
            supervisor.verdict_logged.remove(path)
        else:
            self._child_down(raw)
            self._forget(path)
        if self.levels:
            self.levels.pop(path, None)


_AT_REST: Final = (ev.ChildDone, ev.ChildStopped, ev.ChildQuarantined, ev.ChildRemoved)


_WRITERS: Final[dict[type[ev.Event], Callable[[TreeLog, RawEvent], None]]] = {
    ev.SupervisorStarted: TreeLog._supervisor_started,
    ev.SupervisorReady: TreeLog._supervisor_ready,
    ev.SupervisorIdle: TreeLog._supervisor_idle,
    ev.SupervisorStopping: TreeLog._supervisor_stopping,
    ev.SupervisorFinished: TreeLog._supervisor_finished,
    ev.CommandAccepted: TreeLog._command_accepted,
    ev.ChildAdded: TreeLog._child_added,
    ev.ChildStarted: TreeLog._child_started,
    ev.ChildReady: Folding._readiness_changed,
    ev.ChildLostReadiness: Folding._readiness_changed,
    ev.ChildStopRequested: Waits._stop_requested,
    ev.ChildCancelled: Waits._cancelled,
    ev.ChildUnresponsive: TreeLog._child_unresponsive,
    ev.ChildDone: TreeLog._child_down,
    ev.ChildStopped: TreeLog._child_down,
    ev.ChildQuarantined: TreeLog._child_down,
    ev.ChildRemoved: TreeLog._child_removed,
}
_SILENT: Final = frozenset(
    cls
    for cls in vars(ev).values()
    if isinstance(cls, type)
    and issubclass(cls, ev.Event)
    and cls not in {*_WRITERS, ChildExited, ExitJudged}
)
_IDLE: Final[dict[type[ev.Event], Callable[[TreeLog, RawEvent], bool]]] = {
    **dict.fromkeys(_SILENT, TreeLog._is_idle),
    ev.ChildAdded: TreeLog._is_idle_about_addition,
    ev.ChildStarted: TreeLog._is_idle_about_start,
    ev.ChildReady: TreeLog._is_idle_about_readiness,
    ev.ChildStopRequested: TreeLog._is_idle_about_stop,
    ev.ChildCancelled: TreeLog._is_idle_about_cancel,
    ChildExited: TreeLog._is_idle_about_exit,
    ExitJudged: TreeLog._is_idle_about_decision,
    **dict.fromkeys(_AT_REST, TreeLog._is_idle_about_rest),
}
"""Whether an event that was just recorded gives nothing to say, and nothing to remember.

For a start, a stop request or a cancel this does not depend on the events before it in the same
step, which `TreeLog.flush` writes later.
The level that counts is the one at that time: a handler that lowers it as `flush` writes hears more
from the next step on.
"""

_HEARD: Final = frozenset({ChildExited, ExitJudged, *_WRITERS})
"""Kinds of events that have something to do with the log."""
