"""docs/design.md, Leaving the block: what ends it, how children stop, and what is raised."""

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from helpers.trees import (
    AT_ONCE,
    Boom,
    Trace,
    crash_after,
    events_of,
    forever,
    polite,
    ready_forever,
    real_scenario,
    scenario,
    state_of,
    stubborn,
    this_watch,
    unwatched,
)

from trio_supervisor import (
    ChildCancelled,
    ChildContext,
    ChildEscalated,
    ChildExited,
    ChildSpec,
    ChildStarted,
    ChildStartError,
    ChildUnresponsive,
    Escalate,
    RestartLimit,
    RestartLimitExceeded,
    ShutdownReport,
    ShutdownTree,
    SpecError,
    Supervisor,
    SupervisorClosed,
    SupervisorError,
    SupervisorFinished,
    SupervisorSpec,
    SupervisorStopping,
    fold,
    open_supervisor,
    run_supervisor,
)
from trio_supervisor._attempts.observer import TreeObserver, observing
from trio_supervisor._attempts.stacks import stacks_of
from trio_supervisor._brain.machine import SupervisionMachine
from trio_supervisor._runtime.views import stacks_below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._attempts.attempt import Attempt

NO_RESTARTS = RestartLimit(0, within=1)


async def crash_when_told(child: ChildContext, told: trio.Event, error: BaseException) -> None:
    await told.wait()
    raise error


def kinds(supervisor: Supervisor) -> dict[str, str]:
    """How each child's last attempt ended."""
    return {
        event.path.rpartition("/")[2]: event.kind for event in events_of(supervisor, ChildExited)
    }


# ---------------------------------------------------------------- the block ends


@scenario
async def test_the_block_returns_children_stop_in_order_with_grace() -> None:
    trace = Trace()
    start = trio.current_time()
    children = [trace.child(name, stopping=2) for name in "abc"]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        assert trace.take() == "+a +b +c"
    assert trace.take() == "?c -c ?b -b ?a -a"
    assert trio.current_time() - start == 6
    assert kinds(supervisor) == {"a": "stopped", "b": "stopped", "c": "stopped"}
    report = await supervisor.wait_finished()
    assert (report.cause, report.reason, report.seconds) == ("shutdown", "the block has ended", 6)


@scenario
async def test_the_block_raises_its_own_exception_object_comes_out_bare() -> None:
    trace = Trace()
    cause, context = OSError("cause"), LookupError("context")
    error = ValueError("of the block")
    error.__cause__ = cause
    with pytest.raises(ValueError, match="of the block") as caught:
        async with open_supervisor(
            SupervisorSpec("app", [trace.child("a", stopping=1), trace.child("b", stopping=1)])
        ) as supervisor:
            try:
                raise context
            except LookupError:
                raise error  # noqa: B904 - its context is looked at
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is context
    assert trace.take() == "+a +b ?b -b ?a -a"
    report = await supervisor.wait_finished()
    assert (report.cause, report.reason) == ("shutdown", "the block raised ValueError")


@scenario
async def test_a_group_that_the_block_raises_is_not_opened() -> None:
    group = ExceptionGroup("of the block", [ValueError(1)])
    with pytest.RaisesGroup(ValueError) as caught:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])):
            raise group
    assert caught.value is group


@scenario
async def test_return_and_break_out_of_the_block_are_ends_like_any_other() -> None:
    trace = Trace()

    async def use() -> str:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=1)])):
            return "value"

    assert await use() == "value"
    for _ in "ab":
        async with open_supervisor(SupervisorSpec("app", [trace.child("b", stopping=1)])):
            break
    assert trace.take() == "+a ?a -a +b ?b -b"


@scenario
async def test_an_empty_pool_needs_no_spec_and_can_be_left_at_once() -> None:
    async with open_supervisor() as supervisor:
        assert supervisor.path == "supervisor"
        assert dict(supervisor.children) == {}
    assert (await supervisor.wait_finished()).children == ()


# ---------------------------------------------------------------- outer cancellation


@scenario
async def test_outer_cancellation_children_stop_in_order_without_grace() -> None:
    trace = Trace()
    start = trio.current_time()
    children = [trace.child(name, stopping=2) for name in "abc"]
    with trio.CancelScope() as outer:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            outer.cancel("enough")
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert trace.take() == "+a +b +c -c -b -a"
    assert trio.current_time() == start
    report = await supervisor.wait_finished()
    assert report.cause == "cancelled"
    assert report.reason == "enough"
    assert {child.outcome for child in report.children} == {"aborted"}


@scenario
async def test_outer_cancellation_while_a_stop_with_grace_is_under_way_ends_the_grace() -> None:
    trace = Trace()
    start = trio.current_time()
    children = [trace.child(name, stopping=10) for name in "abc"]
    with trio.move_on_after(15) as outer:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            pass
    assert outer.cancelled_caught
    assert trio.current_time() - start == 15
    assert trace.take() == "+a +b +c ?c -c ?b -b -a"
    outcomes = {c.path: c.outcome for c in (await supervisor.wait_finished()).children}
    assert outcomes == {"app/c": "stopped", "app/b": "aborted", "app/a": "aborted"}


@scenario
async def test_outer_cancellation_while_entering_stops_what_was_started() -> None:
    trace = Trace()
    start = trio.current_time()
    children = [trace.child("a", stopping=1), trace.child("b", starting=10, stopping=1)]
    with trio.move_on_after(3) as outer:
        async with open_supervisor(SupervisorSpec("app", [*children, trace.child("c")])):
            raise AssertionError("entered")
    assert outer.cancelled_caught
    assert trio.current_time() - start == 3
    assert trace.take() == "+a +b -b -a"


