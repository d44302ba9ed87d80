"""Stories about how attempts end, and what policy makes of it."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import trio
import trio.lowlevel

from trio_supervisor import (
    ChildEscalated,
    ChildNotFound,
    ChildRunner,
    ChildStartError,
    Escalate,
    ExitJudged,
    RestartAfter,
    RestartLimit,
    ShutdownTree,
    SupervisorIdle,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour, by_attempt

from .story import child, now, raises, settle, story, tree

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, ChildRunReport

ONCE = by_attempt(Behaviour(ends_at=1), Behaviour())


@story()
async def a_crash_ends_the_background_tasks() -> None:
    body = by_attempt(Behaviour(background=3, ends_at=1), Behaviour())
    async with open_supervisor(tree(child("a", run=body))) as app:
        await trio.sleep(1.5)
        assert (app.child("a").attempt, app.child("a").state) == (2, "ready")


@story()
async def a_crash_in_the_background_ends_the_body() -> None:
    body = by_attempt(Behaviour(background=1, background_crash_at=1), Behaviour())
    async with open_supervisor(tree(child("a", run=body))) as app:
        await trio.sleep(1.5)
        report = app.child("a").last_report
        assert report is not None
        assert report.exit.kind == "crashed"


@story()
async def a_body_that_returns_waits_for_its_background_tasks() -> None:
    async def body(child: ChildContext) -> str:
        child.nursery.start_soon(trio.sleep, 3)
        await child.nursery.start(started)
        return "value"

    async def started(task_status: Any) -> None:
        await trio.sleep(1)
        task_status.started()
        await trio.sleep(3)

    async with open_supervisor(tree(child("a", run=body, restart="transient"))) as app:
        await app.child("a").wait_state("done")
        assert now() == 4
        report = app.child("a").last_report
        assert report is not None
        assert report.exit.is_success


@story()
async def of_several_errors_each_is_kept() -> None:
    async def raises(error: Exception) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def body(child: ChildContext) -> None:
        if child.attempt > 1:
            await child.wait_stop_requested()
        child.nursery.start_soon(raises, KeyError("one"))
        child.nursery.start_soon(raises, OSError("two"))
        await trio.sleep(1)
        raise ValueError("three")

    async with open_supervisor(tree(child("a", run=body))) as app:
        await trio.sleep(2)
        report = app.child("a").last_report
        assert report is not None
        assert all(report.exit.has(kind) for kind in (KeyError, OSError, ValueError))


@story()
async def a_crash_in_the_cleanup_is_in_the_report() -> None:
    body = Behaviour(at_cancel="crash")
    async with open_supervisor(tree(child("a", run=body))) as app:
        await app.stop_child("a")
        report = app.child("a").last_report
        assert report is not None
        assert report.exit.kind == "crashed"
        assert report.stop_reason is not None


@story()
async def a_crash_before_it_was_ready_is_an_end_like_any_other() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt < 3:
            raise OSError("at once")
        child.ready()
        await child.wait_stop_requested()

    spec = child("a", run=body, readiness="explicit", retry_first_start=True)
    async with open_supervisor(tree(spec)) as app:
        assert app.child("a").attempt == 3


@story()
async def a_start_that_fails_once_it_has_been_ready_is_an_ordinary_failure() -> None:
    body = by_attempt(
        Behaviour(ready_at=1, ends_at=2), Behaviour(ready_at=9, ends_at=1), Behaviour()
    )
    async with open_supervisor(tree(child("a", run=body, readiness="explicit"))) as app:
        await trio.sleep(5)
        assert (app.child("a").state, app.child("a").attempt) == ("ready", 3)


@story()
async def a_restart_by_hand_that_fails_to_start_is_an_ordinary_failure() -> None:
    body = by_attempt(Behaviour(ready_at=99), Behaviour(ready_at=9, ends_at=1), Behaviour())
    spec = child("a", run=body, readiness="explicit", start_timeout=100)
    async with open_supervisor(tree(spec), wait_ready=False) as app:
        await trio.sleep(1)
        await app.restart_child("a")
        assert (app.child("a").state, app.child("a").attempt) == ("ready", 3)


@story()
async def a_failed_start_child_is_forgotten_and_its_name_is_free() -> None:
    async with open_supervisor(tree(child("a"))) as app:
        failing = child("b", run=Behaviour(ready_at=9, ends_at=1), readiness="explicit")
        with raises(ChildStartError) as found:
            await app.start_child(failing)
        assert found[0].path == "app/b"
        assert list(app.children) == ["a"]
        await app.start_child(child("b"))
        assert app.child("a").attempt == 1


@story()
async def start_child_soon_has_nobody_to_tell_of_a_failure() -> None:
    body = by_attempt(Behaviour(ready_at=9, ends_at=1), Behaviour())
    async with open_supervisor(tree()) as app:
        app.start_child_soon(child("b", run=body, readiness="explicit"))
        await trio.sleep(2)
        assert app.child("b").state == "ready"


@story()
async def a_start_child_that_is_cancelled_leaves_nobody_behind() -> None:
    async with open_supervisor(tree()) as app:
        with trio.move_on_after(1):
            await app.start_child(child("b", run=Behaviour(ready_at=9), readiness="explicit"))
        assert now() == 1
        with raises(ChildNotFound):
            app.child("b")


@story()
async def each_attempt_sees_the_context_of_whoever_has_declared_its_child() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = {}

    async def body(child: ChildContext) -> None:
        seen[child.path, child.attempt] = variable.get()
        variable.set("spoilt")
        await trio.sleep(1)
        if child.attempt == 1:
            raise OSError

    variable.set("opened")
    async with open_supervisor(tree(child("a", run=body, restart="transient"))) as app:
        variable.set("added")
        await app.start_child(child("b", run=body, restart="transient"))
        variable.set("later")
        await trio.sleep(3)
    assert seen == {
        ("app/a", 1): "opened",
        ("app/a", 2): "opened",
        ("app/b", 1): "added",
        ("app/b", 2): "added",
    }


@story()
async def a_nursery_that_a_body_leaves_open_is_a_crash() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt > 1:
            await child.wait_stop_requested()
            return
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    async with open_supervisor(tree(child("a", run=body))) as app:
        await trio.sleep(1)
        report = app.child("a").last_report
        assert report is not None
        assert (report.attempt, report.exit.kind) == (1, "crashed")


# ---------------------------------------------------------------- decide


@story()
async def decide_is_not_asked_where_a_wish_decides() -> None:
    asked: list[ChildRunReport] = []
    body = Behaviour(stop_takes=1)
    spec = child("a", run=body, decide=asked.append, grace=3)
    first = child("z", run=by_attempt(*[Behaviour()] * 2, Behaviour(ends_at=1), Behaviour()))
    async with open_supervisor(tree(first, spec, strategy="rest_for_one")) as app:
        await app.restart_child("a")
        await app.stop_child("a")
        await app.restart_child("a")
        await app.quarantine_child("a")
        await app.restart_child("a")
        await app.restart_child("z")
        await app.restart_child("z")  # fails after a second, and takes a with it
        await trio.sleep(5)
        assert app.child("a").attempt == 5
        await app.remove_child("a")
        await app.start_child(spec)
    assert asked == []


@story()
async def a_decide_that_raises_is_no_success() -> None:
    def decide(report: ChildRunReport) -> None:
        raise LookupError("a bug")

    body = by_attempt(Behaviour(ends_at=1, how="return"), Behaviour())
    spec = child("a", run=body, restart="transient", decide=decide)
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(2)
        assert (app.child("a").state, app.child("a").attempt) == ("ready", 2)
        told = [event for event in app.journal.events if isinstance(event, ExitJudged)]
        assert "a bug" in told[0].error


@story()
async def decide_may_end_the_tree_quietly() -> None:
    spec = child("a", run=Behaviour(ends_at=1), decide=lambda report: ShutdownTree("enough"))
    async with open_supervisor(tree(spec)) as app:
        report = await app.wait_finished()
    assert (report.reason, now()) == ("enough", 1)


@story()
async def decide_may_end_the_tree_loudly() -> None:
    spec = child("a", run=Behaviour(ends_at=1), decide=lambda report: Escalate("too much"))
    with raises(ChildEscalated) as found:
        async with open_supervisor(tree(spec)):
            await trio.sleep_forever()
    assert found[0].path == "app/a"


@story()
async def decide_may_say_when() -> None:
    spec = child("a", run=ONCE, decide=lambda report: RestartAfter(7))
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(1.5)
        assert app.state().children[0].until == 8
        await trio.sleep(7)
        assert app.child("a").state == "ready"


# ---------------------------------------------------------------- a child alone


@story()
async def an_outer_cancellation_gets_through_a_lone_attempt() -> None:
    after: list[str] = []
    with trio.CancelScope() as outer:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, child("a"))
            await settle()
            with trio.CancelScope(shield=True):
                outer.cancel()
                await handle.wait()
        after.append("swallowed")
    assert outer.cancelled_caught
    assert not after
    assert handle.report is not None
    assert handle.report.exit.kind == "aborted"


@story()
async def a_lone_child_is_asked_and_then_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        deaf = child("a", run=Behaviour(stop_takes=99), grace=3)
        handle = ChildRunner().spawn_once(nursery, deaf)
        await settle()
        handle.request_stop("enough")
        report = await handle.wait()
    assert (now(), report.exit.kind, report.stop_reason) == (3, "aborted", "enough")


@story()
async def a_limit_that_is_reached_is_told() -> None:
    spec = child(
        "a", run=Behaviour(ends_at=1), restart_limit=RestartLimit(1, 99), on_limit="quarantine"
    )
    async with open_supervisor(tree(spec)) as app:
        await app.child("a").wait_state("quarantined")
        told = [event for event in app.journal.events if isinstance(event, ExitJudged)]
        assert [event.action for event in told] == ["restart", "quarantine"]
        assert app.child("a").state == "quarantined"
        await app.restart_child("a")
        assert app.child("a").attempt == 3


@story()
async def a_significant_child_that_is_held_down_ends_nobody() -> None:
    limit = RestartLimit(0, 9)
    options: dict[str, Any] = {"restart_limit": limit, "on_limit": "quarantine"}
    for mode in ("any_significant", "all_significant"):
        crashing = child("a", run=Behaviour(ends_at=1), **options)
        significant = crashing.replace(restart="transient", significant=True)
        async with open_supervisor(tree(significant, child("b"), auto_shutdown=mode)) as app:
            await trio.sleep(5)
            assert (app.child("a").state, app.child("b").state) == ("quarantined", "ready")
            app.request_shutdown()


@story()
async def that_nobody_is_left_is_said_once() -> None:
    once = child("a", run=Behaviour(ends_at=1, how="return"), restart="transient")
    async with open_supervisor(tree(once)) as app:
        await trio.sleep(2)
        await app.restart_child("a")
        await trio.sleep(2)
        told = [event for event in app.journal.events if isinstance(event, SupervisorIdle)]
        assert [event.time for event in told] == [1]
        assert app.state().state == "running"
