"""Subscriptions: nothing twice, nothing silently missing, and nobody waits for a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from helpers.support import run_virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_supervisor import ChildSpec, open_supervisor, plain
from trio_supervisor._attempts.attempt import Attempt
from trio_supervisor._errors import SpecError, SupervisorClosed
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import fold
from trio_supervisor._events.journal import EventRecorder
from trio_supervisor._runtime.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor._events.snapshot import SupervisorSnapshot

ROOT, NEST = 1, 2


class Tree:
    """A tree that consists of its journal alone."""

    def __init__(self) -> None:
        self.journal = EventRecorder(10_000, wall=lambda: 0.0)
        self.write(ev.SupervisorStarted, "app", ("feed", "nest", "nester"))

    def write(self, cls: type[ev.Event], path: str, *fields: Any, run: int = ROOT) -> None:
        self.journal.append(cls, 0.0, run, path, 1, fields)
        if self.journal.untold:
            self.journal.tell()

    def nest(self, run: int = NEST) -> None:
        self.write(ev.ChildStarted, "app/nest", 0)
        self.write(ev.SupervisorStarted, "app/nest", ("x",), run=run)

    def ready(self, times: int = 1, path: str = "app/feed") -> None:
        for _ in range(times):
            self.write(ev.ChildReady, path, 0.5)

    def finish(self, path: str = "app", run: int = ROOT) -> None:
        self.write(ev.SupervisorFinished, path, "shutdown", "", 0.0, 0, run=run)

    def state(self) -> SupervisorSnapshot:
        snapshot = self.journal.base
        for event in self.journal.view:
            snapshot = fold(snapshot, event)
        return snapshot

    def nest_state(self) -> SupervisorSnapshot:
        inner = self.state().child("nest").supervisor
        assert inner is not None
        return inner

    def listeners(self) -> int:
        return len(self.journal._readers)

    def subscribe(self, max_buffer: int = 1024) -> Subscription:
        return Subscription._create(self.journal, self.state, path="app", max_buffer=max_buffer)

    def subscribe_nest(self) -> Subscription:
        return Subscription._create(self.journal, self.nest_state, path="app/nest")


def told(event: ev.Event | ev.EventGap) -> int:
    """The event's number, or how many are missing, as a negative one."""
    return -event.lost if isinstance(event, ev.EventGap) else event.sequence


async def rest_of(events: AsyncIterator[ev.Event | ev.EventGap]) -> list[int]:
    return [told(event) async for event in events]


# ---------------------------------------------------------------- what a reader gets


def test_a_reader_gets_the_snapshot_and_everything_after_it() -> None:
    async def main() -> None:
        tree = Tree()
        tree.ready()
        async with tree.subscribe() as events:
            assert events.snapshot == tree.state()
            tree.ready(2)
            assert aiter(events) is events
            assert [told(await anext(events)) for _ in range(2)] == [3, 4]
            tree.finish()
            assert await rest_of(events) == [5]
            assert await rest_of(events) == []
            assert events.lost == 0

    run_virtual(main)


def test_folding_the_events_follows_the_tree() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events:
            tree.nest()
            tree.ready(3)
            snapshot = events.snapshot
            for _ in range(5):
                event = await anext(events)
                assert isinstance(event, ev.Event)
                snapshot = fold(snapshot, event)
            assert snapshot == tree.state() != events.snapshot

    run_virtual(main)


def test_a_waiting_reader_is_woken() -> None:
    async def main() -> None:
        tree = Tree()
        heard: list[tuple[float, int]] = []

        async def read(events: Subscription) -> None:
            heard.extend([(trio.current_time() - start, told(event)) async for event in events])

        start = trio.current_time()
        async with tree.subscribe() as events, trio.open_nursery() as nursery:
            nursery.start_soon(read, events)
            await trio.sleep(1)
            tree.ready(2)
            await trio.sleep(1)
            tree.ready()
            await trio.sleep(1)
            tree.finish()
        assert heard == [(1, 2), (1, 3), (2, 4), (3, 5)]

    run_virtual(main)


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe(max_buffer=3) as events:
            tree.ready(3)  # 2 3 4
            assert told(await anext(events)) == 2
            tree.ready(3)  # 5 6 7
            assert [told(await anext(events)) for _ in range(2)] == [-2, 5]
            tree.ready(3)  # 8 9 10
            tree.finish()  # 11
            assert events.lost == 5
            assert await rest_of(events) == [-3, 9, 10, 11]
            assert events.lost == 5

    run_virtual(main)


