"""The deadline heap of a machine, with re-arming that costs nothing.

Entries are never moved. An item that is armed for later than its entry keeps this entry and is
queued anew when the entry comes up, so that each restart and each heartbeat re-arms for free. An
item that is disarmed leaves its entry behind. When such entries outnumber the live ones, the heap
is rebuilt, so that its size is bounded by the number of armed items.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Protocol

_SPARE = 64


class Due(Protocol):
    """An item with a deadline: ``wake_at`` is the deadline, ``queued`` the time of its entry."""

    wake_at: float
    queued: float


class DeadlineHeap:
    """All deadlines of one machine."""

    __slots__ = ("_count", "_entries", "_live")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Due]] = []
        self._count = 0
        self._live = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def earliest(self) -> float:
        """A time before which nothing is due; `inf` if nothing is armed."""
        return self._entries[0][0] if self._entries else inf

    def arm(self, thing: Due, when: float) -> None:
        """Let ``thing`` be due at ``when``; `inf` disarms it."""
        if thing.wake_at == inf:
            if when == inf:
                return
            self._live += 1
        elif when == inf:
            self._live -= 1
        thing.wake_at = when
        if when < thing.queued:
            self._push(thing, when)
        elif len(self._entries) > 2 * self._live + _SPARE:
            self._rebuild()

    def pop_due(self, now: float) -> Due | None:
        """Disarm and return the next item that is due at ``now``; `None` if there is none."""
        entries = self._entries
        while entries and entries[0][0] <= now:
            when, _, thing = heappop(entries)
            if thing.queued != when:
                continue
            thing.queued = inf
            if thing.wake_at <= now:
                thing.wake_at = inf
                self._live -= 1
                return thing
            if thing.wake_at < inf:
                self._push(thing, thing.wake_at)
        return None

    def _push(self, thing: Due, when: float) -> None:
        thing.queued = when
        self._count += 1
        heappush(self._entries, (when, self._count, thing))
        if len(self._entries) > 2 * self._live + _SPARE:
            self._rebuild()

    def _rebuild(self) -> None:
        alive = {id(thing): thing for _, _, thing in self._entries if thing.wake_at < inf}
        for _, _, thing in self._entries:
            thing.queued = inf
        entries = []
        for thing in alive.values():
            thing.queued = thing.wake_at
            self._count += 1
            entries.append((thing.wake_at, self._count, thing))
        heapify(entries)
        self._entries = entries
