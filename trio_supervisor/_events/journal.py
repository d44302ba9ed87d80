"""The newest events of a tree, and the snapshot before the oldest of them.

A restart records four events, and most are never read. `EventRecorder` therefore stores plain
tuples, builds event objects on demand, and folds old entries into its base snapshot in batches.
`Journal` is what users see of it: everything can be read, nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, final
from weakref import ref

from trio_supervisor._errors import SpecError
from trio_supervisor._events.events import Event
from trio_supervisor._events.fold import RawEvent, SnapshotBuilder, event_of
from trio_supervisor._events.snapshot import SupervisorSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._text import is_a


def check_room(owner: str, field: str, value: object) -> int:
    """Return ``value`` if a buffer can have room for that many events."""
    if is_a(value, int) and not is_a(value, bool) and 1 <= int.__int__(value) < 1 << 63:
        return int.__int__(value)
    raise SpecError(field, value, "a whole number of events >= 1", owner=owner)


@final
class RawFeed:
    """All events from the oldest one that is kept on, in batches, without an object for each.

    A reader that only counts can wait until it is asked, or until the recorder is about to forget
    the events. So a feed costs the recording of an event nothing, and misses none.

    Args:
        recorder: Its events are handed on.
        take: Called with a batch, oldest first, in the thread of the recorder. Must not raise,
            append, open or close.

    Attributes:
        base: The tree before the first event that is handed on.
        missed: How many events were recorded before that one.
    """

    __slots__ = ("_recorder", "_seen", "_take", "base", "missed")

    def __init__(self, recorder: EventRecorder, take: Callable[[list[RawEvent]], None]) -> None:
        self.base: SupervisorSnapshot = recorder.base
        self.missed: int = recorder._sequence - len(recorder._raws)
        self._seen = self.missed
        self._recorder = recorder
        self._take = take
        recorder._feeds += (self,)

    def hand_on(self) -> None:
        """Hand on what has been recorded since the last time."""
        raws = self._recorder._raws
        fresh = self._recorder._sequence - self._seen
        if fresh:
            self._seen += fresh
            self._take(raws[len(raws) - fresh :])

    def close(self) -> None:
        """Hand on the rest, and no more from now on; does nothing the second time."""
        if self in self._recorder._feeds:
            self.hand_on()
            self._recorder._feeds = tuple(
                each for each in self._recorder._feeds if each is not self
            )


@final
class EventRecorder:
    """Records the events of one tree; nested supervisors record into their root's.

    Nothing here waits. Recording an event takes the same time however many there have been.

    Args:
        capacity: How many events are kept, at least 1.
        wall: Returns seconds since the epoch.

    Attributes:
        tap: Called with each new event's bare fields and the exception behind the event, if there
            is one, before any listener. Must not raise, and must not append.
        untold: The events that `tell` will give to the readers.

    Raises:
        SpecError: ``capacity`` is not a whole number of at least 1.
    """

    __slots__ = (
        "_base",
        "_builder",
        "_capacity",
        "_chore_at",
        "_feeds",
        "_listeners",
        "_raws",
        "_readers",
        "_run",
        "_sequence",
        "_time",
        "_told",
        "_view",
        "_wall",
        "_wall_time",
        "tap",
        "untold",
    )

    def __init__(self, capacity: int = 1024, *, wall: Callable[[], float]) -> None:
        self._view: ref[Journal] | None = None
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
        self._feeds: tuple[RawFeed, ...] = ()
        self._listeners: dict[Callable[[Event], None], None] = {}
        self._told: tuple[Callable[[Event], None], ...] | None = ()  # None: to be made anew
        self._readers: dict[Callable[[list[Event]], None], None] = {}
        self.untold: list[Event] = []
        self.tap: Callable[[RawEvent, BaseException | None], None] | None = None

    @property
    def view(self) -> Journal:
        """The same for users."""
        view = None if self._view is None else self._view()
        if view is None:
            view = Journal._create(self)
            self._view = ref(view)  # it refers to this: neither could be freed at once
        return view

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
        """Record one event.

        Args:
            cls: The class of the event.
            time: Its time on Trio's clock, in seconds.
            run: The run of the supervisor that the event belongs to; see `next_run`.
            path: The child or supervisor concerned.
            attempt: The attempt concerned, or 0.
            fields: The fields that ``cls`` adds to `Event`, in order.
            error: The live exception behind the event; handed on to `tap`, never kept.

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
            self._do_chores(raw, error)
        return raw

    def next_run(self) -> int:
        """Return the number for one more run of a supervisor in this tree, from 1."""
        self._run += 1
        return self._run

    @property
    def base(self) -> SupervisorSnapshot:
        """The tree before the oldest event that is kept. Builds a snapshot after old ones went."""
        self._trim()
        if self._base is None:
            self._base = self._builder.freeze()
        return self._base

    @property
    def events(self) -> tuple[Event, ...]:
        """The newest events, oldest first."""
        self._trim()
        return tuple(map(event_of, self._raws))

    def since(self, sequence: int) -> tuple[Event, ...]:
        """Return the events after number ``sequence`` that are still kept, oldest first.

        Takes time in proportion to what it returns. Events between ``sequence`` and the first one
        returned are no longer kept.
        """
        raws = self._raws
        fresh = min(max(0, self._sequence - sequence), len(raws), self._capacity)
        return tuple(map(event_of, raws[len(raws) - fresh :]))

    def present(self) -> SupervisorSnapshot:
        """Return the tree after the newest event."""
        builder = SnapshotBuilder.from_snapshot(self.base)
        builder.extend(self._raws)
        return builder.freeze()

    def __len__(self) -> int:
        return min(len(self._raws), self._capacity)

    def attach(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event from now on.

        It is called in the middle of `append`: it must be quick, and must not raise or append. It
        may attach and detach.
        """
        self._listeners[listener] = self._told = None
        self._plan()

    def detach(self, listener: Callable[[Event], None]) -> None:
        """Leave ``listener`` alone from the next event on; does nothing if it is not attached."""
        self._listeners.pop(listener, None)
        self._told = None
        self._plan()

    def add_reader(self, reader: Callable[[list[Event]], None]) -> None:
        """Call ``reader`` with all events from now on, those of one step together; see `tell`.

        A call for each event would cost ten readers as much as a restart does. A reader must not
        raise or append. It may remove itself.
        """
        self._readers[reader] = None
        self._plan()

    def remove_reader(self, reader: Callable[[list[Event]], None]) -> None:
        """Leave ``reader`` alone from now on; does nothing if it is not known."""
        self._readers.pop(reader, None)
        if not self._readers:
            self.untold = []
        self._plan()

    def tell(self) -> None:
        """Give the events since the last call to the readers: the step that they belong to ends."""
        untold, self.untold = self.untold, []
        for reader in tuple(self._readers):
            reader(untold)

    def _plan(self) -> None:
        room = 2 * self._capacity - len(self._raws)
        self._chore_at = 0 if self._listeners or self._readers else self._sequence + room

    def _do_chores(self, raw: RawEvent, error: BaseException | None) -> None:
        if len(self._raws) >= 2 * self._capacity:
            self._trim()
        if self._listeners or self._readers:
            event = event_of(raw, error)
            if self._readers:
                self.untold.append(event)
            if self._listeners:
                self._tell_listeners(event)

    def _tell_listeners(self, event: Event) -> None:
        told = self._told
        if told is None:  # a listener may attach and detach, while this goes on over the former
            told = self._told = tuple(self._listeners)
        for listener in told:
            listener(event)

    def _trim(self) -> None:
        excess = len(self._raws) - self._capacity
        if excess > 0:
            for feed in self._feeds:
                feed.hand_on()
            self._builder.extend(self._raws[:excess])
            del self._raws[:excess]
            self._base = None
            self._plan()


@public
@final
class Journal:
    """The newest events of one tree, the events of nested supervisors included. Read only.

    Events are numbered from 1 without gaps. Folding `events` into `base` gives the present state of
    the tree, always. `Supervisor.journal` gives it; `open_supervisor` has an option ``journal`` for
    how many events are kept.
    """

    __slots__ = ("__weakref__", "_recorder")

    if TYPE_CHECKING:
        _recorder: EventRecorder

    def __init__(self) -> None:
        raise TypeError("a Journal cannot be made; Supervisor.journal gives it")

    @classmethod
    def _create(cls, recorder: EventRecorder) -> Journal:
        self = cls.__new__(cls)
        self._recorder = recorder
        return self

    @property
    def capacity(self) -> int:
        """The number of events that are kept."""
        return self._recorder._capacity

    @property
    def last_sequence(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._recorder._sequence

    @property
    def base(self) -> SupervisorSnapshot:
        """The tree before the oldest event that is kept."""
        return self._recorder.base

    @property
    def events(self) -> tuple[Event, ...]:
        """The newest events, oldest first."""
        return self._recorder.events

    def since(self, sequence: int) -> tuple[Event, ...]:
        """Return the events after number ``sequence`` that are still kept, oldest first.

        Takes time in proportion to what it returns. Events between ``sequence`` and the first one
        returned are no longer kept.
        """
        return self._recorder.since(sequence)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self._recorder)

    def __repr__(self) -> str:
        raws = self._recorder._raws
        path = raws[-1][5].partition("/")[0] if raws else "of a tree that has not started"
        return f"<Journal {path}: {len(self)} of {self.last_sequence} events>"
