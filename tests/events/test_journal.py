"""The journal: a ring of events whose base and events always add up to the present."""

from __future__ import annotations

import gc
import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_supervisor._errors import SpecError
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, fold, raw_of
from trio_supervisor._events.journal import EventRecorder, Journal, RawFeed
from trio_supervisor._events.snapshot import BLANK, SupervisorSnapshot
from trio_supervisor._record import values_of

if TYPE_CHECKING:
    from trio_supervisor._events.fold import RawEvent

CRASHED = ("crashed", "crashed: boom", 0.5, None)
RESTART = ("restart", "table", 0.0, 1, 10, 120.0, (), "")


def no_wall() -> float:
    return 0.0


def a_journal(capacity: int = 1024) -> EventRecorder:
    journal = EventRecorder(capacity, wall=no_wall)
    journal.append(ev.SupervisorStarted, 0.0, journal.next_run(), "app", 0, (("feed", "web"),))
    return journal


def a_restart(journal: EventRecorder, now: float, path: str = "app/feed", attempt: int = 1) -> None:
    journal.append(ev.ChildExited, now, 1, path, attempt, CRASHED)
    journal.append(ev.ExitJudged, now, 1, path, attempt, RESTART)
    journal.append(ev.ChildStarted, now, 1, path, attempt + 1, (0,))
    journal.append(ev.ChildReady, now, 1, path, attempt + 1, (0.0,))


def state_of(journal: EventRecorder) -> SupervisorSnapshot:
    snapshot = journal.base
    for event in journal.view:
        snapshot = fold(snapshot, event)
    return snapshot


# ---------------------------------------------------------------- appending and looking

LOOKS = ("base", "events", "len", "listen", "leave")
WRITES = ("crash", "start", "add", "remove")
steps = st.lists(st.sampled_from(LOOKS + WRITES * 4), max_size=80)


def write(journal: EventRecorder, what: str, now: float) -> None:
    if what == "crash":
        a_restart(journal, now)
    elif what == "start":
        journal.append(ev.ChildStarted, now, 1, "app/web", 1, (0,))
    elif what == "add":
        journal.append(ev.ChildAdded, now, 1, "app/new", 0, ())
    else:
        journal.append(ev.ChildRemoved, now, 1, "app/new", 0, ())


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 12), steps)
def test_base_and_events_add_up_for_any_capacity(capacity: int, steps: list[str]) -> None:
    journal, everything = a_journal(capacity), a_journal(10**9)
    heard: list[ev.Event] = []
    expected: list[ev.Event] = []
    for now, what in enumerate(steps, 1):
        before = everything.view.last_sequence
        if what in WRITES:
            write(journal, what, float(now))
            write(everything, what, float(now))
            if listening(journal):
                expected += everything.events[before:]
        elif what == "base":
            assert journal.base is journal.base
        elif what == "events":
            assert journal.events == everything.events[-capacity:]
        elif what == "len":
            assert len(journal) == min(capacity, len(everything))
        elif what == "listen" and not listening(journal):
            journal.attach(heard.append)
        elif what == "leave":
            journal.detach(heard.append)
        assert len(journal._raws) < 2 * capacity + 1
        assert heard == expected
        assert journal.view.last_sequence == everything.view.last_sequence
    assert state_of(journal) == state_of(everything)
    assert everything.base == BLANK
    assert tuple(journal.view) == everything.events[-capacity:]
    sequences = [event.sequence for event in everything.view]
    assert sequences == list(range(1, len(everything) + 1))


def listening(journal: EventRecorder) -> bool:
    return bool(journal._listeners)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 12), steps)
def test_after_every_step_the_state_is_what_all_events_make(
    capacity: int, steps: list[str]
) -> None:
    journal, everything = a_journal(capacity), a_journal(10**9)
    present, folded = BLANK, 0
    for now, what in enumerate(steps, 1):
        if what in WRITES:
            write(journal, what, float(now))
            write(everything, what, float(now))
        for event in everything.events[folded:]:
            present = fold(present, event)
        folded = everything.view.last_sequence
        assert state_of(journal) == present


def test_an_empty_journal_is_one_too() -> None:
    journal = EventRecorder(wall=no_wall)
    view = journal.view
    assert (view.base, view.events, len(view), view.last_sequence) == (BLANK, (), 0, 0)
    assert repr(view) == "<Journal of a tree that has not started: 0 of 0 events>"
    assert journal.view.capacity == 1024


