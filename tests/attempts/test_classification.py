"""How an attempt's end is classified: each row of the table, with every way that leads to it.

The rows, the first that fits: (1) something fatal, (2) exceptions, (3) time and health,
(4) the body's own outcome is ``Cancelled``, (5) it returned. All by way of `ChildRunner`.
"""

from __future__ import annotations

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not
import signal
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio
from helpers.support import run_real, run_virtual
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    Aborted,
    Body,
    ChildRunHandle,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    Crashed,
    Failed,
    SelfCancelled,
    Stopped,
    Succeeded,
    SupervisorError,
    TaskExit,
    TaskFailure,
    TimedOut,
    Unhealthy,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_supervisor import ChildContext

    AnyBody = Callable[..., Awaitable[object]]


def exit_of(body: AnyBody, *args: Any, **options: Any) -> TaskExit:
    """How ``body`` ends when nobody interferes."""
    spec = ChildSpec("c", body, *args, **options)

    async def main() -> ChildRunReport:
        return await ChildRunner().run_once(spec)

    return run_virtual(main).exit


def report_after(
    act: Callable[[ChildRunHandle[Any]], None], body: AnyBody, *args: Any, **options: Any
) -> ChildRunReport:
    """The report of ``body`` when ``act`` is done to its handle after one second."""
    spec = ChildSpec("c", body, *args, **options)

    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            await trio.sleep(1)
            act(handle)
        assert handle.report is not None
        return handle.report

    return run_virtual(main)


def abort(handle: ChildRunHandle[Any]) -> None:
    handle.abort("operator")


def stop(handle: ChildRunHandle[Any]) -> None:
    handle.request_stop("operator")


def steal_a_cancelled() -> trio.Cancelled:
    """A ``Cancelled`` of a run that is long over; they cannot be made."""

    stolen: list[trio.Cancelled] = []

    async def main() -> trio.Cancelled:
        with trio.CancelScope() as scope:
            scope.cancel("somebody else's")
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                stolen.append(exc)
                raise
        return stolen[0]

    return trio.run(main)


async def interrupt_when_idle() -> None:
    """Ctrl-C, at a moment when no code of a user is running."""
    await wait_all_tasks_blocked(0.01)
    signal.raise_signal(signal.SIGINT)


async def sleeper(child: ChildContext) -> None:
    await trio.sleep_forever()


