"""What an end says: all failures, who was cut off, and what to do with what has ended."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from helpers.support import run_real
from helpers.trees import AT_ONCE, Boom, forever, polite, ready_forever, scenario, stubborn

from trio_supervisor import (
    ChildAlreadyExists,
    ChildContext,
    ChildEscalated,
    ChildRunner,
    ChildSpec,
    ChildStartError,
    ChildStopRequested,
    Escalate,
    QuarantineError,
    RestartLimit,
    RestartLimitExceeded,
    ShutdownReport,
    Supervisor,
    SupervisorClosed,
    SupervisorError,
    SupervisorSpec,
    TooManyChildren,
    open_supervisor,
)
from trio_supervisor._errors import leaf_first

# ---------------------------------------------------------------- all failures are raised


async def fail(child: ChildContext, what: str, seconds: float = 1) -> None:
    if child._attempt.spec.is_explicit:
        await trio.sleep(seconds)
        raise Boom(what)
    await trio.sleep(seconds)
    raise Boom(what)


async def fail_in_cleanup(child: ChildContext, what: str) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise Boom(what)


def messages_of(error: Any) -> set[str]:
    cause = error.__cause__
    found = cause.exceptions if isinstance(cause, BaseExceptionGroup) else [cause]
    return {str(one) for one in found}


@scenario
async def test_two_failures_in_one_moment_are_both_in_the_error() -> None:
    children = [ChildSpec(name, fail, name) for name in "ab"]
    spec = SupervisorSpec("app", children, child_restart_limit=RestartLimit(0, within=1))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(spec):
            await trio.sleep_forever()
    error = caught.value
    assert {str(one) for one in error.exceptions} == {"a", "b"}
    assert {report.name for report in error.reports} == {"a", "b"}
    assert messages_of(error) == {"a", "b"}


@scenario
async def test_failures_during_the_stop_are_in_every_error_that_ends_a_supervisor() -> None:
    later = ChildSpec("later", fail_in_cleanup, "later")
    limit = RestartLimit(0, within=1)
    kinds: list[tuple[type[Any], ChildSpec[Any]]] = [
        (RestartLimitExceeded, ChildSpec("a", fail, "a", restart_limit=limit)),
        (ChildEscalated, ChildSpec("a", fail, "a", decide=lambda report: Escalate())),
        (ChildStartError, ChildSpec("a", fail, "a", readiness="explicit")),
    ]
    for kind, failing in kinds:
        with pytest.raises(kind) as caught:
            async with open_supervisor(SupervisorSpec("app", [later, failing])):
                await trio.sleep_forever()
        assert messages_of(caught.value) == {"a", "later"}
        assert [report.name for report in caught.value.reports] == ["a", "later"]


@scenario
async def test_our_own_stop_is_no_failure() -> None:
    children = [
        ChildSpec("quiet", polite, 1, grace=5),
        ChildSpec("cut", forever),
        ChildSpec("a", fail, "a"),
    ]
    spec = SupervisorSpec("app", children, child_restart_limit=RestartLimit(0, within=1))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(spec):
            await trio.sleep_forever()
    assert [report.name for report in caught.value.reports] == ["a"]
    assert messages_of(caught.value) == {"a"}


@scenario
async def test_a_later_failure_without_an_exception_is_in_the_reports_alone() -> None:
    """One that had exceeded its time was still stopping when another failed for good."""
    children = [
        ChildSpec("late", polite, 5, grace=9, max_runtime=1),
        ChildSpec("a", fail, "a", 3),
    ]
    spec = SupervisorSpec("app", children, child_restart_limit=RestartLimit(0, within=1))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(spec):
            await trio.sleep_forever()
    assert trio.current_time() == 6
    kinds = [(report.name, report.exit.kind) for report in caught.value.reports]
    assert kinds == [("a", "crashed"), ("late", "timed_out")]
    assert messages_of(caught.value) == {"a"}
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert cause.message == "the failures of app/a, oldest first"


@scenario
async def test_later_failures_are_the_cause_of_an_error_without_reports() -> None:
    async def vandal(child: ChildContext) -> None:
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.cancel_scope.cancel("vandalism")

    children = [ChildSpec("a", fail_in_cleanup, "a"), ChildSpec("vandal", vandal)]
    with pytest.raises(SupervisorError, match="nursery of the children's tasks was") as caught:
        async with open_supervisor(SupervisorSpec("app", children)):
            await trio.sleep_forever()
    assert type(caught.value) is SupervisorError
    assert messages_of(caught.value) == {"a"}


@scenario
async def test_all_done_with_a_child_in_quarantine_raises_why_it_is_there() -> None:
    limit = RestartLimit(0, within=1)
    bad = ChildSpec("bad", fail, "bad", restart_limit=limit, on_limit="quarantine")
    with pytest.raises(SupervisorError, match="app: app/bad was quarantined: ") as caught:
        async with open_supervisor(SupervisorSpec("app", [bad], auto_shutdown="all_done")):
            await trio.sleep_forever()
    assert type(caught.value) is QuarantineError
    assert caught.value.path == "app/bad"
    assert [str(one) for one in caught.value.exceptions] == ["bad"]
    assert messages_of(caught.value) == {"bad"}


@scenario
async def test_all_children_in_quarantine_are_in_what_is_raised() -> None:
    limit = RestartLimit(0, within=1)
    children = [
        ChildSpec(name, fail, name, restart_limit=limit, on_limit="quarantine") for name in "abc"
    ]
    with pytest.raises(QuarantineError, match="app/a was quarantined: .*app/c was") as caught:
        async with open_supervisor(SupervisorSpec("app", children, auto_shutdown="all_done")):
            await trio.sleep_forever()
    assert {report.path for report in caught.value.reports} == {"app/a", "app/b", "app/c"}
    assert messages_of(caught.value) == {"a", "b", "c"}


@scenario
async def test_a_quarantined_child_that_fell_silent_is_in_the_error_without_an_exception() -> None:
    limit = RestartLimit(0, within=1)
    mute = ChildSpec("mute", forever, stale_after=1, restart_limit=limit, on_limit="quarantine")
    with pytest.raises(QuarantineError, match="app/mute was quarantined") as caught:
        async with open_supervisor(SupervisorSpec("app", [mute], auto_shutdown="all_done")):
            await trio.sleep_forever()
    (report,) = caught.value.reports
    assert report.exit.describe() == "unhealthy: no heartbeat for 1s"
    assert caught.value.exceptions == ()
    assert caught.value.__cause__ is None


@scenario
async def test_the_error_of_a_quarantined_supervisor_tells_what_happened_in_it_first() -> None:
    limit = RestartLimit(0, within=1)
    pool = SupervisorSpec("pool", [ChildSpec("db", fail, "no route")], child_restart_limit=limit)
    child = pool.as_child(restart_limit=limit, on_limit="quarantine")
    with pytest.raises(QuarantineError) as caught:
        async with open_supervisor(SupervisorSpec("app", [child], auto_shutdown="all_done")):
            await trio.sleep_forever()
    told = leaf_first(caught.value)
    assert told.startswith("app/pool/db gave up: 0 restarts in 1s; last: crashed: Boom: no route;")
    assert told.endswith(" then app/pool was quarantined")


# ---------------------------------------------------------------- cut off is not stopped


@scenario
async def test_the_report_lists_children_that_had_to_be_cut_off() -> None:
    inner = SupervisorSpec("in", [ChildSpec("deep", polite, 9, grace=2)])
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        ChildSpec("in-time", polite, 1, grace=5),
        ChildSpec("no-grace", forever),
        ChildSpec("slow", polite, 9, grace=3),
        ChildSpec("stubborn", stubborn, 1, grace=1),
        inner,
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        report = await supervisor.shutdown()
    names = {child.path.rpartition("/")[2] for child in report.cut_off}
    assert names == {"slow", "stubborn", "deep"}
    assert "app/slow cut off, aborted" in report.render()
    assert ShutdownReport.from_dict(report.to_dict()) == report


@scenario
async def test_the_deadline_cuts_off_those_whose_turn_had_not_come_too() -> None:
    """They would have had a grace, and nothing else tells them from children that obeyed."""
    inner = SupervisorSpec(
        "in", [ChildSpec("deep", polite, 9, grace=9), ChildSpec("no-grace", forever)]
    )
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        ChildSpec("first", polite, 9, grace=60),
        inner,
        ChildSpec("no-grace", forever, grace=0),
        ChildSpec("last", stubborn, 3, grace=0),  # the others wait for it
    ]
    spec = SupervisorSpec("app", children, shutdown_deadline=1)
    async with open_supervisor(spec) as supervisor:
        report = await supervisor.shutdown()
    assert {child.path for child in report.cut_off} == {"app/first", "app/in", "app/in/deep"}
    asked = [event for event in supervisor.journal if isinstance(event, ChildStopRequested)]
    assert {(event.path, event.grace) for event in asked} >= {
        ("app/first", 60.0),
        ("app/in/deep", 9.0),
        ("app/no-grace", 0.0),
    }


@scenario
async def test_a_grace_that_an_operator_dropped_is_not_cut_off_by_the_deadline() -> None:
    children = [ChildSpec("first", polite, 9, grace=60), ChildSpec("last", stubborn, 3, grace=0)]
    spec = SupervisorSpec("app", children, shutdown_deadline=1)
    async with open_supervisor(spec) as supervisor:
        supervisor.request_shutdown(grace=False)
        report = await supervisor.wait_finished()
    assert report.cut_off == ()


@scenario
async def test_a_body_that_takes_its_cancel_for_a_return_was_cut_off_all_the_same() -> None:
    async def returns_when_cancelled(child: ChildContext) -> None:
        await child.wait_stop_requested()
        try:
            await trio.sleep(60)
        except trio.Cancelled:  # noqa: ASYNC103 - a body that does what one should not
            return  # noqa: ASYNC104 - likewise

    spec = ChildSpec("a", returns_when_cancelled, grace=1)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        report = await supervisor.shutdown()
    assert [(child.path, child.outcome) for child in report.cut_off] == [("app/a", "stopped")]


@scenario
async def test_the_shutdown_deadline_cuts_off_what_is_left() -> None:
    children = [ChildSpec("a", polite, 90, grace=100), ChildSpec("b", polite, 1, grace=100)]
    spec = SupervisorSpec("app", children, shutdown_deadline=5)
    async with open_supervisor(spec) as supervisor:
        report = await supervisor.shutdown()
    assert [child.path for child in report.cut_off] == ["app/a"]


@scenario
async def test_an_attempt_that_was_cut_off_long_ago_does_not_count() -> None:
    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(ChildSpec("a", polite, 9, grace=1))
        await handle.restart()
        await handle.stop()
        await supervisor.remove_child("a")
        await supervisor.start_child(ChildSpec("a", forever))
        report = await supervisor.shutdown()
    assert report.cut_off == ()
    assert not len(supervisor._shell._shutdown_account._cut_off)


# ---------------------------------------------------------------- a Supervisor of the past


@scenario
async def test_a_stale_supervisor_says_which_one_to_take() -> None:
    tree = SupervisorSpec("app", [SupervisorSpec("pool", [ChildSpec("x", forever)])])
    async with open_supervisor(tree) as top:
        old: Supervisor = top.child("pool").value
        await top.restart_child("pool")
        with pytest.raises(SupervisorClosed, match=r"run 3 has followed.*child\('pool'\)\.value"):
            await old.start_child(ChildSpec("y", forever))
        with pytest.raises(SupervisorClosed, match=r"run 3 has followed"):
            old.start_child_soon(ChildSpec("y", forever))
        with pytest.raises(SupervisorClosed, match=r"run 3 has followed"):
            await old.stop_child("x")
        await top.stop_child("pool")
        with pytest.raises(SupervisorClosed, match="app/pool has ended$"):
            old.start_child_soon(ChildSpec("y", forever))


# ---------------------------------------------------------------- additions on their way


@scenario
async def test_start_child_soon_counts_the_additions_before_it() -> None:
    async with open_supervisor(max_children=3) as pool:
        await pool.start_child(ChildSpec("a", forever))
        pool.start_child_soon(ChildSpec("b", forever))
        with pytest.raises(ChildAlreadyExists, match="supervisor/b is being added already"):
            pool.start_child_soon(ChildSpec("b", forever))
        pool.start_child_soon(ChildSpec("c", forever))
        with pytest.raises(TooManyChildren, match="2 of them are being added"):
            pool.start_child_soon(ChildSpec("d", forever))
        await trio.sleep(1)
        assert list(pool.children) == ["a", "b", "c"]
        await pool.remove_child("a")
        pool.start_child_soon(ChildSpec("d", forever))
        await trio.sleep(1)
        assert list(pool.children) == ["b", "c", "d"]
        assert not pool._shell._additions


# ---------------------------------------------------------------- the wrong thread, the wrong run


def test_nothing_of_a_supervisor_or_a_handle_can_be_waited_for_in_another_trio_run() -> None:
    async def main() -> None:
        spec = ChildSpec("a", ready_forever, readiness="explicit", backoff=AT_ONCE)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            handle = supervisor.child("a")
            subscription = supervisor.subscribe()
            calls: list[tuple[Any, ...]] = [
                (supervisor.wait_ready,),
                (supervisor.wait_finished,),
                (supervisor.start_child, ChildSpec("b", forever)),
                (supervisor.stop_child, "a"),
                (supervisor.shutdown,),
                (handle.wait_ready,),
                (handle.wait_exit,),
                (handle.wait_state, "stopped"),
                (handle.wait_finished,),
                (handle.stop,),
                (handle.remove,),
                (subscription.__aenter__,),
            ]
            run: Any = trio.run  # its type says what it takes, and that varies
            for call in calls:
                with pytest.raises(SupervisorError, match="Trio's thread"):
                    await trio.to_thread.run_sync(run, *call)
            async with supervisor.subscribe() as events:
                with pytest.raises(SupervisorError, match="Trio's thread"):
                    await trio.to_thread.run_sync(trio.run, events.__anext__)
            assert handle.state == "ready"
            await handle.stop()  # the tree goes on

    run_real(main)


def test_nothing_of_a_single_run_works_in_another_thread() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            spec = ChildSpec("one", ready_forever, readiness="explicit")
            handle = ChildRunner().spawn_once(nursery, spec)
            await handle.wait_ready()
            for call in (handle.request_stop, handle.abort):
                with pytest.raises(SupervisorError, match="Trio's thread"):
                    await trio.to_thread.run_sync(call)
            for name in ("readiness", "heartbeats"):
                with pytest.raises(SupervisorError, match="Trio's thread"):
                    await trio.to_thread.run_sync(getattr, handle, name)
            for wait in (handle.wait, handle.wait_ready):
                with pytest.raises(SupervisorError, match="Trio's thread"):
                    await trio.to_thread.run_sync(trio.run, wait)
            handle.abort()
            assert (await handle.wait()).exit.kind == "aborted"

    run_real(main)
