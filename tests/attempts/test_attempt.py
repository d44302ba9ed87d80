"""One attempt under a host: its task, its end, and no garbage. Its words: test_context.py."""

from __future__ import annotations

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not
import gc
import logging
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.attempts import Host, make_attempt, run_body, run_to_end
from helpers.support import run_virtual
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    Aborted,
    Crashed,
    ReadinessState,
    SelfCancelled,
    Stopped,
    Succeeded,
    TaskExit,
)
from trio_supervisor._attempts.attempt import Attempt, current_attempt, run_attempt
from trio_supervisor._events.exits import leaves

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio_supervisor import ChildContext


async def sleeper(child: ChildContext) -> None:
    await trio.sleep_forever()


async def crasher(child: ChildContext) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("boom")


# ---------------------------------------------------------------- its one task


def test_an_attempt_is_one_task_that_runs_the_body_in_its_nursery() -> None:
    seen: dict[str, Any] = {}

    async def body(child: ChildContext) -> None:
        seen["task"] = trio.lowlevel.current_task()
        seen["nursery"] = child.nursery
        seen["attempt"] = current_attempt.get()

        async def background() -> None:
            seen["inherited"] = current_attempt.get()

        child.nursery.start_soon(background)

    async def main() -> None:
        attempt = make_attempt(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt, name="app/c #3")
            await wait_all_tasks_blocked()
        assert seen["task"].name == "app/c #3"
        assert seen["nursery"].parent_task is seen["task"]
        assert seen["attempt"] is seen["inherited"] is attempt
        assert current_attempt.get(None) is None
        assert attempt.task is attempt.nursery is None

    run_virtual(main)


def test_context_variables_set_by_a_body_do_not_reach_the_next_attempt() -> None:
    var = ContextVar("var", default="fresh")
    seen = []

    async def body(child: ChildContext) -> None:
        seen.append(var.get())
        var.set("used")

    async def main() -> None:
        await run_body(body)
        await run_body(body)

    run_virtual(main)
    assert seen == ["fresh", "fresh"]


def test_the_exit_is_posted_once_and_last_with_the_times() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(3)

    async def main() -> None:
        host = Host()
        attempt = make_attempt(body, host=host)
        await trio.lowlevel.checkpoint()
        assert await run_to_end(attempt) == Succeeded(None)
        assert host.told == [("exit", attempt)]
        report = attempt.report(Succeeded())
        assert (report.name, report.path, report.attempt, report.generation) == ("c", "app/c", 3, 2)
        assert report.seconds == 3
        assert (report.became_ready, report.ready_at_exit) == (True, True)
        assert report.ready_at == report.started_at

    run_virtual(main)


def test_what_the_body_runs_is_not_protected_from_ctrl_c_and_the_rest_is() -> None:
    seen = []

    async def body(child: ChildContext) -> None:
        seen.append(trio.lowlevel.currently_ki_protected())
        child.heartbeat()  # the host asserts that it is called protected

    async def main() -> None:
        attempt = make_attempt(body, watched=True)
        await run_to_end(attempt)

    run_virtual(main)
    assert seen == [False]


def test_a_host_may_give_another_function_and_other_arguments() -> None:
    async def other(child: ChildContext, a: int, b: int) -> int:
        return a + b

    async def main() -> TaskExit | BaseException:
        attempt = make_attempt(sleeper)
        spec, host, now = attempt.spec, Host(), trio.current_time()
        return await run_to_end(
            Attempt(spec, "app/c", 1, 0, host, started_at=now, call=other, args=(1, 2))
        )

    assert run_virtual(main) == Succeeded(3)


def test_repr_names_the_attempt() -> None:
    async def main() -> str:
        return repr(make_attempt(sleeper))

    assert run_virtual(main) == "<attempt 3 of app/c>"


# ---------------------------------------------------------------- ending it


