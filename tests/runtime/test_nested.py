"""docs/design.md, Nested supervisors: an attempt that runs a machine of its own."""

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from helpers.trees import (
    AT_ONCE,
    Boom,
    Trace,
    crash_after,
    events_of,
    forever,
    ready_forever,
    scenario,
    state_of,
    stubborn,
)

from trio_supervisor import (
    Aborted,
    BackoffPolicy,
    ChildCancelled,
    ChildContext,
    ChildExited,
    ChildNotFound,
    ChildReady,
    ChildSpec,
    ChildStarted,
    ChildStartError,
    ChildUnresponsive,
    Crashed,
    RestartLimit,
    RestartLimitExceeded,
    ShutdownReport,
    ShutdownTree,
    SpecError,
    Stopped,
    Succeeded,
    Supervisor,
    SupervisorFinished,
    SupervisorSnapshot,
    SupervisorSpec,
    SupervisorStarted,
    SupervisorStopping,
    TimedOut,
    fold,
    open_supervisor,
)
from trio_supervisor._runtime.views import attempts_with_grace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INF = float("inf")
NO_RESTARTS = RestartLimit(0, within=1)


async def until_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()


def causes_of(error: BaseException | None) -> list[BaseException]:
    """Every exception that can be reached from ``error``: in its groups, and what it came from."""
    found: list[BaseException] = []
    pending = [error]
    while pending:
        here = pending.pop()
        if here is None or here in found:
            continue
        found.append(here)
        pending.append(here.__cause__)
        if isinstance(here, BaseExceptionGroup):
            pending.extend(here.exceptions)
    return found


# ---------------------------------------------------------------- readiness


@scenario
async def test_a_nested_supervisor_is_ready_when_its_first_start_is_complete() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x", starting=2), trace.child("y", starting=3)])
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", starting=1), nest, trace.child("z")])
    ) as supervisor:
        assert trio.current_time() == 6
        assert trace.take() == "+a +x +y +z"
        (ready,) = events_of(supervisor, ChildReady, "app/nest")
        assert (ready.time, ready.after) == (6, 5)


@scenario
async def test_its_readiness_is_latched() -> None:
    contexts: list[ChildContext] = []

    async def moody(child: ChildContext) -> None:
        contexts.append(child)
        child.ready()
        await trio.sleep_forever()

    nest = SupervisorSpec(
        "nest",
        [
            ChildSpec("x", moody, readiness="explicit"),
            ChildSpec("bad", crash_after, 1, backoff=AT_ONCE),
        ],
    )
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        contexts[0].not_ready("moody")
        await trio.sleep(3.5)
        assert supervisor.child("nest/x").state == "not_ready"
        assert supervisor.child("nest/bad").attempt == 4
        await supervisor.stop_child("nest/bad")
        assert supervisor.child("nest").state == "ready"
        assert len(events_of(supervisor, ChildReady, "app/nest")) == 1
        await supervisor.child("nest").value.wait_ready()


@scenario
async def test_it_has_no_start_timeout_of_its_own_unless_given_one() -> None:
    slow = ChildSpec("x", forever, readiness="explicit", start_timeout=1000)
    nest = SupervisorSpec("nest", [slow])
    with trio.move_on_after(500) as scope:
        async with open_supervisor(SupervisorSpec("app", [nest])):
            raise AssertionError("entered")
    assert scope.cancelled_caught
    with pytest.raises(ChildStartError) as caught:
        async with open_supervisor(SupervisorSpec("app", [nest.as_child(start_timeout=5)])):
            raise AssertionError("entered")
    assert caught.value.exit == TimedOut("start", 5)
    assert trio.current_time() == 505


@scenario
async def test_its_ready_value_is_its_supervisor() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", ready_forever, 42, readiness="explicit")])
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        nested = supervisor.child(nest).value
        assert isinstance(nested, Supervisor)
        assert (nested.name, nested.path, nested.spec) == ("nest", "app/nest", nest)
        assert nested.child("x").value == 42
        assert list(nested.children) == ["x"]
        assert repr(nested) == "<Supervisor app/nest running>"


# ---------------------------------------------------------------- one journal, run ids, paths


def tower(levels: int, leaf: ChildSpec[Any]) -> SupervisorSpec:
    spec = SupervisorSpec(f"level{levels}", [leaf])
    for level in range(levels - 1, 0, -1):
        spec = SupervisorSpec(f"level{level}", [spec])
    return spec


