"""Where the lines are kept: an SQLite database that one thread owns.

`run_store` is the thread; it is supervised through `in_thread`. Others hand it functions through
the `Store` that is its ready value, and wait for their results.

Lines and the position behind them are written in one transaction, and only if the stored position
is still the one that the lines follow. So each line is stored once, whoever is killed when: the
follower, this thread, or the whole process.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
import outcome
import trio

from trio_supervisor.children import thread_child

from .follow import Batch, Position
from .parse import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .sabotage import Saboteur

T = TypeVar("T")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS lines (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    at TEXT NOT NULL,
    program TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS lines_level ON lines (level);
CREATE INDEX IF NOT EXISTS lines_program ON lines (program);
CREATE TABLE IF NOT EXISTS sources (
    path TEXT PRIMARY KEY,
    lines INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    head BLOB NOT NULL,
    tail BLOB NOT NULL,
    real TEXT NOT NULL DEFAULT '',
    left_at TEXT NOT NULL DEFAULT '[]'
);
"""
_LOAD_POSITION: Final = (
    "SELECT device, inode, changed, offset, head, tail, real, left_at FROM sources WHERE path = ?"
)
_SAVE_POSITION: Final = """
INSERT INTO sources (path, lines, device, inode, changed, offset, head, tail, real, left_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    lines = lines + excluded.lines, device = excluded.device, inode = excluded.inode,
    changed = excluded.changed, offset = excluded.offset, head = excluded.head,
    tail = excluded.tail, real = excluded.real, left_at = excluded.left_at
"""
_IDLE: Final = 0.2  # seconds between two looks at the stop request, and between heartbeats
_STEPS: Final = 100_000  # instructions of SQLite's machine between heartbeats in a long query
_BUSY: Final = 10.0  # seconds to wait for another process with the same database


class StoreGone(Exception):
    """The store ended before it could answer. What was asked for has not been done."""


class PositionMoved(Exception):
    """Somebody else has stored lines of the same file: nothing was stored."""


@attrs.frozen
class Source:
    """How far a log file has been stored."""

    path: str
    lines: int
    offset: int


class _Job(Generic[T]):
    """A function for the store's thread, and somebody who waits for what it returns."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self._token = trio.lowlevel.current_trio_token()
        self._done = trio.Event()
        self._result: outcome.Outcome[T] = outcome.Error(StoreGone("the store is gone"))

    def finish(self, result: outcome.Outcome[T] | None = None) -> None:
        """For the thread: pass on the result; without one it says that the store is gone."""
        if result is not None:
            self._result = result
        self._token.run_sync_soon(self._done.set)

    async def wait(self) -> T:
        await self._done.wait()
        return self._result.unwrap()


class Store:
    """What others use of the store; good for one attempt of it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any] | Exception] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = True

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work(connection)`` in the store's thread and wait for what it returns.

        Calls are done one after another, in the order in which they are made. When the wait is
        cancelled, the call may or may not be done.

        Raises:
            StoreGone: The store ended first; then the call is not done.
        """
        job = _Job(work)
        with self._lock:
            if not self._open:
                raise StoreGone("the store is gone")
            self._jobs.put(job)
        return await job.wait()

    def sabotage(self, error: Exception) -> None:
        """Make the store's thread raise ``error`` when it comes to it."""
        self._jobs.put(error)

    def next_job(self, wait: float) -> _Job[Any] | None:
        """For the thread: the next job, or None if there is none within ``wait`` seconds."""
        try:
            job = self._jobs.get(timeout=wait)
        except queue.Empty:
            return None
        if isinstance(job, Exception):
            raise job
        return job

    def close(self) -> None:
        """For the thread: take no more jobs, and send away those who wait."""
        with self._lock:
            self._open = False
        while not self._jobs.empty():
            if isinstance(job := self._jobs.get(), _Job):
                job.finish()


def run_store(path: str | Path, saboteur: Saboteur) -> None:
    """Keep the database until asked to stop: the body of the store, for `in_thread`."""
    me = thread_child()
    store = Store()
    with (
        saboteur.knows(me.name, store.sabotage),
        closing(store),
        closing(connect(path)) as connection,
    ):
        # A long query is no silence, and does not outlive the request to stop. Lines that are being
        # stored are stored to the end.
        def go_on() -> bool:
            me.heartbeat()
            return me.stop_requested and not connection.in_transaction

        connection.set_progress_handler(go_on, _STEPS)
        me.ready(store)
        while not me.wait_stop_requested(timeout=0):
            me.heartbeat()
            if (job := store.next_job(_IDLE)) is not None:
                result = outcome.capture(job.work, connection)
                cut = isinstance(result, outcome.Error) and me.stop_requested
                job.finish(None if cut and _is_interrupt(result) else result)


