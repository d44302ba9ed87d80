"""Many children, and many restarts of one: no recursion, no pile that grows."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

MANY = 10_000
RESTARTS = 100_000
BURST = 1000


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
def test_ten_thousand_children_start_and_stop(ordering: str) -> None:
    started: list[int] = []
    stopped: list[int] = []

    async def work(child: ChildContext, number: int) -> None:
        started.append(number)
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(number)

    async def main() -> None:
        children = [ChildSpec(f"c{number}", work, number) for number in range(MANY)]
        spec = SupervisorSpec("app", children, ordering=ordering)  # type: ignore[arg-type]
        async with open_supervisor(spec) as supervisor:
            counts = supervisor.count_children()
            assert (counts.specs, counts.active, counts.ready) == (MANY, MANY, MANY)
            report = await supervisor.shutdown()
        assert len(report.children) == MANY
        assert {child.outcome for child in report.children} == {"aborted"}
        assert report.seconds == 0

    run_virtual(main)
    assert sorted(started) == sorted(stopped) == list(range(MANY))
    if ordering == "sequence":
        assert stopped == list(reversed(range(MANY)))


def test_ten_thousand_dynamic_children_come_and_go() -> None:
    alive = 0

    async def work(child: ChildContext) -> None:
        nonlocal alive
        alive += 1
        try:
            await trio.sleep(1)
        finally:
            alive -= 1

    async def main() -> None:
        async with open_supervisor(max_children=MANY) as supervisor:
            for number in range(MANY):
                supervisor.start_child_soon(ChildSpec(str(number), work, restart="temporary"))
            await trio.testing.wait_all_tasks_blocked()
            assert alive == supervisor.count_children().active == MANY
            await trio.sleep(2)
            assert alive == supervisor.count_children().specs == 0
            # Nothing is kept of those that were removed.
            shell = supervisor._shell
            assert not shell.slots
            assert not shell.watched
            assert not shell.machine.children
            assert not shell.machine.ordering.dynamics
            assert len(shell.machine.timers) < 200

    run_virtual(main)


class _Measured:
    """What there is at one moment, free of what is merely waiting to be collected."""

    def __init__(self, supervisor: Supervisor) -> None:
        gc.collect()
        self.objects = len(gc.get_objects())
        self.blocks = sys.getallocatedblocks()
        window = supervisor._shell.machine.children["hot"].window
        assert window is not None
        self.window = len(window.times)


def test_a_hundred_thousand_restarts_in_a_minute_leave_nothing_behind() -> None:
    """In one window, so that each of them counts; the window's times are all that may grow."""

    async def hot(child: ChildContext) -> None:
        if child.attempt % BURST == 0:
            await trio.sleep(60 * BURST / RESTARTS)
        raise ValueError("again")

    async def main() -> tuple[_Measured, _Measured]:
        limit = RestartLimit(2 * RESTARTS, within=120)
        spec = ChildSpec("hot", hot, backoff=BackoffPolicy.delays(0), restart_limit=limit)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            handle = supervisor.child("hot")
            await trio.sleep(6)
            before = _Measured(supervisor)
            assert handle.attempt >= RESTARTS // 10
            await trio.sleep(54)
            after = _Measured(supervisor)
            assert handle.attempt >= RESTARTS
            assert handle.restarts == handle.attempt - 1 == after.window
            assert len(handle.reports) == 8
            assert len(supervisor.journal) == supervisor.journal.capacity
            assert len(supervisor._shell.machine.timers) < 100
            return before, after

    logging.getLogger("trio_supervisor").setLevel(logging.CRITICAL)
    try:
        before, after = run_virtual(main)
    finally:
        logging.getLogger("trio_supervisor").setLevel(logging.NOTSET)
    assert after.window - before.window >= RESTARTS * 0.85
    assert abs(after.objects - before.objects) < 3000
    # One time is one block of memory.
    assert abs(after.blocks - before.blocks - (after.window - before.window)) < 8000


def test_memory_is_flat_once_the_window_is_full() -> None:
    """The same in a window of three seconds: then nothing at all grows."""

    async def hot(child: ChildContext) -> None:
        if child.attempt % 100 == 0:
            await trio.sleep(0.1)
        raise ValueError("again")

    async def main() -> None:
        limit = RestartLimit(10_000, within=3)
        spec = ChildSpec("hot", hot, backoff=BackoffPolicy.delays(0), restart_limit=limit)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            await trio.sleep(6)
            before = _Measured(supervisor)
            await trio.sleep(12)
            after = _Measured(supervisor)
        assert 2900 <= before.window <= 3200
        assert 2900 <= after.window <= 3200
        assert abs(after.objects - before.objects) < 3000
        assert abs(after.blocks - before.blocks) < 8000

    run_virtual(main)