@scenario
async def test_paths_join_the_names_from_the_root_down() -> None:
    seen: list[str] = []

    async def body(child: ChildContext) -> None:
        seen.append(child.path)
        assert child.supervisor.path == child.path.rpartition("/")[0]
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [tower(9, ChildSpec("leaf", body))])
    ) as supervisor:
        path = "/".join(f"level{n}" for n in range(1, 10)) + "/leaf"
        assert seen == [f"app/{path}"]
        assert supervisor.child(path).path == f"app/{path}"
        assert supervisor.state().child(path).state == "ready"
        await supervisor.child(path).restart()
        assert supervisor.child(path).attempt == 2


@scenario
async def test_the_whole_tree_writes_one_journal_in_one_sequence() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", crash_after, 1, 2, backoff=AT_ONCE)])
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, 2, backoff=AT_ONCE), nest])
    ) as supervisor:
        nested = supervisor.child("nest").value
        assert nested.journal is supervisor.journal
        await trio.sleep(5)
    events = list(supervisor.journal)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.time for event in events] == sorted(event.time for event in events)
    runs = {event.path: event.run for event in events_of(supervisor, SupervisorStarted)}
    assert runs == {"app": 1, "app/nest": 2}
    for event in events:
        inside = event.path.startswith("app/nest/") or (
            event.path == "app/nest" and not event.attempt
        )
        assert event.run == (2 if inside else 1), event


@scenario
async def test_an_attempt_is_identified_by_run_path_and_attempt() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", crash_after, 1, 1, backoff=AT_ONCE)])
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        first = supervisor.child("nest").value
        await trio.sleep(2)
        await supervisor.restart_child("nest")
        second = supervisor.child("nest").value
        assert second is not first
        assert first.state().state == "finished"
        await trio.sleep(2)
        assert (first.state().run, second.state().run) == (2, 3)
    started = [(e.run, e.attempt) for e in events_of(supervisor, ChildStarted, "app/nest/x")]
    assert started == [(2, 1), (2, 2), (3, 1), (3, 2)]
    exited = [(e.run, e.attempt) for e in events_of(supervisor, ChildExited, "app/nest/x")]
    assert exited == started


@scenario
async def test_the_state_of_a_nested_supervisor_is_part_of_the_state_above() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", forever)])
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        nested = supervisor.child("nest").value
        assert supervisor.state().child("nest").supervisor == nested.state()
        assert "nest" in supervisor.state().render()
        assert supervisor.state().to_dict()["children"][0]["supervisor"]["path"] == "app/nest"
        await supervisor.stop_child("nest")
        assert supervisor.state().child("nest").supervisor is None
        with pytest.raises(ChildNotFound, match="no running supervisor 'nest'"):
            supervisor.child("nest/x")


@scenario
async def test_a_subscription_to_a_nested_supervisor_follows_it_alone() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", crash_after, 1, 1, backoff=AT_ONCE)])
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, 3, backoff=AT_ONCE), nest])
    ) as supervisor:
        nested = supervisor.child("nest").value
        async with nested.subscribe() as events:
            snapshot = events.snapshot
            await trio.sleep(3)
            await nested.shutdown("over")
            async for event in events:
                assert event.path.startswith("app/nest")
                snapshot = fold(snapshot, event)
        assert snapshot == nested.state()


# ---------------------------------------------------------------- being stopped


@scenario
async def test_a_stop_request_starts_its_own_orderly_shutdown() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x", stopping=2), trace.child("y", stopping=3)])
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", stopping=1), nest])
    ) as supervisor:
        trace.take()
        await supervisor.stop_child("nest", reason="maintenance")
        assert (trace.take(), trio.current_time()) == ("?y -y ?x -x", 5)
        report = supervisor.child("nest").last_report
        assert report is not None
        assert report.exit == Stopped("maintenance")
        (stopping,) = events_of(supervisor, SupervisorStopping)
        assert (stopping.path, stopping.reason) == ("app/nest", "maintenance")
        assert supervisor.child("a").state == "ready"


