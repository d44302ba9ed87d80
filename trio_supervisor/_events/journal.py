"""The newest events of a tree, and the snapshot before the oldest of them.

A restart writes four events, and hardly ever does anybody look. So the journal keeps the bare
fields, makes events of them when it is asked, and folds what is too old to be kept into its base in
large batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

from trio_supervisor._errors import SpecError
from trio_supervisor._events.events import Event
from trio_supervisor._events.fold import RawEvent, SnapshotBuilder, event_of
from trio_supervisor._events.snapshot import SupervisorSnapshot
from trio_supervisor._lazy import public


def check_room(owner: str, field: str, value: object) -> int:
    """``value``, if that many events can be kept."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise SpecError(field, value, "a whole number of events >= 1", owner=owner)


@public
@final
class Journal:
    """A ring of the newest events of one tree; nested supervisors write into their root's.

    Events are numbered from 1 without gaps. Folding `events` into `base` gives the present state of
    the tree, always. Nothing here waits; appending takes the same time whoever listens to a tree
    that nobody listens to.

    Args:
        capacity: How many events are kept, at least 1.
        wall: Tells seconds since the epoch, for people.

    Attributes:
        tap: Called with each new event's bare fields and the exception behind it, if there is one,
            before any listener. Must not raise, and must not append.

    Raises:
        SpecError: ``capacity`` is not a whole number of at least 1.
    """

    __slots__ = (
        "_base",
        "_builder",
        "_capacity",
        "_chore_at",
        "_listeners",
        "_raws",
        "_run",
        "_sequence",
        "_time",
        "_wall",
        "_wall_time",
        "tap",
    )

    def __init__(self, capacity: int = 1024, *, wall: Callable[[], float]) -> None:
        self._capacity = check_room("Journal", "capacity", capacity)
        self._wall = wall
        self._raws: list[RawEvent] = []  # up to twice the capacity; see _trim
        self._builder = SnapshotBuilder()
        self._base: SupervisorSnapshot | None = None
        self._sequence = 0
        self._chore_at = 2 * capacity  # the sequence number from which append has more to do
        self._time: float | None = None
        self._wall_time = 0.0
        self._run = 0
        self._listeners: tuple[Callable[[Event], None], ...] = ()
        self.tap: Callable[[RawEvent, BaseException | None], None] | None = None

    def append(
        self,
        cls: type[Event],
        time: float,
        run: int,
        path: str,
        attempt: int,
        fields: tuple[Any, ...],
        error: BaseException | None = None,
    ) -> RawEvent:
        """Record that something happened.

        Args:
            cls: What happened.
            time: When, on Trio's clock.
            run: Of the supervisor that it belongs to; see `next_run`.
            path: Of the child or supervisor that it speaks of.
            attempt: Of the child, or 0.
            fields: What ``cls`` has beyond the fields that all events have, in order.
            error: The live exception behind it; handed on to `tap`, never kept.

        Returns:
            The bare fields of the event.
        """
        self._sequence = sequence = self._sequence + 1
        if time is not self._time:  # all events of one signal share one reading of each clock
            self._time = time
            self._wall_time = self._wall()
        raw = (cls, sequence, time, self._wall_time, run, path, attempt, fields)
        self._raws.append(raw)
        if self.tap is not None:
            self.tap(raw, error)
        if sequence >= self._chore_at:
            self._do_chores(raw)
        return raw

    def next_run(self) -> int:
        """A number for one more run of a supervisor of this tree, from 1."""
        self._run += 1
        return self._run

    @property
    def capacity(self) -> int:
        """How many events are kept."""
        return self._capacity

    @property
    def last_sequence(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._sequence

    @property
    def base(self) -> SupervisorSnapshot:
        """The tree before the oldest event that is kept."""
        self._trim()
        if self._base is None:
            self._base = self._builder.freeze()
        return self._base

    @property
    def events(self) -> tuple[Event, ...]:
        """The newest events, oldest first."""
        self._trim()
        return tuple(map(event_of, self._raws))

    def present(self) -> SupervisorSnapshot:
        """Return the tree after the newest event."""
        builder = SnapshotBuilder.from_snapshot(self.base)
        builder.extend(self._raws)
        return builder.freeze()

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return min(len(self._raws), self._capacity)

    def __repr__(self) -> str:
        return f"<Journal: {len(self)} of {self._sequence} events>"

    def attach(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event from now on.

        It is called in the middle of `append`: it must be quick, and must not raise or append. It
        may attach and detach.
        """
        self._listeners = (*self._listeners, listener)
        self._plan()

    def detach(self, listener: Callable[[Event], None]) -> None:
        """Leave ``listener`` alone from the next event on; does nothing if it is not attached."""
        self._listeners = tuple(each for each in self._listeners if each != listener)
        self._plan()

    def _plan(self) -> None:
        room = 2 * self._capacity - len(self._raws)
        self._chore_at = 0 if self._listeners else self._sequence + room

    def _do_chores(self, raw: RawEvent) -> None:
        if len(self._raws) >= 2 * self._capacity:
            self._trim()
        if self._listeners:
            event = event_of(raw)
            for listener in self._listeners:
                listener(event)

    def _trim(self) -> None:
        excess = len(self._raws) - self._capacity
        if excess > 0:
            self._builder.extend(self._raws[:excess])
            del self._raws[:excess]
            self._base = None
            self._plan()
