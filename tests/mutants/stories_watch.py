"""Stories about those who look on: journal, snapshots, subscriptions, values, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    ChildNotReady,
    ChildReady,
    Event,
    EventGap,
    SupervisorFinished,
    fold,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour, SimulatedCrash

from .story import child, raises, settle, story, tree

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, Supervisor


async def follow(app: Supervisor, seen: list[Any], most: int = 1024) -> None:
    async with app.subscribe(max_buffer=most) as events:
        async for event in events:
            seen.append(event)  # noqa: PERF401 - others look at it meanwhile


@story()
async def a_journal_that_has_outgrown_its_bound_still_tells_the_state() -> None:
    crashing = child("a", run=Behaviour(ends_at=0.1), restart_limit=None)
    calm = [child(f"x{number}") for number in range(12)]
    async with open_supervisor(tree(*calm, crashing)) as app:
        journal = app.journal
        await trio.sleep(26)
        assert journal.last_sequence > journal.capacity
        for _ in range(12):  # what the calm ones had to tell leaves the journal bit by bit
            assert journal.base.name == "app"
            await app.restart_child("x0")
            assert journal.base.name == "app"
            await app.stop_child("x0")
            await trio.sleep(0.1)
        await settle()
        numbers = [event.sequence for event in journal.events]
        assert len(numbers) == journal.capacity
        assert numbers == list(range(numbers[0], journal.last_sequence + 1))
        state = journal.base
        for event in journal.events:
            state = fold(state, event)
        assert state == app.state()


@story()
async def who_subscribes_misses_nothing_and_is_told_of_the_end() -> None:
    seen: list[Event] = []
    async with (
        trio.open_nursery() as nursery,
        open_supervisor(tree(child("a", run=Behaviour(ends_at=1)))) as app,
    ):
        nursery.start_soon(follow, app, seen)
        await trio.sleep(3.5)
        assert [event.sequence for event in seen] == [
            event.sequence for event in app.journal.events if event.time > 0
        ]
    assert isinstance(seen[-1], SupervisorFinished)


@story()
async def a_slow_reader_is_told_how_many_it_has_missed() -> None:
    async with open_supervisor(tree(child("a"))) as app, app.subscribe(max_buffer=3) as events:
        last = app.journal.last_sequence
        for _ in range(3):
            await app.restart_child("a")
        made = app.journal.last_sequence - last
        gap = await anext(events)
        assert gap == EventGap(made - 3)
        assert events.lost == made - 3
        rest = [await anext(events) for _ in range(3)]
        assert rest == list(app.journal.events[-3:])


@story()
async def who_still_reads_when_the_subscription_is_left_is_told() -> None:
    found: list[str] = []

    async def read(events: Any) -> None:
        with raises(trio.ClosedResourceError):
            await anext(events)
        found.append("closed")

    async with trio.open_nursery() as nursery, open_supervisor(tree(child("a"))) as app:
        async with app.subscribe() as events:
            nursery.start_soon(read, events)
            await settle()
        await settle()
        assert found == ["closed"]


@story()
async def a_subscriber_of_a_branch_hears_of_no_other() -> None:
    seen: list[Event] = []
    branch, other = tree(child("x")).replace(name="p"), tree(child("x")).replace(name="pool")
    async with trio.open_nursery() as nursery, open_supervisor(tree(branch, other)) as app:
        nursery.start_soon(follow, app.child("p").value, seen)
        await settle()
        await app.child("pool").value.restart_child("x")
        await settle()
        assert seen == []
        await app.child("p").value.restart_child("x")
        await settle()
        assert seen
        assert all(event.path == "app/p/x" for event in seen)


@story()
async def a_value_is_that_of_the_present_attempt() -> None:
    async def body(child: ChildContext) -> None:
        child.ready(f"value {child.attempt}")
        child.ready("another one")
        await child.wait_stop_requested()
        await trio.sleep(1)

    async with open_supervisor(tree(child("a", run=body, readiness="explicit", grace=5))) as app:
        handle = app.child("a")
        assert handle.value == "value 1"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.restart)
            await settle()
            try:
                found = handle.value
            except ChildNotReady:
                found = None
            assert found is None
            assert await handle.wait_ready() == "value 2"


@story()
async def the_last_eight_reports_are_kept_and_no_more() -> None:
    crashing = child("a", run=Behaviour(ends_at=1), restart_limit=None)
    async with open_supervisor(tree(crashing)) as app:
        await trio.sleep(12.5)
        reports = app.child("a").reports
        assert [report.attempt for report in reports] == list(range(5, 13))
        assert all(report.exit.kind == "crashed" for report in reports)
        live = [isinstance(report.exit.error, SimulatedCrash) for report in reports]
        assert live == [False] * 7 + [True]


@story()
async def who_requires_one_that_has_lost_its_readiness_waits() -> None:
    provider = Behaviour(not_ready_at=2, ready_again_at=6)
    user = child("b", requires=["a"])
    spec = tree(child("a", run=provider, readiness="explicit"), user, ordering="graph")
    async with open_supervisor(spec) as app:
        await trio.sleep(3)
        assert app.child("a").state == "not_ready"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.restart_child, "b")
            await trio.sleep(1)
            assert (app.child("b").state, app.child("b").waiting_for) == ("waiting", ("a",))
        again = [e for e in app.journal.events if isinstance(e, ChildReady) and e.path == "app/b"]
        assert [event.time for event in again] == [0, 6]