@scenario
async def test_the_whole_tree_stops_in_reverse_order_through_all_levels() -> None:
    trace = Trace()
    inner = SupervisorSpec("inner", [trace.child("p", stopping=1), trace.child("q", stopping=1)])
    outer = SupervisorSpec("outer", [trace.child("m", stopping=1), inner, trace.child("n")])
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", stopping=1), outer, trace.child("z", stopping=1)])
    ) as supervisor:
        assert trace.take() == "+a +m +p +q +n +z"
    assert trace.take() == "?z -z -n ?q -q ?p -p ?m -m ?a -a"
    report = await supervisor.wait_finished()
    assert [child.path.removeprefix("app/") for child in report.children] == [
        "z",
        "outer/n",
        "outer/inner/q",
        "outer/inner/p",
        "outer/inner",
        "outer/m",
        "outer",
        "a",
    ]
    assert [e.path for e in events_of(supervisor, SupervisorFinished)] == [
        "app/outer/inner",
        "app/outer",
        "app",
    ]


@pytest.mark.parametrize("seed", range(10))
@scenario
async def test_outer_cancellation_goes_through_all_levels_in_order(seed: int) -> None:
    trace = Trace()
    inner = SupervisorSpec("inner", [trace.child("p", stopping=1), trace.child("q", stopping=1)])
    outer = SupervisorSpec("outer", [trace.child("m", stopping=1), inner])
    with trio.CancelScope() as scope:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=1), outer])):
            scope.cancel()
            await trio.sleep_forever()
    assert trace.take() == "+a +m +p +q -q -p -m -a"
    assert trio.current_time() == 0


@scenario
async def test_a_nested_supervisor_with_a_grace_is_cut_when_that_is_over() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x", stopping=9), trace.child("y", stopping=9)])
    async with open_supervisor(SupervisorSpec("app", [nest.as_child(grace=4)])) as supervisor:
        await supervisor.stop_child("nest", reason="r")
        assert (trace.take(), trio.current_time()) == ("+x +y ?y -y -x", 4)
        report = supervisor.child("nest").last_report
        assert report is not None
        assert report.exit == Aborted("r")


@scenario
async def test_a_stop_while_it_is_starting_takes_back_what_it_has_started() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x", stopping=1), trace.child("y", starting=50)])
    async with open_supervisor(SupervisorSpec("app", [nest]), wait_ready=False) as supervisor:
        await trio.sleep(1)
        await supervisor.stop_child("nest", reason="r")
        assert trace.take() == "+x +y -y ?x -x"
        report = supervisor.child("nest").last_report
        assert report is not None
        assert (report.exit, report.became_ready) == (Stopped("r"), False)
        assert events_of(supervisor, ChildReady, "app/nest") == []


@scenario
async def test_a_stop_before_its_first_step_runs_nobody() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x")])
    async with open_supervisor() as supervisor:
        supervisor.start_child_soon(nest.as_child())
        supervisor.request_shutdown()
    assert trace.take() == ""
    assert [e.path for e in events_of(supervisor, SupervisorStarted)] == ["supervisor"]
    assert [e.kind for e in events_of(supervisor, ChildExited)] == ["stopped"]


# ---------------------------------------------------------------- deadlines


def cancelled_at(supervisor: Supervisor) -> dict[str, float]:
    return {
        event.path.rpartition("/")[2]: event.time for event in events_of(supervisor, ChildCancelled)
    }


@scenario
async def test_the_shutdown_deadline_binds_everything_below() -> None:
    trace = Trace()
    inner = SupervisorSpec("inner", [trace.child(name, stopping=50) for name in "pqr"])
    outer = SupervisorSpec("outer", [trace.child(name, stopping=50) for name in "mn"])
    outer = outer.replace(children=[*outer.children, inner])
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", stopping=50), outer], shutdown_deadline=7)
    ) as supervisor:
        pass
    assert trio.current_time() == 7
    everybody = ["a", "m", "n", "p", "q", "r", "inner", "outer"]
    assert cancelled_at(supervisor) == dict.fromkeys(everybody, 7)


@pytest.mark.parametrize(
    ("above", "own", "end"), [(10, 3, 3), (3, 10, 3), (INF, 4, 4), (4, INF, 4)]
)
@scenario
async def test_the_earlier_deadline_rules(above: float, own: float, end: float) -> None:
    trace = Trace()
    nest = SupervisorSpec(
        "nest", [trace.child(name, stopping=50) for name in "xyz"], shutdown_deadline=own
    )
    async with open_supervisor(
        SupervisorSpec("app", [nest], shutdown_deadline=above)
    ) as supervisor:
        pass
    assert trio.current_time() == end
    assert {cancelled_at(supervisor)[name] for name in "xyz"} == {end}


