"""Stories about time: signs of life, deadlines, windows, backoff."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildStarted,
    ExitJudged,
    RestartLimit,
    SupervisorSpec,
    TimedOut,
    Unhealthy,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour, by_attempt

from .story import child, now, settle, story, tree, unwatched_story

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, Supervisor


def starts(app: Supervisor, path: str = "app/a") -> list[float]:
    """When its attempts started."""
    return [
        event.time
        for event in app.journal.events
        if isinstance(event, ChildStarted) and event.path == path
    ]


@story()
async def heartbeats_are_noticed_as_long_as_they_come() -> None:
    body = by_attempt(Behaviour(beat_every=1, silent_at=10), Behaviour())
    other = child("b", run=Behaviour(beat_every=1), stale_after=3)
    async with open_supervisor(tree(child("a", run=body, stale_after=3), other)) as app:
        await trio.sleep(11.5)
        handle = app.child("a")
        assert (handle.attempt, handle.last_heartbeat) == (1, 9)
        await trio.sleep(1)
        report = handle.last_report
        assert report is not None
        assert (report.exit, report.ended_at) == (Unhealthy(3), 12)
        assert app.child("b").attempt == 1


@story()
async def who_has_said_that_it_is_busy_may_be_silent() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt > 1:
            await child.wait_stop_requested()
        with child.busy(20), child.busy(5):
            await trio.sleep(19)
        await trio.sleep_forever()

    async with open_supervisor(tree(child("a", run=body, stale_after=3))) as app:
        await trio.sleep(21)
        assert app.child("a").attempt == 1
        await trio.sleep(1.5)
        report = app.child("a").last_report
        assert report is not None
        assert report.exit == Unhealthy(3)
        assert report.ended_at == 22


@story()
async def an_old_attempt_can_say_nothing_any_more() -> None:
    contexts: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        contexts.append(child)
        if child.attempt == 2:
            child.heartbeat()
        child.ready(child.attempt)
        await child.wait_stop_requested()

    spec = child("a", run=body, readiness="explicit", stale_after=60, grace=1)
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(1)
        await app.restart_child("a")
        await trio.sleep(1)
        contexts[0].heartbeat()
        contexts[0].not_ready()
        contexts[0].ready("late")
        await settle()
        handle = app.child("a")
        assert handle.last_report is not None
        assert handle.last_report.last_heartbeat is None
        assert (handle.state, handle.value, handle.last_heartbeat) == ("ready", 2, 1)


@story(None, 1, 2, 3)
async def who_acts_in_the_instant_of_a_deadline_has_its_say_first() -> None:
    def late(steps: int) -> Any:
        async def body(child: ChildContext) -> None:
            await trio.sleep_until(5)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            child.ready(steps)
            await child.wait_stop_requested()

        return child(f"a{steps}", run=body, readiness="explicit", start_timeout=5, grace=9)

    async with open_supervisor(tree(*map(late, range(3)), ordering="graph")) as app:
        await settle()
        assert [handle.attempt for handle in app.children.values()] == [1, 1, 1]


@story()
async def a_start_may_take_as_long_as_was_allowed_and_no_longer() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            await trio.sleep(3)
            child.extend_start_timeout(7)
            child.extend_start_timeout(1)  # shortens nothing
        await trio.sleep_forever()

    spec = child("a", run=body, readiness="explicit", start_timeout=5, retry_first_start=True)
    async with open_supervisor(tree(spec), wait_ready=False) as app:
        await trio.sleep(11)
        report = app.child("a").last_report
        assert report is not None
        assert isinstance(report.exit, TimedOut)
        assert report.ended_at == 10
        await trio.sleep(4.5)
        assert starts(app) == [0, 10, 15]


@story()
async def nobody_does_anything_when_nothing_happens() -> None:
    steps = 0

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += task.name.startswith("app")

    pool = SupervisorSpec("pool", [child("x")])
    spec = child("a", max_runtime=1e6, stale_after=1e6)
    async with open_supervisor(tree(spec, pool)):
        await trio.sleep(11)  # the log has looked once whether the start is complete
        trio.lowlevel.add_instrument(Steps())
        await trio.sleep(200)
        assert steps == 0, steps


@story()
async def a_window_forgets_what_is_as_old_as_it_is_long() -> None:
    limit = RestartLimit(2, within=10)
    crashing = child("a", run=Behaviour(ends_at=5), restart_limit=limit, on_limit="quarantine")
    async with open_supervisor(tree(crashing)) as app:
        await trio.sleep(100)
        # At 5 and 10, and at 15 the first one is exactly as old as the window.
        assert app.child("a").attempt == 20
    quick = child("a", run=Behaviour(ends_at=4), restart_limit=limit, on_limit="quarantine")
    async with open_supervisor(tree(quick)) as app:
        began = now()
        await app.child("a").wait_state("quarantined")
        assert now() - began == 12
        assert app.child("a").attempt == 3


@story()
async def the_backoff_grows_and_is_reset_by_having_been_ready_for_long() -> None:
    waits = BackoffPolicy(initial=1, factor=2, maximum=5, jitter=0, reset_after=10)
    body = by_attempt(*[Behaviour(ready_at=8, ends_at=11)] * 4, Behaviour(ready_at=2, ends_at=12))
    spec = child("a", run=body, readiness="explicit", backoff=waits)
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(85)
        began = starts(app)
    waited = [later - earlier for earlier, later in pairwise(began)]
    # Four short lives; then long ones, each of which was ready for 10 s.
    assert waited == [12, 13, 15, 16, 13, 13], waited


@story()
async def each_of_many_waits_a_time_of_its_own() -> None:
    waits = BackoffPolicy(initial=10, jitter=0.5)
    crashing = [child(f"a{n}", run=Behaviour(ends_at=1), backoff=waits) for n in range(5)]
    async with open_supervisor(tree(*crashing)) as app:
        await trio.sleep(2)
        until = {entry.until for entry in app.state().children}
        assert len(until) == 5
        assert all(time is not None and 6 <= time <= 16 for time in until)


@story()
async def a_group_waits_for_the_longest_backoff_in_it() -> None:
    long, short = BackoffPolicy.delays(20), BackoffPolicy.delays(2)
    children = [
        child("a", run=by_attempt(Behaviour(ends_at=1), Behaviour()), backoff=long),
        child("b", backoff=short, restart_limit=None),
    ]
    async with open_supervisor(tree(*children, strategy="one_for_all")) as app:
        await trio.sleep(2)
        assert [entry.until for entry in app.state().children] == [21, 21]
        await app.restart_child("b")
        assert app.child("a").state == "backing_off"
        await trio.sleep(20)
        assert (app.child("a").attempt, app.child("b").attempt) == (2, 2)
        assert now() == 22


@story()
async def a_group_that_backs_off_goes_on_waiting_when_one_more_fails() -> None:
    calm = Behaviour()
    a = child("a", run=by_attempt(Behaviour(ends_at=1), calm), backoff=BackoffPolicy.delays(20))
    failing = by_attempt(calm, Behaviour(ends_at=1), calm)
    b = child("b", run=failing, backoff=BackoffPolicy.delays(2))
    async with open_supervisor(tree(a, b, strategy="one_for_all")) as app:
        await trio.sleep(2)
        await app.restart_child("b")
        await trio.sleep(1.5)
        # b has failed once more at 3, and would be back at 5: the group waits until 21.
        assert [entry.until for entry in app.state().children] == [21, 21]
        await trio.sleep(18)
        assert (app.child("a").state, app.child("b").state) == ("ready", "ready")


@story()
async def a_restart_by_hand_overrides_a_fault() -> None:
    spec = child("a", run=Behaviour(stop_takes=3), max_runtime=5, grace=9)
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(6)
        await app.restart_child("a")
        assert (now(), app.child("a").attempt) == (8, 2)
        assert not any(isinstance(event, ExitJudged) for event in app.journal.events)


@story()
async def a_refusal_by_its_own_window_does_not_charge_the_shared_one() -> None:
    own: dict[str, Any] = {"restart_limit": RestartLimit(0, 99), "on_limit": "quarantine"}
    refused = [child(f"a{n}", run=Behaviour(ends_at=1), **own) for n in range(3)]
    once = child("b", run=by_attempt(Behaviour(ends_at=2), Behaviour()))
    async with open_supervisor(tree(*refused, once, restart_limit=RestartLimit(1, 99))) as app:
        await trio.sleep(3)
        assert [str(entry.state) for entry in app.state().children] == [
            *["quarantined"] * 3,
            "ready",
        ]


@story()
async def a_run_is_as_long_as_declared() -> None:
    spec = child("a", run=Behaviour(ready_at=3), readiness="explicit", max_runtime=10, grace=inf)
    deaf = child("b", run=Behaviour(stop_takes=1), max_runtime=10, grace=5)
    async with open_supervisor(tree(spec.replace(grace=0), deaf, ordering="graph")) as app:
        await trio.sleep(11.5)
        report = app.child("a").last_report
        assert report is not None
        assert (report.exit, report.ended_at) == (TimedOut("run", 10), 10)
        report = app.child("b").last_report
        assert report is not None
        assert (report.exit, report.ended_at) == (TimedOut("run", 10), 11)


@unwatched_story
async def time_in_which_no_task_could_run_is_not_held_against_a_start() -> None:
    async def blocks(_: ChildContext) -> None:
        await trio.sleep(0.5)
        clock: Any = trio.lowlevel.current_clock()
        clock.jump(2)  # as a blocking call would
        await trio.sleep_forever()

    async def starts_slowly(context: ChildContext) -> None:
        await trio.sleep(0.8)
        await trio.sleep(0.1)
        context.ready()
        await trio.sleep_forever()

    slow = child("b", run=starts_slowly, readiness="explicit", start_timeout=1)
    async with open_supervisor(SupervisorSpec("app", [child("a", run=blocks), slow])) as supervisor:
        assert supervisor.child("b").attempt == 1
        assert now() > 2.5
