"""Stories about stopping: by hand, by oneself, in order, with and without grace."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import trio

from trio_supervisor import (
    ChildNotReady,
    RestartLimit,
    SupervisorSpec,
    SupervisorStopping,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour

from .story import child, now, settle, story, tree

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, Supervisor

SLOW = Behaviour(stop_takes=2)


@story()
async def a_stop_returns_when_the_body_is_gone() -> None:
    for command in ("stop_child", "quarantine_child", "remove_child"):
        async with open_supervisor(tree(child("a", run=SLOW, grace=5))) as supervisor:
            handle, began = supervisor.child("a"), now()
            await getattr(supervisor, command)("a", reason="why")
            assert now() - began == 2
            assert handle.last_report is not None
            assert handle.last_report.exit.kind == "stopped"
            assert handle.last_report.stop_reason == "why"


@story()
async def a_restart_returns_when_the_new_attempt_is_ready() -> None:
    body = Behaviour(stop_takes=2, ready_at=3)
    async with open_supervisor(tree(child("a", run=body, readiness="explicit", grace=5))) as app:
        began = now()
        await app.restart_child("a")
        handle = app.child("a")
        assert now() - began == 5
        assert (handle.state, handle.attempt, handle.generation) == ("ready", 2, 1)


@story()
async def the_new_attempt_starts_when_all_of_the_old_one_is_gone() -> None:
    seen: list[str] = []

    async def lingering() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            seen.append("gone")

    async def body(child: ChildContext) -> None:
        seen.append("here")
        child.nursery.start_soon(lingering)
        await child.wait_stop_requested()

    async with open_supervisor(tree(child("a", run=body, grace=1))) as app:
        await app.restart_child("a")
    assert seen == ["here", "gone", "here", "gone"]


@story()
async def who_stops_itself_does_not_wait_for_its_own_grace() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            await child.supervisor.stop_child(child.name)

    async with open_supervisor(tree(child("a", run=body, grace=30))) as app:
        await app.child("a").wait_state("stopped")
        assert now() == 0
        report = app.child("a").last_report
        assert report is not None
        assert report.exit.kind == "aborted"


@story()
async def who_stops_its_supervisor_does_not_wait_for_its_own_grace() -> None:
    async def body(child: ChildContext) -> None:
        await child.supervisor.shutdown("enough")

    async with open_supervisor(tree(child("a", run=body, grace=30))) as app:
        report = await app.wait_finished()
    assert now() == 0
    assert report.reason == "enough"


@story()
async def who_is_being_stopped_may_give_up_its_own_grace() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(2)
        await child.supervisor.remove_child(child.name)

    async with open_supervisor(tree(child("a", run=body, grace=30))) as app:
        await app.stop_child("a")
        assert now() == 2


@story()
async def who_stops_one_of_a_similar_name_keeps_its_own_grace() -> None:
    async def body(child: ChildContext) -> None:
        await child.supervisor.stop_child("a")
        await child.wait_stop_requested()
        await trio.sleep(2)

    async with open_supervisor(tree(child("a"), child("ab", run=body, grace=5))) as app:
        await app.child("a").wait_state("stopped")
        await app.stop_child("ab")
        report = app.child("ab").last_report
        assert report is not None
        assert report.exit.kind == "stopped"


@story()
async def a_stop_that_is_asked_before_anybody_looks_is_not_lost() -> None:
    ends = []

    async def waits(child: ChildContext) -> None:
        await trio.sleep(3)
        await child.wait_stop_requested()
        ends.append("waits")

    async def scope(child: ChildContext) -> None:
        await trio.sleep(3)
        with child.stop_scope():
            await trio.sleep_forever()
        ends.append("scope")

    waiting, scoped = child("a", run=waits, grace=inf), child("b", run=scope, grace=inf)
    async with open_supervisor(tree(waiting, scoped, ordering="graph")):
        await trio.sleep(1)
    assert sorted(ends) == ["scope", "waits"]
    assert now() == 3


@story()
async def a_stop_wakes_whoever_waits_for_it() -> None:
    ends = []

    async def waits(child: ChildContext) -> None:
        await child.wait_stop_requested()
        ends.append("waits")

    async def scope(child: ChildContext) -> None:
        with child.stop_scope():
            await trio.sleep_forever()
        ends.append("scope")

    async with open_supervisor(
        tree(child("a", run=waits, grace=9), child("b", run=scope, grace=9))
    ):
        await trio.sleep(1)
    assert ends == ["scope", "waits"]
    assert now() == 1


@story()
async def a_nested_supervisor_begins_to_stop_when_its_parent_asks() -> None:
    pool = SupervisorSpec("pool", [child("x", run=SLOW, grace=5)])
    async with open_supervisor(tree(pool)) as app:
        inside = app.child("pool").value.child("x")
        await app.stop_child("pool")
        assert now() == 2
        assert inside.last_report is not None
        assert inside.last_report.exit.kind == "stopped"


@story()
async def the_deadline_of_a_shutdown_holds_for_everybody_below() -> None:
    deaf = Behaviour(stop_takes=inf)
    pool = SupervisorSpec("pool", [child("x", run=deaf, grace=100)])
    async with open_supervisor(tree(child("a", run=deaf, grace=100), pool, shutdown_deadline=7)):
        pass
    assert now() == 7


@story()
async def at_the_deadline_everybody_below_is_cancelled_at_once() -> None:
    deaf = Behaviour(stop_takes=inf)
    slow = Behaviour(stop_takes=inf, at_cancel="shield", cancel_takes=20)
    pool = SupervisorSpec("pool", [child("x", run=deaf, grace=99), child("y", run=slow, grace=99)])
    async with open_supervisor(tree(pool, shutdown_deadline=7)) as app:
        inside = app.child("pool").value.child("x")
    assert now() == 27
    assert inside.last_report is not None
    assert inside.last_report.ended_at == 7


@story()
async def the_unresponsive_are_named_with_their_stacks() -> None:
    body = Behaviour(at_cancel="shield", cancel_takes=20)
    async with open_supervisor(tree(child("a", run=body), report_after=4)) as app:
        handle = app.child("a")
        app.request_shutdown()
        await trio.sleep(4)
        await settle()
        assert handle.unresponsive
        report = await app.wait_finished()
    assert [entry.path for entry in report.children if entry.stack] == ["app/a"]


@story()
async def a_shutdown_without_grace_spares_nobody() -> None:
    deaf = Behaviour(stop_takes=inf)
    async with open_supervisor(tree(child("a"), child("b", run=deaf, grace=50))) as app:
        app.request_shutdown()
        await trio.sleep(1)
        app.request_shutdown(grace=False)
        await app.wait_finished()
    assert now() == 1


@story()
async def a_removal_is_not_taken_back_by_a_quarantine() -> None:
    async with open_supervisor(tree(child("a", run=SLOW, grace=5))) as app:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.remove_child, "a")
            await trio.sleep(1)
            nursery.start_soon(app.quarantine_child, "a")
        assert "a" not in app.children


@story()
async def those_who_wait_for_one_that_is_stopped_hear_of_it() -> None:
    async def wait(app: Supervisor, found: list[str]) -> None:
        try:
            await app.child("a").wait_ready()
        except ChildNotReady as error:
            found.append(str(error))

    found: list[str] = []
    slow = child("a", run=Behaviour(ready_at=60), readiness="explicit", start_timeout=99)
    async with (
        trio.open_nursery() as nursery,
        open_supervisor(tree(slow), wait_ready=False) as app,
    ):
        nursery.start_soon(wait, app, found)
        await settle()
        await app.stop_child("a")
        await settle()
        assert len(found) == 1
    assert "stopped" in found[0]


@story()
async def who_is_stopped_before_its_first_step_never_runs() -> None:
    seen: list[int] = []

    async def body(child: ChildContext) -> None:
        seen.append(child.attempt)
        await child.wait_stop_requested()

    async with open_supervisor(tree(child("a", run=body))) as app:
        await app.stop_child("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.restart_child, "a")
            nursery.start_soon(app.stop_child, "a")
        await settle()
        handle = app.child("a")
        report = handle.last_report
        assert report is not None
        # Both commands arrive in one turn, so the attempt is cancelled as soon as it exists.
        assert (handle.state, handle.attempt) == ("stopped", 2)
        assert (report.exit.kind, seen) == ("aborted", [1])


@story()
async def a_stop_in_a_backoff_is_the_end_of_it() -> None:
    from trio_supervisor import BackoffPolicy

    crashing = child("a", run=Behaviour(ends_at=1), backoff=BackoffPolicy.delays(10))
    async with open_supervisor(tree(crashing)) as app:
        await trio.sleep(2)
        await app.stop_child("a")
        assert now() == 2
        await trio.sleep(30)
        assert (app.child("a").state, app.child("a").attempt) == ("stopped", 1)
        await app.restart_child("a")
        assert (now(), app.child("a").state) == (32, "ready")
        app.request_shutdown()


@story()
async def a_job_that_stands_elsewhere_leaves_whom_it_stops_the_grace() -> None:
    async def stop(app: Supervisor) -> None:
        await trio.sleep(1)
        await app.stop_child("a")

    async def body(context: ChildContext, outer: trio.Nursery) -> None:
        outer.start_soon(stop, context.supervisor)
        await context.wait_stop_requested()
        await trio.sleep(2)

    async with trio.open_nursery() as outer:
        async with open_supervisor(tree(child("a", outer, run=body, grace=5))) as app:
            await trio.sleep(4)
            report = app.child("a").last_report
        assert report is not None
        assert (report.exit.kind, report.ended_at) == ("stopped", 3)


@story()
async def very_many_that_stop_at_once_all_hear_why() -> None:
    async def body(child: ChildContext) -> None:
        with trio.CancelScope(shield=True):
            await child.wait_stop_requested()

    children = [child(f"c{number}", run=body) for number in range(40)]
    async with open_supervisor(tree(*children, ordering="graph")) as app:
        report = await app.shutdown("why")
    assert {entry.outcome for entry in report.children} == {"stopped"}
    assert {entry.detail for entry in report.children} == {"stopped: why"}


@story()
async def a_nested_supervisor_without_grace_ends_for_the_reason_it_was_given() -> None:
    inner = SupervisorSpec("inner", [child("a")]).as_child(grace=0)
    async with open_supervisor(tree(inner)) as app:
        await app.stop_child("inner", reason="why")
        told = [event for event in app.journal if isinstance(event, SupervisorStopping)]
    assert [(event.path, event.cause, event.reason) for event in told] == [
        ("app/inner", "shutdown", "why")
    ]


@story()
async def very_many_that_are_stopped_before_their_first_step_never_run() -> None:
    ran: list[str] = []

    async def body(child: ChildContext) -> None:
        ran.append(child.name)

    async with open_supervisor(tree(ordering="graph")) as app:
        for number in range(200):
            app.start_child_soon(child(f"c{number}", run=body))
        app.request_shutdown(grace=False)
        report = await app.wait_finished()
    assert ran == []
    assert {entry.outcome for entry in report.children} == {"aborted"}


@story()
async def a_nested_supervisor_that_gives_up_hears_that_its_grace_is_over() -> None:
    """Its own stop may take any time; the parent's stop of it may not."""
    slow = child("slow", run=Behaviour(stop_takes=100), grace=inf)
    fails = child("fails", run=Behaviour(ends_at=1, how="crash"), restart_limit=None)
    low = SupervisorSpec("low", [slow, fails], restart_limit=RestartLimit(0, within=1))
    async with open_supervisor(SupervisorSpec("app", [low.as_child(grace=3)])) as app:
        await trio.sleep(2)
        handle = app.child("low/slow")
        assert handle.state == "stopping"
        await app.stop_child("low")
        assert now() == 5
        assert handle.last_report is not None
        assert handle.last_report.exit.kind == "aborted"