@scenario
async def test_at_the_deadline_even_those_behind_a_stubborn_one_are_cancelled() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", forever, grace=50), ChildSpec("y", stubborn, 20)])
    async with open_supervisor(SupervisorSpec("app", [nest], shutdown_deadline=5)) as supervisor:
        pass
    assert trio.current_time() == 20
    assert cancelled_at(supervisor) == {"y": 0, "x": 5, "nest": 5}
    exits = {e.path: e.time for e in events_of(supervisor, ChildExited)}
    assert exits["app/nest/x"] == 5


@scenario
async def test_a_deadline_reaches_a_nested_supervisor_that_was_being_stopped_before() -> None:
    """The operator's stop knew of no deadline; the tree's, which comes later, has one."""
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x", stopping=90), ChildSpec("y", stubborn, 60)])
    spec = SupervisorSpec("app", [trace.child("a"), nest], shutdown_deadline=5)
    async with open_supervisor(spec) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.stop_child, "nest")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert cancelled_at(supervisor) == {"y": 0, "x": 15, "nest": 15, "a": 15}
    assert trio.current_time() == 60


@scenario
async def test_an_earlier_deadline_goes_down_through_all_levels() -> None:
    trace = Trace()
    inner = SupervisorSpec("inner", [trace.child("p", stopping=90), ChildSpec("q", stubborn, 60)])
    outer = SupervisorSpec("outer", [trace.child("m", stopping=90), inner], shutdown_deadline=40)
    spec = SupervisorSpec("app", [outer], shutdown_deadline=5)
    async with open_supervisor(spec) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.stop_child, "outer")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert cancelled_at(supervisor) == {"q": 0, "p": 15, "m": 15, "inner": 15, "outer": 15}
    assert trio.current_time() == 60


@scenario
async def test_a_nested_child_that_ignores_its_cancel_is_named_with_its_stack() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", stubborn, 20)], report_after=3)
    async with open_supervisor(SupervisorSpec("app", [nest], report_after=5)) as supervisor:
        pass
    (event,) = events_of(supervisor, ChildUnresponsive)
    assert (event.path, event.time) == ("app/nest/x", 3)
    report = await supervisor.wait_finished()
    (stuck,) = report.unresponsive
    assert stuck.path == "app/nest/x"
    assert any("in hang()" in line for line in stuck.stack)


# ---------------------------------------------------------------- ending, and escalation


@scenario
async def test_a_limit_in_the_nest_is_its_crash_and_the_parent_restarts_it() -> None:
    trace = Trace()
    nest = SupervisorSpec(
        "nest",
        [
            trace.child("x", stopping=1),
            ChildSpec(
                "bad", crash_after, 1, backoff=AT_ONCE, restart_limit=RestartLimit(1, within=60)
            ),
        ],
    )
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a"), nest.as_child(backoff=AT_ONCE)])
    ) as supervisor:
        await trio.sleep(3.5)
        handle = supervisor.child("nest")
        assert (handle.state, handle.attempt, handle.restarts) == ("ready", 2, 1)
        report = handle.last_report
        assert report is not None
        assert isinstance(report.exit, Crashed)
        assert isinstance(report.exit.error, RestartLimitExceeded)
        assert report.exit.error.path == "app/nest/bad"
        assert any(isinstance(cause, Boom) for cause in causes_of(report.exit.error))
        assert trace.take() == "+a +x ?x -x +x"
        assert supervisor.child("a").attempt == 1


@scenario
async def test_escalation_goes_up_level_by_level_and_loses_no_exception() -> None:
    boom = Boom("the root of all")

    async def bad(child: ChildContext) -> None:
        await trio.sleep(1)
        raise boom

    inner = SupervisorSpec("inner", [ChildSpec("bad", bad, restart_limit=NO_RESTARTS)])
    outer = SupervisorSpec("outer", [inner], child_restart_limit=NO_RESTARTS)
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [outer], child_restart_limit=NO_RESTARTS)
        ) as supervisor:
            await trio.sleep_forever()
    causes = causes_of(caught.value)
    paths = [cause.path for cause in causes if isinstance(cause, RestartLimitExceeded)]
    assert paths == ["app/outer", "app/outer/inner", "app/outer/inner/bad"]
    assert boom in causes
    assert trio.current_time() == 1
    assert (await supervisor.wait_finished()).cause == "limit"


