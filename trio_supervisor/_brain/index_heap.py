"""A set of static children that finds its first or last member in the sequence at once."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._brain.lifecycle import ChildLife

_SPARE = 64


class IndexHeap:
    """The start set or the stop set of a sequence: a heap by position with lazy deletion.

    Args:
        flag: The attribute of a child that says whether it is a member.
        last_first: Whether `head` is the last member instead of the first.
    """

    __slots__ = ("_entries", "_flag", "_sign", "count")

    def __init__(self, flag: str, *, last_first: bool) -> None:
        self._entries: list[tuple[int, ChildLife]] = []
        self._flag = flag
        self._sign = -1 if last_first else 1
        self.count = 0

    def add(self, child: ChildLife) -> None:
        """Add ``child``, whose flag is set already."""
        self.count += 1
        heappush(self._entries, (self._sign * child.index, child))
        if len(self._entries) > 2 * self.count + _SPARE:
            # Behind a head that does not change, entries of former members would accumulate.
            kept = {index: child for index, child in self._entries if getattr(child, self._flag)}
            self._entries = list(kept.items())
            heapify(self._entries)

    def head(self) -> ChildLife | None:
        """The first (or last) member; `None` if the set is empty."""
        entries = self._entries
        while entries and not getattr(entries[0][1], self._flag):
            heappop(entries)
        return entries[0][1] if entries else None

    def entries(self) -> Iterator[ChildLife]:
        """Yield each member once, and perhaps children that were members, in no order."""
        seen: set[int] = set()
        for index, child in self._entries:
            if index not in seen:
                seen.add(index)
                yield child