@scenario
async def test_an_outer_scope_that_is_cancelled_from_the_start_leaves_nothing_behind() -> None:
    trace = Trace()
    with trio.CancelScope() as outer:
        outer.cancel()
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", starting=1)])):
            raise AssertionError("entered")
    assert outer.cancelled_caught
    assert trace.take() in ("+a -a", "")


@scenario
async def test_outer_cancellation_waits_for_a_child_that_ignores_its_cancel() -> None:
    start = trio.current_time()
    with trio.CancelScope() as outer:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", stubborn, 7)])):
            outer.cancel()
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert trio.current_time() - start == 7


@scenario
async def test_outer_cancellation_reaches_a_block_that_outlives_its_tree() -> None:
    with trio.move_on_after(5) as outer:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
            await supervisor.shutdown()
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert trio.current_time() == 5


@scenario
async def test_a_cancelled_nursery_around_the_block_takes_the_tree_along() -> None:
    trace = Trace()

    async def app() -> None:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a"), trace.child("b")])):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(app)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert trace.take() == "+a +b -b -a"


# ---------------------------------------------------------------- what is no Exception

FATAL = [KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.mark.parametrize("fatal", FATAL)
@scenario
async def test_a_fatal_exception_in_the_block_stops_in_order_without_grace(
    fatal: type[BaseException],
) -> None:
    trace = Trace()
    start = trio.current_time()
    error = fatal(7)
    children = [trace.child(name, stopping=2) for name in "abc"]
    with pytest.raises(fatal) as caught:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            raise error
    assert caught.value is error
    assert trace.take() == "+a +b +c -c -b -a"
    assert trio.current_time() == start
    report = await supervisor.wait_finished()
    assert report.reason == f"the block was ended by {fatal.__name__}"


@pytest.mark.parametrize("fatal", FATAL)
@scenario
async def test_a_fatal_exception_in_a_child_stops_in_order_without_grace_and_gets_out(
    fatal: type[BaseException],
) -> None:
    trace = Trace()
    told = trio.Event()
    error = fatal(7)
    children = [
        trace.child("a", stopping=2),
        ChildSpec("bad", crash_when_told, told, error),
        trace.child("c", stopping=2),
    ]
    with pytest.raises(fatal) as caught:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            await trio.sleep(1)
            told.set()
            await trio.sleep_forever()
    assert caught.value is error
    assert trace.take() == "+a +c -c -a"
    assert trio.current_time() == 1
    assert (await supervisor.wait_finished()).cause == "fatal"
    assert len(events_of(supervisor, ChildStarted, "app/bad")) == 1


@pytest.mark.parametrize("fatal", FATAL)
@scenario
async def test_a_fatal_exception_while_a_stop_with_grace_is_under_way_ends_the_grace(
    fatal: type[BaseException],
) -> None:
    trace = Trace()
    error = fatal(7)

    async def bad(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(3)
        raise error

    children = [
        trace.child("a", stopping=50),
        ChildSpec("bad", bad, grace=10),
        trace.child("c", stopping=4),
    ]
    with pytest.raises(fatal) as caught:
        async with open_supervisor(SupervisorSpec("app", children)):
            pass
    assert caught.value is error
    assert trace.take() == "+a +c ?c -c -a"
    assert trio.current_time() == 7


@scenario
async def test_a_fatal_exception_out_of_decide_gets_through() -> None:
    error = SystemExit(3)

    def decide(report: object) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("a", crash_after, 1, decide=decide)])
        ):
            await trio.sleep_forever()
    assert caught.value is error


@scenario
async def test_a_fatal_exception_while_starting_comes_out_of_entering() -> None:
    error = SystemExit(7)
    told = trio.Event()
    told.set()
    children = [
        ChildSpec("ok", ready_forever, readiness="explicit"),
        ChildSpec("bad", crash_when_told, told, error, readiness="explicit"),
    ]
    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(SupervisorSpec("app", children)):
            raise AssertionError("entered")
    assert caught.value is error


@pytest.mark.parametrize("seed", range(10))
@scenario
async def test_a_fatal_exception_right_after_being_ready_comes_out_at_the_latest_of_the_block(
    seed: int,
) -> None:
    error = SystemExit(7)

    async def bad(child: ChildContext) -> None:
        child.ready()
        raise error

    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("bad", bad, readiness="explicit")])
        ):
            await trio.sleep_forever()
    assert caught.value is error


@scenario
async def test_a_fatal_exception_deep_in_the_tree_gets_out_bare() -> None:
    trace = Trace()
    error = SystemExit(7)
    told = trio.Event()
    deep = SupervisorSpec("deep", [ChildSpec("bad", crash_when_told, told, error)])
    mid = SupervisorSpec("mid", [trace.child("m", stopping=5), deep])
    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=5), mid])):
            told.set()
            await trio.sleep_forever()
    assert caught.value is error
    assert trace.take() == "+a +m -m -a"
    assert trio.current_time() == 0


@scenario
async def test_two_fatal_exceptions_come_out_together() -> None:
    told = trio.Event()
    one, two = SystemExit(1), KeyboardInterrupt()
    children = [
        ChildSpec("a", crash_when_told, told, one),
        ChildSpec("b", crash_when_told, told, two),
    ]
    with pytest.RaisesGroup(SystemExit, KeyboardInterrupt) as caught:
        async with open_supervisor(SupervisorSpec("app", children)):
            told.set()
            await trio.sleep_forever()
    assert set(caught.value.exceptions) == {one, two}