@scenario
async def test_escalation_restarts_a_subtree_and_the_parent_gives_up_only_at_its_own_limit() -> (
    None
):
    starts: list[int] = []

    async def bad(child: ChildContext) -> None:
        starts.append(child.attempt)
        await trio.sleep(1)
        raise Boom

    nest = SupervisorSpec(
        "nest",
        [ChildSpec("bad", bad, backoff=AT_ONCE)],
        child_restart_limit=RestartLimit(2, within=60),
    )
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor(
            SupervisorSpec(
                "app",
                [nest.as_child(backoff=AT_ONCE)],
                child_restart_limit=RestartLimit(2, within=60),
            )
        ):
            await trio.sleep_forever()
    assert starts == [1, 2, 3] * 3


@scenario
async def test_a_failed_first_start_fails_the_first_start_above() -> None:
    trace = Trace()
    boom = Boom("at start")

    async def bad(child: ChildContext) -> None:
        raise boom

    nest = SupervisorSpec(
        "nest", [trace.child("x", stopping=1), ChildSpec("bad", bad, readiness="explicit")]
    )
    with pytest.raises(ChildStartError) as caught:
        async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=1), nest])):
            raise AssertionError("entered")
    assert caught.value.path == "app/nest"
    assert boom in causes_of(caught.value)
    assert trace.take() == "+a +x ?x -x ?a -a"


@scenario
async def test_with_retry_first_start_a_nest_that_cannot_start_is_tried_again() -> None:
    async def needs_time(child: ChildContext) -> None:
        if trio.current_time() < 7:
            raise Boom
        child.ready()
        await trio.sleep_forever()

    nest = SupervisorSpec("nest", [ChildSpec("x", needs_time, readiness="explicit")])
    async with open_supervisor(
        SupervisorSpec(
            "app", [nest.as_child(retry_first_start=True, backoff=BackoffPolicy.delays(2))]
        )
    ) as supervisor:
        assert trio.current_time() == 8
        assert supervisor.child("nest").attempt == 5


@pytest.mark.parametrize(("restart", "left"), [("transient", "done"), ("temporary", "")])
@scenario
async def test_a_nest_that_finishes_by_itself_has_succeeded(restart: Any, left: str) -> None:
    async def work(child: ChildContext) -> None:
        await trio.sleep(2)

    nest = SupervisorSpec(
        "nest", [ChildSpec("w", work, restart="transient")], auto_shutdown="all_done"
    )
    async with open_supervisor(
        SupervisorSpec("app", [nest.as_child(restart=restart)])
    ) as supervisor:
        handle = supervisor.child("nest")
        report = await handle.wait_finished()
        assert trio.current_time() == 2
        assert isinstance(report.exit, Succeeded)
        assert isinstance(report.exit.value, ShutdownReport)
        assert report.exit.value.cause == "auto_shutdown"
        assert state_of(supervisor, "nest") == left


@scenario
async def test_a_nest_that_was_shut_down_through_itself_stays_down_until_it_is_restarted() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", forever)]).as_child(backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        nested: Supervisor = supervisor.child("nest").value
        await nested.shutdown("just me")
        await until_blocked()
        assert (state_of(supervisor, "nest"), supervisor.child("nest").attempt) == ("stopped", 1)
        await supervisor.restart_child("nest")
        assert (state_of(supervisor, "nest"), supervisor.child("nest").attempt) == ("ready", 2)


@scenario
async def test_a_shutdown_of_a_nest_that_is_over_leaves_its_next_run_alone() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", forever)]).as_child(backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        old: Supervisor = supervisor.child("nest").value
        await supervisor.restart_child("nest")
        assert (await old.shutdown("too late")).run == old.state().run
        old.request_shutdown("too late")
        await until_blocked()
        assert (state_of(supervisor, "nest"), supervisor.child("nest").attempt) == ("ready", 2)


@pytest.mark.parametrize("depth", [1, 2])
@scenario
async def test_a_child_of_a_nest_that_decides_to_stop_the_tree_stops_all_of_it(depth: int) -> None:
    trace = Trace()

    async def last_job(child: ChildContext) -> None:
        await trio.sleep(1)

    job = ChildSpec("job", last_job, decide=lambda report: ShutdownTree("all is done"))
    nest = SupervisorSpec("nest", [trace.child("x", stopping=1), job])
    for _ in range(depth - 1):
        nest = SupervisorSpec("nest", [nest])
    tree = SupervisorSpec("app", [trace.child("a", stopping=1), nest, trace.child("z", stopping=1)])
    async with open_supervisor(tree) as supervisor:
        report = await supervisor.wait_finished()
    assert (report.cause, report.reason) == ("shutdown", "all is done")
    assert trace.take() == "+a +x +z ?z -z ?x -x ?a -a"
    assert trio.current_time() == 4
    assert len(events_of(supervisor, ChildStarted, f"app{'/nest' * depth}/job")) == 1


