"""Elixir's tests of `Task.Supervisor` that have a meaning here, under Elixir's names.

A task is a temporary child of a pool: its function returns a value, and whoever waits for it reads
that from the report. To wait for several in order, as ``async_stream`` does, takes the few lines of
`stream` below; what these tests show is that the pool gives what such code needs.
"""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import (
    ChildAlreadyExists,
    ChildContext,
    ChildHandle,
    ChildNotFound,
    ChildSpec,
    SelfCancelled,
    SpecError,
    Succeeded,
    Supervisor,
    SupervisorSpec,
    TaskExit,
    TaskFailure,
    TimedOut,
    TooManyChildren,
    open_supervisor,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


async def run_task(
    pool: Supervisor, fn: Callable[..., Awaitable[object]], *args: Any, **options: Any
) -> ChildHandle[Any]:
    """Start one more task."""
    options.setdefault("restart", "temporary")
    name = options.pop("name", f"task-{pool.journal.last_sequence}")
    return await pool.start_child(ChildSpec(name, plain(fn, *args), **options))


async def result(handle: ChildHandle[Any]) -> object:
    """The value of a task, or what it failed with."""
    how = (await handle.wait_finished()).exit
    if isinstance(how, Succeeded):
        return how.value
    raise how.error or RuntimeError(how.describe())


async def stream(
    pool: Supervisor,
    fn: Callable[..., Awaitable[object]],
    items: Sequence[Any],
    *,
    at_once: float = 4,
    take: int | None = None,
    **options: Any,
) -> list[TaskExit]:
    """How ``fn`` ended for each item, in order; for the first ``take``, and then no more."""
    limit = trio.CapacityLimiter(at_once)
    wanted = len(items) if take is None else take
    done: dict[int, TaskExit] = {}
    handles: list[ChildHandle[Any]] = []

    async def one(index: int) -> None:
        async with limit:
            handle = await run_task(pool, fn, items[index], name=f"item-{index}", **options)
            handles.append(handle)
            done[index] = (await handle.wait_finished()).exit
        if all(number in done for number in range(wanted)):
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for index in range(len(items)):
                nursery.start_soon(one, index)
                await trio.lowlevel.checkpoint()
    finally:
        with trio.CancelScope(shield=True):
            for handle in handles:
                if handle.state != "removed":
                    await pool.remove_child(handle.name)
    return [done[index] for index in range(wanted)]


async def sleep(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


async def fail(reason: object) -> None:
    await trio.lowlevel.checkpoint()
    raise TaskFailure(str(reason))


@scenario
async def test_can_be_supervised_directly(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("tasks")) as supervisor:
        assert await result(await run_task(supervisor.child("tasks").value, sleep, 1)) == 1


@scenario
async def test_multiple_supervisors_can_be_supervised_and_identified(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("one"), SupervisorSpec("two")) as supervisor:
        await supervisor.start_child(SupervisorSpec("three"))
        one, two, three = (supervisor.child(name).value for name in ("one", "two", "three"))
        await run_task(one, sleep, 1)
        assert [pool.count_children().active for pool in (one, two, three)] == [1, 0, 0]
        with pytest.raises(ChildAlreadyExists):
            await supervisor.start_child(SupervisorSpec("three"))


@scenario
async def test_counts_and_returns_children(lab: Lab) -> None:
    async with lab.run() as pool:
        assert (list(pool.children), lab.counts()) == ([], (0, 0, 0))
        handle = await run_task(pool, sleep, 1)
        assert (list(pool.children.values()), lab.counts()) == ([handle], (1, 1, 1))


@scenario
async def test_async_1_spawns_tasks_under_the_supervisor(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await run_task(pool, sleep, 3)
        assert list(pool.children.values()) == [handle]
        assert await result(handle) == 3
        assert trio.current_time() == 3
        # Early or late, as often as one likes.
        assert await result(handle) == 3
        assert lab.names() == []


@scenario
async def test_async_1_with_custom_shutdown(lab: Lab) -> None:
    await _shut_down(lab)


@scenario
async def test_async_nolink_1_with_custom_shutdown(lab: Lab) -> None:
    await _shut_down(lab)


@scenario
async def test_start_child_1_with_custom_shutdown(lab: Lab) -> None:
    await _shut_down(lab)


async def _shut_down(lab: Lab) -> None:
    async with lab.run() as pool:
        killed = await run_task(pool, sleep, inf, grace=0)
        asked = await pool.start_child(lab.child("asked", restart="temporary", grace=5))
        report = await pool.shutdown()
    assert report.seconds == 0
    assert (await killed.wait_finished()).exit.kind == "aborted"
    assert (await asked.wait_finished()).exit.kind == "stopped"


@scenario
async def test_async_1_raises_when_max_children_is_reached(lab: Lab) -> None:
    await _fill(lab)


@scenario
async def test_async_nolink_1_raises_when_max_children_is_reached(lab: Lab) -> None:
    await _fill(lab)


async def _fill(lab: Lab) -> None:
    async with lab.run(max_children=1) as pool:
        await run_task(pool, sleep, inf)
        with pytest.raises(TooManyChildren, match="app is full: max_children=1; cannot start"):
            await run_task(pool, sleep, 1)


CALLERS: ContextVar[tuple[str, ...]] = ContextVar("CALLERS", default=())


@scenario
async def test_async_1_with_callers(lab: Lab) -> None:
    await _ask_who_called(lab)


@scenario
async def test_start_child_1_with_callers(lab: Lab) -> None:
    await _ask_who_called(lab)


async def _ask_who_called(lab: Lab) -> None:
    """Who asked for a task goes on into it, by context variables."""
    seen: list[tuple[str, ...]] = []

    async def parent(pool: Supervisor) -> None:
        seen.append(CALLERS.get())
        CALLERS.set((*CALLERS.get(), "parent"))
        await result(await run_task(pool, child, name="child"))

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(CALLERS.get())

    async with lab.run() as pool:
        CALLERS.set(("grandparent",))
        await result(await run_task(pool, parent, pool, name="parent"))
        assert seen == [("grandparent",), ("grandparent", "parent")]
        assert CALLERS.get() == ("grandparent",)


@scenario
async def test_async_nolink_1_spawns_without_linking_to_the_caller(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await run_task(pool, fail, "boom")
        other = await run_task(pool, sleep, 5)
        report = await handle.wait_finished()
        # Neither the caller nor a sibling is hit; who wants to know can see.
        assert report.exit.has(TaskFailure)
        assert await result(other) == 5


@scenario
async def test_start_child_1(lab: Lab) -> None:
    done: list[str] = []

    async def work(word: str) -> None:
        await trio.sleep(1)
        done.append(word)

    async with lab.run() as pool:
        pool.start_child_soon(ChildSpec("1", plain(work, "done"), restart="temporary"))
        await lab.settle()
        assert lab.names() == ["1"]
        await lab.sleep(1)
        assert (done, lab.names()) == (["done"], [])


@scenario
async def test_start_child_3(lab: Lab) -> None:
    async def work(child: ChildContext, caller: str, word: str) -> str:
        await trio.sleep(1)
        return f"{caller} {word}"

    async with lab.run() as pool:
        handle = await pool.start_child(ChildSpec("1", work, "test", "done", restart="temporary"))
        assert await result(handle) == "test done"


@scenario
async def test_start_child_1_with_custom_restart(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await pool.start_child(lab.child("1", restart="permanent"))
        await lab["1"].finish()
        assert (handle.state, handle.attempt) == ("ready", 2)


@scenario
async def test_terminate_child_2(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await run_task(pool, sleep, inf)
        await pool.remove_child(handle.name)
        assert list(pool.children) == []
        with pytest.raises(ChildNotFound):
            await pool.remove_child(handle.name)


@scenario
async def test_await_1_leaves_nothing_behind_on_timeout(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await run_task(pool, sleep, 10)
        with trio.move_on_after(1) as scope:
            await result(handle)
        assert scope.cancelled_caught
        # The task goes on, and its end is still there for whoever asks again.
        assert handle.state == "ready"
        assert await result(handle) == 10


@scenario
async def test_await_1_exits_on_task_throw(lab: Lab) -> None:
    async with lab.run() as pool:
        with pytest.raises(TaskFailure, match="unknown"):
            await result(await run_task(pool, fail, "unknown"))


@scenario
async def test_await_1_exits_on_task_error(lab: Lab) -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise Boom("oops")

    async with lab.run() as pool:
        with pytest.raises(Boom, match="oops") as caught:
            await result(await run_task(pool, work))
        assert caught.traceback[-1].name == "work"


@scenario
async def test_await_1_exits_on_task_exit(lab: Lab) -> None:
    async def work(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel("unknown")
        await trio.sleep_forever()

    async with lab.run() as pool:
        handle = await pool.start_child(ChildSpec("1", work, restart="temporary"))
        how = (await handle.wait_finished()).exit
        assert isinstance(how, SelfCancelled)
        assert "unknown" in how.reason


@scenario
async def test_async_stream_streams_an_enumerable_with_fun(lab: Lab) -> None:
    async with lab.run() as pool:
        assert await stream(pool, sleep, [1, 2, 3, 4]) == [Succeeded(n) for n in (1, 2, 3, 4)]
        assert trio.current_time() == 4


@scenario
async def test_async_stream_without_leaking_tasks(lab: Lab) -> None:
    async with lab.run() as pool:
        await stream(pool, sleep, [1, 2, 3, 4])
        assert lab.counts() == (0, 0, 0)


@scenario
async def test_async_stream_with_slowest_first(lab: Lab) -> None:
    async with lab.run() as pool:
        assert await stream(pool, sleep, [4, 3, 2, 1]) == [Succeeded(n) for n in (4, 3, 2, 1)]
        assert trio.current_time() == 4


@scenario
async def test_async_stream_with_exits(lab: Lab) -> None:
    async with lab.run() as pool:
        found = await stream(pool, fail, [1, 2, 3, 4])
        assert [str(how.error) for how in found] == ["1", "2", "3", "4"]


@scenario
async def test_async_stream_shuts_down_unused_tasks(lab: Lab) -> None:
    async with lab.run() as pool:
        assert await stream(pool, sleep, [0, inf, inf, inf], take=1) == [Succeeded(0)]
        assert (lab.counts(), trio.current_time()) == ((0, 0, 0), 0)


@scenario
async def test_async_stream_shuts_down_unused_tasks_without_leaking_messages(lab: Lab) -> None:
    async with lab.run() as pool:
        await stream(pool, sleep, [0, inf, inf, inf], take=1)
        last = pool.journal.last_sequence
        await lab.sleep(1000)
        assert pool.journal.last_sequence == last


@scenario
async def test_async_stream_raises_if_max_children_is_reached(lab: Lab) -> None:
    async with lab.run(max_children=1) as pool:
        with pytest.RaisesGroup(TooManyChildren):
            await stream(pool, sleep, [inf, inf], at_once=2)
        assert lab.counts() == (0, 0, 0)


@scenario
async def test_async_stream_consuming_from_another_process(lab: Lab) -> None:
    async with lab.run() as pool, trio.open_nursery() as nursery:
        nursery.start_soon(stream, pool, sleep, [1, 2, 3])
        await lab.sleep(0.5)
        handles = list(pool.children.values())
        assert [await result(handle) for handle in handles] == [1, 2, 3]


@scenario
async def test_async_stream_with_timeout(lab: Lab) -> None:
    async with lab.run() as pool:
        found = await stream(pool, sleep, [1, 100], max_runtime=50)
        assert found == [Succeeded(1), TimedOut("run", 50)]


@scenario
async def test_async_stream_with_outer_halt_on_failure(lab: Lab) -> None:
    async with lab.run() as pool:
        found = await stream(pool, fail, list(range(1, 9)), at_once=1, take=4)
        assert [str(how.error) for how in found] == ["1", "2", "3", "4"]
        assert lab.counts() == (0, 0, 0)


@scenario
async def test_async_stream_does_not_allow_invalid_shutdown(lab: Lab) -> None:
    async with open_supervisor() as pool:
        with pytest.raises(SpecError, match="grace='unknown'"):
            await run_task(pool, sleep, 1, grace="unknown")