@scenario
async def test_a_fatal_exception_in_the_block_and_the_same_object_in_a_child_is_one() -> None:
    told = trio.Event()
    error = SystemExit(1)
    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("a", crash_when_told, told, error)])
        ):
            told.set()
            await trio.lowlevel.checkpoint()
            raise error
    assert caught.value is error


# ---------------------------------------------------------------- the tree fails


@scenario
async def test_a_limit_cancels_the_block_and_stops_at_once_with_grace() -> None:
    trace = Trace()
    block_ended: list[float] = []
    children = [
        trace.child("a", stopping=2),
        ChildSpec("bad", crash_after, 1, backoff=AT_ONCE, restart_limit=RestartLimit(2, within=60)),
        trace.child("c", stopping=3),
    ]
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            try:
                await trio.sleep_forever()
            finally:
                block_ended.append(trio.current_time())
    assert block_ended == [3]
    assert trio.current_time() == 8
    assert trace.take() == "+a +c ?c -c ?a -a"
    error = caught.value
    assert (error.path, error.limit) == ("app/bad", RestartLimit(2, within=60))
    assert [report.attempt for report in error.reports] == [1, 2, 3]
    assert error.last_exit is error.reports[-1].exit
    assert [str(found) for found in error.exceptions] == ["Boom: bad 1", "Boom: bad 2", "bad 3"]
    assert "app/bad" in str(error)
    assert "2 restarts in 60s" in str(error)
    report = await supervisor.wait_finished()
    assert report.cause == "limit"


@scenario
async def test_a_limit_is_raised_from_a_group_of_the_failures() -> None:
    spec = ChildSpec("bad", crash_after, 1, backoff=AT_ONCE, restart_limit=NO_RESTARTS)
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(SupervisorSpec("app", [spec])):
            await trio.sleep_forever()
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert cause.exceptions == caught.value.exceptions
    assert isinstance(cause.exceptions[-1], Boom)


@scenario
async def test_the_supervisors_own_limit_is_the_one_that_is_named() -> None:
    bad = ChildSpec("bad", crash_after, 1, backoff=AT_ONCE)
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(SupervisorSpec("app", [bad], restart_limit=NO_RESTARTS)):
            await trio.sleep_forever()
    assert caught.value.limit == NO_RESTARTS


@scenario
async def test_escalate_cancels_the_block_and_stops_at_once_with_grace() -> None:
    trace = Trace()
    bad = ChildSpec("bad", crash_after, 1, decide=lambda report: Escalate("no use"))
    with pytest.raises(ChildEscalated) as caught:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=2), bad])):
            await trio.sleep_forever()
    assert (caught.value.path, caught.value.reason) == ("app/bad", "no use")
    assert isinstance(caught.value.__cause__, Boom)
    assert caught.value.exceptions == (caught.value.__cause__,)
    assert trace.take() == "+a ?a -a"
    assert trio.current_time() == 3


@scenario
async def test_a_failed_first_start_stops_what_was_started_and_comes_out_of_entering() -> None:
    trace = Trace()
    children = [
        trace.child("a", stopping=1),
        trace.child("b", stopping=1),
        ChildSpec(
            "bad", crash_when_told, trio.Event(), Boom(), readiness="explicit", start_timeout=4
        ),
        trace.child("never"),
    ]
    with pytest.raises(ChildStartError) as caught:
        async with open_supervisor(SupervisorSpec("app", children)):
            raise AssertionError("entered")
    assert caught.value.path == "app/bad"
    assert caught.value.exit is not None
    assert caught.value.exit.kind == "timed_out"
    assert trace.take() == "+a +b ?b -b ?a -a"
    assert trio.current_time() == 6


@scenario
async def test_a_failed_first_start_is_raised_from_the_childs_own_error() -> None:
    told = trio.Event()
    told.set()
    boom = Boom("own")
    bad = ChildSpec("bad", crash_when_told, told, boom, readiness="explicit")
    with pytest.raises(ChildStartError) as caught:
        async with open_supervisor(SupervisorSpec("app", [bad])):
            raise AssertionError("entered")
    assert caught.value.__cause__ is boom
    assert caught.value.exceptions == (boom,)


@scenario
async def test_without_wait_ready_the_block_is_entered_at_once_and_a_failed_start_cancels_it() -> (
    None
):
    trace = Trace()
    bad = ChildSpec("bad", forever, readiness="explicit", start_timeout=3)
    entered = ended = -1.0
    with pytest.raises(ChildStartError):
        async with open_supervisor(
            SupervisorSpec("app", [trace.child("a", starting=2, stopping=2), bad]), wait_ready=False
        ):
            entered = trio.current_time()
            try:
                await trio.sleep_forever()
            finally:
                ended = trio.current_time()
    assert (entered, ended, trio.current_time()) == (0, 5, 7)
    assert trace.take() == "+a ?a -a"


@scenario
async def test_without_wait_ready_one_can_wait_for_it_later() -> None:
    trace = Trace()
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", starting=2)]), wait_ready=False
    ) as supervisor:
        assert supervisor.state().state == "starting"
        assert supervisor.child("a").state == "starting"
        await supervisor.wait_ready()
        assert trio.current_time() == 2
        assert supervisor.state().state == "running"