def test_append_gives_back_what_it_keeps() -> None:
    journal = a_journal()
    raw = journal.append(ev.ChildExited, 2.5, 1, "app/feed", 3, CRASHED)
    assert raw == (ev.ChildExited, 2, 2.5, 0.0, 1, "app/feed", 3, CRASHED)
    assert journal.events[-1] == ev.ChildExited(2, 2.5, 0.0, 1, "app/feed", 3, *CRASHED)


def test_the_wall_clock_is_read_once_for_each_instant() -> None:
    ticks = count(100.0)
    journal = EventRecorder(wall=lambda: next(ticks))
    for _ in range(2):
        now = float(str(7.25))  # equal to the other one, and read anew
        a_restart(journal, now)
    assert [event.wall for event in journal.view] == [100.0] * 4 + [101.0] * 4


def test_runs_are_numbered() -> None:
    journal = EventRecorder(wall=no_wall)
    assert [journal.next_run() for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, None, "8"])
def test_a_capacity_that_holds_nothing_is_refused(capacity: Any) -> None:
    with pytest.raises(SpecError, match="capacity=.* expected a whole number of events >= 1"):
        EventRecorder(capacity, wall=no_wall)


# ---------------------------------------------------------------- listeners


def test_an_event_is_built_once_for_all_listeners() -> None:
    journal = a_journal()
    one: list[ev.Event] = []
    other: list[ev.Event] = []
    journal.attach(one.append)
    journal.attach(other.append)
    a_restart(journal, 1.0)
    assert one == other == list(journal.view)[1:]
    assert all(a is b for a, b in zip(one, other, strict=True))
    journal.detach(one.append)
    journal.detach(one.append)
    a_restart(journal, 2.0)
    assert len(one) == 4
    assert len(other) == 8


def test_listeners_may_attach_and_detach_while_they_are_told() -> None:
    journal = a_journal()
    heard: list[int] = []

    def late(event: ev.Event) -> None:
        heard.append(event.sequence)

    def once(event: ev.Event) -> None:
        journal.detach(once)
        journal.attach(late)

    journal.attach(once)
    a_restart(journal, 1.0)
    assert heard == [3, 4, 5]


def test_a_listener_may_look_into_the_journal() -> None:
    journal = a_journal(2)
    seen: list[bool] = []
    journal.attach(lambda event: seen.append(journal.events[-1] == event))
    for attempt in range(4):
        a_restart(journal, 1.0, attempt=attempt)
    assert seen == [True] * 16


def test_readers_get_the_events_of_a_step_together_and_each_once() -> None:
    journal = a_journal()
    steps: list[list[int]] = []

    def read(events: list[ev.Event]) -> None:
        steps.append([event.sequence for event in events])

    def leave(events: list[ev.Event]) -> None:
        steps.append([-1])
        journal.remove_reader(leave)

    journal.add_reader(leave)
    journal.add_reader(read)
    a_restart(journal, 1.0)
    assert not steps
    journal.tell()
    assert steps == [[-1], [2, 3, 4, 5]]
    a_restart(journal, 2.0)
    journal.remove_reader(read)
    journal.remove_reader(read)
    a_restart(journal, 3.0)
    journal.add_reader(read)
    assert not journal.untold
    a_restart(journal, 4.0)
    journal.tell()
    assert steps[2:] == [[14, 15, 16, 17]]


def test_the_tap_hears_first_and_hears_the_exception() -> None:
    journal = a_journal()
    heard: list[tuple[str, object]] = []

    def tap(raw: RawEvent, error: BaseException | None) -> None:
        heard.append((f"tap {raw[1]}", error))

    journal.tap = tap
    journal.attach(lambda event: heard.append((f"listener {event.sequence}", None)))
    boom = ValueError("boom")
    journal.append(ev.ChildExited, 1.0, 1, "app/feed", 1, CRASHED, boom)
    journal.append(ev.ExitJudged, 1.0, 1, "app/feed", 1, RESTART)
    assert heard == [("tap 2", boom), ("listener 2", None), ("tap 3", None), ("listener 3", None)]
    journal.tap = None
    a_restart(journal, 2.0)
    assert len(heard) == 8


