"""The numbered behaviours of the child runner that this one descends from, one test for each.

A name says ``kept`` where the behaviour is the same, ``improved`` where it is better on purpose.
One number has no test, because what it speaks of does not exist here:

* 13: the status of a runtime record that is left at "running" after the end. There is no such
  record and no status to go stale; a handle has a report or none.
"""

from __future__ import annotations

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not
import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    Aborted,
    Body,
    ChildNotReady,
    ChildRunHandle,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    Crashed,
    Failed,
    ReadinessState,
    SelfCancelled,
    SpecError,
    Stopped,
    Succeeded,
    SupervisorError,
    SupervisorSpec,
    TaskFailure,
    TimedOut,
    Unhealthy,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor import ChildContext

    Handle = ChildRunHandle[Any]

RUNNER = ChildRunner()
UNREPORTED, READY, NOT_READY = ReadinessState


def run_once(body: Callable[..., Awaitable[object]], *args: Any, **options: Any) -> ChildRunReport:
    spec = ChildSpec("c", body, *args, **options)

    async def main() -> ChildRunReport:
        return await RUNNER.run_once(spec)

    return run_virtual(main)


def with_handle(
    check: Callable[[Handle], Awaitable[None]],
    body: Callable[..., Awaitable[object]],
    *args: Any,
    **options: Any,
) -> ChildRunReport | None:
    """Spawn ``body``, let ``check`` do what it wants with the handle, abort what is left."""
    spec = ChildSpec("c", body, *args, **options)

    async def main() -> ChildRunReport | None:
        async with trio.open_nursery() as nursery:
            handle = RUNNER.spawn_once(nursery, spec)
            await check(handle)
            handle.abort("end of test")
        return handle.report

    return run_virtual(main)


async def sleeper(child: ChildContext) -> None:
    await trio.sleep_forever()


async def obedient(child: ChildContext) -> str:
    await child.wait_stop_requested()
    return "value"


async def returner(child: ChildContext, value: object = None) -> object:
    await trio.lowlevel.checkpoint()
    return value


