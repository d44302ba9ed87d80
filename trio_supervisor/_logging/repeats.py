"""The memory of the log: which failures go on and on, of whom, and who is quiet meanwhile.

What is known of a failure is kept by the child's path. When a nested supervisor ends, this is kept
of the children that are declared in it: its parent may be about to start it again, and the same
failure of the same child then is no news. It is forgotten when the nested supervisor comes to rest
or is removed, when nothing more is heard of the failure for a minute, and when the tree ends.
"""

from __future__ import annotations

from collections import OrderedDict
from logging import INFO, WARNING, Logger
from math import inf
from typing import TYPE_CHECKING, Final

from trio_supervisor._logging import lines
from trio_supervisor._logging.memory import Child, Failure, Supervisor, deserves_traceback
from trio_supervisor._logging.safe import say
from trio_supervisor._text import parent_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_supervisor._events.fold import RawEvent

WINDOW: Final = 60.0
"""Seconds for which repeats of a failure are only counted."""

_MOST_KINDS = 8  # of failures that one child is remembered for at a time


class Folding:
    """What `TreeLog` remembers, and how it lets go of it: no count is lost on the way.

    Attributes:
        due: When `TreeLog.tick` has something to do, on Trio's clock; `inf` for never.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self.due = inf
        self._children: dict[str, Child] = {}
        self._supervisors: dict[str, Supervisor] = {}
        self._open: OrderedDict[Failure, None] = OrderedDict()  # by the end of their windows
        self._quiet = 0  # of how many children nothing is said at present
        self._hushed: dict[str, RawEvent] = {}  # what those below them would have said

    # ------------------------------------------------------------ failures

    def _count(self, failure: Failure, now: float) -> None:
        failure.count += 1
        failure.last = now
        if not failure.muted:  # the first repeat: from here on nothing is said about these
            parent = parent_of(failure.child.path)
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
    ) -> Failure:
        child = self._child_at(exited[5])
        if len(child.failures) == _MOST_KINDS:
            self._close(child.failures[-1:], exited[2])
        failure = Failure(child, exited, error, note, also)
        child.failures.insert(0, failure)
        self._open[failure] = None
        self.due = min(self.due, failure.began + WINDOW)
        return failure

    def _go_on(self, now: float) -> None:
        """Sum up the failures whose window is over."""
        while self._open:
            failure = next(iter(self._open))
            if now < failure.began + WINDOW:
                self.due = failure.began + WINDOW
                return
            self._sum_up(failure, now)
            if now < failure.last + WINDOW:  # it goes on: one more window
                failure.began = now
                self._open.move_to_end(failure)
            else:
                self._close([failure], now)
        self.due = inf

    def _sum_up(self, failure: Failure, now: float) -> None:
        count, failure.count = failure.count, 0
        if count:
            elapsed = min(now - failure.began, WINDOW)
            level = INFO if failure.kind == "succeeded" else WARNING
            line = lines.summary_line(
                failure.kind, count, elapsed, failure.attempt, traced=failure.traced
            )
            self._say(level, failure.child.path, line)

    def _pause(self, failures: Iterable[Failure], now: float) -> None:
        """Tell the counts so far; their stories may go on in the next run of the supervisor."""
        for failure in failures:
            if failure.count:
                self._sum_up(failure, now)
                failure.began = now
                self._open.move_to_end(failure)

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
                    unsaid, child.unsaid = child.unsaid, None
                    if unsaid is not None:
                        self._child_said(unsaid)
                self._tidy(child)
            self._tidy(failure.child)
        hushed, self._hushed = self._hushed, {}
        for raw in hushed.values():
            self._child_said(raw)

    def _begin_anew(self) -> None:
        """Something unforeseen has interrupted the bookkeeping: trust none of it, but tell it."""
        opened, self._open = self._open, OrderedDict()
        self.due, self._quiet = inf, 0
        self._children.clear()
        self._hushed.clear()
        for supervisor in self._supervisors.values():
            supervisor.children.clear()
            supervisor.told.clear()
            supervisor.hushed = False
        for failure in opened:
            self._sum_up(failure, failure.last)

    def _is_hushed(self, path: str) -> bool:
        """Whether nothing is said at present of ``path``, or of somebody above it."""
        if self._quiet:
            while path:
                child = self._children.get(path)
                if child is not None and child.quiet:
                    return True
                path = parent_of(path)
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
            parent = parent_of(path)
            self._supervisor_of(path).children.pop(path, None)
            self._let_go(parent)

    def _supervisor_at(self, path: str) -> Supervisor:
        supervisor = self._supervisors.get(path)
        if supervisor is None:
            supervisor = self._supervisors[path] = Supervisor(path)
            if "/" in path:
                self._supervisor_of(path).below.add(path)
        return supervisor

    def _supervisor_of(self, path: str) -> Supervisor:
        return self._supervisor_at(parent_of(path))

    def _let_go(self, path: str) -> None:
        """Forget a supervisor that has ended if nothing is kept of its children; and so on up."""
        while "/" in path:
            supervisor = self._supervisors.get(path)
            if supervisor is None or supervisor.running or supervisor.children or supervisor.below:
                return
            del self._supervisors[path]
            self._supervisor_of(path).below.discard(path)
            path = parent_of(path)

    def _keep_declared(self, supervisor: Supervisor, now: float) -> None:
        """Those that were added to it are gone for good, and so is what is known of them."""
        if supervisor.children or supervisor.below:
            declared = {f"{supervisor.path}/{name}" for name in supervisor.declared}
            gone = [child for path, child in supervisor.children.items() if path not in declared]
            for child in gone:
                self._close(child.failures, now)
                self._forget(child.path)
            for path in sorted(supervisor.below - declared):
                self._end(path, now)

    def _end(self, path: str, now: float) -> None:
        """Forget ``path`` as a supervisor, and all who ever were below it."""
        if path not in self._supervisors:
            return
        found = [path]
        for each in found:
            found.extend(sorted(self._supervisors[each].below))
        for each in found:
            self._close_all(each, now)
        for each in reversed(found):
            supervisor = self._supervisors.pop(each, None)
            if supervisor is not None:  # of some nothing was left
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

    def _say(self, level: int, path: str, line: str, error: BaseException | None = None) -> None:
        exc_info = None
        if error is not None and deserves_traceback(error):
            exc_info = (type(error), error, error.__traceback__)
        say(self._logger, level, "%s %s", path, line, exc_info=exc_info)

    def _child_said(self, raw: RawEvent) -> None:
        child = self._children.get(raw[5])
        if child is not None and child.quiet:
            child.unsaid = raw
        elif self._quiet and self._is_hushed(raw[5]):
            self._hushed[raw[5]] = raw
        elif self._logger.isEnabledFor(INFO):
            self._say(INFO, raw[5], lines.readiness_line(raw))
