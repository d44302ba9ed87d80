"""Observable values: the one place that knows trio-util, which is untyped.

Predicates run in the task that sets the value. They are ours, never a user's, and they look at
plain states only, so that no user code can slow supervision or raise in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Observable(Generic[T]):
    """A value that can be waited for."""

    __slots__ = ("_cell",)

    def __init__(self, value: T) -> None:
        from trio_util import AsyncValue  # noqa: PLC0415  # only a program that waits pays for the import

        self._cell: Any = AsyncValue(value)

    def set(self, value: T) -> None:
        """Set the value, and wake the tasks whose condition it meets."""
        self._cell.value = value

    async def wait(self, condition: Callable[[T], bool]) -> T:
        """Wait until the value meets ``condition``; returns the value that did. A checkpoint."""
        met: T = await self._cell.wait_value(condition)
        return met