async def raiser(child: ChildContext, error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def never(child: ChildContext) -> None:
    pytest.fail("the body ran")


# ---------------------------------------------------------------- spawning


def test_seed_01_kept_run_once_is_a_spawn_and_a_wait() -> None:
    async def check(handle: Handle) -> None:
        spawned = await handle.wait()
        again = await RUNNER.run_once(handle.spec)
        assert spawned.exit == again.exit == Succeeded("value")
        assert (spawned.name, spawned.attempt) == (again.name, again.attempt)

    with_handle(check, returner, "value")


def test_seed_02_kept_a_spawn_is_synchronous_and_the_child_has_not_run_a_step() -> None:
    steps = []

    async def body(child: ChildContext) -> None:
        steps.append(1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            RUNNER.spawn_once(nursery, ChildSpec("c", body))
            assert steps == []

    run_virtual(main)
    assert steps == [1]


def test_seed_03_kept_a_refusal_comes_before_all_else_and_nothing_is_started() -> None:
    refusing = ChildRunner(spawn_fault=lambda spec: SupervisorError(f"not {spec.name}"))
    nested = SupervisorSpec("tree").as_child()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for spec in (ChildSpec("c", never), nested):
                with pytest.raises(SupervisorError, match=f"not {spec.name}"):
                    refusing.spawn_once(nursery, spec)
            assert not nursery.child_tasks
        with pytest.raises(SupervisorError, match="not c"):
            await refusing.run_once(ChildSpec("c", never))

    run_virtual(main)


def test_seed_04_kept_what_has_no_body_of_its_own_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="run="):
        ChildSpec("c", None)  # type: ignore[call-overload]

    async def main() -> None:
        with pytest.raises(SpecError, match="open_supervisor"):
            await RUNNER.run_once(SupervisorSpec("tree").as_child())

    run_virtual(main)


def test_seed_05_kept_bodies_of_every_kind_take_the_same_path() -> None:
    class Callable_:
        async def __call__(self, child: ChildContext) -> str:
            return "value"

        async def method(self, child: ChildContext) -> str:
            return "value"

    kind = Callable_()
    bodies: list[Any] = [obedient, Callable_(), kind.method, Body(kind.method, label="adapted")]
    for body in bodies:
        report = run_once(body, max_runtime=1, grace=1)
        assert report.exit in (Succeeded("value"), TimedOut("run", 1))


def test_seed_06_improved_the_body_is_called_once_and_in_the_attempts_own_task() -> None:
    tasks = []

    def body(child: ChildContext) -> Awaitable[object]:
        tasks.append(trio.lowlevel.current_task())
        return returner(child)

    async def main() -> None:
        report = await RUNNER.run_once(ChildSpec("c", Body(body, label="body")))
        assert report.exit == Succeeded(None)
        assert len(tasks) == 1
        assert tasks[0] is not trio.lowlevel.current_task()

    run_virtual(main)


def test_seed_07_improved_an_error_in_calling_the_body_is_its_own_crash() -> None:
    error = ValueError("no coroutine came of this")

    def body(child: ChildContext) -> Awaitable[object]:
        raise error

    assert run_once(Body(body, label="body")).exit == Crashed(error)


def test_seed_08_kept_attempts_share_nothing() -> None:
    async def body(child: ChildContext, heard: list[int]) -> None:
        child.ready(child.attempt)
        child.heartbeat(child.attempt)
        await child.wait_stop_requested()
        heard.append(child.attempt)

    async def main() -> None:
        heard: list[int] = []
        spec = ChildSpec("c", body, heard, readiness="explicit", grace=9)
        async with trio.open_nursery() as nursery:
            one, two = (RUNNER.spawn_once(nursery, spec, attempt=i) for i in (1, 2))
            assert await one.wait_ready() == 1
            assert await two.wait_ready() == 2
            one.request_stop("only this one")
            await one.wait()
            assert heard == [1]
            assert two.report is None
            assert one.readiness is not two.readiness
            assert (await two.heartbeats.receive()).detail == 2
            two.abort()

    run_virtual(main)


def test_seed_09_kept_the_numbers_are_the_callers_and_come_through_unchanged() -> None:
    async def body(child: ChildContext) -> tuple[str, str, int, int]:
        return child.name, child.path, child.attempt, child.generation

    async def main() -> ChildRunReport:
        return await RUNNER.run_once(ChildSpec("c", body), attempt=7, generation=3)

    report = run_virtual(main)
    assert report.exit == Succeeded(("c", "c", 7, 3))
    assert (report.name, report.path, report.attempt, report.generation) == ("c", "c", 7, 3)


def test_seed_10_improved_an_attempt_is_one_task_and_a_timer_only_if_it_has_a_time() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            RUNNER.spawn_once(nursery, ChildSpec("c", sleeper))
            assert [task.name for task in nursery.child_tasks] == ["c#1"]
            RUNNER.spawn_once(nursery, ChildSpec("d", sleeper, max_runtime=5))
            await wait_all_tasks_blocked()
            names = sorted(task.name for task in nursery.child_tasks)
            assert names == ["c#1", "d timer", "d#1"]
            await trio.sleep(6)
            assert [task.name for task in nursery.child_tasks] == ["c#1"]
            nursery.cancel_scope.cancel()

    run_virtual(main)


# ---------------------------------------------------------------- status and report


def test_seed_11_improved_that_an_immediate_child_is_ready_can_be_seen() -> None:
    async def check(handle: Handle) -> None:
        assert handle.is_ready
        assert handle.readiness_state is READY

    with_handle(check, sleeper)


def test_seed_12_improved_readiness_and_the_kind_of_the_end_are_reported_apart() -> None:
    async def body(child: ChildContext, error: Exception | None) -> None:
        child.ready()
        if error is not None:
            raise error

    for error in (None, ValueError()):
        report = run_once(body, error, readiness="explicit")
        assert (report.became_ready, report.ready_at_exit) == (True, True)
        assert report.exit.is_failure == (error is not None)


def test_seed_14_kept_the_report_says_the_same_as_the_handle_and_counts_nothing() -> None:
    async def check(handle: Handle) -> None:
        report = await handle.wait()
        assert handle.report is report
        assert (handle.attempt, handle.generation) == (report.attempt, report.generation) == (1, 0)
        assert repr(handle) == "<ChildRunHandle of <attempt 1 of c>: crashed: ValueError>"

    with_handle(check, raiser, ValueError())


# ---------------------------------------------------------------- readiness


def test_seed_15_kept_readiness_is_unreported_at_first() -> None:
    async def check(handle: Handle) -> None:
        assert handle.readiness_state is UNREPORTED
        assert handle.readiness.receive_nowait() is UNREPORTED

    with_handle(check, sleeper, readiness="explicit")


def test_seed_16_kept_an_immediate_child_is_ready_before_its_first_step() -> None:
    async def check(handle: Handle) -> None:
        assert handle.is_ready
        assert handle.readiness.receive_nowait() is READY
        assert await handle.wait_ready() is None

    with_handle(check, sleeper)


def test_seed_17_kept_an_explicit_child_is_not_ready_until_it_says_so() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(5)
        child.ready("value")
        await trio.sleep_forever()

    async def check(handle: Handle) -> None:
        start = trio.current_time()
        await wait_all_tasks_blocked()
        assert not handle.is_ready
        assert await handle.wait_ready() == "value"
        assert trio.current_time() == start + 5

    with_handle(check, body, readiness="explicit")


def test_seed_18_kept_ready_may_be_repeated_taken_back_and_given_again() -> None:
    async def body(child: ChildContext) -> None:
        for say in (child.ready, child.ready, child.not_ready, child.ready):
            await trio.sleep(1)
            say()
        await trio.sleep_forever()

    async def check(handle: Handle) -> None:
        start = trio.current_time()
        seen = [(0.0, await handle.readiness.receive())]
        while len(seen) < 4:
            state = await handle.readiness.receive()
            seen.append((trio.current_time() - start, state))
        assert seen == [(0, UNREPORTED), (1, READY), (3, NOT_READY), (4, READY)]

    with_handle(check, body, readiness="explicit")


def test_seed_19_improved_ever_ready_and_ready_at_the_end_are_two_facts() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()
        child.not_ready("degraded")

    report = run_once(body, readiness="explicit")
    assert (report.became_ready, report.ready_at_exit) == (True, False)


def test_seed_20_kept_an_immediate_child_became_ready_whatever_became_of_it() -> None:
    report = run_once(raiser, ValueError())
    assert report.became_ready
    assert report.exit.is_failure  # which is what tells its health


def test_seed_21_improved_a_start_that_takes_too_long_has_a_deadline_that_can_be_extended() -> None:
    report = run_once(sleeper, readiness="explicit", start_timeout=5)
    assert report.exit == TimedOut("start", 5)

    async def slow(child: ChildContext) -> None:
        await trio.sleep(4)
        child.extend_start_timeout(10)
        child.extend_start_timeout(1)  # never shortens
        await trio.sleep_forever()

    report = run_once(slow, readiness="explicit", start_timeout=5)
    assert report.exit == TimedOut("start", 14)


def test_seed_22_kept_readiness_that_nobody_observes_is_no_error() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        for _ in range(3):
            child.ready()
            child.not_ready()

    async def check(handle: Handle) -> None:
        handle.readiness.close()
        assert (await handle.wait()).exit == Succeeded(None)

    assert run_once(body, readiness="explicit").exit == Succeeded(None)
    with_handle(check, body, readiness="explicit")


# ---------------------------------------------------------------- heartbeats


def test_seed_23_improved_the_latest_heartbeat_is_kept_with_its_detail_and_their_number() -> None:
    async def body(child: ChildContext) -> None:
        for i in range(3):
            await trio.sleep(1)
            child.heartbeat({"done": i})
        await trio.sleep_forever()

    async def check(handle: Handle) -> None:
        start = trio.current_time()
        assert handle.last_heartbeat is None
        with pytest.raises(trio.WouldBlock):
            handle.heartbeats.receive_nowait()
        first = await handle.heartbeats.receive()
        assert (first.at, first.detail, first.count) == (start + 1, {"done": 0}, 1)
        await trio.sleep(5)
        assert handle.last_heartbeat == start + 3
        last = handle.heartbeats.receive_nowait()
        assert (last.at, last.detail, last.count) == (start + 3, {"done": 2}, 3)
        with pytest.raises(trio.WouldBlock):
            handle.heartbeats.receive_nowait()

    report = with_handle(check, body)
    assert report is not None
    assert report.last_heartbeat == report.started_at + 3


def test_seed_24_kept_a_heartbeat_without_a_reader_is_dropped_silently() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        for _ in range(3):
            child.heartbeat()

    async def check(handle: Handle) -> None:
        handle.heartbeats.close()
        assert (await handle.wait()).exit == Succeeded(None)

    with_handle(check, body)


def test_seed_25_improved_silence_of_a_ready_child_ends_it() -> None:
    async def body(child: ChildContext) -> None:
        child.heartbeat()
        await trio.sleep(20)  # not ready yet: silence is no symptom
        child.ready()
        await trio.sleep(4)
        child.heartbeat()
        with child.busy(30):
            await trio.sleep(30)
        await trio.sleep_forever()

    report = run_once(body, readiness="explicit", stale_after=5)
    assert report.exit == Unhealthy(5)
    assert report.seconds == 20 + 4 + 30 + 5


# ---------------------------------------------------------------- stop and abort


def test_seed_26_improved_a_stop_comes_from_outside_and_the_child_cannot_fake_one() -> None:
    async def body(child: ChildContext) -> bool:
        assert not hasattr(child, "request_stop")
        await child.wait_stop_requested()
        return child.stop_requested

    async def check(handle: Handle) -> None:
        handle.request_stop("from outside")
        assert (await handle.wait()).exit == Stopped("from outside")

    with_handle(check, body, grace=5)


def test_seed_27_improved_a_child_that_ignores_a_stop_and_finishes_was_stopped_all_the_same() -> (
    None
):
    async def body(child: ChildContext) -> str:
        await trio.sleep(3)
        return "finished all the same"

    async def check(handle: Handle) -> None:
        handle.request_stop("operator")
        report = await handle.wait()
        assert report.exit == Stopped("operator")
        assert report.seconds == 3

    with_handle(check, body, grace=5)


def test_seed_28_improved_cancelled_without_being_asked_is_a_failure() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel("I feel like it")
        await trio.sleep_forever()

    report = run_once(body)
    assert report.exit == SelfCancelled("I feel like it")
    assert report.exit.is_failure


def test_seed_29_kept_an_abort_ends_it_where_it_waits_or_before_it_runs_and_twice_is_fine() -> None:
    async def check(handle: Handle) -> None:
        await trio.sleep(2)
        handle.abort("now")
        handle.abort("again")
        report = await handle.wait()
        handle.abort("and after the end")
        handle.request_stop("or this")
        assert report.exit == Aborted("now")
        assert report.seconds == 2

    async def at_once(handle: Handle) -> None:
        handle.abort("never mind")
        assert (await handle.wait()).exit == Aborted("never mind")

    with_handle(check, sleeper)
    with_handle(at_once, never)


def test_seed_30_improved_stopped_aborted_and_self_cancelled_are_three_kinds() -> None:
    async def stop(handle: Handle) -> None:
        await wait_all_tasks_blocked()
        handle.request_stop("r")
        await handle.wait()

    async def self_cancelled(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    reports = [
        with_handle(stop, obedient, grace=5),
        with_handle(stop, sleeper),
        run_once(self_cancelled),
    ]
    kinds = [report.exit.kind for report in reports if report is not None]
    assert kinds == ["stopped", "aborted", "self_cancelled"]


def test_seed_31_kept_the_report_of_a_child_that_cannot_be_cancelled_comes_when_it_ends() -> None:
    async def body(child: ChildContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        await trio.lowlevel.checkpoint()

    async def check(handle: Handle) -> None:
        await trio.sleep(1)
        handle.abort("now")
        await trio.sleep(1)
        assert handle.report is None
        report = await handle.wait()
        assert (report.exit, report.seconds) == (Aborted("now"), 10)

    with_handle(check, body)


def test_seed_32_improved_what_a_child_spawned_ends_with_it() -> None:
    ended = []

    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(helper)
        await trio.sleep_forever()

    async def check(handle: Handle) -> None:
        await trio.sleep(1)
        handle.abort()
        assert ended == [(await handle.wait()).ended_at]

    with_handle(check, body)


# ---------------------------------------------------------------- classification


def test_seed_33_kept_what_a_child_returns_or_raises_maps_one_to_one() -> None:
    failure, error = TaskFailure("x"), ValueError()
    assert run_once(returner, 5).exit == Succeeded(5)
    assert run_once(raiser, failure).exit == Failed(failure)
    assert run_once(raiser, error).exit == Crashed(error)


def test_seed_34_improved_a_crash_keeps_the_exception_with_traceback_cause_and_notes() -> None:
    async def body(child: ChildContext) -> None:
        error = ValueError("boom")
        error.add_note("while polishing")
        raise error from KeyError("cause")

    error = run_once(body).exit.error
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, KeyError)
    assert error.__notes__ == ["while polishing"]
    trace = error.__traceback__
    names = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "body"


def test_seed_35_improved_an_outer_cancel_is_not_classified_away_but_gets_through() -> None:
    async def main() -> None:
        with trio.CancelScope() as outer:
            outer.cancel("outer")
            with pytest.raises(trio.Cancelled) as caught:
                await RUNNER.run_once(ChildSpec("c", sleeper))
            assert caught.value.reason == "outer"
            raise caught.value
        assert outer.cancelled_caught

    run_virtual(main)


def test_seed_36_kept_a_task_failure_keeps_category_and_message() -> None:
    exit_ = run_once(raiser, TaskFailure("no answer", category="upstream")).exit
    assert isinstance(exit_, Failed)
    assert (exit_.failure.category, exit_.failure.message) == ("upstream", "no answer")


def test_seed_37_kept_once_spawned_there_is_a_report_however_odd_the_error() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    report = run_once(raiser, Odd())
    assert report.exit.kind == "crashed"
    assert "Odd" in report.exit.describe()


# ---------------------------------------------------------------- who hears of the end


def test_seed_38_kept_there_is_no_report_until_there_is_the_one() -> None:
    async def check(handle: Handle) -> None:
        await trio.sleep(1)
        assert handle.report is None
        assert repr(handle) == "<ChildRunHandle of <attempt 1 of c>: running>"
        handle.abort()
        report = await handle.wait()
        assert handle.report is report

    with_handle(check, sleeper)


def test_seed_39_kept_any_number_of_observers_get_the_same_report() -> None:
    got = []

    async def observe(handle: Handle) -> None:
        got.append(await handle.wait())

    async def check(handle: Handle) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(observe, handle)
            await wait_all_tasks_blocked()
            handle.abort()

    report = with_handle(check, sleeper)
    assert len(got) == 5
    assert all(one is report for one in got)


def test_seed_40_kept_late_observers_see_report_readiness_and_heartbeat() -> None:
    async def body(child: ChildContext) -> None:
        child.ready("value")
        child.heartbeat("alive")

    async def check(handle: Handle) -> None:
        await handle.wait()
        await trio.sleep(10)
        assert (await handle.wait()).exit == Succeeded(None)
        assert await handle.wait_ready() == "value"
        assert [state async for state in handle.readiness] == [READY]
        assert [beat.detail async for beat in handle.heartbeats] == ["alive"]

    with_handle(check, body, readiness="explicit")


def test_seed_40_kept_early_observers_see_the_end_of_the_stream() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        child.not_ready()
        child.heartbeat(1)
        await trio.sleep(1)

    async def check(handle: Handle) -> None:
        states: list[ReadinessState] = []
        beats: list[object] = []

        async def read_states() -> None:
            states.extend([state async for state in handle.readiness])

        async def read_beats() -> None:
            beats.extend([beat.detail async for beat in handle.heartbeats])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_states)
            nursery.start_soon(read_beats)
        assert states == [READY, NOT_READY]
        assert beats == [1]

    with_handle(check, body)


def test_seed_41_improved_only_something_fatal_leaves_waiters_without_a_report() -> None:
    heard: list[object] = []

    async def main() -> None:
        async def waiter(handle: Handle, wait: Callable[[Handle], Awaitable[object]]) -> None:
            with trio.CancelScope(shield=True):
                try:
                    await wait(handle)
                except SupervisorError as error:
                    heard.append(type(error.__cause__))

        async with trio.open_nursery() as nursery:
            handle = RUNNER.spawn_once(
                nursery, ChildSpec("c", raiser, SystemExit(1), readiness="explicit")
            )
            nursery.start_soon(waiter, handle, ChildRunHandle.wait)
            nursery.start_soon(waiter, handle, ChildRunHandle.wait_ready)

    with pytest.RaisesGroup(SystemExit):
        run_virtual(main)
    assert heard == [SystemExit, SystemExit]


def test_seed_42_improved_a_report_that_nobody_waited_for_is_not_lost() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            handle = RUNNER.spawn_once(nursery, ChildSpec("c", returner, 5))
        assert handle.report is not None
        assert handle.report.exit == Succeeded(5)

    run_virtual(main)


def test_seed_43_kept_dropping_a_handle_changes_nothing_for_the_nursery_owns_the_child() -> None:
    done = []

    async def body(child: ChildContext) -> None:
        await trio.sleep(5)
        done.append(True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            RUNNER.spawn_once(nursery, ChildSpec("c", body))
            gc.collect()

    run_virtual(main)
    assert done == [True]


def test_seed_43_improved_a_cancelled_run_once_cancels_the_child_and_waits_for_it() -> None:
    ended = []

    async def body(child: ChildContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            ended.append(trio.current_time())

    async def main() -> None:
        start = trio.current_time()
        with trio.move_on_after(1) as scope:
            await RUNNER.run_once(ChildSpec("c", body, grace=100))
        assert scope.cancelled_caught
        assert ended == [start + 6] == [trio.current_time()]

    run_virtual(main)


def test_seed_44_improved_time_limits_and_grace_are_the_runners_business() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep_forever()

    report = run_once(body, max_runtime=10, grace=3)
    assert report.exit == TimedOut("run", 10)
    assert report.seconds == 13


# ---------------------------------------------------------------- refused spawns


def failing(name: str, times: int) -> Callable[[ChildSpec[Any]], Exception | None]:
    left = times

    def fault(spec: ChildSpec[Any]) -> Exception | None:
        nonlocal left
        if spec.name != name or not left:
            return None
        left -= 1
        return OSError("out of processes")

    return fault


def test_seed_45_kept_the_next_spawns_of_one_child_can_be_made_to_fail() -> None:
    runner = ChildRunner(spawn_fault=failing("c", 2))

    async def main() -> None:
        other, spec = ChildSpec("other", returner), ChildSpec("c", returner)
        for _ in range(2):
            assert (await runner.run_once(other)).exit == Succeeded(None)
            with pytest.raises(SupervisorError, match="spawn of c was refused") as caught:
                await runner.run_once(spec)
            assert isinstance(caught.value.__cause__, OSError)
        assert (await runner.run_once(spec)).exit == Succeeded(None)

    run_virtual(main)


def test_seed_46_improved_a_fault_is_its_runners_and_nobody_elses() -> None:
    runners = [ChildRunner(spawn_fault=failing("c", 1)) for _ in range(2)]

    async def main() -> None:
        spec = ChildSpec("c", returner)
        assert (await ChildRunner().run_once(spec)).exit == Succeeded(None)
        for runner in runners:
            with pytest.raises(SupervisorError):
                await runner.run_once(spec)

    run_virtual(main)


def test_every_number_from_1_to_46_is_accounted_for() -> None:
    numbers = {int(name[10:12]) for name in globals() if name.startswith("test_seed_")}
    assert set(range(1, 47)) - numbers == {13}
    assert "* 13:" in str(__doc__)


def test_the_end_before_readiness_is_told_to_those_who_wait_for_it() -> None:
    async def check(handle: Handle) -> None:
        with pytest.raises(ChildNotReady, match="crashed: ValueError"):
            await handle.wait_ready()

    with_handle(check, raiser, ValueError(), readiness="explicit")
