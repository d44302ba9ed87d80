"""`ChildRunner` and its handle beyond the numbered behaviours: time, watchers, Ctrl-C."""

from __future__ import annotations

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not
import gc
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from trio.testing import wait_all_tasks_blocked

import trio_supervisor
from trio_supervisor import (
    Aborted,
    ChildNotReady,
    ChildRunHandle,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    ReadinessState,
    Stopped,
    Succeeded,
    SupervisorError,
    TimedOut,
    Unhealthy,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor import ChildContext

    Handle = ChildRunHandle[Any]

RUNNER = ChildRunner()


def supervise(
    script: Callable[[Handle], Awaitable[None]],
    body: Callable[..., Awaitable[object]],
    *args: Any,
    **options: Any,
) -> ChildRunReport:
    """The report of ``body`` while ``script`` acts on its handle."""
    spec = ChildSpec("c", body, *args, **options)

    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = RUNNER.spawn_once(nursery, spec)
            await script(handle)
            report = await handle.wait()
            await wait_all_tasks_blocked()
            assert not nursery.child_tasks, "the timer has outlived the attempt"
        return report

    return run_virtual(main)


async def leave_alone(handle: Handle) -> None:
    await trio.lowlevel.checkpoint()


async def sleeper(child: ChildContext) -> None:
    await trio.sleep_forever()


def test_a_handle_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="spawn_once returns one"):
        ChildRunHandle()


def test_a_closed_nursery_takes_no_child() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            RUNNER.spawn_once(nursery, ChildSpec("c", sleeper))

    run_virtual(main)


def test_a_lone_child_has_no_supervisor_and_no_siblings() -> None:
    async def body(child: ChildContext) -> None:
        with pytest.raises(SupervisorError, match="run by a ChildRunner"):
            _ = child.supervisor
        with pytest.raises(SupervisorError, match="'other'.*no siblings"):
            child.value("other")
        with pytest.raises(SupervisorError, match="'other'.*no siblings"):
            await child.wait_value("other")

    assert supervise(leave_alone, body).exit == Succeeded(None)


def test_a_fault_that_is_one_of_our_errors_is_raised_as_it_is() -> None:
    refusal = SupervisorError("not today")

    async def main() -> None:
        with pytest.raises(SupervisorError) as caught:
            await ChildRunner(spawn_fault=lambda _: refusal).run_once(ChildSpec("c", sleeper))
        assert caught.value is refusal

    run_virtual(main)


# ---------------------------------------------------------------- time


def test_a_stop_moves_the_timer_up_and_is_followed_by_the_cancel() -> None:
    async def stop(handle: Handle) -> None:
        await trio.sleep(2)
        handle.request_stop("first")
        await trio.sleep(1)
        handle.request_stop("second")

    report = supervise(stop, sleeper, max_runtime=1000, grace=5)
    assert (report.exit, report.seconds) == (Aborted("first"), 7)


def test_an_abort_does_not_wait_for_the_grace() -> None:
    async def stop(handle: Handle) -> None:
        await trio.sleep(2)
        handle.request_stop("first")
        await trio.sleep(1)
        handle.abort("second")

    report = supervise(stop, sleeper, grace=50)
    assert (report.exit, report.seconds) == (Aborted("first"), 3)


def test_an_endless_grace_is_endless() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(80_000)

    async def stop(handle: Handle) -> None:
        handle.request_stop("take your time")

    report = supervise(stop, body, grace=float("inf"))
    assert (report.exit, report.seconds) == (Stopped("take your time"), 80_000)


def test_time_goes_on_during_a_stop_but_is_no_fault_then() -> None:
    async def stop(handle: Handle) -> None:
        await trio.sleep(2)
        handle.request_stop("operator")

    report = supervise(stop, sleeper, max_runtime=3, grace=5)
    assert (report.exit, report.seconds) == (Aborted("operator"), 7)


def test_a_stop_after_a_fault_does_not_hide_the_fault() -> None:
    async def stop(handle: Handle) -> None:
        await trio.sleep(4)
        handle.request_stop("operator")

    report = supervise(stop, sleeper, max_runtime=3, grace=5)
    assert (report.exit, report.seconds) == (TimedOut("run", 3), 8)
    assert report.stop_reason == "timed out: still running after 3s"


@pytest.mark.parametrize("seed", range(8))
def test_what_the_child_says_in_the_very_instant_of_a_deadline_counts(seed: int) -> None:
    """Whichever of the two tasks Trio wakes first."""

    async def starts(child: ChildContext) -> None:
        await trio.sleep(5)
        child.ready()

    async def beats(child: ChildContext) -> None:
        for _ in range(10):
            await trio.sleep(5)
            child.heartbeat()

    async def returns(child: ChildContext) -> None:
        await trio.sleep(5)

    random.seed(seed)
    report = supervise(leave_alone, starts, readiness="explicit", start_timeout=5)
    assert report.exit == Succeeded(None)
    assert supervise(leave_alone, beats, stale_after=5).exit == Succeeded(None)
    assert supervise(leave_alone, returns, max_runtime=5).exit == Succeeded(None)


