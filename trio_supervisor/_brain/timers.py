"""The deadline heap: when something has to be looked at again if no word comes until then.

Entries are never moved. A thing that is armed for later than its entry keeps that entry and is
queued anew when the entry comes up, so that re-arming (each restart, each sign of life) is free. A
thing that is disarmed leaves its entry behind; when dead entries outnumber live ones the heap is
rebuilt, so that it stays bounded by what is armed, not by what once was.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Protocol

_SPARE = 64


class Due(Protocol):
    """Something with a deadline: ``wake_at`` is when, ``queued`` the time of its entry."""

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
        """Let ``thing`` be due at ``when`` and not before; `inf` disarms it."""
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
        """The next thing that is due at ``now``, disarmed; `None` if there is none."""
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
