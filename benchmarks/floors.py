# flake8: noqa: ASYNC114 - these are started where they stand, not by a context manager
"""The floors: what a competent Trio user would write by hand to get the same thing, and no more.

An attempt is a task that opens a cancel scope and a nursery, runs the body in a task of its own in
that nursery, and reports how it ended over a memory channel to a supervising task. No policy, no
limits, no order, no state to look at, no events, no journal.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from benchmarks.measure import Attempts, BoomError, Census, Result, Watch, format_logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Body = Callable[[], Awaitable[None]]
    Sender = trio.MemorySendChannel[Any]


async def idle() -> None:
    await trio.sleep_forever()


async def attempt(body: Body, reports: Sender) -> None:
    """One run of ``body``, from its start to its report."""
    error: Exception | None = None
    try:
        with trio.CancelScope():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body)
    except ExceptionGroup as group:  # not what carries a `Cancelled`: that has to get through
        error = group
    finally:
        reports.send_nowait(error)


def restart(count: int, *, checkpoint: bool = True, log: bool = False, siblings: int = 0) -> Result:
    """A loop that starts a failing child again, and again."""
    attempts = Attempts(count)
    logger = logging.getLogger("by_hand")

    async def main() -> None:
        async def body() -> None:
            if attempts.begin():
                group.cancel_scope.cancel()
            if checkpoint:
                await trio.lowlevel.checkpoint()
            raise BoomError("failed")

        send, receive = trio.open_memory_channel[Any](inf)
        async with trio.open_nursery() as group:
            for _ in range(siblings):
                group.start_soon(attempt, idle, send)
            group.start_soon(attempt, body, send)
            async for error in receive:
                if log:
                    logger.warning("the child failed", exc_info=error)
                group.start_soon(attempt, body, send)

    if log:
        format_logs()
    trio.run(main)
    return attempts.result


def restart_at_once(count: int) -> Result:
    return restart(count, checkpoint=False)


def restart_logged(count: int) -> Result:
    return restart(count, log=True)


def children(count: int, *, until: str = "") -> Result:
    """Start children that wait for ever, cancel them all with one call, read their reports."""
    census = Census(count, until)

    async def main() -> None:
        send, receive = trio.open_memory_channel[Any](inf)
        census.declared()
        async with trio.open_nursery() as group:
            for _ in range(count):
                group.start_soon(attempt, idle, send)
            await trio.testing.wait_all_tasks_blocked()
            census.all_up()
            group.cancel_scope.cancel()
        for _ in range(count):
            receive.receive_nowait()
        census.all_down()

    trio.run(main)
    return census.result


def children_unreported(count: int) -> Result:
    """The same without reports: nobody will know how any of them ended."""
    census = Census(count)

    async def silent() -> None:
        with trio.CancelScope():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(idle)

    async def main() -> None:
        async with trio.open_nursery() as group:
            for _ in range(count):
                group.start_soon(silent)
            await trio.testing.wait_all_tasks_blocked()
            census.all_up()
            group.cancel_scope.cancel()
        census.all_down()

    trio.run(main)
    return census.result


def pool(count: int, *, wait: bool = False, batch: int = 100, siblings: int = 0) -> Result:
    """Short-lived attempts, each with its report: a batch at once, or (``wait``) one by one."""
    at_once = 1 if wait else batch

    async def body() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        send, receive = trio.open_memory_channel[Any](inf)
        async with trio.open_nursery() as group:
            for _ in range(siblings):
                group.start_soon(attempt, idle, send)
            await trio.testing.wait_all_tasks_blocked()
            watch.start()
            for _ in range(0, count, at_once):
                for _ in range(at_once):
                    group.start_soon(attempt, body, send)
                for _ in range(at_once):
                    await receive.receive()
            result.update(watch.per(count))
            group.cancel_scope.cancel()

    watch = Watch()
    result: Result = {}
    trio.run(main)
    return result


def current_time(count: int) -> Result:
    """What `trio.current_time` costs, for a call that has to ask it."""
    result: Result = {}

    async def main() -> None:
        watch = Watch()
        for _ in range(count // 1000):
            for _ in range(1000):
                trio.current_time()
            await trio.lowlevel.checkpoint()
        result.update(watch.per(count // 1000 * 1000))

    trio.run(main)
    return result


def group_restart(count: int, rounds: int = 3) -> Result:
    """All of a group is cancelled and, when all of it is gone, started again."""
    watch = Watch()
    result: Result = {}

    async def main() -> None:
        send, receive = trio.open_memory_channel[Any](inf)
        for number in range(rounds + 1):
            async with trio.open_nursery() as group:
                for _ in range(count):
                    group.start_soon(attempt, idle, send)
                await trio.testing.wait_all_tasks_blocked()
                if number == 0:
                    watch.start()
                elif number == rounds:
                    result.update(watch.per(count * rounds))
                group.cancel_scope.cancel()
            for _ in range(count):
                receive.receive_nowait()

    trio.run(main)
    return result


def start_ready(count: int) -> Result:
    """Children that say when they are ready, one after the other."""
    result: Result = {}

    async def body(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started()
        await trio.sleep_forever()

    async def started(send: Sender, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with trio.CancelScope():
                async with trio.open_nursery() as nursery:
                    await nursery.start(body)
                    task_status.started()
        finally:
            send.send_nowait(None)

    async def main() -> None:
        send, _receive = trio.open_memory_channel[Any](inf)
        async with trio.open_nursery() as group:
            watch = Watch()
            for _ in range(count):
                await group.start(started, send)
            result.update(watch.per(count))
            group.cancel_scope.cancel()

    trio.run(main)
    return result


def nested(count: int, depth: int = 10) -> Result:
    """Nurseries in nurseries, each with one child, entered when the innermost is up."""
    result: Result = {}

    async def level(left: int, *, task_status: trio.TaskStatus[None]) -> None:
        send, _receive = trio.open_memory_channel[Any](inf)
        async with trio.open_nursery() as group:
            group.start_soon(attempt, idle, send)
            if left > 1:
                await group.start(level, left - 1)
            task_status.started()
            await trio.sleep_forever()

    async def main() -> None:
        watch = Watch()
        for _ in range(count):
            async with trio.open_nursery() as group:
                await group.start(level, depth)
                group.cancel_scope.cancel()
        result.update(watch.per(count))

    trio.run(main)
    return result