def _is_interrupt(result: outcome.Outcome[Any]) -> bool:
    error = getattr(result, "error", None)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def connect(path: str | Path) -> sqlite3.Connection:
    """Open the database, and make its tables if it is new.

    Another process may be doing the same with the same file. SQLite waits for it in everything but
    the change to write-ahead logging, so that is tried again.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY)
    try:
        deadline = time.monotonic() + _BUSY
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous = NORMAL")
        with _transaction(connection):
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            columns = {row[1] for row in connection.execute("PRAGMA table_info (sources)")}
            for column, default in (("real", ""), ("left_at", "[]")):
                if column not in columns:  # made by an earlier version
                    connection.execute(
                        f"ALTER TABLE sources ADD COLUMN {column} TEXT NOT NULL DEFAULT '{default}'"
                    )
    except BaseException:
        connection.close()
        raise
    return connection


# What can be asked of the store: functions for `Store.call`.


def load_position(connection: sqlite3.Connection, path: str) -> Position | None:
    """Where reading of the log file ``path`` has to go on."""
    row = connection.execute(_LOAD_POSITION, (path,)).fetchone()
    if row is None:
        return None
    *fields, left = row
    return attrs.evolve(Position(*fields), left=tuple(map(_from_plain, json.loads(left))))


def save_batch(connection: sqlite3.Connection, path: str, batch: Batch, program: str) -> None:
    """Store a batch's lines and the position behind them: both or, if this raises, neither.

    Args:
        connection: Not in a transaction.
        path: Which log file the lines are from, as in `load_position`.
        batch: The lines.
        program: For lines that do not name the program that wrote them.

    Raises:
        PositionMoved: The batch does not follow the lines that are stored.
    """
    now = datetime.now()  # noqa: DTZ005 - logs are local
    texts = (line.decode("utf-8", "backslashreplace").removesuffix("\r") for line in batch.lines)
    entries = [parse(text, default_program=program, now=now) for text in texts]
    with _transaction(connection):
        before = load_position(connection, path)
        if before != batch.before:
            raise PositionMoved(f"{path}: expected {batch.before}, found {before}")
        connection.executemany(
            "INSERT INTO lines (source, at, program, level, message) VALUES (?, ?, ?, ?, ?)",
            [(path, *attrs.astuple(entry)) for entry in entries],
        )
        connection.execute(
            _SAVE_POSITION,
            (
                *(path, len(entries), *_plain(batch.after)),
                json.dumps([_plain(each) for each in batch.after.left], default=bytes.hex),
            ),
        )


def _plain(position: Position) -> tuple[Any, ...]:
    return attrs.astuple(position, recurse=False)[:7]


def _from_plain(stored: list[Any]) -> Position:
    device, inode, changed, offset, head, tail, real = stored
    return Position(device, inode, changed, offset, bytes.fromhex(head), bytes.fromhex(tail), real)


class _transaction:  # noqa: N801 - used as a function
    """``with _transaction(connection):`` stores all of the block's changes or none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        # IMMEDIATE: of two processes with the same database, one waits here.
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:  # SQLite rolls back by itself after some errors
            self._connection.execute("ROLLBACK")


def count_lines(connection: sqlite3.Connection) -> int:
    """How many lines are stored."""
    return _number(connection.execute("SELECT count(*) FROM lines"))


def count_by(connection: sqlite3.Connection, column: str) -> list[tuple[str, int]]:
    """How many lines there are of each ``"level"`` or ``"program"``, the most frequent first."""
    assert column in {"level", "program"}
    query = f"SELECT {column}, count(*) FROM lines GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
    return list(connection.execute(query))


def last_lines(connection: sqlite3.Connection, number: int) -> list[tuple[str, str, str, str]]:
    """The lines stored last, oldest first: time, level, program, message."""
    query = "SELECT at, level, program, message FROM lines ORDER BY id DESC LIMIT ?"
    return list(connection.execute(query, (number,)))[::-1]


def sources(connection: sqlite3.Connection) -> list[Source]:
    """The log files, and how far each has been stored."""
    rows = connection.execute("SELECT path, lines, offset FROM sources ORDER BY path")
    return [Source(*row) for row in rows]


def _number(rows: sqlite3.Cursor) -> int:
    (number,) = rows.fetchone()
    assert isinstance(number, int)
    return number
