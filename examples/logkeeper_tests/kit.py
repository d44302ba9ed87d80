"""The log keeper without threads and sockets: same tree, same policies, all in virtual time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from examples.logkeeper import store as db
from examples.logkeeper.follow import LogReader
from examples.logkeeper.tree import Options, declare
from trio_supervisor.testing import with_bodies

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec

T = TypeVar("T")


class InlineStore:
    """Does what `examples.logkeeper.store.Store` does, but without its thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work(connection)``; others may run before and after, as with the thread."""
        await trio.lowlevel.checkpoint()
        result = work(self._connection)
        await trio.lowlevel.checkpoint()
        return result


def inline_store(database: Path) -> Callable[[ChildContext], Any]:
    """A body for the store."""

    async def keep(child: ChildContext) -> None:
        connection = db.connect(database)
        try:
            child.ready(InlineStore(connection))
            while not child.stop_requested:
                child.heartbeat()
                with child.stop_scope():
                    await trio.sleep(5)
        finally:
            connection.close()

    return keep


async def quiet(child: ChildContext, *_: object) -> None:
    """A body for those that would open sockets."""
    child.ready([])
    await child.wait_stop_requested()


async def run_inline(function: Callable[..., T], *args: object, **_: object) -> T:
    """Stands in for `trio.to_thread.run_sync`: time that a thread takes is not virtual."""
    await trio.lowlevel.checkpoint()
    return function(*args)


def logkeeper(log: Path, database: Path, follower: Any = None) -> SupervisorSpec:
    """The real tree, with the real followers unless another body is given."""
    spec = declare(Options([log], database, poll=5), print)
    bodies: dict[str, Any] = {"listener": quiet, "desk": quiet, "store": inline_store(database)}
    if follower is not None:
        bodies["followers/*"] = follower
    return with_bodies(spec, bodies)


def stored(database: Path) -> list[str]:
    """The messages in the database, in order."""
    connection = db.connect(database)
    try:
        return [message for *_, message in db.last_lines(connection, 1000)]
    finally:
        connection.close()


async def careless_follow(
    child: ChildContext, path: Path, store: ChildSpec[Any], saboteur: object, options: Options
) -> None:
    """A follower with a planted bug: lines and position are stored one after the other."""
    database = child.value(store)
    position = await database.call(partial(db.load_position, path=str(path)))
    reader = LogReader(path, position)
    try:
        while not child.stop_requested:
            batch = await trio.to_thread.run_sync(reader.read)
            if batch is not None:
                await database.call(partial(save_lines, path=str(path), batch=batch))
                await database.call(partial(save_position, path=str(path), batch=batch))
            child.ready()
            child.heartbeat()
            if batch is None:
                with child.stop_scope():
                    await trio.sleep(options.poll)
    finally:
        reader.close()


def save_lines(connection: sqlite3.Connection, path: str, batch: Any) -> None:
    """Store the lines of a batch, and nothing else."""
    connection.executemany(
        "INSERT INTO lines (source, at, program, level, message) VALUES (?, '', '', '', ?)",
        [(path, line.decode()) for line in batch.lines],
    )


def save_position(connection: sqlite3.Connection, path: str, batch: Any) -> None:
    """Store the position behind a batch, and nothing else."""
    after = batch.after
    connection.execute("DELETE FROM sources WHERE path = ?", (path,))
    connection.execute(
        "INSERT INTO sources (path, lines, device, inode, changed, offset, head, tail, real)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            path,
            len(batch.lines),
            after.device,
            after.inode,
            after.changed,
            after.offset,
            after.head,
            after.tail,
            after.real,
        ),
    )