@scenario
async def test_wait_ready_of_a_tree_that_fails_to_start_says_so() -> None:
    bad = ChildSpec("bad", forever, readiness="explicit", start_timeout=3)
    heard: list[str] = []

    async def wait(supervisor: Supervisor) -> None:
        with pytest.raises(SupervisorClosed) as caught:
            await supervisor.wait_ready()
        heard.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        with pytest.raises(ChildStartError):
            async with open_supervisor(
                SupervisorSpec("app", [bad]), wait_ready=False
            ) as supervisor:
                nursery.start_soon(wait, supervisor)  # noqa: ASYNC111 - that is the point
                await trio.sleep_forever()
    assert len(heard) == 1
    assert "app/bad failed to start" in heard[0]


@scenario
async def test_a_block_that_ignores_its_cancel_does_not_hide_the_trees_error() -> None:
    bad = ChildSpec("bad", crash_after, 1, restart_limit=NO_RESTARTS, backoff=AT_ONCE)
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor(SupervisorSpec("app", [bad])):
            with trio.CancelScope(shield=True):
                await trio.sleep(5)


@scenario
async def test_block_and_tree_both_fail_and_come_out_as_a_group_of_the_two() -> None:
    mine = ValueError("mine")
    bad = ChildSpec("bad", crash_after, 1, restart_limit=NO_RESTARTS, backoff=AT_ONCE)
    with pytest.RaisesGroup(ValueError, RestartLimitExceeded) as caught:
        async with open_supervisor(SupervisorSpec("app", [bad])):
            try:
                await trio.sleep_forever()
            finally:
                raise mine
    assert mine in caught.value.exceptions


@scenario
async def test_what_fails_in_the_block_because_of_its_cancel_is_kept() -> None:
    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the block")

    bad = ChildSpec("bad", crash_after, 1, restart_limit=NO_RESTARTS, backoff=AT_ONCE)
    with pytest.RaisesGroup(RestartLimitExceeded, pytest.RaisesGroup(ValueError)):
        async with open_supervisor(SupervisorSpec("app", [bad])), trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)


@scenario
async def test_the_block_fails_first_and_a_child_fatally_while_stopping() -> None:
    mine, fatal = ValueError("mine"), SystemExit(2)

    async def bad(child: ChildContext) -> None:
        await child.wait_stop_requested()
        raise fatal

    with pytest.RaisesGroup(ValueError, SystemExit) as caught:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("bad", bad, grace=1)])):
            raise mine
    assert set(caught.value.exceptions) == {mine, fatal}


@scenario
async def test_a_failure_during_the_stop_is_in_the_report_and_not_raised() -> None:
    async def bad(child: ChildContext) -> None:
        await child.wait_stop_requested()
        raise Boom("while stopping")

    spec = ChildSpec("bad", bad, grace=1, restart_limit=NO_RESTARTS, backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        pass
    report = await supervisor.wait_finished()
    assert report.cause == "shutdown"
    assert report.child("bad").outcome == "crashed"
    assert "while stopping" in report.child("bad").detail
    assert len(events_of(supervisor, ChildStarted)) == 1


@scenario
async def test_escalation_during_a_shutdown_is_ignored() -> None:
    trace = Trace()
    asked: list[object] = []
    told = trio.Event()
    # `first` crashes while `last` is being stopped, before its own turn has come.

    def decide(report: object) -> Escalate:
        asked.append(report)
        return Escalate()

    first = ChildSpec("first", crash_when_told, told, Boom(), decide=decide)
    async with open_supervisor(
        SupervisorSpec("app", [first, trace.child("last", stopping=5)])
    ) as supervisor:
        supervisor.request_shutdown()
        await trio.sleep(1)
        told.set()
    assert asked == []
    assert (await supervisor.wait_finished()).cause == "shutdown"


# ---------------------------------------------------------------- an end that is no failure


@scenario
async def test_shutdown_does_not_cancel_the_block() -> None:
    trace = Trace()
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", stopping=2), trace.child("b", stopping=1)])
    ) as supervisor:
        report = await supervisor.shutdown("by hand")
        assert (trio.current_time(), trace.take()) == (3, "+a +b ?b -b ?a -a")
        assert isinstance(report, ShutdownReport)
        assert (report.cause, report.reason, report.seconds) == ("shutdown", "by hand", 3)
        assert [child.path for child in report.children] == ["app/b", "app/a"]
        await trio.sleep(10)
        assert await supervisor.shutdown("again") is report
    assert trio.current_time() == 13


@scenario
async def test_request_shutdown_returns_at_once_and_the_block_goes_on() -> None:
    trace = Trace()
    async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=2)])) as supervisor:
        supervisor.request_shutdown("later")
        assert trace.take() == "+a"
        await trio.sleep(1)
        assert trace.take() == "?a"
        await trio.sleep(5)
        assert trace.take() == "-a"
        assert supervisor.state().state == "finished"
        assert supervisor.state().reason == "later"


@scenario
async def test_request_shutdown_without_grace_also_cuts_a_stop_that_is_under_way() -> None:
    trace = Trace()
    children = [trace.child("a", stopping=10), trace.child("b", stopping=10)]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        supervisor.request_shutdown("slowly")
        await trio.sleep(3)
        supervisor.request_shutdown("now", grace=False)
        report = await supervisor.wait_finished()
        assert trio.current_time() == 3
    assert report.reason == "slowly"
    assert trace.take() == "+a +b ?b -b -a"


