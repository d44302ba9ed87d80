"""The source of the metrics exporters: counters from a tree's events, and a snapshot on demand.

Exporters ask in threads of their own. The counters are kept in the tree's event loop; the snapshot
is taken there as well, so that it costs the loop one `Supervisor.state` and nothing else.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor import SpecError, Supervisor
from trio_supervisor.observe._tally import Histogram, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor import SupervisorSnapshot

SNAPSHOT_TIMEOUT: Final = 2.0
"""Seconds that an exporter waits for a blocked event loop before it uses the previous snapshot."""
LAG_INTERVAL: Final = 0.25


@final
class TreeReading:
    """The counters of one tree, and its newest snapshot.

    Attributes:
        path: The path of the supervisor that is read.
        tally: The counters.
        lag: How late the event loop wakes a sleeping task.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.path: str = supervisor.path
        self.tally: Tally = Tally(supervisor.path, supervisor.spec)
        self.lag: Histogram = Histogram()
        self._supervisor = supervisor
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._newest = (supervisor.state(), trio.current_time())

    def snapshot(self) -> tuple[SupervisorSnapshot, float, float]:
        """Return the newest snapshot, when it was taken, and now, both on Trio's clock.

        May be called in any thread. While the event loop is blocked, and after its end, the
        snapshot is the one before.
        """
        if threading.get_ident() == self._thread:
            self._take()
            return *self._newest, self._newest[1]
        taken = threading.Event()

        def take() -> None:
            try:
                self._take()
            finally:
                taken.set()

        asked = monotonic()
        try:
            self._token.run_sync_soon(take)
        except trio.RunFinishedError:
            return *self._newest, self._newest[1]
        taken.wait(SNAPSHOT_TIMEOUT)
        snapshot, at = self._newest
        # A blocked loop's clock cannot be read: add the time that has passed here.
        return snapshot, at, at if taken.is_set() else at + monotonic() - asked

    def _take(self) -> None:
        self._newest = (self._supervisor.state(), trio.current_time())

    async def _read(  # noqa: ASYNC114 - private
        self, *, task_status: trio.TaskStatus[None]
    ) -> None:
        async with self._supervisor.subscribe(max_buffer=10_000) as events:
            # What happened before is in the journal as far as that reaches. There is no checkpoint
            # between its newest event and the subscription's first.
            for early in self._supervisor.journal:
                self.tally.record(early)
            task_status.started()
            async for event in events:
                self.tally.record(event)

    async def _measure_lag(self) -> None:
        while True:
            due = trio.current_time() + LAG_INTERVAL
            await trio.sleep_until(due)
            self.lag.observe(trio.current_time() - due)


@asynccontextmanager
async def reading(supervisor: Supervisor, owner: str) -> AsyncIterator[TreeReading]:
    """Keep a `TreeReading` up to date while the block runs.

    Raises:
        SpecError: ``supervisor`` is not a `Supervisor`.
    """
    if not isinstance(supervisor, Supervisor):
        raise SpecError("supervisor", supervisor, "a Supervisor", owner=owner)
    found = TreeReading(supervisor)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(found._read)
        nursery.start_soon(found._measure_lag)
        try:
            yield found
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: ASYNC103  # raised below, outside the nursery
            failure = error  # an exception of the caller's block comes out bare, not in a group
        finally:
            nursery.cancel_scope.cancel(f"{owner}() ends")
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it would refer to itself by its traceback