def test_events_since_a_number_are_those_that_are_kept_after_it() -> None:
    journal = a_journal(4)
    view = journal.view
    for time in range(6):
        a_restart(journal, float(time))
        for sequence in (-5, 0, view.last_sequence - 3, view.last_sequence, view.last_sequence + 9):
            expected = tuple(each for each in view.events if each.sequence > sequence)
            assert view.since(sequence) == expected


def test_the_journal_keeps_no_exception() -> None:
    journal = a_journal()
    boom = ValueError("boom")
    journal.append(ev.ChildExited, 1.0, 1, "app/feed", 1, CRASHED, boom)
    holders = (EventRecorder, tuple, list)
    assert not [each for each in gc.get_referrers(boom) if isinstance(each, holders)]


def test_subscribers_get_the_exception_that_the_journal_does_not_keep() -> None:
    journal = a_journal()
    seen: list[ev.Event] = []
    journal.attach(seen.append)
    boom = ValueError("boom")
    journal.append(ev.ChildExited, 1.0, 1, "app/feed", 1, CRASHED, boom)
    (event,) = seen
    kept = journal.events[-1]
    assert (event.error, kept.error) == (boom, None)  # type: ignore[attr-defined]
    assert event == kept
    assert hash(event) == hash(kept)
    assert raw_of(event) == raw_of(kept)
    assert pickle.loads(pickle.dumps(event)).error is None
    assert event.to_dict()["error"]["type"] == "ValueError"
    assert event != ev.ChildExited(*[*values_of(event)[:-2], "asked"])


def test_what_users_are_given_can_be_read_and_not_changed() -> None:
    view = a_journal().view
    assert sorted(name for name in dir(view) if not name.startswith("_")) == [
        "base",
        "capacity",
        "events",
        "last_sequence",
        "since",
    ]
    with pytest.raises(AttributeError):
        view.capacity = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"Supervisor\.journal gives it"):
        Journal()


def test_memory_is_bounded() -> None:
    journal = a_journal(64)
    for attempt in range(2_000):
        a_restart(journal, float(attempt), attempt=attempt)
        journal.append(ev.ChildAdded, float(attempt), 1, f"app/s-{attempt}", 0, ())
        journal.append(ev.ChildRemoved, float(attempt), 1, f"app/s-{attempt}", 0, ())
    assert len(journal._raws) <= 128
    assert journal._chore_at > journal.view.last_sequence, "and append has nothing more to do"
    assert len(journal._builder._children) <= 3
    assert state_of(journal).child("feed").restarts == 2_000


# ---------------------------------------------------------------- feeds


def test_a_feed_hands_on_every_event_from_the_oldest_kept_one_on_exactly_once() -> None:
    journal = a_journal(capacity=8)
    for now in range(5):
        a_restart(journal, now, attempt=now + 1)
    got: list[RawEvent] = []
    feed = RawFeed(journal, got.extend)
    assert (len(journal), feed.missed, got) == (8, 13, [])
    for now in range(5, 40):
        a_restart(journal, now, attempt=now + 1)
        if now == 20:
            feed.hand_on()
            feed.hand_on()
    feed.close()
    feed.close()
    assert [raw[1] for raw in got] == list(range(14, 1 + 1 + 40 * 4))
    a_restart(journal, 50)
    journal.append(ev.ChildWaiting, 51, 1, "app/web", 0, ())
    for _ in range(9):
        a_restart(journal, 52)
    assert len(got) == 40 * 4 + 1 - 13, "a closed feed gets no more"


def test_the_base_of_a_feed_and_its_events_make_the_present_state() -> None:
    journal = a_journal(capacity=4)
    for now in range(3):
        a_restart(journal, now, attempt=now + 1)
    batches: list[list[RawEvent]] = []
    feeds = [RawFeed(journal, batches.append), RawFeed(journal, lambda raws: None)]
    builder = SnapshotBuilder.from_snapshot(feeds[0].base)
    for now in range(3, 10):
        a_restart(journal, now, attempt=now + 1)
    feeds[1].close()
    feeds[0].hand_on()
    assert len(batches) > 1
    for each in batches:
        builder.extend(each)
    assert builder.freeze() == journal.present()
