"""Jobs and records: a store, a buffer that writes to it, a host in which jobs run.

Planted bugs:

double_start         The dispatcher starts a job in the host's nursery; restarted alone, it starts
                     the job again while the first one still runs.
stale_handle         The buffer takes the store's value once, and writes to a store that was closed,
                     which does not complain.
order_of_close       The store is declared after the buffer, and so closed before its last write.
forgotten_heartbeat  A long piece of work sends no heartbeat, which is just short enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor.testing import Pilot


class Books:
    """What survives restarts: what was accepted and stored, and what runs."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.stored: list[int] = []
        self.lost: list[int] = []
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.done: list[str] = []


class Store:
    """An open file."""

    def __init__(self, books: Books, bug: str) -> None:
        self._books = books
        self._bug = bug
        self.is_open = True

    async def write(self, records: list[int]) -> None:
        """Write; with the bug, what is written to a closed store is lost without a word.

        Raises:
            OSError: The store is closed.
        """
        if not self.is_open and self._bug == "stale_handle":
            self._books.lost.extend(records)
            return
        await trio.sleep(0.05)
        if not self.is_open:
            raise OSError("the store was closed")
        self._books.stored.extend(records)


async def store(child: ChildContext, books: Books, bug: str) -> None:
    opened = Store(books, bug)
    child.ready(opened)
    try:
        await child.wait_stop_requested()
    finally:
        opened.is_open = False


async def buffer(child: ChildContext, books: Books, bug: str) -> None:
    first = child.value("store") if bug == "stale_handle" else None
    child.ready()
    stopping = False
    while not stopping:
        stopping = child.stop_requested
        if books.pending:
            try:
                target = first or child.value("store")
            except SupervisorError:  # the store is restarting
                target = None
            if target is not None:
                records = list(books.pending)
                await target.write(records)
                del books.pending[: len(records)]
        with child.stop_scope():
            await trio.sleep(1)


async def source(child: ChildContext, books: Books) -> None:
    while True:
        await trio.sleep(0.3)
        books.pending.append(len(books.pending) + len(books.stored) + len(books.lost))


async def host(child: ChildContext) -> None:
    child.ready(child.nursery)
    await trio.sleep_forever()


async def dispatcher(child: ChildContext, books: Books, bug: str) -> None:
    child.ready()
    for job in ("report", "backup"):
        await trio.sleep(1)
        if job in books.done or (bug != "double_start" and books.running.get(job)):
            continue
        child.value("host").start_soon(run_job, books, job)
    await trio.sleep_forever()


async def run_job(books: Books, job: str) -> None:
    books.running[job] = books.running.get(job, 0) + 1
    books.most[job] = max(books.running[job], books.most.get(job, 0))
    try:
        await trio.sleep(5)
        books.done.append(job)
    finally:
        books.running[job] -= 1


async def compress(child: ChildContext, bug: str) -> None:
    while True:
        child.heartbeat()
        if bug == "forgotten_heartbeat":
            await trio.sleep(2.8)
        else:
            with child.busy(10):
                await trio.sleep(2.8)
        child.heartbeat()
        await trio.sleep(0.5)


def fresh(bug: str = "") -> tuple[SupervisorSpec, Books]:
    """Return the program and its books."""
    books = Books()
    options: dict[str, Any] = {"backoff": BackoffPolicy(0.1, maximum=2)}
    explicit: dict[str, Any] = {"readiness": "explicit", **options}
    stores = [
        ChildSpec("store", store, books, bug, grace=1, **explicit),
        ChildSpec("buffer", buffer, books, bug, grace=2, **explicit),
    ]
    if bug == "order_of_close":
        stores.reverse()
    children = [
        *stores,
        ChildSpec("source", source, books, **options),
        ChildSpec("host", host, **explicit),
        ChildSpec("dispatcher", dispatcher, books, bug, **explicit),
        ChildSpec("compress", compress, bug, stale_after=3, **options),
    ]
    limit = RestartLimit(50, within=60)
    return SupervisorSpec("jobs", children, child_restart_limit=limit), books


def no_job_runs_twice_at_once(tree: Pilot, books: Books) -> None:
    assert all(most <= 1 for most in books.most.values()), books.most


def nothing_is_written_to_a_closed_store(tree: Pilot, books: Books) -> None:
    assert not books.lost, books.lost


INVARIANTS = (no_job_runs_twice_at_once, nothing_is_written_to_a_closed_store)


async def an_orderly_day(bug: str) -> None:
    """Nothing happens; in the end everything that was accepted is stored."""
    spec, books = fresh(bug)
    async with open_supervisor(spec):
        await trio.sleep(20.3)
    assert not books.pending, books.pending
    assert not books.lost, books.lost
