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
import traceback
from collections import OrderedDict
from logging import DEBUG, ERROR, INFO, WARNING
from math import inf
from typing import TYPE_CHECKING, Final, final

from trio_supervisor import _events as ev
from trio_supervisor import _log_lines as lines
from trio_supervisor._events import ChildExited, ExitJudged
from trio_supervisor._log_repeats import Child, Failure, Supervisor, deserves_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_supervisor._fold import RawEvent

WINDOW: Final = 60.0
"""Seconds for which repeats of a failure are only counted."""

_MOST_KINDS = 8  # of failures that one child is remembered for at a time


@final
class TreeLog:
    """Writes the events of one tree as lines of a log.

    Meant as the `Journal.tap`; never raises, and never keeps an exception for longer than until the
    event after the exit that it caused (or `flush`).

    Args:
        logger: Where the lines go. Left to Python's defaults, warnings and errors reach stderr.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logging.getLogger("trio_supervisor") if logger is None else logger
        self._due = inf
        self._exited: RawEvent | None = None  # waits for the verdict, or for none to come
        self._error: BaseException | None = None
        self._children: dict[str, Child] = {}
        self._supervisors: dict[str, Supervisor] = {}
        self._open: OrderedDict[Failure, None] = OrderedDict()  # by the end of their windows
        self._quiet = 0  # of how many children nothing is said at present
        self._hushed: dict[str, RawEvent] = {}  # what those below them would have said

    def on_event(self, raw: RawEvent, error: BaseException | None = None) -> None:
        """Take note of the next event of the tree.

        Args:
            raw: The event.
            error: The exception behind it, for `ChildExited`.
        """
        if raw[2] >= self._due:
            self.tick(raw[2])
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
            self.flush()
        if cls is ChildExited:
            self._exited = raw
            self._error = error
            if self._hushed:
                self._hushed.pop(raw[5], None)
            return
        write = _WRITERS.get(cls)
        if write is not None:
            write(self, raw)

    def flush(self) -> None:
        """No verdict follows the last exit: write what there is to say of it."""
        exited, error = self._exited, self._error
        self._exited = self._error = None
        if exited is None:
            return
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

    def close(self, now: float) -> None:
        """Leave nothing unsaid: the tree has broken down and will not say that it has finished."""
        self.flush()
        for path in list(self._supervisors):
            self._end(path, now)

    @property
    def due(self) -> float:
        """When `tick` has something to do, on Trio's clock; `inf` for never."""
        return self._due

    def tick(self, now: float) -> None:
        """Sum up the failures whose window is over."""
        while self._open:
            failure = next(iter(self._open))
            if now < failure.began + WINDOW:
                self._due = failure.began + WINDOW
                return
            self._sum_up(failure, now)
            if now < failure.last + WINDOW:  # it goes on: one more window
                failure.began = now
                self._open.move_to_end(failure)
            else:
                self._close([failure], now)
        self._due = inf

    # ------------------------------------------------------------ failures

    def _judged(self, exited: RawEvent, judged: RawEvent) -> None:
        error, self._error = self._error, None
        self._exited = None
        note = judged[7][7]
        if note:  # of what `decide` raised the type alone: the text may be a new one each time
            note = note.partition(":")[0]
        child = self._children.get(judged[5])
        known = None
        if child is not None:
            child.unsaid = None
            known = child.find(exited[7][0], error, note)
            if judged[7][0] != "restart":
                self._close(child.failures, exited[2])
            elif known is not None:
                self._count(known, exited[2])
                return
        if known is not None:
            error = None  # its traceback was logged a moment ago
        self._tell_verdict(exited, error, judged, note, child)

    def _tell_verdict(
        self,
        exited: RawEvent,
        error: BaseException | None,
        judged: RawEvent,
        note: str,
        child: Child | None,
    ) -> None:
        path, fields = judged[5], judged[7]
        restarts = fields[0] == "restart"
        if fields[7]:
            self._say(ERROR, path, f"decide() raised {fields[7]}; the restart policy decides")
        returned = restarts and exited[7][0] == "succeeded" and fields[1] == "table"
        warn = returned and (child is None or not child.returned)
        level, line = lines.verdict_line(exited, judged, warn_returned=warn)
        self._say(level, path, line, error)
        if restarts:
            self._remember(exited, error, note, fields[6], returned=returned)
        else:
            self._supervisor_of(path).told.add(path)

    def _count(self, failure: Failure, now: float) -> None:
        failure.count += 1
        failure.last = now
        if not failure.muted:  # the first repeat: from here on nothing is said about these
            parent = lines.parent_of(failure.child.path)
            others = [self._child_at(f"{parent}/{name}") for name in failure.also]
            failure.muted = [failure.child, *others]
            for child in failure.muted:
                child.quiet += 1
                self._quiet += child.quiet == 1

    def _remember(
        self,
        exited: RawEvent,
        error: BaseException | None,
        note: str | None,
        also: tuple[str, ...],
        *,
        returned: bool = False,
    ) -> None:
        child = self._child_at(exited[5])
        child.returned |= returned
        if len(child.failures) == _MOST_KINDS:
            self._close(child.failures[-1:], exited[2])
        failure = Failure(child, exited, error, note, also)
        child.failures.insert(0, failure)
        self._open[failure] = None
        self._due = min(self._due, failure.began + WINDOW)

    def _sum_up(self, failure: Failure, now: float) -> None:
        count, failure.count = failure.count, 0
        if count:
            elapsed = min(now - failure.began, WINDOW)
            level = INFO if failure.kind == "succeeded" else WARNING
            line = lines.summary_line(
                failure.kind, count, elapsed, failure.attempt, traced=failure.traced
            )
            self._say(level, failure.child.path, line)

    def _close(self, failures: Iterable[Failure], now: float) -> None:
        """Their stories are over."""
        for failure in list(failures):
            self._sum_up(failure, now)
            self._open.pop(failure, None)
            failure.child.failures.remove(failure)
            for child in failure.muted:
                child.quiet -= 1
                if not child.quiet:
                    self._quiet -= 1
                    if child.unsaid is not None:
                        self._child_said(child.unsaid)
                        child.unsaid = None
                self._tidy(child)
            self._tidy(failure.child)
        hushed, self._hushed = self._hushed, {}
        for raw in hushed.values():
            self._child_said(raw)

    def _is_hushed(self, path: str) -> bool:
        """Whether nothing is said at present of ``path``, or of somebody above it."""
        if self._quiet:
            while path:
                child = self._children.get(path)
                if child is not None and child.quiet:
                    return True
                path = lines.parent_of(path)
        return False

    def _tidy(self, child: Child) -> None:
        idle = not (child.failures or child.quiet or child.returned)
        if idle and self._children.get(child.path) is child:
            self._forget(child.path)

    # ------------------------------------------------------------ who is who

    def _child_at(self, path: str) -> Child:
        child = self._children.get(path)
        if child is None:
            child = self._children[path] = self._supervisor_of(path).children[path] = Child(path)
        return child

    def _forget(self, path: str) -> None:
        if self._children.pop(path, None) is not None:
            self._supervisor_of(path).children.pop(path, None)

    def _supervisor_of(self, path: str) -> Supervisor:
        parent = lines.parent_of(path)
        supervisor = self._supervisors.get(parent)
        if supervisor is None:  # it had started before the log began
            supervisor = self._supervisors[parent] = Supervisor(0, 0.0)
        return supervisor

    # ------------------------------------------------------------ the lines

    def _say(self, level: int, path: str, line: str, error: BaseException | None = None) -> None:
        exc_info = None
        if error is not None and deserves_traceback(error):
            exc_info = (type(error), error, error.__traceback__)
        try:
            self._logger.log(level, "%s %s", path, line, exc_info=exc_info)
        except Exception:  # a broken handler is no reason to end a tree
            if logging.raiseExceptions:
                traceback.print_exc()

    def _supervisor_started(self, raw: RawEvent) -> None:
        path, size = raw[5], len(raw[7][0])
        self._end(path, raw[2])  # an earlier run that broke, if there was one
        self._supervisors[path] = Supervisor(size, raw[2])
        if self._logger.isEnabledFor(DEBUG) and not self._is_hushed(path):
            self._say(DEBUG, path, f"started with {lines.counted(size)}")

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
        path = raw[5]
        self._close_all(path, raw[2])
        supervisor = self._supervisors.get(path)
        if supervisor is not None and self._is_hushed(path):
            supervisor.hushed = True
        else:
            self._say(INFO, path, lines.stopping_line(raw))

    def _supervisor_finished(self, raw: RawEvent) -> None:
        supervisor = self._end(raw[5], raw[2])
        unresponsive = raw[7][3]
        if supervisor is None or unresponsive or not supervisor.hushed:
            level = WARNING if unresponsive else INFO
            size = 0 if supervisor is None else supervisor.size
            self._say(level, raw[5], lines.finished_line(raw, size))

    def _end(self, path: str, now: float) -> Supervisor | None:
        self._close_all(path, now)
        supervisor = self._supervisors.pop(path, None)
        if supervisor is not None:
            for child in supervisor.children:
                self._children.pop(child, None)
        return supervisor

    def _close_all(self, path: str, now: float) -> None:
        supervisor = self._supervisors.get(path)
        if supervisor is not None:
            for child in list(supervisor.children.values()):
                self._close(child.failures, now)

    def _command_accepted(self, raw: RawEvent) -> None:
        command, reason = raw[7]
        self._say(INFO, raw[5], f"accepted {command}{lines.because(reason)}")

    def _child_added(self, raw: RawEvent) -> None:
        self._supervisor_of(raw[5]).size += 1

    def _child_started(self, raw: RawEvent) -> None:
        child = self._children.get(raw[5])
        if child is not None and child.quiet:
            return
        if self._logger.isEnabledFor(DEBUG) and not self._is_hushed(raw[5]):
            self._say(DEBUG, raw[5], f"started attempt={raw[6]}")

    def _child_said(self, raw: RawEvent) -> None:
        child = self._children.get(raw[5])
        if child is not None and child.quiet:
            child.unsaid = raw
        elif self._quiet and self._is_hushed(raw[5]):
            self._hushed[raw[5]] = raw
        elif self._logger.isEnabledFor(INFO):
            self._say(INFO, raw[5], lines.readiness_line(raw))

    def _child_unresponsive(self, raw: RawEvent) -> None:
        self._say(WARNING, raw[5], lines.unresponsive_line(raw))

    def _child_down(self, raw: RawEvent) -> None:
        path = raw[5]
        child = self._children.get(path)
        if child is not None:
            child.unsaid = None
            self._close(child.failures, raw[2])
        supervisor = self._supervisor_of(path)
        if path in supervisor.told:
            supervisor.told.remove(path)
        elif not supervisor.hushed and self._logger.isEnabledFor(INFO):
            self._say(INFO, path, lines.down_line(raw))

    def _child_removed(self, raw: RawEvent) -> None:
        self._child_down(raw)
        self._forget(raw[5])
        self._end(raw[5], raw[2])
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
    ev.ChildReady: TreeLog._child_said,
    ev.ChildLostReadiness: TreeLog._child_said,
    ev.ChildUnresponsive: TreeLog._child_unresponsive,
    ev.ChildDone: TreeLog._child_down,
    ev.ChildStopped: TreeLog._child_down,
    ev.ChildQuarantined: TreeLog._child_down,
    ev.ChildRemoved: TreeLog._child_removed,
}
