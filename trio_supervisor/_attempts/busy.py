"""BusyBlocks: the `ChildContext.busy` blocks that are open in one attempt."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import final


@final
class BusyBlocks:
    """Times until which an attempt may be silent, one for each open block; the latest one counts.

    A heap with lazy deletion: opening and closing a block takes O(log n) for n open blocks.
    """

    __slots__ = ("_closed", "_heap")

    def __init__(self) -> None:
        self._heap: list[float] = []  # negated: the latest time is first
        self._closed: dict[float, int] = {}  # times in the heap of blocks that are closed

    def open(self, until: float) -> None:
        """Open a block that allows silence until ``until``."""
        heappush(self._heap, -until)

    def close(self, until: float) -> None:
        """Close a block that was opened with the same ``until``."""
        closed, heap = self._closed, self._heap
        closed[-until] = closed.get(-until, 0) + 1
        while heap and closed.get(heap[0]):
            left = closed[heap[0]] - 1
            if left:
                closed[heap[0]] = left
            else:
                del closed[heap[0]]
            heappop(heap)

    @property
    def until(self) -> float:
        """The latest time of an open block; ``-inf`` if none is open."""
        return -self._heap[0] if self._heap else -inf
