"""Time that drifts: sleeps and deadlines of bodies end late, by amounts that are drawn.

In virtual time all sleepers run in lockstep for ever: a child that looks every second and one that
looks every two seconds meet at the same instants for the whole day. Real clocks and schedulers
drift apart, and meet in every phase. A *drift* is a list of small numbers, one for each deadline
that a body sets, in order: 0 is on time, n is late by n eighths of the longest delay allowed. That
is half of the wait and at most a second, which is not too much: over an hour real clocks meet in
every phase.

A deadline is never early. It still *shows* the time that the body gave. Deadlines of the
supervisor, of the kit and of the scenario itself are exact, so "after 60 s" in a scenario means
that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, final
from weakref import WeakKeyDictionary

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType

STEPS: Final = 8
SHARE: Final = 0.5
MOST: Final = 1.0
ON_TIME: Final = 0.5

_TRIO: Final = f"{Path(trio.__file__).parent}/"
_LIBRARY: Final = f"{Path(__file__).parents[2]}/"
_RUN_AS_BODIES: Final = (f"{_LIBRARY}children/", f"{_LIBRARY}testing/_drive/behaviour.py")


@final
@attrs.frozen
class Lateness:
    """One deadline that was late.

    Attributes:
        task: The name of the task that set it.
        time: When it was due.
        seconds: By how much it was late.
        where: The line that set it.
    """

    task: str
    time: float
    seconds: float
    where: str

    def __str__(self) -> str:
        return f"{self.task}: {self.seconds:g} s late for {self.time:g} s, at {self.where}"


@final
class Drift:
    """Decide how late each deadline of a body is.

    Args:
        picks: The drift to repeat.
        beyond: Draws the picks after their end; by default later deadlines are on time.
        is_body: Whether a task is the task of an attempt.

    Attributes:
        picked: The pick for each deadline so far.
        late: The deadlines that were late.
    """

    def __init__(
        self,
        picks: Sequence[int] = (),
        *,
        beyond: Random | None = None,
        is_body: Callable[[trio.lowlevel.Task], bool],
    ) -> None:
        self._picks = tuple(picks)
        self._beyond = beyond
        self._is_body = is_body
        self._of_bodies: WeakKeyDictionary[trio.lowlevel.Task, bool] = WeakKeyDictionary()
        self._owners: dict[CodeType, str] = {}
        self.picked: list[int] = []
        self.late: list[Lateness] = []

    def delay(self, deadline: float) -> float:
        """Return by how many seconds the deadline that is just being set is late."""
        try:
            task, now = trio.lowlevel.current_task(), trio.current_time()
        except RuntimeError:  # set from outside of any task
            return 0.0
        if deadline <= now or not self._runs_in_body(task):
            return 0.0
        where = self._line_of_body()
        if where is None:
            return 0.0
        pick = self._next_pick()
        self.picked.append(pick)
        seconds = min((deadline - now) * SHARE, MOST) * pick / STEPS
        if seconds:
            self.late.append(Lateness(task.name, deadline, seconds, where))
        return seconds

    def _next_pick(self) -> int:
        at = len(self.picked)
        if at < len(self._picks):
            return max(self._picks[at], 0)
        if self._beyond is None or self._beyond.random() < ON_TIME:
            return 0
        return self._beyond.randint(1, STEPS)

    def _runs_in_body(self, task: trio.lowlevel.Task) -> bool:
        """Return whether ``task`` is the task of an attempt, or started by such a task."""
        known = self._of_bodies.get(task)
        if known is None:
            nursery = task.parent_nursery
            known = self._is_body(task) or (
                nursery is not None and self._runs_in_body(nursery.parent_task)
            )
            self._of_bodies[task] = known
        return known

    def _line_of_body(self) -> str | None:
        """Return the line that sets the deadline; `None` if it is the library's own."""
        frame: FrameType | None = sys._getframe(3)  # of what called Trio's method
        while frame is not None:
            code = frame.f_code
            owner = self._owners.get(code)
            if owner is None:
                owner = self._owners[code] = _owner(code.co_filename)
            if owner == "body":
                name = code.co_filename.rpartition("/")[2]
                return f"{name}:{frame.f_lineno} in {code.co_qualname}"
            if owner == "library":
                return None
            frame = frame.f_back
        return None


def _owner(file: str) -> str:
    if file.startswith(_TRIO) or file.endswith("/contextlib.py"):
        return "trio"
    if file.startswith(_RUN_AS_BODIES):
        return "body"
    return "library" if file.startswith(_LIBRARY) else "body"
