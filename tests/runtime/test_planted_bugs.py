"""Whatever breaks inside of a supervisor, no task goes on waiting for it.

A bug is planted at each step of the collector, the shell and the brain: the n-th call of one of
their functions, in the supervisor's own task, raises. Whichever step it is, every kind of waiting
ends, the block ends, and the bug comes out of it unless it did no harm.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from functools import partial
from inspect import CO_COROUTINE
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from helpers.trees import AT_ONCE, crash_after, forever, polite, ready_forever

import trio_supervisor
from trio_supervisor import (
    ChildContext,
    ChildRunner,
    ChildSpec,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PACKAGE = Path(trio_supervisor.__file__).parent
ROOMS = tuple(str(PACKAGE / room) for room in ("_brain", "_runtime"))
ATTEMPTS = (str(PACKAGE / "_attempts"),)


class PlantedBug(Exception):
    """What the supervisor itself fails with."""


class Planter:
    """Raises in the n-th call of our own functions in tasks of some name.

    Attributes:
        steps: How many calls there were.
    """

    def __init__(self, at: int, files: tuple[str, ...], task_name: str) -> None:
        self.at = at
        self.files = files
        self.task_name = task_name
        self.steps = 0
        self.has_raised = False

    def __enter__(self) -> None:
        sys.setprofile(self._look)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: Any, event: str, arg: object) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(self.files):
            return
        if frame.f_code.co_flags & CO_COROUTINE:
            return  # an await does not fail in an outer frame before the inner one
        try:
            name = trio.lowlevel.current_task().name
        except RuntimeError:
            return
        if self.task_name in name:
            self.steps += 1
            if self.steps == self.at:
                self.has_raised = True
                raise PlantedBug(f"step {self.at}: {frame.f_code.co_qualname}")


class Waiters:
    """Tasks outside of the tree that wait for it in every way there is."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.waiting: set[str] = set()

    def add(self, what: str, wait: Callable[[], Awaitable[object]]) -> None:
        self.waiting.add(what)
        self.nursery.start_soon(self._wait, what, wait)

    async def _wait(self, what: str, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except (SupervisorError, PlantedBug, BaseExceptionGroup):
            pass  # that, too, is an end
        except trio.Cancelled:
            if trio.current_effective_deadline() > float("-inf"):
                raise AssertionError(f"a Cancelled of the tree's came out of {what}") from None  # noqa: ASYNC104
            raise
        self.waiting.discard(what)


async def read(supervisor: Supervisor) -> None:
    async with supervisor.subscribe() as events:
        async for _ in events:
            pass


async def in_stop_scope(child: ChildContext) -> None:
    with child.stop_scope():
        await trio.sleep_forever()


async def asks(child: ChildContext, contexts: list[ChildContext]) -> None:
    contexts.append(child)
    await child.wait_value("never")


TREE = SupervisorSpec(
    "app",
    [
        ChildSpec("store", ready_forever, readiness="explicit"),
        ChildSpec("web", crash_after, 2, 2, backoff=AT_ONCE, requires=["store"]),
        SupervisorSpec("nest", [ChildSpec("in", polite, 1, grace=5)]),
        ChildSpec("never", forever, readiness="explicit", start_timeout=1e6),
    ],
    ordering="graph",
)


def wait_for_everything(waiters: Waiters, supervisor: Supervisor, child: ChildContext) -> None:
    handle, never = supervisor.child("web"), supervisor.child("never")
    waiters.add("a subscription", partial(read, supervisor))
    waiters.add("wait_finished() of the supervisor", supervisor.wait_finished)
    waiters.add("wait_ready() of the supervisor", supervisor.wait_ready)
    waiters.add("wait_finished() of a handle", handle.wait_finished)
    waiters.add("wait_ready() of a handle", never.wait_ready)
    waiters.add("wait_state() of a handle", partial(handle.wait_state, "quarantined"))
    waiters.add("wait_value()", partial(child.wait_value, "never"))
    waiters.add("wait_stop_requested()", child.wait_stop_requested)
    waiters.add("stop_scope()", partial(in_stop_scope, child))
    for name in ("nest", "nest/in"):
        with suppress(SupervisorError):
            waiters.add(f"wait_finished() of {name}", supervisor.child(name).wait_finished)
    with suppress(SupervisorError):
        waiters.add("a nested subscription", partial(read, supervisor.child("nest").value))


async def give_commands(waiters: Waiters, supervisor: Supervisor) -> None:
    never = ChildSpec("later", forever, readiness="explicit", start_timeout=1e6)
    waiters.add("start_child()", partial(supervisor.start_child, never))
    waiters.add("restart()", partial(supervisor.restart_child, "never"))
    await trio.sleep(1)
    waiters.add("stop()", partial(supervisor.stop_child, "web"))
    waiters.add("remove()", partial(supervisor.remove_child, "web"))
    await trio.sleep(1)
    waiters.add("shutdown()", partial(supervisor.shutdown, "enough"))


async def story(planter: Planter) -> None:
    contexts: list[ChildContext] = []
    came_out: BaseException | None = None
    with trio.move_on_after(10_000) as patience:
        async with trio.open_nursery() as nursery:
            waiters = Waiters(nursery)
            try:
                with planter:
                    async with open_supervisor(TREE, wait_ready=False) as supervisor:
                        await supervisor.start_child(ChildSpec("asks", asks, contexts))
                        await trio.sleep(0.1)
                        if contexts:
                            wait_for_everything(waiters, supervisor, contexts[0])
                        await trio.sleep(3)
                        await give_commands(waiters, supervisor)
                        await supervisor.wait_finished()
            except (SupervisorError, PlantedBug, BaseExceptionGroup) as error:
                came_out = error
            with trio.move_on_after(100):
                while waiters.waiting:  # noqa: ASYNC110 - nothing announces the last one
                    await trio.sleep(1)
            assert not waiters.waiting, (planter.at, came_out, waiters.waiting)
            nursery.cancel_scope.cancel()
    assert not patience.cancelled_caught, (planter.at, came_out)


def plant(at: int) -> Planter:
    planter = Planter(at, ROOMS, "app supervisor")
    run_virtual(story, planter, limit=60)
    return planter


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_without_a_bug_every_wait_ends() -> None:
    planter = plant(0)
    assert planter.steps > 500
    assert not planter.has_raised


@pytest.mark.parametrize("part", range(8))
def test_a_bug_at_any_step_of_a_supervisor_leaves_no_task_waiting(part: int) -> None:
    plant(0)  # caches are filled now
    steps = plant(0).steps
    harm = []
    # Every step near the beginning and the end, and a different choice of the others in each part.
    for at in range(1 + part, steps + 1, 8):
        if at < 100 or at > steps - 300 or at % 3 == 0:
            harm.append(plant(at).has_raised)  # noqa: PERF401 - a loop says what happens
    assert sum(harm) > 0.9 * len(harm)  # in a few runs there are some steps less


def test_a_bug_at_any_step_of_a_single_run_leaves_no_task_waiting() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()
        child.heartbeat()
        await child.wait_stop_requested()

    async def single_run(planter: Planter) -> None:
        spec = ChildSpec("one", body, readiness="explicit", stale_after=50, grace=5)
        with trio.move_on_after(10_000) as patience:
            async with trio.open_nursery() as outer:
                waiters = Waiters(outer)
                with suppress(PlantedBug, BaseExceptionGroup, SupervisorError):
                    async with trio.open_nursery() as nursery:
                        handle = ChildRunner().spawn_once(nursery, spec)
                        readiness, heartbeats = handle.readiness, handle.heartbeats
                        waiters.add("wait()", handle.wait)
                        waiters.add("wait_ready()", handle.wait_ready)
                        waiters.add("readiness", partial(drain, readiness))
                        waiters.add("heartbeats", partial(drain, heartbeats))
                        with planter:
                            await trio.sleep(1)
                            handle.request_stop()
                            await trio.sleep(60)
                    await handle.wait()
                with trio.move_on_after(100):
                    while waiters.waiting:  # noqa: ASYNC110 - nothing announces the last one
                        await trio.sleep(1)
                assert not waiters.waiting, (planter.at, waiters.waiting)
        assert not patience.cancelled_caught

    async def drain(channel: Any) -> None:
        async for _ in channel:
            pass

    at, steps = 0, 1
    while at <= steps:
        planter = Planter(at, ATTEMPTS, "one")
        run_virtual(single_run, planter, limit=1000)
        steps = planter.steps if at == 0 else steps
        at += 1
    assert steps > 10
