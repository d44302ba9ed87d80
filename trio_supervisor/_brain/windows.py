"""The restart table, the sliding windows of restart limits, and shared backoffs."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from trio_supervisor._specs.decisions import DoNotRestart, Restart
from trio_supervisor._specs.policy import RestartPolicy

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._brain.timers import DeadlineHeap
    from trio_supervisor._specs.decisions import RestartDecision
    from trio_supervisor._specs.policy import RestartLimit

REMOVE = "remove"

# docs/design.md, What follows an exit; OTP's restart types: (policy, success) -> what follows.
TABLE: dict[tuple[RestartPolicy, bool], RestartDecision | str] = {
    (RestartPolicy.PERMANENT, True): Restart(),
    (RestartPolicy.PERMANENT, False): Restart(),
    (RestartPolicy.TRANSIENT, True): DoNotRestart(),
    (RestartPolicy.TRANSIENT, False): Restart(),
    (RestartPolicy.TEMPORARY, True): REMOVE,
    (RestartPolicy.TEMPORARY, False): REMOVE,
}


class Window:
    """The charges of one restart limit: an exact sliding window in amortised O(1)."""

    __slots__ = ("limit", "times")

    def __init__(self, limit: RestartLimit) -> None:
        self.limit = limit
        self.times: deque[float] = deque()

    def used(self, now: float) -> int:
        """How many charges count at ``now``: the ones later than ``now - within``."""
        edge = now - self.limit.within
        times = self.times
        while times and times[0] <= edge:
            times.popleft()
        return len(times)

    def admits(self, now: float) -> bool:
        """Whether one more restart may be admitted at ``now``."""
        return self.used(now) < self.limit.max_restarts

    def describe(self) -> str:
        """The limit in words, as in ``3 restarts in 10s``."""
        most = self.limit.max_restarts
        return f"{most} restart{'' if most == 1 else 's'} in {self.limit.within:g}s"

    def charge(self, now: float) -> None:
        """Count one admitted restart."""
        self.times.append(now)


class SharedBackoff:
    """One backoff shared by the children of a group restart.

    At ``until`` all children that still wait for it may start. A command or a newer backoff can
    release a single child earlier.
    """

    __slots__ = ("members", "queued", "until", "waiting", "wake_at")

    def __init__(self, until: float, members: list[ChildLife]) -> None:
        self.until = until
        self.members = members
        self.waiting = 0  # how many members still wait for it
        self.wake_at = inf
        self.queued = inf


def set_backoff(child: ChildLife, backoff: SharedBackoff | None, timers: DeadlineHeap) -> None:
    """Let ``child`` wait for ``backoff``, or for none; disarm a backoff without waiting members."""
    old = child.backoff
    child.backoff = backoff
    if old is not None:
        old.waiting -= 1
        if not old.waiting:
            timers.arm(old, inf)
    if backoff is not None:
        backoff.waiting += 1
