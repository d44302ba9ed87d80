"""The source of the metrics exporters: counters from a tree's events, and a snapshot on demand.

Exporters ask in threads of their own. The event loop hands them the events since the last time as
the journal keeps them; counting them and folding them into a snapshot happens in the thread that
asks. So a scrape costs the loop next to nothing, however large the tree is. While no exporter
asks, the loop counts whenever the journal is about to forget events.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor import SpecError, Supervisor
from trio_supervisor._events.fold import SnapshotBuilder
from trio_supervisor._events.journal import RawFeed
from trio_supervisor._logging.safe import say
from trio_supervisor.observe._tally import Histogram, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor import SupervisorSnapshot
    from trio_supervisor._events.fold import RawEvent

_log: Final = logging.getLogger("trio_supervisor.observe")
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
        shell = supervisor._shell
        state = supervisor.state()
        self.path: str = supervisor.path
        self.tally: Tally = Tally(supervisor.path, supervisor.spec, state.run)
        self.lag: Histogram = Histogram()
        self._supervisor = supervisor
        self._is_root = shell.parent is None
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._taken = trio.current_time()
        self._lock = threading.Lock()  # around the counting; the event loop never waits for it
        self._waiting: deque[list[RawEvent]] = deque()
        self._newest = state
        self._feed = RawFeed(shell.tree.journal, self._receive)
        self.tally.dropped = self._feed.missed
        self._builder = SnapshotBuilder.from_snapshot(self._feed.base)
        self._feed.hand_on()

    def snapshot(self) -> tuple[SupervisorSnapshot, float, float]:
        """Return the newest snapshot, when it was taken, and now, both on Trio's clock.

        Brings `tally` up to date as well. May be called in any thread. While the event loop is
        blocked, and after its end, the snapshot is the one before.
        """
        if threading.get_ident() == self._thread:
            self._take()
            return self._folded(), self._taken, self._taken
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
            return self._folded(), self._taken, self._taken
        taken.wait(SNAPSHOT_TIMEOUT)
        at = self._taken
        # A blocked loop's clock cannot be read: add the time that has passed here.
        now = at if taken.is_set() else at + monotonic() - asked
        return self._folded(), at, now

    def counted(self) -> Tally:
        """Return `tally` as it is now; see `snapshot`."""
        self.snapshot()
        return self.tally

    def close(self) -> None:
        """Stop reading; what has been read can still be asked for."""
        self._take()
        self._feed.close()

    # ------------------------------------------------------------ in the event loop

    def _take(self) -> None:
        self._feed.hand_on()
        if not self._is_root:
            self._newest = self._supervisor.state()
        self._taken = trio.current_time()

    def _receive(self, raws: list[RawEvent]) -> None:
        """Take in a batch; count those before it, unless a thread is about to do that."""
        if self._waiting and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()
        self._waiting.append(raws)

    # ------------------------------------------------------------ in any thread

    def _folded(self) -> SupervisorSnapshot:
        with self._lock:
            if self._count() and self._is_root:
                self._newest = self._builder.freeze()
            return self._newest

    def _count(self) -> bool:
        """Count what waits; return whether that was anything. The caller holds the lock."""
        any_yet = False
        while self._waiting:
            raws = self._waiting.popleft()
            try:
                self.tally.extend(raws)
                if self._is_root:
                    self._builder.extend(raws)
            except Exception as error:  # a bug of ours, perhaps while the tree records
                self.tally.dropped += len(raws)
                info = (type(error), error, error.__traceback__)
                text = "%s: %d events could not be counted; the metrics are too low"
                say(_log, logging.ERROR, text, self.path, len(raws), exc_info=info)
            any_yet = True
        return any_yet

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
        nursery.start_soon(found._measure_lag)
        try:
            yield found
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: ASYNC103  # raised below, outside the nursery
            failure = error  # an exception of the caller's block comes out bare, not in a group
        finally:
            found.close()
            nursery.cancel_scope.cancel(f"{owner}() ends")
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it would refer to itself by its traceback