@scenario
async def test_auto_shutdown_does_not_cancel_the_block() -> None:
    trace = Trace()

    async def work(child: ChildContext) -> None:
        await trio.sleep(1)

    spec = SupervisorSpec(
        "app",
        [
            trace.child("a", stopping=2),
            ChildSpec("work", work, restart="transient", significant=True),
        ],
        auto_shutdown="any_significant",
    )
    async with open_supervisor(spec) as supervisor:
        report = await supervisor.wait_finished()
        assert trio.current_time() == 3
        await trio.sleep(1)
    assert report.cause == "auto_shutdown"
    assert trio.current_time() == 4
    assert trace.take() == "+a ?a -a"


@scenario
async def test_shutdown_tree_as_a_decision_raises_nothing() -> None:
    spec = ChildSpec("a", crash_after, 1, decide=lambda report: ShutdownTree("that is all"))
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        report = await supervisor.wait_finished()
        await trio.sleep(1)
    assert (report.cause, report.reason) == ("shutdown", "that is all")


@scenario
async def test_a_tree_that_ends_itself_while_starting_lets_the_block_be_entered() -> None:
    async def give_up(child: ChildContext) -> None:
        child.ready()
        raise Boom

    children = [
        ChildSpec("w", give_up, readiness="explicit", decide=lambda report: ShutdownTree("done")),
        ChildSpec("x", forever, readiness="explicit"),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        assert (await supervisor.wait_finished()).reason == "done"


# ---------------------------------------------------------------- deadlines and the unresponsive


@scenario
async def test_at_the_shutdown_deadline_everything_left_is_cancelled_at_once() -> None:
    trace = Trace()
    children = [trace.child(name, stopping=10) for name in "abcd"]
    async with open_supervisor(SupervisorSpec("app", children, shutdown_deadline=15)) as supervisor:
        pass
    assert trio.current_time() == 15
    cancelled = [(e.time, e.path) for e in events_of(supervisor, ChildCancelled)]
    assert {time for time, _ in cancelled} == {15}
    assert {path for _, path in cancelled} == {"app/a", "app/b", "app/c"}
    marks = trace.take().split()
    assert marks[:7] == ["+a", "+b", "+c", "+d", "?d", "-d", "?c"]
    assert sorted(marks[7:]) == ["-a", "-b", "-c"]


@scenario
async def test_the_block_still_waits_for_what_ignores_the_deadline() -> None:
    children = [ChildSpec("a", forever), ChildSpec("b", stubborn, 20, grace=3)]
    async with open_supervisor(
        SupervisorSpec("app", children, shutdown_deadline=1, report_after=4)
    ) as supervisor:
        pass
    assert trio.current_time() == 21
    report = await supervisor.wait_finished()
    assert report.child("a").seconds == 1
    assert [child.path for child in report.unresponsive] == ["app/b"]
    assert report.child("app/a") is report.child("a")
    with pytest.raises(KeyError, match="nobody"):
        report.child("nobody")


@scenario
async def test_report_after_seconds_after_its_cancel_a_child_is_called_unresponsive_once() -> None:
    spec = SupervisorSpec("app", [ChildSpec("a", stubborn, 50, grace=2)], report_after=5)
    async with open_supervisor(spec) as supervisor:
        supervisor.request_shutdown()
        await trio.sleep(6.9)
        assert not supervisor.state().child("a").unresponsive
        await trio.sleep(0.2)
        snapshot = supervisor.state().child("a")
        assert (snapshot.unresponsive, snapshot.state) == (True, "stopping")
        assert supervisor.child("a").unresponsive
    assert trio.current_time() == pytest.approx(52)
    (event,) = events_of(supervisor, ChildUnresponsive)
    assert (event.time, event.seconds, event.path, event.attempt) == (7, 5, "app/a", 1)
    assert len(event.stack) == 1
    assert "trees.py" in event.stack[0]
    assert "in hang()" in event.stack[0]
    report = await supervisor.wait_finished()
    assert report.child("a").stack == event.stack
    assert "in hang()" in report.render()
    (finished,) = events_of(supervisor, SupervisorFinished)
    assert finished.unresponsive == 1


@scenario
async def test_the_report_can_be_read() -> None:
    async def back_out(child: ChildContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2.5)
        raise Boom("no disk")

    slow = ChildSpec("slow", forever, readiness="explicit")
    children = [
        ChildSpec("a", back_out, grace=0),
        ChildSpec("b", forever),
        slow,
        ChildSpec("late", forever),
    ]
    spec = SupervisorSpec("app", children, report_after=0.1)
    async with open_supervisor(spec, wait_ready=False) as supervisor:
        await supervisor.stop_child("b")
        await trio.sleep(2)
        report = await supervisor.shutdown("SIGTERM")
    *lines, place = report.render().splitlines()
    assert lines == [
        "app ended in 0.50s: shutdown (4 children, 1 unresponsive) reason='SIGTERM'",
        "  app/b stopped (aborted)",
        "  app/late stopped",
        "  app/slow aborted (SIGTERM)",
        "  app/a crashed after 0.50s (Boom: no disk)",
    ]
    assert place.startswith("    at test_block.py:")
    assert place.endswith(" in back_out() [app/a#1]")


@scenario
async def test_the_stack_of_every_task_inside_is_shown() -> None:
    async def background() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(background, name="pump one")
        async with trio.open_nursery() as inner:
            inner.start_soon(background, name="pump two")

    spec = SupervisorSpec("app", [ChildSpec("a", body)], report_after=1)
    async with open_supervisor(spec) as supervisor:
        await trio.sleep(1)
    (event,) = events_of(supervisor, ChildUnresponsive)
    text = "\n".join(event.stack)
    assert len(event.stack) == 3
    assert "in body() [app/a#1]" in text
    assert "in background() [pump one]" in text
    assert "in background() [pump two]" in text


@scenario
async def test_a_stack_ends_where_the_users_code_waits_and_not_inside_of_this_library() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()

    spec = SupervisorSpec("app", [ChildSpec("a", body, grace=5)])
    async with open_supervisor(spec) as supervisor:
        await trio.sleep(1)
        (place,) = stacks_below(supervisor._shell)
    assert place.startswith("test_block.py:")
    assert place.endswith(" in body() [app/a#1]")


@scenario
async def test_of_very_many_tasks_the_first_fifty_are_shown() -> None:
    async def background() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async def body(child: ChildContext) -> None:
        for number in range(50):
            child.nursery.start_soon(background, name=f"pump {number:02}")

    spec = SupervisorSpec("app", [ChildSpec("a", body)], report_after=1)
    async with open_supervisor(spec) as supervisor:
        await trio.sleep(1)
    (event,) = events_of(supervisor, ChildUnresponsive)
    assert len(event.stack) == 51
    assert event.stack[-2:] == (event.stack[-2], "... and more tasks")
    assert "in background() [pump 48]" in event.stack[-2]


def test_attempt_before_its_first_step_has_no_stack() -> None:
    class Ordered(TreeObserver):
        def attempt_ordered(self, attempt: Attempt) -> None:
            found.append(stacks_of(attempt))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])):
            pass

    found: list[tuple[str, ...]] = []
    with observing(Ordered()):
        run_virtual(main)
    assert found == [()]


