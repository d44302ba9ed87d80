"""Crashes on demand, for those who want to see the tree recover."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class CrashRequested(Exception):
    """What a child dies of when somebody asked for its crash."""


class Saboteur:
    """Knows how to crash each child that is running now."""

    def __init__(self) -> None:
        self._strikes: dict[str, Callable[[CrashRequested], object]] = {}

    @property
    def victims(self) -> list[str]:
        """Those that can be crashed."""
        return sorted(self._strikes)

    def strike(self, name: str) -> None:
        """Crash the child, soon. Nothing happens if it is just not running."""
        if (strike := self._strikes.get(name)) is not None:
            strike(CrashRequested(f"somebody typed: sabotage {name}"))

    @contextmanager
    def knows(self, name: str, strike: Callable[[CrashRequested], object]) -> Iterator[None]:
        """While the block runs, ``strike(error)`` is how to crash the child ``name``."""
        self._strikes[name] = strike
        try:
            yield
        finally:
            del self._strikes[name]

    @asynccontextmanager
    async def haunts(self, name: str) -> AsyncIterator[None]:
        """While the block runs, it can be crashed in the child's name at any of its checkpoints."""
        send, receive = trio.open_memory_channel[CrashRequested](1)

        async def crash() -> None:
            raise await receive.receive()

        with send, receive, self.knows(name, send.send_nowait):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash)
                yield
                nursery.cancel_scope.cancel("the block has ended")