def test_health_is_watched_only_while_the_child_is_ready() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(4)
        child.not_ready("reconnecting")
        await trio.sleep(40)
        child.ready()
        await trio.sleep_forever()

    report = supervise(leave_alone, body, stale_after=5)
    assert (report.exit, report.seconds) == (Unhealthy(5), 49)


def test_a_silence_that_was_announced_is_no_symptom_until_it_lasts_longer() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        with child.busy(20):
            await trio.sleep_forever()

    report = supervise(leave_alone, body, stale_after=5)
    assert report.seconds == 21
    assert report.exit.kind == "unhealthy"


def test_many_heartbeats_cost_no_timer_and_keep_it_alive() -> None:
    async def body(child: ChildContext) -> None:
        for _ in range(1000):
            await trio.sleep(4)
            child.heartbeat()

    report = supervise(leave_alone, body, stale_after=5)
    assert report.exit == Succeeded(None)


def test_a_timer_goes_down_with_the_nursery_around_it() -> None:
    async def main() -> None:
        with trio.move_on_after(3) as scope:  # noqa: ASYNC100 - the child in there is what waits
            async with trio.open_nursery() as nursery:
                RUNNER.spawn_once(nursery, ChildSpec("c", sleeper, max_runtime=10))
        assert scope.cancelled_caught
        assert trio.current_effective_deadline() == float("inf")

    run_virtual(main)


# ---------------------------------------------------------------- watchers


def test_a_slow_reader_gets_the_latest_state_and_the_present_one_first() -> None:
    async def body(child: ChildContext) -> None:
        for _ in range(10):
            await trio.sleep(1)
            child.not_ready()
            child.ready()
            child.heartbeat("last")

    async def read(handle: Handle) -> None:
        await trio.sleep(2.5)
        assert (await handle.heartbeats.receive()).count == 2
        assert await handle.readiness.receive() is ReadinessState.READY
        await trio.sleep(5)
        assert handle.readiness.receive_nowait() is ReadinessState.READY
        assert handle.heartbeats.receive_nowait().count == 7
        with pytest.raises(trio.WouldBlock):
            handle.readiness.receive_nowait()

    supervise(read, body)


def test_several_may_wait_for_readiness_and_a_cancelled_one_changes_nothing() -> None:
    got: list[object] = []

    async def body(child: ChildContext) -> None:
        await trio.sleep(5)
        child.ready("value")

    async def script(handle: Handle) -> None:
        async def wait() -> None:
            got.append(await handle.wait_ready())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            with trio.move_on_after(1):
                await handle.wait_ready()
            with trio.move_on_after(1):
                await handle.wait()
            assert handle.report is None

    supervise(script, body, readiness="explicit")
    assert got == ["value", "value"]


def test_who_waits_for_readiness_that_was_taken_back_waits_on() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        child.ready("one")
        child.not_ready()
        await trio.sleep(1)
        child.ready("two")
        await trio.sleep(1)
        child.not_ready()

    async def script(handle: Handle) -> None:
        start = trio.current_time()
        assert await handle.wait_ready() == "two"
        assert trio.current_time() == start + 2
        await handle.wait()
        with pytest.raises(ChildNotReady, match="was not ready: succeeded"):
            await handle.wait_ready()

    supervise(script, body, readiness="explicit")


def test_a_runner_keeps_nothing_of_what_it_has_run() -> None:
    async def body(child: ChildContext) -> None:
        child.heartbeat(bytearray(100))
        raise ValueError(bytearray(100))

    async def main() -> int:
        async def once() -> None:
            report = await RUNNER.run_once(ChildSpec("c", body, max_runtime=5))
            assert report.exit.kind == "crashed"

        await once()
        gc.collect()
        await once()
        return gc.collect()

    gc.disable()
    gc.freeze()
    try:
        assert run_virtual(main) == 0
    finally:
        gc.unfreeze()
        gc.enable()


# ---------------------------------------------------------------- Ctrl-C at any moment


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timer signals")
def test_a_ctrl_c_at_any_moment_gets_through_and_leaves_nothing() -> None:
    """Two hundred times, at any line of the body, the runner or Trio."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    search = [str(Path(trio_supervisor.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    program = Path(__file__).parents[1] / "helpers" / "interrupts.py"
    done = subprocess.run(
        [sys.executable, str(program), "200"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 interrupts")


@pytest.mark.parametrize("deadline", [1.5, 3])
def test_an_outer_cancellation_beside_an_abort_of_ours_gets_through(deadline: float) -> None:
    async def stubborn(child: ChildContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    async def main() -> tuple[bool, bool, ChildRunReport]:
        went_on = False
        with trio.move_on_after(deadline) as outer:
            async with trio.open_nursery() as nursery:
                handle = RUNNER.spawn_once(nursery, ChildSpec("a", stubborn))
                await trio.sleep(1)
                handle.abort("own")
            went_on = True
        return went_on, outer.cancelled_caught, await handle.wait()

    went_on, caught, report = run_virtual(main)
    assert (went_on, caught) == (False, True)
    assert report.exit == Aborted("own")