@scenario
async def test_a_blameless_child_is_never_called_unresponsive() -> None:
    spec = SupervisorSpec("app", [ChildSpec("a", stubborn, 4.9)], report_after=5)
    async with open_supervisor(spec) as supervisor:
        pass
    assert events_of(supervisor, ChildUnresponsive) == []


# ---------------------------------------------------------------- run_supervisor


@scenario
async def test_run_supervisor_says_started_when_ready_and_returns_the_report() -> None:
    trace = Trace()
    async with trio.open_nursery() as nursery:
        supervisor: Supervisor = await nursery.start(
            run_supervisor, SupervisorSpec("app", [trace.child("a", starting=3, stopping=1)])
        )
        assert trio.current_time() == 3
        assert state_of(supervisor, "a") == "ready"
        supervisor.request_shutdown("done")
    assert trio.current_time() == 4


@scenario
async def test_run_supervisor_returns_when_the_tree_has_finished() -> None:
    async def work(child: ChildContext) -> None:
        await trio.sleep(2)

    spec = SupervisorSpec("app", [ChildSpec("w", work, restart="transient")])
    report = await run_supervisor(spec, auto_shutdown="all_done")
    assert (report.cause, trio.current_time()) == ("auto_shutdown", 2)
    assert report.child("w").outcome == "done"


@scenario
async def test_run_supervisor_raises_the_trees_error_bare() -> None:
    bad = ChildSpec("bad", crash_after, 1, backoff=AT_ONCE, restart_limit=NO_RESTARTS)
    with pytest.raises(RestartLimitExceeded):
        await run_supervisor(SupervisorSpec("app", [bad]))


@scenario
async def test_run_supervisor_that_fails_to_start_fails_nursery_start() -> None:
    bad = ChildSpec("bad", forever, readiness="explicit", start_timeout=1)
    with pytest.RaisesGroup(ChildStartError):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_supervisor, SupervisorSpec("app", [bad]))


@scenario
async def test_run_supervisor_cancelled_while_starting_leaves_nothing_behind() -> None:
    trace = Trace()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1) as scope:
            await nursery.start(
                run_supervisor, SupervisorSpec("app", [trace.child("a", starting=9)])
            )
        assert scope.cancelled_caught
    assert trace.take() == "+a -a"
    assert trio.current_time() == 1


@scenario
async def test_a_block_says_whose_it_is_and_whether_it_was_entered() -> None:
    block = open_supervisor(SupervisorSpec("app"))
    assert repr(block) == "<open_supervisor of app: not entered yet>"
    async with block:
        assert repr(block) == "<open_supervisor of app: entered>"


# ---------------------------------------------------------------- when things break that must not


class Bug(Exception):
    """A mistake in the library itself."""


@pytest.mark.parametrize("grace", [0, 100])
@scenario
async def test_a_bug_in_the_brain_cancels_everything_and_propagates(grace: float) -> None:
    unwatched()
    ended: list[str] = []

    async def body(child: ChildContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(child.name)

    bug = Bug("in the brain")
    children = [ChildSpec(name, body, grace=grace) for name in "abc"]
    block_cancelled = False
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug) as caught:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:

            def receive(*args: object) -> None:
                raise bug

            patch.setattr(SupervisionMachine, "receive", receive)
            with trio.move_on_after(5) as waiting, pytest.raises(SupervisorClosed):
                await supervisor.stop_child("a")
            assert not waiting.cancelled_caught
            try:
                await trio.sleep_forever()
            finally:
                block_cancelled = True
    assert caught.value is bug
    assert bug.__notes__ == ["in the supervisor app itself, not in one of its children"]
    assert block_cancelled
    assert sorted(ended) == ["a", "b", "c"]
    assert trio.current_time() == 0


