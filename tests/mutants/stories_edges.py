"""Stories of the edges: objects that misbehave, other threads, what is kept of the past."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from functools import reduce
from math import inf
from typing import TYPE_CHECKING, Any, cast

import trio
from helpers import hostile

from trio_supervisor import (
    BackoffPolicy,
    ChildAdded,
    ChildExited,
    ChildSpec,
    ChildStartError,
    SpecError,
    SupervisorError,
    SupervisorSpec,
    fold,
    open_supervisor,
)
from trio_supervisor.testing import (
    Behaviour,
    Crash,
    NeverAwaited,
    SimulatedCrash,
    by_attempt,
    open_rig,
)

from .story import child, raises, settle, story, tree, unwatched_story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_supervisor import Event, EventGap, Supervisor


def is_refused(declare: Callable[[], object]) -> bool:
    try:
        declare()
    except SpecError:
        return True
    except hostile.Boom:
        return False
    return False


@story()
async def what_a_hostile_argument_raises_does_not_come_out() -> None:
    assert is_refused(lambda: SupervisorSpec("app", cast("Any", hostile.Object())))
    assert is_refused(lambda: SupervisorSpec("app", cast("Any", hostile.Class)))
    assert is_refused(lambda: SupervisorSpec("app", hostile.List([1])))
    assert is_refused(lambda: BackoffPolicy(initial=cast("Any", hostile.Object())))
    assert is_refused(lambda: BackoffPolicy(initial=hostile.Float(-1)))
    assert str.__str__(ChildSpec(hostile.Text("a"), Behaviour()).name) == "a"


@story()
async def who_looks_from_another_thread_is_refused() -> None:
    told: list[str] = []

    def look(call: Callable[[], object]) -> None:
        try:
            call()
        except SupervisorError as error:
            told.append(str(error))

    async with open_supervisor(tree(child("a"))) as app:
        handle = app.child("a")
        for call in (app.state, app.count_children, lambda: handle.reports):
            thread = threading.Thread(target=look, args=(call,))
            thread.start()
            thread.join()
        assert len(told) == 3


@story()
async def who_subscribes_is_given_the_exceptions() -> None:
    seen: list[Event | EventGap] = []
    inner = SupervisorSpec("inner", [child("b", run=Behaviour(ends_at=1))], strategy="one_for_all")
    async with open_supervisor(tree(inner)) as app, app.subscribe() as events:
        with trio.move_on_after(1.5):
            async for event in events:
                seen.append(event)  # noqa: PERF401 - until the time is over
    exits = [event for event in seen if isinstance(event, ChildExited)]
    assert [type(event.error) for event in exits] == [SimulatedCrash]


@story()
async def a_nested_supervisor_keeps_the_end_of_its_run_before() -> None:
    deepest = SupervisorSpec("deepest", [child("c")])
    branch = SupervisorSpec("branch", [deepest, child("b", run=Behaviour(ends_at=5))])
    async with open_supervisor(tree(branch)) as app:
        for run in range(3):
            await trio.sleep(7)
            await app.restart_child("branch")
            await settle()
            state = app.state()
            before = state.child("branch").previous
            assert before is not None
            assert before.child("b").restarts == 1, run
            assert before.child("deepest").previous is before.child("deepest").supervisor is None
            assert reduce(fold, app.journal.events, app.journal.base) == state


@story()
async def a_block_that_another_task_leaves_ends_with_an_error() -> None:
    async def leave() -> None:
        told.append("asked")
        with raises(SupervisorError):
            await block.__aexit__(None, None, None)
        told.append("refused")

    told: list[str] = []
    block = open_supervisor(tree(child("a")))
    app: Supervisor = await block.__aenter__()
    with trio.CancelScope(shield=True), suppress(SupervisorError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with trio.move_on_after(60) as scope:
                await app.wait_finished()
            nursery.cancel_scope.cancel()
    assert told == ["asked", "refused"]
    assert not scope.cancelled_caught
    with raises(SupervisorError):
        await block.__aexit__(None, None, None)


@contextmanager
def lines_of_log() -> Iterator[list[str]]:
    """The lines that the library logs meanwhile."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = logging.getLogger("trio_supervisor"), Keep()
    level, disabled = logger.level, logging.root.manager.disable
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logging.disable(disabled)


@unwatched_story  # `simulate` keeps records until its end
async def the_log_tells_the_reason_of_a_stop_and_no_number_that_is_none() -> None:
    silent = Behaviour(beat_every=1, silent_at=3, stop_takes=2)
    with lines_of_log() as lines:
        spec = tree(child("a"), child("b", run=silent, stale_after=2, grace=inf))
        async with open_supervisor(spec) as app:
            await trio.sleep(6)
            await app.stop_child("a", reason="the disk is changed")
    assert any("grace no limit" in line for line in lines), lines
    assert any("the disk is changed" in line for line in lines)
    assert not any("infs" in line for line in lines)


@story()
async def a_snapshot_names_a_few_of_those_that_delay_a_group() -> None:
    for strategy in ("one_for_all", "rest_for_one"):
        slow = [child(f"c{each}", run=Behaviour(stop_takes=5), grace=9) for each in range(20)]
        spec = tree(
            child("c0", run=by_attempt(Behaviour(ends_at=1), Behaviour())),
            *[one.replace(requires=["c0"]) for one in slow[1:]],
            strategy=strategy,
            ordering="graph",
        )
        async with open_supervisor(spec) as app:
            began = trio.current_time()
            await trio.sleep_until(began + 2)
            assert len(app.child("c0").waiting_for) == 8


@story()
async def commands_to_a_rig_that_are_not_awaited_are_an_error() -> None:
    with raises(NeverAwaited):
        async with open_rig(tree(child("a"))) as rig:
            forgotten = rig.apply(Crash("a"))
    forgotten.close()


@story()
async def the_reason_of_an_addition_is_in_its_event() -> None:
    async with open_supervisor(tree()) as app:
        await app.start_child(child("a"), reason="a user came")
        added = [event for event in app.journal.events if isinstance(event, ChildAdded)]
        assert [event.reason for event in added] == ["a user came"]


@story()
async def a_start_that_is_cancelled_while_its_child_fails_harms_nothing() -> None:
    async def turns(count: int) -> None:
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    async def failing(_: object, after: int) -> None:
        await turns(after)
        raise SimulatedCrash

    async def cancel(scope: trio.CancelScope, after: int) -> None:
        await turns(after)
        scope.cancel()

    async with open_supervisor(tree()) as app, trio.open_nursery() as nursery:
        for late in range(25):
            spec = ChildSpec("a", failing, late // 5, readiness="explicit")
            with trio.CancelScope() as scope, suppress(ChildStartError):
                nursery.start_soon(cancel, scope, late // 5 + late % 5)
                await app.start_child(spec)
            await settle()
        assert app.state().state == "running"