async def raiser(child: ChildContext, error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def background_raiser(child: ChildContext, error: BaseException) -> None:
    child.nursery.start_soon(raiser, child, error)
    await trio.sleep_forever()


async def raiser_after_return(child: ChildContext, error: BaseException) -> None:
    child.nursery.start_soon(raiser, child, error)


async def cleanup_raiser(child: ChildContext, error: BaseException) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


class Fatal(BaseException):
    pass


class OwnGroup(ExceptionGroup[Exception]):
    # Without this, Python itself makes plain groups of it wherever it splits one, as Trio does.
    def derive(self, errors: Sequence[Exception], /) -> OwnGroup:  # type: ignore[override]
        return OwnGroup(self.message, errors)


class OwnFatalGroup(BaseExceptionGroup[BaseException]):
    def derive(self, errors: Sequence[BaseException], /) -> OwnFatalGroup:  # type: ignore[override]
        return OwnFatalGroup(self.message, errors)


# ---------------------------------------------------------------- row 1: fatal

FATAL = [SystemExit(7), KeyboardInterrupt(), GeneratorExit(), Fatal()]


@pytest.mark.parametrize("fatal", FATAL, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("body", [raiser, background_raiser, raiser_after_return])
def test_row_1_something_fatal_is_no_exit_and_gets_through_bare(
    body: AnyBody, fatal: BaseException
) -> None:
    with pytest.raises(type(fatal)) as caught:
        exit_of(body, fatal)
    assert caught.value is fatal


def test_row_1_a_fatal_group_of_the_childs_own_type_gets_through_as_such() -> None:
    with pytest.raises(OwnFatalGroup, match="mine"):
        exit_of(raiser, OwnFatalGroup("mine", [Fatal()]))


def test_row_1_the_status_of_a_system_exit_is_kept() -> None:
    with pytest.raises(SystemExit) as caught:
        exit_of(raiser, SystemExit(7))
    assert caught.value.code == 7


def test_row_1_something_fatal_goes_before_errors_and_keeps_them_as_its_cause() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(cleanup_raiser, child, ValueError("background"))
        await trio.sleep(1)
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        exit_of(body)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [repr(error) for error in cause.exceptions] == ["ValueError('background')"]


def test_row_1_a_cause_of_its_own_is_not_replaced() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(cleanup_raiser, child, ValueError("background"))
        await trio.sleep(1)
        raise SystemExit(7) from KeyError("mine")

    with pytest.raises(SystemExit) as caught:
        exit_of(body)
    assert isinstance(caught.value.__cause__, KeyError)


def test_row_1_something_fatal_while_stopping_gets_through_too() -> None:
    with pytest.RaisesGroup(SystemExit):
        report_after(abort, cleanup_raiser, SystemExit(7))


def test_row_1_who_waits_for_a_report_hears_that_there_is_none() -> None:
    spec = ChildSpec("c", raiser, SystemExit(7))
    heard = []

    async def main() -> None:
        async def waiter(handle: ChildRunHandle[Any], wait: AnyBody) -> None:
            with trio.CancelScope(shield=True), pytest.raises(SupervisorError) as caught:
                await wait(handle)
            heard.append(caught.value)

        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            nursery.start_soon(waiter, handle, ChildRunHandle.wait)
            await wait_all_tasks_blocked()

    with pytest.RaisesGroup(SystemExit):
        run_virtual(main)
    assert "no report: it ended with SystemExit" in str(heard[0])
    assert isinstance(heard[0].__cause__, SystemExit)


def test_row_1_a_ctrl_c_that_hits_the_body_gets_through() -> None:
    async def body(child: ChildContext) -> None:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not interrupted")

    async def main() -> None:
        await ChildRunner().run_once(ChildSpec("c", body))

    with pytest.raises(KeyboardInterrupt) as caught:
        run_real(main)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("at_checkpoints", [False, True])
def test_row_1_a_ctrl_c_while_all_sleep_cancels_the_child_and_waits_for_it(
    at_checkpoints: bool,
) -> None:
    cleaned = []

    async def body(child: ChildContext) -> None:
        trio.lowlevel.spawn_system_task(interrupt_when_idle)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            cleaned.append(True)

    async def main() -> None:
        await ChildRunner().run_once(ChildSpec("c", body, stale_after=100))

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, restrict_keyboard_interrupt_to_checkpoints=at_checkpoints)
    assert cleaned == [True]


def test_row_1_a_ctrl_c_beside_another_fatal_thing_loses_neither() -> None:
    async def body(child: ChildContext) -> None:
        trio.lowlevel.spawn_system_task(interrupt_when_idle)
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(7)

    async def main() -> None:
        await ChildRunner().run_once(ChildSpec("c", body))

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit):
        run_real(main)


# ---------------------------------------------------------------- row 2: exceptions


@pytest.mark.parametrize("body", [raiser, background_raiser, raiser_after_return])
def test_row_2_one_exception_is_a_crash_with_that_very_exception(body: AnyBody) -> None:
    error = ValueError("boom")
    assert exit_of(body, error) == Crashed(error)


@pytest.mark.parametrize("body", [raiser, background_raiser, raiser_after_return])
def test_row_2_a_task_failure_is_a_failure(body: AnyBody) -> None:
    failure = TaskFailure("no answer", category="upstream")
    assert exit_of(body, failure) == Failed(failure)


def test_row_2_a_nursery_of_the_body_wraps_and_we_unwrap() -> None:
    error = ValueError("deep")

    async def body(child: ChildContext) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(raiser, child, error)

    assert exit_of(body) == Crashed(error)


def test_row_2_several_exceptions_are_a_crash_with_all_of_them() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(cleanup_raiser, child, KeyError("background"))
        await trio.sleep(1)
        raise ValueError("body")

    exit_ = exit_of(body)
    assert exit_.kind == "crashed"
    assert exit_.has(KeyError)
    assert exit_.has(ValueError)
    assert isinstance(exit_.error, ExceptionGroup)
    assert len(exit_.error.exceptions) == 2


def test_row_2_the_childs_own_group_is_kept_as_it_is() -> None:
    group = ExceptionGroup("mine", [ValueError(), ExceptionGroup("inner", [KeyError()])])
    assert exit_of(raiser, group) == Crashed(group)
    alone = ExceptionGroup("mine", [ValueError()])
    assert exit_of(raiser, alone) == Crashed(alone.exceptions[0])


@pytest.mark.parametrize("body", [raiser, background_raiser])
def test_row_2_a_group_of_the_childs_own_type_means_something_and_is_not_opened(
    body: AnyBody,
) -> None:
    own = OwnGroup("mine", [ValueError()])
    exit_ = exit_of(body, own)
    assert exit_.kind == "crashed"
    assert isinstance(exit_.error, OwnGroup)