@scenario
async def test_children_added_later_are_gone_when_their_supervisor_is_restarted() -> None:
    trace = Trace()
    nest = SupervisorSpec("nest", [trace.child("x")])
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        nested: Supervisor = supervisor.child("nest").value
        handle = await nested.start_child(trace.child("later"))
        await supervisor.stop_child("nest/x")
        await supervisor.restart_child("nest")
        again: Supervisor = supervisor.child("nest").value
        assert list(again.children) == ["x"]
        assert again.child("x").state == "ready"  # and it is not held down any more
        assert handle.state == "stopped"
        assert trace.take() == "+x +later -x -later +x"
        await again.start_child(trace.child("later"))


@scenario
async def test_a_group_restart_takes_a_nested_supervisor_along_in_order() -> None:
    trace = Trace()
    told = trio.Event()

    async def bad(child: ChildContext) -> None:
        if child.attempt == 1:
            await told.wait()
            raise Boom
        await trio.sleep_forever()

    nest = SupervisorSpec("nest", [trace.child("x", stopping=1), trace.child("y", stopping=1)])
    async with open_supervisor(
        SupervisorSpec(
            "app",
            [
                trace.child("a"),
                ChildSpec("bad", bad, backoff=AT_ONCE),
                nest,
                trace.child("z", stopping=1),
            ],
            strategy="rest_for_one",
        )
    ) as supervisor:
        assert trace.take() == "+a +x +y +z"
        told.set()
        await trio.sleep(5)
        assert trace.take() == "?z -z ?y -y ?x -x +x +y +z"
        assert supervisor.child("nest").attempt == 2
        assert supervisor.child("nest").restarts == 0


# ---------------------------------------------------------------- values across levels

STORE: ChildSpec[str] = ChildSpec("store", ready_forever, "the store", readiness="explicit")


@scenario
async def test_values_are_found_in_enclosing_supervisors() -> None:
    seen: dict[str, object] = {}

    async def reader(child: ChildContext) -> None:
        seen["value"] = child.value(STORE)
        seen["by name"] = child.value("store")
        seen["waited"] = await child.wait_value(STORE)
        seen["own"] = child.value("sibling")
        seen["supervisor"] = child.value("aunt")
        await trio.sleep_forever()

    innermost = SupervisorSpec(
        "innermost",
        [
            ChildSpec("sibling", ready_forever, "sibling", readiness="explicit"),
            ChildSpec("reader", reader),
        ],
    )
    aunt = SupervisorSpec("aunt", [])
    middle = SupervisorSpec("middle", [innermost])
    async with open_supervisor(SupervisorSpec("app", [STORE, aunt, middle])) as supervisor:
        await until_blocked()
        assert seen == {
            "value": "the store",
            "by name": "the store",
            "waited": "the store",
            "own": "sibling",
            "supervisor": supervisor.child("aunt").value,
        }


@scenario
async def test_the_nearest_of_the_same_name_is_meant() -> None:
    seen: list[object] = []

    async def reader(child: ChildContext) -> None:
        seen.append(child.value("store"))
        await trio.sleep_forever()

    near = ChildSpec("store", ready_forever, "near", readiness="explicit")
    nest = SupervisorSpec("nest", [near, ChildSpec("reader", reader)])
    async with open_supervisor(SupervisorSpec("app", [STORE, nest])):
        await until_blocked()
    assert seen == ["near"]


@scenario
async def test_a_value_from_above_is_that_of_the_present_attempt() -> None:
    seen: list[object] = []

    async def provider(child: ChildContext) -> None:
        child.ready(child.attempt)
        await trio.sleep(10)
        raise Boom

    async def reader(child: ChildContext) -> None:
        while True:
            seen.append(await child.wait_value("store"))
            await trio.sleep(8)

    store = ChildSpec("store", provider, readiness="explicit", backoff=BackoffPolicy.delays(7))
    nest = SupervisorSpec("nest", [ChildSpec("reader", reader)])
    async with open_supervisor(SupervisorSpec("app", [store, nest])):
        await trio.sleep(30)
    # asked at 0, 8, 16 (waits until 17), 25
    assert seen == [1, 1, 2, 2]