@settings(deadline=None)  # the machine may be busy
@given(
    max_buffer=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["write", "read", "wait"]), max_size=40),
)
def test_events_and_gaps_add_up(max_buffer: int, steps: list[str]) -> None:
    async def main() -> None:
        tree = Tree()
        heard: list[int] = []
        readers = 0

        async def read(events: Subscription) -> None:
            nonlocal readers
            heard.append(told(await anext(events)))
            readers -= 1

        async with tree.subscribe(max_buffer) as events, trio.open_nursery() as nursery:
            for step in steps:
                if step == "write":
                    tree.ready()
                elif step == "wait":
                    await trio.testing.wait_all_tasks_blocked()
                elif not readers:
                    readers += 1
                    nursery.start_soon(read, events)
                    await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            tree.finish()
            await trio.testing.wait_all_tasks_blocked()
            heard.extend(await rest_of(events))
            gaps = [-number for number in heard if number < 0]
            assert sum(gaps) == events.lost
            # Each number is the next one, or follows a gap of just that size.
            expected = 2
            for number in heard:
                expected += -number if number < 0 else 1
                assert number < 0 or number == expected - 1
            assert expected == tree.journal.view.last_sequence + 1
            assert len(events._buffer) == 0

    run_virtual(main)


def test_offering_takes_constant_room() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe(max_buffer=4) as events:
            tree.ready(5_000)
            assert len(events._buffer) == 4
            assert events.lost == 4_996

    run_virtual(main)


# ---------------------------------------------------------------- nested supervisors


def test_a_nested_supervisors_reader_gets_what_is_at_or_below_it() -> None:
    async def main() -> None:
        tree = Tree()
        tree.nest()
        async with tree.subscribe_nest() as events:
            assert events.snapshot.path == "app/nest"
            tree.ready(path="app/nester")
            tree.ready(path="app/nest")  # 5: what the enclosing supervisor says of it
            tree.ready(path="app/feed")
            tree.ready(path="app/nest/x")  # 7
            tree.write(ev.SupervisorReady, "app/nest", run=NEST)  # 8
            tree.write(ev.SupervisorReady, "app")
            snapshot = events.snapshot
            for expected in (5, 7, 8):
                event = await anext(events)
                assert isinstance(event, ev.Event)
                assert event.sequence == expected
                snapshot = fold(snapshot, event)
            assert snapshot == tree.nest_state()

    run_virtual(main)


def test_it_ends_with_its_own_supervisor_and_no_other() -> None:
    async def main() -> None:
        tree = Tree()
        tree.nest()
        tree.write(ev.SupervisorStarted, "app/nest/x", (), run=3)
        async with tree.subscribe() as events, tree.subscribe_nest() as inner:
            tree.finish("app/nest/x", run=3)  # 5
            tree.finish("app/nest", run=NEST)  # 6
            tree.nest(run=4)  # 7 8: the next run is another supervisor
            assert await rest_of(inner) == [5, 6]
            tree.finish()  # 9
            assert await rest_of(events) == [5, 6, 7, 8, 9]

    run_virtual(main)


# ---------------------------------------------------------------- the ends


def test_of_a_supervisor_that_has_finished_there_is_nothing_to_hear() -> None:
    async def main() -> None:
        tree = Tree()
        tree.finish()
        async with tree.subscribe() as events:
            assert events.snapshot.state == "finished"
            assert tree.listeners() == 0
            assert await rest_of(events) == []

    run_virtual(main)


def test_a_supervisor_that_broke_down_can_end_it() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events:
            tree.ready()
            events._end()
            events._end()
            tree.ready()
            events._offer([tree.journal.events[-1]])
            assert await rest_of(events) == [2]

    run_virtual(main)


def test_what_was_recorded_before_a_supervisor_broke_down_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: object, spec: object, *_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    async def main() -> None:
        read: list[str] = []
        with pytest.raises(RuntimeError, match="a bug of ours"):
            async with open_supervisor() as app, app.subscribe() as events:
                monkeypatch.setattr(Attempt, "__init__", fail)
                app.start_child_soon(ChildSpec("a", plain(trio.sleep_forever)))
                try:
                    async for event in events:
                        read.append(type(event).__name__)  # noqa: PERF401 - it raises
                except SupervisorClosed:
                    read.append("broke down")
        assert read == ["ChildAdded", "ChildStarted", "ChildReady", "broke down"]

    run_virtual(main)


def test_what_is_left_when_the_supervisor_has_ended_can_be_read_in_any_thread() -> None:
    async def main() -> None:
        async with open_supervisor() as app, app.subscribe() as events:
            app.start_child_soon(ChildSpec("a", plain(trio.sleep_forever)))
            await trio.testing.wait_all_tasks_blocked()
            await app.shutdown()
            read = await trio.to_thread.run_sync(trio.run, rest_of, events)
            assert read == [event.sequence for event in app.journal.events[2:]]

    run_virtual(main)


def test_a_reader_that_waits_hears_of_the_end() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events, trio.open_nursery() as nursery:
            read: list[Any] = []

            async def reader() -> None:
                read.append(await rest_of(events))

            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            assert not read
            events._end()
        assert read == [[]]

    run_virtual(main)


def test_a_subscription_says_what_it_follows_and_how_far_it_is() -> None:
    async def main() -> None:
        tree = Tree()
        events = tree.subscribe(max_buffer=2)
        assert repr(events) == "<Subscription app not entered>"
        async with events:
            tree.ready()
            assert repr(events) == "<Subscription app buffered=1 lost=0>"
            tree.ready(3)
            tree.finish()
            assert repr(events) == "<Subscription app ended buffered=2 lost=3>"
        assert repr(events) == "<Subscription app left buffered=0 lost=3>"

    run_virtual(main)