def test_row_2_a_cancelled_beside_an_exception_is_dropped() -> None:
    stolen = steal_a_cancelled()
    one, two = ValueError(1), ValueError(2)
    assert exit_of(raiser, BaseExceptionGroup("", [stolen, one])) == Crashed(one)
    exit_ = exit_of(raiser, BaseExceptionGroup("mine", [one, stolen, two]))
    assert isinstance(exit_.error, ExceptionGroup)
    assert exit_.error.message == "mine"
    assert exit_.error.exceptions == (one, two)


def test_row_2_no_exception_is_lost_beside_a_group_that_cannot_be_split() -> None:
    class Whole(ExceptionGroup[Exception]):
        def derive(self, errors: Sequence[Exception], /) -> NoReturn:  # type: ignore[override]
            raise RuntimeError("leave this group alone")

    one, whole = ValueError(1), Whole("mine", [ValueError(2)])
    exit_ = exit_of(raiser, BaseExceptionGroup("", [one, steal_a_cancelled(), whole]))
    assert exit_.kind == "crashed"
    assert isinstance(exit_.error, ExceptionGroup)
    assert exit_.error.exceptions == (one, whole)


def test_row_2_an_error_in_the_cleanup_is_a_crash_and_the_report_says_that_we_had_asked() -> None:
    error = OSError("disk full")
    report = report_after(abort, cleanup_raiser, error)
    assert report.exit == Crashed(error)
    assert report.stop_reason == "operator"
    report = report_after(stop, cleanup_raiser, error, grace=3)
    assert report.exit == Crashed(error)


def test_row_2_an_error_goes_before_a_timeout() -> None:
    error = OSError("disk full")
    assert exit_of(cleanup_raiser, error, max_runtime=5) == Crashed(error)


def test_row_2_a_leaking_timeout_of_the_body_is_a_crash_and_none_of_ours() -> None:
    async def body(child: ChildContext) -> None:
        with trio.fail_after(1):
            await trio.sleep_forever()

    assert isinstance(exit_of(body).error, trio.TooSlowError)


@pytest.mark.parametrize("what", [None, 5, "async def"])
def test_row_2_a_body_that_returns_nothing_to_await_is_a_clear_crash(what: object) -> None:
    def body(child: ChildContext) -> object:
        return what

    exit_ = exit_of(Body(body, label="body"))  # type: ignore[arg-type]
    assert isinstance(exit_.error, TypeError)
    assert "body" in str(exit_.error)
    assert f"returned {what!r}" in str(exit_.error)
    assert "async def" in str(exit_.error)


def test_row_2_an_async_generator_is_no_body() -> None:
    async def body(child: ChildContext) -> Any:
        yield 1

    exit_ = exit_of(Body(body, label="body"))
    assert isinstance(exit_.error, TypeError)
    assert "yield" in str(exit_.error)


def test_row_2_whatever_python_can_await_is_a_body() -> None:
    class Custom:
        def __await__(self) -> Any:
            yield from trio.sleep(1).__await__()  # noqa: ASYNC105
            return "done"

    assert exit_of(Body(lambda child: Custom(), label="custom")) == Succeeded("done")


def test_row_2_wrong_arguments_are_the_childs_own_crash() -> None:
    async def body(child: ChildContext, missing: int) -> None:
        pytest.fail("ran")

    exit_ = exit_of(Body(body, label="body"))
    assert isinstance(exit_.error, TypeError)
    assert "missing" in str(exit_.error)


def test_row_2_an_await_of_another_library_is_a_crash() -> None:
    class Foreign:
        def __await__(self) -> Any:
            yield "not for Trio"

    async def body(child: ChildContext) -> None:
        await Foreign()

    assert isinstance(exit_of(body).error, TypeError)


def test_row_2_a_stop_iteration_cannot_confuse_us() -> None:
    assert isinstance(exit_of(raiser, StopIteration(5)).error, RuntimeError)


@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled"])
def test_row_2_a_nursery_left_open_is_closed_and_a_crash(ending: str) -> None:
    ended = []

    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def body(child: ChildContext) -> None:
        for _ in range(2):
            nursery = await trio.open_nursery().__aenter__()
            nursery.start_soon(helper)
        await wait_all_tasks_blocked()
        if ending == "raises":
            raise ValueError("mine")
        if ending == "is cancelled":
            await trio.sleep_forever()

    report = report_after(abort, body)
    assert report.exit.kind == "crashed"
    assert report.exit.has(RuntimeError)
    assert report.exit.has(ValueError) == (ending == "raises")
    assert "left a nursery open" in str(
        report.exit.error.exceptions[1]
        if isinstance(report.exit.error, ExceptionGroup)
        else report.exit.error
    )
    assert len(ended) == 2