def test_cancelled_before_its_first_step_the_body_never_runs() -> None:
    async def body(child: ChildContext) -> None:
        pytest.fail("ran")

    async def main() -> None:
        attempt = make_attempt(body)
        attempt.cancel("changed my mind")
        assert await run_to_end(attempt) == Aborted("changed my mind")
        assert attempt.ended_at is not None

    run_virtual(main)


def test_the_first_reason_wins_and_the_earliest_deadline() -> None:
    told = []

    async def main() -> None:
        attempt = make_attempt(sleeper)
        attempt.add_stop_listener(lambda a: told.append(a.stop_deadline))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await wait_all_tasks_blocked()
            assert not attempt.stop_requested
            attempt.request_stop("first", 100.0)
            attempt.request_stop("second", 200.0)
            attempt.request_stop("third", 50.0)
            attempt.request_stop("fourth")
            attempt.cancel("over")
            attempt.cancel("over again")
        assert (attempt.stop_reason, attempt.stop_deadline) == ("first", 50.0)
        assert attempt.judge() == Aborted("first")
        attempt.request_stop("too late", 1.0)
        assert attempt.stop_deadline == 50.0
        assert attempt.stop_listeners == ()

    run_virtual(main)
    assert told == [100.0, 50.0]


def test_cancelling_after_the_end_changes_nothing() -> None:
    async def main() -> None:
        attempt = make_attempt(crasher)
        exit_ = await run_to_end(attempt)
        attempt.cancel("too late")
        attempt.request_stop("too late")
        assert not attempt.cancel_called
        assert not attempt.stop_requested
        assert isinstance(exit_, TaskExit)
        assert exit_.kind == "crashed"

    run_virtual(main)


