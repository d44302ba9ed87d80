"""Watching a tree without ever slowing it down.

A reader that cannot keep up must not make a supervisor wait, and must not make it remember
everything. So each subscription has a bounded buffer of its own: when that is full, the oldest
event makes room, and the reader is told how many it has missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Final, Self, final

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from trio_supervisor._errors import SupervisorClosed
from trio_supervisor._events.events import Event, EventGap, SupervisorFinished
from trio_supervisor._events.journal import EventRecorder, check_room
from trio_supervisor._events.snapshot import SupervisorSnapshot, SupervisorState
from trio_supervisor._lazy import public

_MOST_AT_ONCE: Final = 32


def _any_thread(*_: str) -> None:
    """For a subscription that belongs to no supervisor."""


_NOT_ENTERED: Final = "a subscription begins with `async with supervisor.subscribe() as events:`"


@final
class Readers:
    """The subscriptions to one supervisor, which have to end with it, however it ends.

    Args:
        check_thread: Raises if this is not the supervisor's thread; gets a path and what is done.

    Attributes:
        is_closed: Whether the supervisor has ended.
    """

    def __init__(self, check_thread: Callable[[str, str], None]) -> None:
        self.is_closed = False
        self._check_thread = check_thread
        self._open: dict[Subscription, None] = {}

    def check_thread(self, path: str) -> None:
        """Refuse to be used in another thread than that of the supervisor, while it runs.

        Raises:
            SupervisorError: This is another thread.
        """
        if not self.is_closed:
            self._check_thread(path, "events can be read")

    def add(self, reader: Subscription) -> None:
        """End ``reader`` with the supervisor."""
        self._open[reader] = None

    def remove(self, reader: Subscription) -> None:
        """``reader`` has ended; does nothing if it is not known."""
        self._open.pop(reader, None)

    def close(self) -> None:
        """End all readers: the supervisor has ended."""
        self.is_closed = True
        for reader in list(self._open):
            reader._break_off()


@public
@final
class Subscription:
    """A snapshot of a supervisor, and an async iterator of all events at or below it since then.

    Made by `Supervisor.subscribe`::

        async with supervisor.subscribe() as events:
            show(events.snapshot)
            async for event in events:
                ...

    Between snapshot and first event nothing is missing and nothing is told twice, so folding the
    events into the snapshot follows the tree. A reader that is too slow loses the oldest events and
    finds one `EventGap` in their place; a program that folds then subscribes anew. Iteration ends
    once the supervisor has finished and the buffer is empty.

    Entering is a checkpoint and can be cancelled; leaving is neither. What is left in the buffer
    is then forgotten.

    Attributes:
        lost: How many events this reader has missed altogether.
    """

    __slots__ = (
        "_at_once",
        "_broken_off",
        "_buffer",
        "_ended",
        "_journal",
        "_left",
        "_max_buffer",
        "_missed",
        "_next",
        "_path",
        "_prefix",
        "_readers",
        "_reading",
        "_run",
        "_sleeper",
        "_snapshot",
        "_state",
        "_thread",
        "lost",
    )

    lost: int

    def __init__(self) -> None:
        raise TypeError("a Subscription cannot be made; Supervisor.subscribe() gives it")

    @classmethod
    def _create(
        cls,
        journal: EventRecorder,
        state: Callable[[], SupervisorSnapshot],
        *,
        path: str,
        is_root: bool = False,
        max_buffer: int = 1024,
        readers: Readers | None = None,
    ) -> Self:
        self = cls.__new__(cls)
        readers = readers or Readers(_any_thread)
        self._prepare(journal, state, path, max_buffer, readers, is_root=is_root)
        return self

    def _prepare(
        self,
        journal: EventRecorder,
        state: Callable[[], SupervisorSnapshot],
        path: str,
        max_buffer: int,
        readers: Readers,
        *,
        is_root: bool,
    ) -> None:
        self._readers = readers
        self.lost = 0
        self._journal = journal
        self._state = state
        self._max_buffer = check_room("subscribe", "max_buffer", max_buffer)
        self._buffer: deque[Event] = deque()
        self._missed = 0  # since the last EventGap
        self._next: Event | None = None  # what follows that gap, where it cannot be lost any more
        self._snapshot: SupervisorSnapshot | None = None
        self._sleeper: Task | None = None
        self._at_once = 0  # events that may be read before other tasks have a turn
        self._ended = self._left = self._reading = self._broken_off = False
        self._path = path
        # Everything that is recorded lies below the root of the tree.
        self._prefix = "" if is_root else f"{path}/"
        self._run = 0
        self._thread = 0

    def __repr__(self) -> str:
        if self._snapshot is None:
            return f"<Subscription {self._path} not entered>"
        state = " left" if self._left else " ended" if self._ended else ""
        return f"<Subscription {self._path}{state} buffered={len(self._buffer)} lost={self.lost}>"

    async def __aenter__(self) -> Self:
        """Take the snapshot and begin to listen, in one step.

        Raises:
            RuntimeError: It was entered before.
        """
        if self._snapshot is not None:
            raise RuntimeError("a subscription can be entered only once: subscribe again")
        self._readers.check_thread(self._path)
        self._thread = get_ident()
        await checkpoint()
        # No checkpoint from here: nothing may happen between the snapshot and the first event.
        self._snapshot = snapshot = self._state()
        self._run = snapshot.run
        if snapshot.state is SupervisorState.FINISHED:
            self._ended = True
        elif self._readers.is_closed:
            self._ended = self._broken_off = True
        else:
            self._readers.add(self)
            self._journal.add_reader(self._offer)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._end()
        self._left = True
        self._buffer.clear()
        self._next = None

    @property
    def snapshot(self) -> SupervisorSnapshot:
        """The supervisor right before the first event.

        Raises:
            RuntimeError: The subscription has not been entered.
        """
        if self._snapshot is None:
            raise RuntimeError(_NOT_ENTERED)
        return self._snapshot

    def __aiter__(self) -> Self:
        return self

    @enable_ki_protection
    async def __anext__(self) -> Event | EventGap:
        """The next event, or the gap that stands in its place.

        Notices a cancellation at each event, and has then taken none. A reader with events in its
        buffer lets other tasks run at every 32nd of them, and whenever the buffer is empty.

        Raises:
            RuntimeError: The subscription has not been entered.
            trio.BusyResourceError: Another task is waiting for the next event.
            trio.ClosedResourceError: The subscription has been left.
            SupervisorClosed: The supervisor broke down; leaving its block raises why.
        """
        # A reader that catches up looks for a cancellation at each event, and lets other tasks
        # run at every 32nd: a turn of the loop for each costs more than the event did.
        if self._at_once and self._buffer:
            self._at_once -= 1
            await checkpoint_if_cancelled()
            return self._buffer.popleft()
        if self._snapshot is None or self._reading or get_ident() != self._thread:
            self._check_use()
        self._reading = True
        self._at_once = 0
        try:
            if self._buffer or self._missed or self._next is not None or self._ended:
                await checkpoint()
            else:
                self._sleeper = current_task()
                await wait_task_rescheduled(self._abort)
        finally:
            self._reading = False
        if self._missed or self._next is not None or not self._buffer:
            return self._take()
        self._at_once = _MOST_AT_ONCE
        return self._buffer.popleft()

    def _check_use(self) -> None:
        if self._snapshot is None:
            raise RuntimeError(_NOT_ENTERED)
        self._readers.check_thread(self._path)
        if self._reading:
            raise trio.BusyResourceError("another task reads this subscription: open one for each")

    def _abort(self, _: object) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    def _take(self) -> Event | EventGap:
        """Return what comes before the buffer, or end the iteration."""
        if self._left:
            raise trio.ClosedResourceError("this subscription has been left")
        following, self._next = self._next, None
        if following is not None:
            return following
        if self._missed:
            gap = EventGap(self._missed)
            self._missed = 0
            # Else a reader slower than the buffer turns over would be shown gaps and nothing else.
            self._next = self._buffer.popleft() if self._buffer else None
            return gap
        if self._broken_off:
            raise SupervisorClosed(f"{self._path} broke down; leaving its block raises why")
        raise StopAsyncIteration

    def _offer(self, events: list[Event]) -> None:
        """Take in those events that are ours. Never waits, never raises."""
        if self._prefix:
            events = [event for event in events if f"{event.path}/".startswith(self._prefix)]
        if self._ended or not events:
            return
        buffer = self._buffer
        buffer.extend(events)
        while len(buffer) > self._max_buffer:
            buffer.popleft()
            self._at_once = 0  # the gap comes first
            self._missed += 1
            self.lost += 1
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:  # as `_wake`, without the call
            reschedule(sleeper)
        last = events[-1]  # nothing of a supervisor follows its end
        if type(last) is SupervisorFinished and last.run == self._run:
            self._end()

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            reschedule(sleeper)

    def _end(self) -> None:
        """Nothing more will come; what is in the buffer can still be read.

        Happens by itself when the supervisor finishes; the recorder then calls `_offer` no more.
        """
        self._ended = True
        self._readers.remove(self)
        self._journal.remove_reader(self._offer)
        self._wake()

    def _break_off(self) -> None:
        """The supervisor has ended without an event that says so."""
        self._broken_off = True
        self._end()
