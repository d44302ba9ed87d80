"""Count repeated failures, and remember which lines are not written meanwhile.

What is known of a failure is kept by the child's path. When a nested supervisor ends, the memory of
the children declared in it is kept: its parent may be about to start it again, and the same failure
of the same child is then no news. The memory is dropped when the nested supervisor comes to rest or
is removed, when the failure has not happened again for a minute, and when the tree ends.

While a failure is counted, the child's readiness is still logged at once, up to `READY_AT_ONCE`
times a window; beyond that once the child has stayed ready for `STABLE` seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from heapq import heappop, heappush
from logging import INFO, WARNING, Logger
from math import inf
from typing import TYPE_CHECKING, Final

from trio_supervisor._events import events as ev
from trio_supervisor._logging import lines
from trio_supervisor._logging.memory import (
    READY_AT_ONCE,
    ChildMemory,
    FailureStreak,
    SupervisorMemory,
    deserves_traceback,
)
from trio_supervisor._logging.safe import fields_of, write
from trio_supervisor._text import parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_supervisor._events.fold import RawEvent

WINDOW: Final = 60.0
"""Seconds for which repeats of a failure are only counted."""

STABLE: Final = 1.0
"""Seconds of readiness after which it is logged, however often the child has failed before."""

_MOST_KINDS = 8  # of failures that one child is remembered for at a time


class Folding:
    """The memory of `TreeLog`, dropped without losing a count.

    Attributes:
        due: When `TreeLog.tick` has something to do, on Trio's clock; `inf` for never.
        levels: The lowest level that is logged of a child or supervisor and all below it, by path.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self.due = inf
        self.levels: dict[str, int] = {}
        self._alarms: list[tuple[float, int, Callable[[float], None]]] = []
        self._alarms_made = 0
        self._newest: RawEvent = (None, 0, 0.0, 0.0)
        self._children: dict[str, ChildMemory] = {}
        self._supervisors: dict[str, SupervisorMemory] = {}
        self._open: OrderedDict[FailureStreak, None] = OrderedDict()  # by the end of their windows
        self._suppressed = 0  # how many children have their lines suppressed at present
        self._held_back: dict[str, RawEvent] = {}  # the readiness of children below them

    # ------------------------------------------------------------ failures

    def _count(self, failure: FailureStreak, now: float) -> None:
        failure.count += 1
        failure.last = now
        if (
            not failure.suppressed
        ):  # the first repetition: from here on, lines about these are suppressed
            parent = parent_of(failure.child.path)
            others = [self._child_at(f"{parent}/{name}") for name in failure.also]
            failure.suppressed = [failure.child, *others]
            for child in failure.suppressed:
                child.suppressed_by += 1
                self._suppressed += child.suppressed_by == 1

    def _remember(
        self,
        exited: RawEvent,
        error: BaseException | None,
        decide_error: str | None,
        also: tuple[str, ...],
        *,
        written: bool,
    ) -> FailureStreak:
        _, _, now, _, _, path, _, _ = exited
        child = self._child_at(path)
        if len(child.failures) == _MOST_KINDS:
            self._close(child.failures[-1:], now)
        failure = FailureStreak(child, exited, error, decide_error, also)
        failure.traced = failure.traced and written
        child.failures.insert(0, failure)
        self._open[failure] = None
        self.due = min(self.due, failure.began + WINDOW)
        return failure

    def _go_on(self, now: float) -> None:
        """Do what is due: log counts of windows that are over, and what timers wait for."""
        while self._alarms and self._alarms[0][0] <= now:
            heappop(self._alarms)[2](now)
        self.due = self._alarms[0][0] if self._alarms else inf
        while self._open:
            failure = next(iter(self._open))
            if now < failure.began + WINDOW:
                self.due = min(self.due, failure.began + WINDOW)
                return
            for child in (failure.child, *failure.suppressed):
                child.budget = READY_AT_ONCE
            self._sum_up(failure, now)
            if now < failure.last + WINDOW:  # the failure goes on: one more window
                failure.began = now
                self._open.move_to_end(failure)
            else:
                self._close([failure], now)

    def _call_at(self, time: float, call: Callable[[float], None]) -> None:
        """Have ``call`` called with the present time as soon as that is ``time`` or later."""
        self._alarms_made += 1  # functions have no order
        heappush(self._alarms, (time, self._alarms_made, call))
        self.due = min(self.due, time)

    def _sum_up(self, failure: FailureStreak, now: float) -> None:
        count, failure.count = failure.count, 0
        if count:
            elapsed = min(now - failure.began, WINDOW)
            level = INFO if failure.kind == "succeeded" else WARNING
            line = lines.summary_line(
                failure.kind, count, elapsed, failure.attempt, traced=failure.traced
            )
            self._say(
                level,
                failure.child.path,
                line,
                attempt=failure.attempt,
                exit=failure.kind,
                repeats=count,
                seconds=elapsed,
                at=now,
            )

    def _pause(self, failures: Iterable[FailureStreak], now: float) -> None:
        """Log the counts so far; the failures may go on in the next run of the supervisor."""
        for failure in failures:
            if failure.count:
                self._sum_up(failure, now)
                failure.began = now
                self._open.move_to_end(failure)

    def _close(self, failures: Iterable[FailureStreak], now: float) -> None:
        """Log the counts and drop the streaks: the failures are over."""
        for failure in list(failures):
            self._sum_up(failure, now)
            self._open.pop(failure, None)
            failure.child.failures.remove(failure)
            for child in failure.suppressed:
                child.suppressed_by -= 1
                if not child.suppressed_by:
                    self._suppressed -= 1
                    held_back, child.held_back = child.held_back, None
                    if held_back is not None:
                        self._say_readiness(held_back)
                self._tidy(child)
            self._tidy(failure.child)
        below, self._held_back = self._held_back, {}
        for raw in below.values():
            self._readiness_changed(raw)

    def _begin_anew(self) -> None:
        """Log the counts and drop all memory: an error has interrupted the bookkeeping."""
        opened, self._open = self._open, OrderedDict()
        self.due, self._suppressed = self._alarms[0][0] if self._alarms else inf, 0
        self._children.clear()
        self._held_back.clear()
        for supervisor in self._supervisors.values():
            supervisor.children.clear()
            supervisor.verdict_logged.clear()
            supervisor.suppressed = False
        for failure in opened:
            self._sum_up(failure, failure.last)

    def _is_suppressed(self, path: str) -> bool:
        """Whether lines about ``path``, or about a supervisor above it, are suppressed."""
        if self._suppressed:
            while path:
                child = self._children.get(path)
                if child is not None and child.suppressed_by:
                    return True
                path = parent_of(path)
        return False

    def _tidy(self, child: ChildMemory) -> None:
        idle = not (child.failures or child.suppressed_by or child.returned)
        if idle and self._children.get(child.path) is child:
            self._forget(child.path)

    # ------------------------------------------------------------ memories by path

    def _child_at(self, path: str) -> ChildMemory:
        child = self._children.get(path)
        if child is None:
            child = self._children[path] = self._supervisor_of(path).children[path] = ChildMemory(
                path
            )
        return child

    def _forget(self, path: str) -> None:
        if self._children.pop(path, None) is not None:
            parent = parent_of(path)
            self._supervisor_of(path).children.pop(path, None)
            self._let_go(parent)

    def _supervisor_at(self, path: str) -> SupervisorMemory:
        supervisor = self._supervisors.get(path)
        if supervisor is None:
            supervisor = self._supervisors[path] = SupervisorMemory(path)
            if "/" in path:
                self._supervisor_of(path).below.add(path)
        return supervisor

    def _supervisor_of(self, path: str) -> SupervisorMemory:
        return self._supervisor_at(parent_of(path))

    def _let_go(self, path: str) -> None:
        """Forget a supervisor that has ended if nothing is remembered below it; and so on up."""
        while "/" in path:
            supervisor = self._supervisors.get(path)
            if supervisor is None or supervisor.running or supervisor.children or supervisor.below:
                return
            del self._supervisors[path]
            self._supervisor_of(path).below.discard(path)
            path = parent_of(path)

    def _keep_declared(self, supervisor: SupervisorMemory, now: float) -> None:
        """Forget the children that were added to ``supervisor``: they are gone for good."""
        if supervisor.children or supervisor.below:
            declared = {f"{supervisor.path}/{name}" for name in supervisor.declared}
            gone = [child for path, child in supervisor.children.items() if path not in declared]
            for child in gone:
                self._close(child.failures, now)
                self._forget(child.path)
            for path in sorted(supervisor.below - declared):
                self._end(path, now)

    def _end(self, path: str, now: float) -> None:
        """Forget ``path`` as a supervisor, and everything below it."""
        if path not in self._supervisors:
            return
        found = [path]
        for each in found:
            found.extend(sorted(self._supervisors[each].below))
        for each in found:
            self._close_all(each, now)
        for each in reversed(found):
            supervisor = self._supervisors.pop(each, None)
            if supervisor is not None:  # some had nothing left to remember
                for child in supervisor.children:
                    self._children.pop(child, None)
        parent = parent_of(path)
        above = self._supervisors.get(parent)
        if above is not None:
            above.below.discard(path)
            self._let_go(parent)

    def _close_all(self, path: str, now: float) -> None:
        for child in list(self._supervisors[path].children.values()):
            self._close(child.failures, now)

    # ------------------------------------------------------------ what is left to say

    def _say(
        self,
        level: int,
        path: str,
        line: str,
        *raws: RawEvent,
        error: BaseException | None = None,
        at: float | None = None,
        **more: object,
    ) -> bool:
        """Log ``line`` about ``path`` with time and fields of the events in ``raws``.

        Without an event, ``at`` is the time of the line on Trio's clock. Returns whether the level
        is one that is logged of ``path``.
        """
        if not self._logger.isEnabledFor(level):
            return False
        if self.levels and level < self._level_of(path):
            return False
        if error is not None and not deserves_traceback(error):
            error = None
        _, _, time, created, *_ = raws[-1] if raws else self._newest
        if at is not None:
            created += at - time
        fields = {"path": path, **fields_of(*raws), **more}
        write(self._logger, level, path, line, created=created, fields=fields, error=error)
        return True

    def _level_of(self, path: str) -> int:
        """The lowest level that is logged of ``path``: its own, or else that of what is above."""
        while path:
            level = self.levels.get(path)
            if level is not None:
                return level
            path = parent_of(path)
        return 0

    def _readiness_changed(self, raw: RawEvent) -> None:
        """Log that a child is ready, or not any more; or hold that back for a moment."""
        cls, _, now, _, _, path, _, _ = raw
        child = self._children.get(path)
        if child is not None and child.suppressed_by:
            if child.budget and cls is ev.ChildReady:
                child.budget -= 1
                self._say_readiness(raw)
                return
            child.held_back = raw
            if not child.watched:
                child.watched = True
                self._call_at(now + STABLE, partial(self._look_after, child))
        elif self._suppressed and self._is_suppressed(path):
            self._held_back[path] = raw
        else:
            self._say_readiness(raw)

    def _say_readiness(self, raw: RawEvent) -> None:
        cls, _, _, _, _, path, _, _ = raw
        if self._logger.isEnabledFor(INFO):
            self._say(INFO, path, lines.readiness_line(raw), raw)
        if self._held_back and cls is ev.ChildReady:  # a nested supervisor, and all below it
            self._release(f"{path}/")

    def _release(self, prefix: str) -> None:
        """Log the readiness that was held back of all children below ``prefix``."""
        for path in [each for each in self._held_back if each.startswith(prefix)]:
            self._say_readiness(self._held_back.pop(path))

    def _look_after(self, child: ChildMemory, now: float) -> None:
        """Log the readiness that was held back, if it has lasted."""
        child.watched = False
        raw = child.held_back
        if raw is None:
            return
        since = raw[2]
        if now < since + STABLE:
            child.watched = True
            self._call_at(since + STABLE, partial(self._look_after, child))
        else:
            child.held_back = None
            self._say_readiness(raw)