def test_a_cancel_of_its_own_stays_its_own_if_ours_comes_while_it_unwinds() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel("finished")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)

    async def main() -> None:
        attempt = make_attempt(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await trio.sleep(1)
            attempt.cancel("operator")
        assert attempt.judge() == SelfCancelled("finished")
        assert attempt.stop_reason == "operator"

    run_virtual(main)


def test_a_cancel_after_the_body_returned_stops_its_background_tasks() -> None:
    async def body(child: ChildContext) -> str:
        child.nursery.start_soon(trio.sleep_forever)
        return "value"

    async def main() -> None:
        attempt = make_attempt(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await trio.sleep(1)
            assert attempt.returned
            assert attempt.ended_at is None
            attempt.cancel("operator")
        assert attempt.judge() == Stopped("operator")
        assert attempt.ended_at == trio.current_time()

    run_virtual(main)


def test_a_crash_ends_the_background_tasks_even_those_that_are_still_to_come() -> None:
    started = []

    async def late(  # noqa: ASYNC114
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await trio.sleep(5)
        task_status.started()
        started.append(True)
        await trio.sleep_forever()

    async def body(child: ChildContext, box: list[trio.Nursery]) -> None:
        box.append(child.nursery)
        await trio.sleep(1)
        raise ValueError

    async def main() -> None:
        box: list[trio.Nursery] = []
        attempt = make_attempt(body, box)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await wait_all_tasks_blocked()
            # Somebody else is just about to start a task in there.
            await box[0].start(late)
        assert started == [True]
        assert attempt.ended_at == attempt.started_at + 5
        assert attempt.judge().kind == "crashed"  # type: ignore[union-attr]

    run_virtual(main)


def test_readiness_has_three_states() -> None:
    async def main() -> None:
        attempt = make_attempt(sleeper, readiness="explicit")
        assert attempt.readiness is ReadinessState.UNREPORTED
        attempt.is_ready = attempt.was_ready = True
        assert attempt.readiness is ReadinessState.READY
        attempt.is_ready = False
        assert attempt.readiness is ReadinessState.NOT_READY

    run_virtual(main)


# ---------------------------------------------------------------- garbage


async def crash_with_background(child: ChildContext) -> None:
    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("k")

    child.nursery.start_soon(helper)
    await trio.sleep(1)
    raise ValueError


async def crash_through_own_nursery(child: ChildContext) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crasher, child)


async def self_cancel(child: ChildContext) -> None:
    child.nursery.cancel_scope.cancel()
    await trio.sleep_forever()


async def leave_nursery(child: ChildContext) -> None:
    nursery = await trio.open_nursery().__aenter__()
    nursery.start_soon(trio.sleep_forever)


async def use_everything(child: ChildContext) -> None:
    child.ready(object())
    child.heartbeat(object())
    with child.stop_scope(), child.busy(3):
        await trio.sleep(1)
    with trio.move_on_after(1):
        await child.wait_stop_requested()
    raise ValueError


async def exit_process(child: ChildContext) -> None:
    raise SystemExit(7)


async def return_something(child: ChildContext) -> object:
    return object()


BODIES: list[Callable[..., Awaitable[object]]] = [
    sleeper,
    crasher,
    crash_with_background,
    crash_through_own_nursery,
    self_cancel,
    leave_nursery,
    use_everything,
    exit_process,
    return_something,
]


async def _garbage_of(body: Callable[..., Awaitable[object]], how: str) -> int:
    host = Host()
    explicit = {"readiness": "explicit"} if body is use_everything else {}
    attempt = make_attempt(body, host=host, watched=True, **explicit)
    gc.collect()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            if how == "early":
                attempt.cancel("stop")
            await wait_all_tasks_blocked()
            if how == "stopped":
                attempt.request_stop("stop")
                attempt.cancel("stop")
            if how == "outer":
                scope.cancel()
            await trio.sleep(50)
            nursery.cancel_scope.cancel()
    attempt.judge()
    host.told.clear()
    host.ended.clear()
    del attempt, nursery, scope
    return gc.collect()


@pytest.mark.parametrize("how", ["left alone", "stopped", "early", "outer"])
@pytest.mark.parametrize("body", BODIES)
def test_an_attempt_leaves_no_cyclic_garbage(
    body: Callable[..., Awaitable[object]], how: str
) -> None:
    async def main() -> int:
        await _garbage_of(body, how)  # whatever is made once, such as caches
        return await _garbage_of(body, how)

    gc.disable()
    gc.freeze()  # what the other tests have left is not looked at
    try:
        assert run_virtual(main) == 0
    finally:
        gc.unfreeze()
        gc.enable()


def test_a_report_with_a_crash_does_not_keep_the_attempts_task_alive() -> None:
    """What a kept exception holds is the body's locals, as always, and no machinery."""
    tasks: list[weakref.ref[Any]] = []

    async def body(child: ChildContext) -> None:
        tasks.append(weakref.ref(trio.lowlevel.current_task()))
        raise ValueError

    async def main() -> TaskExit | BaseException:
        return await run_body(body)

    gc.disable()
    try:
        exit_ = run_virtual(main)
        assert isinstance(exit_, TaskExit)
        assert exit_.error is not None
        assert tasks[0]() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- generators that hold a nursery


async def holding_a_nursery() -> AsyncGenerator[int, None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        while True:
            await trio.sleep(0.001)
            yield 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("raises", [True, False])
def test_a_body_that_drops_a_generator_which_holds_a_nursery_has_crashed(raises: bool) -> None:
    """In every order of tasks: Trio closes the generator in a task of its own meanwhile."""

    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(trio.sleep_forever)
        async for _ in holding_a_nursery():
            if raises:
                raise ValueError("in the loop")
            return

    async def main() -> None:
        judged = await run_body(body)
        assert isinstance(judged, Crashed)
        kinds = {type(leaf) for leaf in leaves(judged.error)}
        assert kinds == ({ValueError, RuntimeError} if raises else {RuntimeError})
        await trio.sleep(1)  # nothing of the attempt is left, and nothing is cancelled

    logging.disable(logging.CRITICAL)  # Trio reports the generator that could not be closed
    try:
        for _ in range(20):
            run_virtual(main)
    finally:
        logging.disable(logging.NOTSET)