@pytest.mark.parametrize("how", ["leave", "crash", "cancel", "finish"])
def test_one_that_is_over_is_forgotten(how: str) -> None:
    async def main() -> None:
        tree = Tree()
        subscription = tree.subscribe()
        with trio.CancelScope() as scope:
            try:
                async with subscription as events:
                    assert tree.listeners() == 1
                    tree.ready()
                    if how == "crash":
                        raise ValueError
                    if how == "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
                    if how == "finish":
                        tree.finish()
                        assert tree.listeners() == 0
                        assert told(await anext(events)) == 2
            except ValueError:
                pass
        assert tree.listeners() == 0
        tree.ready()
        assert not subscription._buffer
        with pytest.raises(trio.ClosedResourceError):
            await anext(subscription)

    run_virtual(main)


def test_leaving_ends_the_wait_of_a_reader_in_another_task() -> None:
    async def main() -> None:
        tree = Tree()

        async def read(events: Subscription) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await anext(events)

        async with trio.open_nursery() as nursery, tree.subscribe() as events:
            nursery.start_soon(read, events)  # noqa: ASYNC111 - reading on is the point
            await trio.testing.wait_all_tasks_blocked()

    run_virtual(main)


# ---------------------------------------------------------------- misuse and checkpoints


def test_one_reader_at_a_time() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events, trio.open_nursery() as nursery:
            nursery.start_soon(rest_of, events)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(events)
            tree.finish()

    run_virtual(main)


def test_a_cancelled_reader_has_taken_nothing() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events:
            for full in (False, True):
                if full:
                    tree.ready()
                with trio.move_on_after(0 if full else 1) as scope:
                    await anext(events)
                assert scope.cancelled_caught
            assert told(await anext(events)) == 2

    run_virtual(main)


def test_a_reader_that_is_cancelled_as_an_event_comes_keeps_it() -> None:
    async def main() -> None:
        tree = Tree()
        heard: list[int] = []
        async with tree.subscribe() as events:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def read() -> None:
                        heard.append(told(await anext(events)))

                    nursery.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    tree.ready()
                    scope.cancel()
            tree.finish()
            assert heard + await rest_of(events) == [2, 3]

    run_virtual(main)


def test_a_reader_that_catches_up_lets_other_tasks_run_and_notices_a_cancellation() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe() as events:
            tree.ready(300)
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                for _ in range(299):
                    await anext(events)
                nursery.cancel_scope.cancel()
            assert 5 <= turns <= 12
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(events)
            assert scope.cancelled_caught
            assert isinstance(await anext(events), ev.Event), "the cancelled read has taken nothing"

    run_virtual(main)


def test_entering_and_reading_are_checkpoints() -> None:
    async def main() -> None:
        tree = Tree()
        subscription = tree.subscribe(1)
        with trio.testing.assert_checkpoints():
            events = await subscription.__aenter__()
        tree.ready(2)
        with trio.testing.assert_checkpoints():
            await anext(events)  # the gap
        await anext(events)  # the event
        tree.finish()
        await anext(events)
        with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await anext(events)
        with trio.testing.assert_no_checkpoints():
            await subscription.__aexit__(None, None, None)

    run_virtual(main)


def test_cancelled_while_entering_it_never_listens() -> None:
    async def main() -> None:
        tree = Tree()
        with trio.CancelScope() as scope:
            scope.cancel()
            async with tree.subscribe():
                raise AssertionError("entered all the same")
        assert scope.cancelled_caught
        assert tree.listeners() == 0

    run_virtual(main)


def test_it_is_entered_once_and_before_anything_else() -> None:
    async def main() -> None:
        tree = Tree()
        subscription = tree.subscribe()
        with pytest.raises(RuntimeError, match="async with"):
            _ = subscription.snapshot
        with pytest.raises(RuntimeError, match="async with"):
            await anext(subscription)
        async with subscription:
            with pytest.raises(RuntimeError, match="only once"):
                await subscription.__aenter__()
        with pytest.raises(RuntimeError, match="only once"):
            await subscription.__aenter__()

    run_virtual(main)


@pytest.mark.parametrize("max_buffer", [0, -3, True, 2.0, None, float("inf")])
def test_a_buffer_that_holds_nothing_is_refused(max_buffer: Any) -> None:
    with pytest.raises(SpecError, match="max_buffer"):
        Tree().subscribe(max_buffer)


def test_a_reader_slower_than_its_buffer_turns_over_still_sees_events() -> None:
    async def main() -> None:
        tree = Tree()
        async with tree.subscribe(max_buffer=2) as events:
            numbers = []
            for _ in range(6):
                tree.ready(5)  # more than the buffer holds, between any two reads
                numbers.append(told(await anext(events)))
        # Gap and event take turns, and each gap stands exactly where events are missing.
        assert numbers == [-3, 5, -9, 15, -9, 25]

    run_virtual(main)