def test_row_2_what_happens_in_a_nursery_left_open_is_not_lost() -> None:
    async def body(child: ChildContext) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(cleanup_raiser, child, KeyError("inside"))
        child.nursery.start_soon(cleanup_raiser, child, OSError("beside"))
        await wait_all_tasks_blocked()

    exit_ = exit_of(body)
    assert exit_.kind == "crashed"
    assert exit_.has(RuntimeError)
    assert exit_.has(KeyError)
    assert exit_.has(OSError)


def test_row_2_a_cancel_scope_left_open_is_a_crash() -> None:
    async def body(child: ChildContext) -> None:
        trio.CancelScope().__enter__()
        await trio.sleep(1)

    exit_ = exit_of(body)
    assert isinstance(exit_.error, RuntimeError)
    assert "Cancel scope" in str(exit_.error)


# ---------------------------------------------------------------- row 3: time and health


def test_row_3_a_start_that_takes_too_long() -> None:
    report = report_after(lambda _: None, sleeper, readiness="explicit", start_timeout=7)
    assert report.exit == TimedOut("start", 7)
    assert report.seconds == 7
    assert report.stop_reason == "timed out: not ready within 7s"


def test_row_3_a_run_that_takes_too_long() -> None:
    report = report_after(lambda _: None, sleeper, max_runtime=7)
    assert report.exit == TimedOut("run", 7)
    assert report.seconds == 7


def test_row_3_a_silence_that_lasts_too_long() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(2)
        child.heartbeat()
        await trio.sleep_forever()

    report = report_after(lambda _: None, body, stale_after=7)
    assert report.exit == Unhealthy(7)
    assert report.seconds == 9


def test_row_3_a_return_during_the_grace_does_not_change_it() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(1)

    report = report_after(lambda _: None, body, max_runtime=7, grace=5)
    assert report.exit == TimedOut("run", 7)
    assert report.seconds == 8


def test_row_3_nor_does_a_swallowed_cancel() -> None:
    async def body(child: ChildContext) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103
            return "swallowed"  # noqa: ASYNC104

    assert exit_of(body, max_runtime=7) == TimedOut("run", 7)


# ---------------------------------------------------------------- row 4: the body was cancelled


def test_row_4_cancelled_by_us() -> None:
    report = report_after(abort, sleeper)
    assert report.exit == Aborted("operator")
    assert report.stop_reason == "operator"
    assert report.seconds == 1


def test_row_4_cancelled_by_us_after_the_grace() -> None:
    report = report_after(stop, sleeper, grace=4)
    assert report.exit == Aborted("operator")
    assert report.seconds == 5


def test_row_4_cancelled_by_us_before_its_first_step() -> None:
    async def body(child: ChildContext) -> None:
        pytest.fail("ran")

    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, ChildSpec("c", body))
            handle.request_stop("operator")
        return await handle.wait()

    assert run_virtual(main).exit == Aborted("operator")


def test_row_4_its_own_nursery_cancelled_is_a_failure_of_its_own() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel("I am finished")
        await trio.sleep_forever()

    exit_ = exit_of(body)
    assert exit_ == SelfCancelled("I am finished")
    assert exit_.is_failure


def test_row_4_so_is_one_that_a_background_task_cancelled() -> None:
    async def body(child: ChildContext) -> None:
        async def background() -> None:
            child.nursery.cancel_scope.cancel()

        child.nursery.start_soon(background)
        await trio.sleep_forever()

    assert exit_of(body) == SelfCancelled("cancelled due to explicit")


def test_row_4_a_deadline_on_its_own_nursery_is_no_timeout_of_ours() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.cancel_scope.deadline = trio.current_time() + 5
        await trio.sleep_forever()

    assert exit_of(body) == SelfCancelled("cancelled due to deadline")


@pytest.mark.parametrize("wrapped", [False, True])
def test_row_4_a_stolen_cancelled_is_not_swallowed_as_a_success(wrapped: bool) -> None:
    stolen: BaseException = steal_a_cancelled()
    if wrapped:
        stolen = BaseExceptionGroup("", [stolen, stolen])
    exit_ = exit_of(raiser, stolen)
    assert exit_ == SelfCancelled("somebody else's")


def test_row_4_a_stolen_cancelled_in_the_background_ends_nothing_quietly() -> None:
    """Trio's nursery takes it for its own and cancels the body, which is how it shows."""
    assert exit_of(background_raiser, steal_a_cancelled()).kind == "self_cancelled"