@scenario
async def test_a_name_below_or_beside_is_not_found() -> None:
    heard: list[str] = []

    async def reader(child: ChildContext) -> None:
        for get in (child.value, child.wait_value):
            try:
                found = get("cousin")
                if get == child.wait_value:
                    await found
            except ChildNotFound as error:
                heard.append(str(error))
        await trio.sleep_forever()

    other = SupervisorSpec("other", [ChildSpec("cousin", forever)])
    nest = SupervisorSpec("nest", [ChildSpec("reader", reader)])
    async with open_supervisor(SupervisorSpec("app", [other, nest])):
        await until_blocked()
    assert len(heard) == 2
    assert all("'cousin'" in text for text in heard)


# ---------------------------------------------------------------- declaring


def test_what_a_nested_supervisor_is_by_default() -> None:
    child = SupervisorSpec("nest").as_child()
    assert (child.grace, child.start_timeout, str(child.readiness)) == (INF, INF, "explicit")
    assert str(child.restart) == "permanent"
    with pytest.raises(SpecError, match="readiness"):
        SupervisorSpec("nest").as_child(readiness="immediate")
    with pytest.raises(SpecError, match="stale_after"):
        SupervisorSpec("nest").as_child(stale_after=3)


@scenario
async def test_the_run_before_stays_in_the_snapshot_of_a_restarted_nested_supervisor() -> None:
    worker = ChildSpec("worker", crash_after, 1, restart_limit=RestartLimit(2, 60), backoff=AT_ONCE)
    deepest = SupervisorSpec("deepest", [ChildSpec("calm", forever)])
    branch = SupervisorSpec("branch", [deepest, worker]).as_child(backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [branch])) as supervisor:
        assert supervisor.state().child("branch").previous is None
        handle = supervisor.child("branch")
        await handle.wait_ready(after=1)
        state = supervisor.state()
        previous = state.child("branch").previous
        assert previous is not None
        assert previous.run < supervisor.child("branch").value._shell.run
        assert previous.child("worker").restarts == 2
        assert previous.child("worker").last_exit == "crashed: Boom: worker 3"
        assert previous.child("deepest").supervisor is previous.child("deepest").previous is None
        assert state.child("branch/worker").restarts == 0
        assert SupervisorSnapshot.from_dict(state.to_dict()) == state
        assert functools.reduce(fold, supervisor.journal.events, supervisor.journal.base) == state
        # The run before that is forgotten, so that what is kept does not grow.
        await handle.restart()
        again = supervisor.state().child("branch").previous
        assert again is not None
        assert previous.run < again.run
        assert again.child("worker").restarts == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python's, about the generator
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@scenario
async def test_a_supervisor_that_a_dropped_generator_holds_ends_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def opened(child: ChildContext) -> AsyncIterator[Supervisor]:
        async with child.open_supervisor(SupervisorSpec("own", [ChildSpec("x", forever)])) as own:
            yield own  # noqa: ASYNC119 - that is what goes wrong

    async def drops(child: ChildContext) -> None:
        async for _ in opened(child):
            break
        gc.collect()
        await trio.sleep(1)

    spec = SupervisorSpec("app", [ChildSpec("a", drops, restart="temporary")])
    async with open_supervisor(spec) as supervisor:
        report = await supervisor.child("a").wait_finished()
        assert isinstance(report.exit, Crashed)
    assert "app/a/own: open_supervisor() was left in another task" in caplog.text
    assert "contextlib.aclosing(generator)" in caplog.text


@scenario
async def test_the_attempts_that_a_second_signal_would_take_the_grace_from() -> None:
    async def hears(child: ChildContext) -> None:
        await child.wait_stop_requested()

    inner = SupervisorSpec("in", [ChildSpec("hears", hears), ChildSpec("deaf", forever)])
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        inner,
        ChildSpec("none", hears, grace=0),
        ChildSpec("some", forever, grace=3),
        ChildSpec("down", forever, grace=3),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await until_blocked()
        await supervisor.stop_child("down")
        found = attempts_with_grace(supervisor._shell)
        assert sorted(attempt.path for attempt in found) == ["app/in/hears", "app/some"]
        found[0].cancel("enough")
        assert attempts_with_grace(supervisor._shell) == found[1:]
