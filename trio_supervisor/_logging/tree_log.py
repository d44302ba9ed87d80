"""The tree's log: one line per fact, and one line for a failure that goes on and on.

A child that crashes, restarts and crashes again writes four events each time. Formatting one
traceback costs more than all of that, and after the second one nobody reads them. So the first
failure of a kind is logged with its traceback; the same one again within a minute is counted,
without so much as asking the logger; and once a minute, or as soon as the story ends, one line says
how often. While that lasts, nothing is said about the child being ready again and again, nor about
those who restart with it, nor about whom they supervise; who is ready at the end, is told then.

All times are the events' own. There is no timer here: a minute is over when the next event comes,
or when a collector, which has one, calls `TreeLog.tick`.
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
from trio_supervisor._text import parent_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._logging.memory import Child

__all__ = ["WINDOW", "TreeLog"]

# What ends a supervisor. A nested one may be started again, and then end in the same way.
_GIVES_UP: Final = frozenset({"escalate", "start_failed"})


@final
class TreeLog(Folding):
    """Writes the events of one tree as lines of a log.

    Meant as the `Journal.tap`. Never raises: what goes wrong in here is one more line, and what
    handlers raise goes to standard error. Never keeps an exception for longer than until the event
    after the exit that it caused (or `flush`).

    Args:
        logger: Where the lines go. Left to Python's defaults, warnings and errors reach stderr.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        super().__init__(logging.getLogger("trio_supervisor") if logger is None else logger)
        self._exited: RawEvent | None = None  # waits for the verdict, or for none to come
        self._error: BaseException | None = None

    def on_event(self, raw: RawEvent, error: BaseException | None = None) -> None:
        """Take note of the next event of the tree.

        Args:
            raw: The event.
            error: The exception behind it, for `ChildExited`.
        """
        try:
            if raw[2] >= self.due:
                self._go_on(raw[2])
            cls = raw[0]
            exited = self._exited
            if exited is not None:
                if cls is ExitJudged:
                    child = self._children.get(raw[5])
                    if child is not None and child.fails_again(exited, self._error, raw[7]):
                        self._exited = self._error = None
                    else:
                        self._judged(exited, raw)
                    return
                self._unjudged(exited)
            if cls is ChildExited:
                self._exited = raw
                self._error = error
                if self._hushed:
                    self._hushed.pop(raw[5], None)
                return
            write = _WRITERS.get(cls)
            if write is not None:
                write(self, raw)
        except Exception as surprise:
            self._surprised(f"{raw[5]} {raw[0].__name__}", surprise)

    def flush(self) -> None:
        """No verdict follows the last exit: write what there is to say of it."""
        exited = self._exited
        if exited is not None:
            try:
                self._unjudged(exited)
            except Exception as surprise:
                self._surprised(f"{exited[5]} ChildExited", surprise)

    def close(self, now: float) -> None:
        """Leave nothing unsaid: the tree has broken down and will not say that it has finished."""
        self.flush()
        try:
            for path in list(self._supervisors):
                self._end(path, now)
        except Exception as surprise:
            self._surprised("what is left", surprise)

    def tick(self, now: float) -> None:
        """Sum up the failures whose window is over."""
        try:
            self._go_on(now)
        except Exception as surprise:
            self._surprised("what goes on", surprise)

    def _surprised(self, what: str, surprise: Exception) -> None:
        """A mistake of ours, or something in an event that it should not hold."""
        self._exited = self._error = None
        say_surprise(self._logger, what, surprise)
        try:
            self._begin_anew()
        except Exception as another:
            say_surprise(self._logger, "what went on", another)

    # ------------------------------------------------------------ exits

    def _unjudged(self, exited: RawEvent) -> None:
        error = self._error
        self._exited = self._error = None
        child = self._children.get(exited[5])
        if child is not None:
            child.unsaid = None
        kind = exited[7][0]
        if kind in lines.CALM:
            return
        if kind == "fatal":  # goes on to whoever runs the tree, traceback and all
            self._say(WARNING, exited[5], lines.fatal_line(exited))
            return
        failure = None if child is None else child.find(kind, error, None)
        if failure is None:
            self._say(WARNING, exited[5], lines.unjudged_line(exited), error)
            self._remember(exited, error, None, ())
        else:
            self._count(failure, exited[2])

    def _judged(self, exited: RawEvent, judged: RawEvent) -> None:
        error, self._error = self._error, None
        self._exited = None
        path, action, now = judged[5], judged[7][0], exited[2]
        note = judged[7][7]
        if note:  # of what `decide` raised the type alone: the text may be a new one each time
            note = note.partition(":")[0]
        # In a nested supervisor, whose parent may start it again.
        gives_up = action in _GIVES_UP and "/" in parent_of(path)
        child = self._children.get(path)
        known = None
        if child is not None:
            child.unsaid = None
            known = child.find(exited[7][0], error, note)
            if known is not None and (action == "restart" or (gives_up and known.gave_up)):
                self._count(known, now)
                if gives_up:
                    self._supervisor_of(path).hushed = True
                return
            if gives_up:
                self._pause(child.failures, now)
            elif action != "restart":
                self._close(child.failures, now)
        # Of one that is known, the traceback was logged a moment ago.
        self._tell_verdict(exited, None if known is not None else error, judged, child)
        if action == "restart" or (gives_up and known is None):
            known = self._remember(exited, error, note, judged[7][6])
        if gives_up and known is not None:
            known.gave_up = True

    def _tell_verdict(
        self,
        exited: RawEvent,
        error: BaseException | None,
        judged: RawEvent,
        child: Child | None,
    ) -> None:
        path, fields = judged[5], judged[7]
        if fields[7]:
            self._say(ERROR, path, f"decide() raised {fields[7]}; the restart policy decides")
        restarts = fields[0] == "restart"
        returned = restarts and exited[7][0] == "succeeded" and fields[1] == "table"
        warn = returned and (child is None or not child.returned)
        level, line = lines.verdict_line(exited, judged, warn_returned=warn)
        self._say(level, path, line, error)
        if warn:
            self._child_at(path).returned = True
        elif not restarts:
            self._supervisor_of(path).told.add(path)

    # ------------------------------------------------------------ the lines

    def _supervisor_started(self, raw: RawEvent) -> None:
        path = raw[5]
        supervisor = self._supervisor_at(path)
        supervisor.begin(raw[7][0], raw[2])
        self._keep_declared(supervisor, raw[2])  # an earlier run that broke did not get so far
        if self._logger.isEnabledFor(DEBUG) and not self._is_hushed(path):
            self._say(DEBUG, path, f"started with {lines.counted(supervisor.size)}")

    def _supervisor_ready(self, raw: RawEvent) -> None:
        path = raw[5]
        supervisor = self._supervisors.get(path)
        if supervisor is not None and not self._is_hushed(path):
            # Of a nested one its child's own line says the same.
            level = DEBUG if "/" in path else INFO
            after = lines.seconds(raw[2] - supervisor.started)
            self._say(level, path, f"ready after={after} ({lines.counted(supervisor.size)})")

    def _supervisor_idle(self, raw: RawEvent) -> None:
        self._say(INFO, raw[5], "has nothing left to do, and nothing was declared to end it")

    def _supervisor_stopping(self, raw: RawEvent) -> None:
        path, now = raw[5], raw[2]
        cause, reason = raw[7]
        supervisor = self._supervisor_at(path)
        supervisor.stopping = True
        if cause in lines.FAILING:
            supervisor.reason = reason
        if "/" not in path:
            self._close_all(path, now)
            for each in sorted(supervisor.below):
                if not self._supervisors[each].running:
                    self._end(each, now)
        elif supervisor.hushed or self._is_hushed(path):
            supervisor.hushed = True
            return
        elif cause not in lines.FAILING:
            for child in list(supervisor.children.values()):
                self._pause(child.failures, now)
        self._say(INFO, path, lines.stopping_line(raw))

    def _supervisor_finished(self, raw: RawEvent) -> None:
        path = raw[5]
        supervisor = self._supervisor_at(path)
        if "/" in path:  # its parent may start it again
            supervisor.running = False
            self._keep_declared(supervisor, raw[2])
            self._let_go(path)
        else:
            self._end(path, raw[2])
        unresponsive = raw[7][3]
        if unresponsive or not supervisor.hushed:
            level = WARNING if unresponsive else INFO
            self._say(level, path, lines.finished_line(raw, supervisor.size))

    def _command_accepted(self, raw: RawEvent) -> None:
        command, reason, *by = raw[7]
        self._say(INFO, raw[5], f"accepted {command}{lines.because(reason)}{lines.by_whom(by)}")

    def _child_added(self, raw: RawEvent) -> None:
        self._supervisor_of(raw[5]).size += 1

    def _child_started(self, raw: RawEvent) -> None:
        child = self._children.get(raw[5])
        if child is not None and child.quiet:
            return
        if self._logger.isEnabledFor(DEBUG) and not self._is_hushed(raw[5]):
            self._say(DEBUG, raw[5], f"started attempt={raw[6]}")

    def _child_unresponsive(self, raw: RawEvent) -> None:
        self._say(WARNING, raw[5], lines.unresponsive_line(raw))

    def _child_down(self, raw: RawEvent) -> None:
        path = raw[5]
        child = self._children.get(path)
        if child is not None:
            child.unsaid = None
        supervisor = self._supervisor_of(path)
        # Otherwise its supervisor stops, and may start again.
        if raw[0] is ev.ChildRemoved or not supervisor.stopping or "/" not in supervisor.path:
            if child is not None:
                self._close(child.failures, raw[2])
            self._end(path, raw[2])
        if path in supervisor.told:
            supervisor.told.remove(path)
        elif not supervisor.hushed and self._logger.isEnabledFor(INFO):
            self._say(INFO, path, lines.down_line(raw, supervisor.reason))

    def _child_removed(self, raw: RawEvent) -> None:
        self._child_down(raw)
        self._forget(raw[5])
        self._supervisor_of(raw[5]).size -= 1


_WRITERS: Final[dict[type[ev.Event], Callable[[TreeLog, RawEvent], None]]] = {
    ev.SupervisorStarted: TreeLog._supervisor_started,
    ev.SupervisorReady: TreeLog._supervisor_ready,
    ev.SupervisorIdle: TreeLog._supervisor_idle,
    ev.SupervisorStopping: TreeLog._supervisor_stopping,
    ev.SupervisorFinished: TreeLog._supervisor_finished,
    ev.CommandAccepted: TreeLog._command_accepted,
    ev.ChildAdded: TreeLog._child_added,
    ev.ChildStarted: TreeLog._child_started,
    ev.ChildReady: Folding._child_said,
    ev.ChildLostReadiness: Folding._child_said,
    ev.ChildUnresponsive: TreeLog._child_unresponsive,
    ev.ChildDone: TreeLog._child_down,
    ev.ChildStopped: TreeLog._child_down,
    ev.ChildQuarantined: TreeLog._child_down,
    ev.ChildRemoved: TreeLog._child_removed,
}