@scenario
async def test_a_bug_when_a_child_exits_does_not_hang_either() -> None:
    unwatched()
    told = trio.Event()
    children = [ChildSpec("a", forever), ChildSpec("b", crash_when_told, told, Boom())]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug):
        async with open_supervisor(SupervisorSpec("app", children)):

            def receive(*args: object) -> None:
                raise Bug

            patch.setattr(SupervisionMachine, "receive", receive)
            told.set()
            await trio.sleep_forever()


@scenario
async def test_a_bug_at_a_deadline_does_not_hang_either() -> None:
    unwatched()
    children = [ChildSpec("a", forever, max_runtime=3)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug):
        async with open_supervisor(SupervisorSpec("app", children)):

            def wake(*args: object) -> None:
                raise Bug

            patch.setattr(SupervisionMachine, "wake", wake)
            await trio.sleep_forever()
    assert trio.current_time() == 3


@scenario
async def test_a_bug_while_stopping_does_not_hang_either() -> None:
    unwatched()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug):
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", polite, 3, grace=9)])):

            def receive(*args: object) -> None:
                raise Bug

            patch.setattr(SupervisionMachine, "receive", receive)
    assert trio.current_time() == 0


@scenario
async def test_a_bug_ends_all_waiting() -> None:
    unwatched()
    heard: list[type[Exception]] = []

    async def note(wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except SupervisorError as error:
            heard.append(type(error))

    slow = ChildSpec("slow", only_first_is_ready, readiness="explicit", start_timeout=50)
    async with trio.open_nursery() as nursery:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug):
            async with open_supervisor(SupervisorSpec("app", [slow])) as supervisor:
                handle = supervisor.child("slow")
                nursery.start_soon(note, handle.restart)
                nursery.start_soon(note, handle.wait_finished)
                nursery.start_soon(note, lambda: handle.wait_state("quarantined"))
                nursery.start_soon(note, supervisor.wait_finished)
                await trio.sleep(1)

                def receive(*args: object) -> None:
                    raise Bug

                patch.setattr(SupervisionMachine, "receive", receive)
                supervisor.request_shutdown()
                await trio.sleep_forever()
    assert heard == [SupervisorClosed] * 4


async def only_first_is_ready(child: ChildContext) -> None:
    if child.attempt == 1:
        child.ready()
    await trio.sleep_forever()


@scenario
async def test_a_bug_in_a_nested_supervisor_is_its_crash() -> None:
    unwatched()
    receive = SupervisionMachine.receive

    def flawed(machine: SupervisionMachine, *args: Any) -> Any:
        if machine.path == "app/nest" and machine.state == "running" and broken:
            broken.clear()
            raise Bug("in the nest")
        return receive(machine, *args)

    nest = SupervisorSpec("nest", [ChildSpec("x", crash_after, 2, 1, backoff=AT_ONCE)])
    broken = [True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisionMachine, "receive", flawed)
        async with open_supervisor(
            SupervisorSpec("app", [nest.as_child(backoff=AT_ONCE), ChildSpec("y", forever)])
        ) as supervisor:
            await trio.sleep(5)
            handle = supervisor.child("nest")
            assert (handle.attempt, handle.state) == (2, "ready")
            assert handle.last_report is not None
            assert handle.last_report.exit.has(Bug)


@scenario
async def test_a_nested_supervisor_with_a_bug_before_its_first_event_leaves_no_run_behind() -> None:
    unwatched()
    start = SupervisionMachine.start

    def flawed(machine: SupervisionMachine, now: float) -> Any:
        if machine.path == "app/nest" and broken:
            raise broken.pop()
        return start(machine, now)

    nest = SupervisorSpec("nest", [ChildSpec("x", forever)])
    broken = [Bug("before the first event")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisionMachine, "start", flawed)
        async with open_supervisor(
            SupervisorSpec("app", [nest.as_child(backoff=AT_ONCE, retry_first_start=True)])
        ) as supervisor:
            handle = supervisor.child("nest")
            assert (handle.attempt, handle.state) == (2, "ready")
            assert handle.reports[0].exit.has(Bug)
            snapshot = supervisor.state()
            assert snapshot.child("nest").previous is None
            assert reduce(fold, supervisor.journal.events, supervisor.journal.base) == snapshot


@scenario
async def test_a_bug_in_a_supervisor_that_a_child_has_opened_is_the_childs_crash() -> None:
    unwatched()
    receive = SupervisionMachine.receive

    def flawed(machine: SupervisionMachine, *args: Any) -> Any:
        if machine.path == "app/web/pool" and broken:
            broken.clear()
            raise Bug("in the pool")
        return receive(machine, *args)

    async def hold_pool(child: ChildContext) -> None:
        async with child.open_supervisor(name="pool") as pool:
            await pool.start_child(ChildSpec("x", crash_after, 1, 1, backoff=AT_ONCE))
            child.ready(pool)
            await trio.sleep_forever()

    web = ChildSpec("web", hold_pool, readiness="explicit", backoff=AT_ONCE)
    with pytest.MonkeyPatch.context() as patch:
        async with open_supervisor(SupervisorSpec("app", [web])) as supervisor:
            broken = [True]
            patch.setattr(SupervisionMachine, "receive", flawed)
            await trio.sleep(5)
            handle = supervisor.child("web")
            assert (handle.attempt, handle.state) == (2, "ready")
            assert handle.last_report is not None
            assert handle.last_report.exit.has(Bug)
            assert supervisor.child("web/pool/x").state == "ready"
            broken.append(True)
            report = await supervisor.shutdown()
    (web_report,) = report.children  # of what was in the pool nothing is known
    assert (web_report.path, web_report.outcome) == ("app/web", "crashed")
    assert "Bug: in the pool" in web_report.detail


