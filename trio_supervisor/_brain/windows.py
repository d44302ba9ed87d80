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
        """The number of charges that count at ``now``: the ones later than ``now - within``."""
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
        within = "" if self.limit.within == inf else f" in {self.limit.within:g}s"
        return f"{most} restart{'' if most == 1 else 's'}{within}"

    def charge(self, now: float) -> None:
        """Count one admitted restart."""
        self.times.append(now)


class SharedBackoff:
    """One backoff shared by the children of a group restart.

    At ``until`` all children that still wait for it may start. A command or a newer backoff can
    release a single child earlier. For a group, ``causes`` maps each child whose failure asks for
    the delay to the end of this delay; ``until`` is the latest of them.
    """

    __slots__ = ("causes", "members", "queued", "until", "waiting", "wake_at")

    def __init__(
        self, until: float, members: list[ChildLife], causes: dict[ChildLife, float] | None = None
    ) -> None:
        self.until = until
        self.members = members
        self.causes = causes
        self.waiting = 0  # how many members still wait for it
        self.wake_at = inf
        self.queued = inf
        for cause in causes or ():
            if cause.delaying is None:
                cause.delaying = {}
            cause.delaying[self] = None

    def add_causes(self, causes: dict[ChildLife, float], now: float) -> None:
        """Add the causes of this backoff to ``causes``: what they ask for beyond ``now``."""
        own = {self.members[0]: self.until} if self.causes is None else self.causes
        for cause, until in own.items():
            if until > causes.get(cause, now):
                causes[cause] = until

    def release(self) -> list[ChildLife]:
        """End the backoff; return the members that waited for it."""
        released = [member for member in self.members if member.backoff is self]
        for member in released:
            member.backoff = None
        self.forget()
        return released

    def forget(self) -> None:
        """Drop all references: no member waits for this backoff any more."""
        for cause in self.causes or ():
            assert cause.delaying is not None  # since it delays a group with this backoff
            del cause.delaying[self]
        self.members, self.causes = [], None


def set_backoff(child: ChildLife, backoff: SharedBackoff | None, timers: DeadlineHeap) -> None:
    """Let ``child`` wait for ``backoff``, or for none; disarm a backoff without waiting members."""
    old = child.backoff
    child.backoff = backoff
    if backoff is not None:
        backoff.waiting += 1
    if old is not None:
        old.waiting -= 1
        if not old.waiting:
            timers.arm(old, inf)
            old.forget()


def end_delays(child: ChildLife, timers: DeadlineHeap, todo: deque[ChildLife], now: float) -> None:
    """End the delay that failures of ``child`` impose on its group.

    Other failures in the group may ask for a delay of their own, which then remains.
    """
    delaying, child.delaying = child.delaying, None
    for backoff in delaying or ():
        causes = backoff.causes
        assert causes is not None  # since the child delays a group with it
        del causes[child]
        until = max(causes.values(), default=now)
        if until <= now:
            timers.arm(backoff, inf)
            todo.extend(backoff.release())
        elif until < backoff.until:
            backoff.until = until
            timers.arm(backoff, until)
            todo.extend(member for member in backoff.members if member.backoff is backoff)
