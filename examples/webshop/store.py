"""Where the orders are kept: an SQLite database, used by one thread at a time.

Every function of `Store` runs its statement in a worker thread, so that a slow disk never holds up
the event loop.
"""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    item TEXT NOT NULL,
    shipped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS orders_open ON orders (shipped) WHERE shipped = 0;
"""
# The number of an order that came before under the same key, or of the new one.
_PLACE: Final = """
INSERT INTO orders (key, item) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET item = item
RETURNING id
"""
_SHIP: Final = """
UPDATE orders SET shipped = 1
WHERE id = (SELECT id FROM orders WHERE shipped = 0 ORDER BY id LIMIT 1) RETURNING id
"""


@attrs.frozen
class Sums:
    """How many orders there are."""

    placed: int
    shipped: int


class Store:
    """The orders. Made once with the tree; open while the child ``store`` is ready.

    Args:
        database: The file; it is made if it is not there.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._one_at_a_time = trio.CapacityLimiter(1)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """Keep the database open while the block runs; the body of the child ``store``."""
        connection = await trio.to_thread.run_sync(_connect, self._database)
        self._connection = connection
        try:
            yield self
        finally:
            self._connection = None
            with closing(connection), trio.CancelScope(shield=True):
                # What a thread has begun is finished before the database is closed.
                async with self._one_at_a_time:
                    pass

    async def place(self, key: str, item: str) -> int:
        """Keep an order and return its number; the same ``key`` again places no second one."""
        ((number,),) = await self._call(_PLACE, key, item)
        return int(number)

    async def ship_next(self) -> int | None:
        """Mark the oldest open order as shipped and return its number; None if there is none."""
        found = await self._call(_SHIP)
        return int(found[0][0]) if found else None

    async def sums(self) -> Sums:
        """Count the orders."""
        ((placed, shipped),) = await self._call(
            "SELECT count(*), coalesce(sum(shipped), 0) FROM orders"
        )
        return Sums(placed, shipped)

    async def _call(self, statement: str, *values: str) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise ConnectionError("the store is not open")

        def run() -> list[Any]:
            with connection:
                return connection.execute(statement, values).fetchall()

        return await trio.to_thread.run_sync(run, limiter=self._one_at_a_time)


def _connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, check_same_thread=False, timeout=5)
    # Written before it is answered: what a client was told survives the process.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_SCHEMA)
    return connection