@scenario
async def test_what_subscribes_after_a_bug_hears_that_the_supervisor_broke_down() -> None:
    unwatched()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Bug):
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:

            def receive(*args: object) -> None:
                raise Bug

            patch.setattr(SupervisionMachine, "receive", receive)
            supervisor.request_shutdown()
            await trio.sleep_forever()
    async with supervisor.subscribe() as events:
        assert events.snapshot.child("a").state == "ready"
        with pytest.raises(SupervisorClosed, match="app broke down"):
            await anext(events)


@pytest.mark.parametrize("seed", range(30))
@scenario
async def test_foreign_cancellation_of_the_attempts_nursery_ends_everything_and_says_so(
    seed: int,
) -> None:
    trace = Trace()
    told = trio.Event()

    async def vandal(child: ChildContext) -> None:
        await told.wait()
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.cancel_scope.cancel("vandalism")
        if seed % 2:
            await trio.sleep_forever()

    children = [
        trace.child("a", stopping=10),
        ChildSpec("vandal", vandal, backoff=AT_ONCE),
        SupervisorSpec("nest", [trace.child("x", stopping=10)]).as_child(backoff=AT_ONCE),
        trace.child("c", stopping=10),
    ]
    with pytest.raises(SupervisorError) as caught:
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            told.set()
            await trio.sleep_forever()
    assert type(caught.value) is SupervisorError
    assert "was cancelled by <Task 'app/vandal#1'" in str(caught.value)
    assert trio.current_time() == 0
    marks = trace.take().split()
    assert sorted(marks) == sorted(["+a", "+x", "+c", "-a", "-x", "-c"])
    assert (await supervisor.wait_finished()).cause == "broken"


@pytest.mark.parametrize("seed", range(30))
@scenario
async def test_foreign_cancellation_is_never_taken_for_a_failure_of_those_whom_it_hit(
    seed: int,
) -> None:
    told = trio.Event()
    asked: list[object] = []

    async def vandal(child: ChildContext) -> None:
        await told.wait()
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.cancel_scope.cancel("vandalism")
        await trio.sleep_forever()

    children = [
        ChildSpec("a", forever, restart_limit=NO_RESTARTS, decide=asked.append),
        ChildSpec("b", forever, backoff=AT_ONCE, decide=asked.append),
        ChildSpec("c", forever, restart="transient", significant=True),
        ChildSpec("vandal", vandal, backoff=AT_ONCE),
    ]
    with pytest.raises(SupervisorError) as caught:
        async with open_supervisor(
            SupervisorSpec("app", children, auto_shutdown="any_significant")
        ) as supervisor:
            told.set()
            await trio.sleep_forever()
    assert type(caught.value) is SupervisorError
    assert asked == []
    assert len(events_of(supervisor, ChildStarted)) == 4
    assert (await supervisor.wait_finished()).cause == "broken"


@scenario
async def test_a_nested_supervisor_broken_by_vandalism_is_restarted_by_the_one_above() -> None:
    async def vandal(child: ChildContext) -> None:
        if child.supervisor.journal.last_sequence < 30 and not done:
            await trio.sleep(1)
            done.append(True)
            nursery = trio.lowlevel.current_task().parent_nursery
            assert nursery is not None
            nursery.cancel_scope.cancel("vandalism")
        await trio.sleep_forever()

    done: list[bool] = []
    nest = SupervisorSpec("nest", [ChildSpec("v", vandal), ChildSpec("w", forever)])
    async with open_supervisor(
        SupervisorSpec("app", [nest.as_child(backoff=AT_ONCE), ChildSpec("y", forever)])
    ) as supervisor:
        await trio.sleep(3)
        handle = supervisor.child("nest")
        assert (handle.attempt, handle.state) == (2, "ready")
        report = handle.last_report
        assert report is not None
        assert isinstance(report.exit.error, SupervisorError)
        assert supervisor.child("y").attempt == 1


@real_scenario
async def test_all_of_this_holds_on_the_real_clock_too() -> None:
    trace = Trace()
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor(
            SupervisorSpec(
                "app",
                [
                    trace.child("a", stopping=0.01),
                    ChildSpec("bad", crash_after, 0.01, backoff=AT_ONCE),
                    SupervisorSpec("nest", [trace.child("x", stopping=0.01)]),
                ],
                child_restart_limit=RestartLimit(3, within=60),
            )
        ):
            await trio.sleep_forever()
    assert trace.take() == "+a +x ?x -x ?a -a"


@scenario
async def test_the_watch_sees_steps() -> None:
    """Otherwise what the other tests promise about every step would be empty."""
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        before = this_watch().steps
        await supervisor.stop_child("a")
        assert this_watch().steps > before
        assert len(this_watch().trees) == 1
        assert events_of(supervisor, SupervisorStopping) == []


@scenario
async def test_what_is_no_random_number_generator_is_refused_before_anything_starts() -> None:
    odd: Any = 7
    with pytest.raises(SpecError, match=r"random=7: expected a random\.Random"):
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)]), random=odd):
            raise AssertionError