def test_row_4_an_outer_cancel_is_nobodys_failure_and_gets_through() -> None:
    async def main() -> None:
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                handle = ChildRunner().spawn_once(nursery, ChildSpec("c", sleeper, stale_after=50))
                await trio.sleep(1)
                outer.cancel("lights out")
        assert outer.cancelled_caught
        report = await handle.wait()
        assert report.exit == Aborted("a scope around the attempt: lights out")
        assert report.stop_reason is None
        assert not report.exit.is_failure

    run_virtual(main)


def test_row_4_an_outer_cancel_gets_through_beside_a_crash() -> None:
    spec = ChildSpec("c", cleanup_raiser, OSError("disk full"))

    async def main() -> None:
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                handle = ChildRunner().spawn_once(nursery, spec)
                await trio.sleep(1)
                outer.cancel()
        report = await handle.wait()
        assert report.exit.has(OSError)

    run_virtual(main)


def test_row_4_an_outer_cancel_gets_through_if_only_a_background_task_saw_it() -> None:
    async def body(child: ChildContext) -> str:
        child.nursery.start_soon(trio.sleep_forever)
        return "value"

    async def main() -> None:
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                handle = ChildRunner().spawn_once(nursery, ChildSpec("c", body))
                await trio.sleep(1)
                outer.cancel()
        assert outer.cancelled_caught
        assert (await handle.wait()).exit == Succeeded("value")

    run_virtual(main)


def test_row_4_our_own_abort_under_an_outer_cancel_stays_ours() -> None:
    async def main() -> None:
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                handle = ChildRunner().spawn_once(nursery, ChildSpec("c", sleeper))
                await trio.sleep(1)
                handle.abort("operator")
                outer.cancel()
        assert (await handle.wait()).exit == Aborted("operator")

    run_virtual(main)


def test_row_4_a_body_that_cancels_the_nursery_around_it_is_not_contained() -> None:
    """Trio lets it: the attempt's own nursery is not the one it reaches."""

    async def body(child: ChildContext) -> None:
        around = trio.lowlevel.current_task().parent_nursery
        assert around is not None
        around.cancel_scope.cancel("vandal")
        await trio.sleep_forever()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, ChildSpec("c", body))
        assert nursery.cancel_scope.cancelled_caught
        assert handle.report is not None
        assert not handle.report.exit.is_failure

    run_virtual(main)


# ---------------------------------------------------------------- row 5: it returned


def test_row_5_a_return_is_a_success_with_its_value() -> None:
    async def body(child: ChildContext) -> int:
        await trio.sleep(1)
        return 42

    assert exit_of(body) == Succeeded(42)


def test_row_5_the_attempt_lasts_as_long_as_its_background_tasks() -> None:
    async def body(child: ChildContext) -> int:
        child.nursery.start_soon(trio.sleep, 10)
        return 42

    report = report_after(lambda _: None, body)
    assert report.exit == Succeeded(42)
    assert report.seconds == 10


def test_row_5_a_return_at_our_request_is_a_stop() -> None:
    async def body(child: ChildContext) -> int:
        await child.wait_stop_requested()
        return 42

    report = report_after(stop, body, grace=5)
    assert report.exit == Stopped("operator")
    assert report.stop_reason == "operator"
    assert report.seconds == 1


def test_row_5_a_return_without_a_checkpoint_after_our_cancel_is_a_stop() -> None:
    async def body(child: ChildContext, box: list[ChildRunHandle[Any]]) -> int:
        box[0].abort("operator")
        return 42

    async def main() -> TaskExit:
        box: list[ChildRunHandle[Any]] = []
        async with trio.open_nursery() as nursery:
            box.append(ChildRunner().spawn_once(nursery, ChildSpec("c", body, box)))
        return (await box[0].wait()).exit

    assert run_virtual(main) == Stopped("operator")


def test_row_5_a_swallowed_cancel_is_a_stop() -> None:
    async def body(child: ChildContext) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103
            return "swallowed"  # noqa: ASYNC104

    assert report_after(abort, body).exit == Stopped("operator")


def test_row_5_an_abort_of_what_the_body_left_running_is_a_stop() -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(trio.sleep_forever)

    report = report_after(abort, body)
    assert report.exit == Stopped("operator")
    assert report.seconds == 1


def test_row_5_a_scope_of_the_body_that_it_cancels_itself_is_its_own_business() -> None:
    async def body(child: ChildContext) -> int:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
        return 42

    assert exit_of(body) == Succeeded(42)
