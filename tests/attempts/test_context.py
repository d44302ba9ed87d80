"""What a body can say and see through its `ChildContext`."""

from __future__ import annotations

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.attempts import Host, make_attempt, run_body, run_to_end
from helpers.support import run_virtual
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    ChildContext,
    ChildSpec,
    SpecError,
    Stopped,
    Succeeded,
    SupervisorError,
    SupervisorSpec,
)
from trio_supervisor._attempts.attempt import run_attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def told_by(body: Callable[..., Awaitable[object]], **options: Any) -> list[tuple[Any, ...]]:
    """What the host of one run of ``body`` is told before its exit, which has to be a success."""

    async def main() -> list[tuple[Any, ...]]:
        host = Host()
        exit_ = await run_to_end(make_attempt(body, host=host, **options))
        assert exit_ == Succeeded(None)
        return host.told[:-1]

    return run_virtual(main)


def test_a_context_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="a child's body is given one"):
        ChildContext()


def test_a_body_knows_who_it_is() -> None:
    async def body(child: ChildContext) -> None:
        assert (child.name, child.path, child.attempt, child.generation) == ("c", "app/c", 3, 2)
        assert child.supervisor == "the supervisor"
        assert repr(child) == "<ChildContext of <attempt 3 of app/c>>"

    told_by(body)


# ---------------------------------------------------------------- readiness


def test_ready_is_told_once_and_the_first_value_stays() -> None:
    async def body(child: ChildContext) -> None:
        child.ready("one")
        child.ready("two")
        child.ready()

    assert told_by(body, readiness="explicit") == [("ready", "one")]


def test_ready_again_after_not_ready_keeps_the_value_or_takes_a_new_one() -> None:
    async def body(child: ChildContext) -> None:
        child.ready("one")
        child.not_ready("reconnecting")
        child.not_ready("still")
        child.ready()
        child.not_ready()
        child.ready("two")

    assert told_by(body, readiness="explicit") == [
        ("ready", "one"),
        ("not_ready", "reconnecting"),
        ("ready", "one"),
        ("not_ready", ""),
        ("ready", "two"),
    ]


def test_not_ready_before_the_first_ready_says_nothing_new() -> None:
    async def body(child: ChildContext) -> None:
        child.not_ready("never was")

    assert told_by(body, readiness="explicit") == []


def test_ready_in_an_immediate_child_is_an_error_that_names_the_fix() -> None:
    async def body(child: ChildContext) -> None:
        with pytest.raises(SupervisorError, match='readiness="explicit"'):
            child.ready()

    assert told_by(body) == []


def test_an_immediate_child_may_be_ready_again_after_not_ready() -> None:
    async def body(child: ChildContext) -> None:
        child.not_ready("overloaded")
        child.ready()

    assert told_by(body) == [("not_ready", "overloaded"), ("ready", None)]


def test_the_first_ready_sets_the_time_and_later_ones_do_not_move_it() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(2)
        child.ready()
        await trio.sleep(2)
        child.not_ready()
        await trio.sleep(2)
        child.ready()
        child.not_ready()

    async def main() -> None:
        attempt = make_attempt(body, readiness="explicit")
        report = attempt.report(await run_to_end(attempt))  # type: ignore[arg-type]
        assert report.ready_at == report.started_at + 2
        assert (report.became_ready, report.ready_at_exit) == (True, False)

    run_virtual(main)


# ---------------------------------------------------------------- signs of life


def test_heartbeats_are_stored_and_at_most_one_notice_is_under_way() -> None:
    async def body(child: ChildContext) -> None:
        for i in range(5):
            await trio.sleep(1)
            child.heartbeat(i)

    async def main() -> None:
        host = Host()
        attempt = make_attempt(body, host=host, watched=True)
        start = trio.current_time()
        await run_to_end(attempt)
        assert host.told[:-1] == [("beat", start + 1, 0)]
        assert (attempt.beat_at, attempt.beat_detail, attempt.beats) == (start + 5, 4, 5)
        assert attempt.beat_noted

    run_virtual(main)


def test_nobody_is_told_of_heartbeats_that_nobody_watches() -> None:
    async def body(child: ChildContext) -> None:
        child.heartbeat()
        with child.busy(5):
            pass

    assert told_by(body) == []


def test_busy_announces_silence_and_ends_with_a_heartbeat() -> None:
    async def body(child: ChildContext) -> None:
        start = trio.current_time()
        with child.busy(60):
            await trio.sleep(10)
            with child.busy(100):
                await trio.sleep(1)
        told.append(start)

    told: list[float] = []
    posted = told_by(body, watched=True)
    start = told[0]
    assert posted == [
        ("busy", start + 60),
        ("busy", start + 110),
        ("beat", start + 11, None),
        ("busy", start + 60),
        ("busy", -math.inf),
    ]


def test_overlapping_busy_blocks_count_the_longest_that_is_open() -> None:
    starts: list[float] = []

    async def body(child: ChildContext) -> None:
        starts.append(trio.current_time())

        async def other() -> None:
            with child.busy(100):
                await trio.sleep(5)

        child.nursery.start_soon(other)
        await trio.sleep(1)
        with child.busy(10):
            await trio.sleep(8)

    posted = [what for what in told_by(body, watched=True) if what[0] == "busy"]
    start = starts[0]
    assert posted == [
        ("busy", start + 100),
        ("busy", start + 100),
        ("busy", start + 11),
        ("busy", -math.inf),
    ]


def test_extending_the_start_tells_an_absolute_time() -> None:
    starts: list[float] = []

    async def body(child: ChildContext) -> None:
        await trio.sleep(4)
        starts.append(trio.current_time())
        child.extend_start_timeout(90)

    assert told_by(body, readiness="explicit") == [("extend", starts[0] + 90)]


@pytest.mark.parametrize("seconds", [-1, math.nan, True, "5", None])
def test_seconds_have_to_be_seconds(seconds: Any) -> None:
    async def body(child: ChildContext) -> None:
        with pytest.raises(SpecError, match="seconds="):
            child.busy(seconds)
        with pytest.raises(SpecError, match="seconds="):
            child.extend_start_timeout(seconds)

    assert told_by(body) == []


def test_a_heartbeat_takes_a_microsecond() -> None:
    """The bar is 1 us; ten times that here, since this machine may be busy."""

    async def body(child: ChildContext) -> None:
        start = time.process_time()
        for _ in range(10_000):
            child.heartbeat()
        took.append(time.process_time() - start)

    took: list[float] = []
    told_by(body, watched=True)
    assert took[0] / 10_000 < 10e-6


# ---------------------------------------------------------------- the stop request


def test_a_body_sees_the_stop_request_in_every_way() -> None:
    seen = []

    async def body(child: ChildContext) -> None:
        async def waiter(number: int) -> None:
            await child.wait_stop_requested()
            seen.append(number)

        assert not child.stop_requested
        child.nursery.start_soon(waiter, 1)
        child.nursery.start_soon(waiter, 2)
        with child.stop_scope() as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert child.stop_requested
        await child.wait_stop_requested()
        with child.stop_scope() as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        seen.append("end")

    async def main() -> None:
        attempt = make_attempt(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await trio.sleep(1)
            attempt.request_stop("deploy")
        assert attempt.judge() == Stopped("deploy")

    run_virtual(main)
    assert sorted(map(str, seen)) == ["1", "2", "end"]


def test_a_stop_scope_ends_at_the_request_and_not_in_the_work_after_it() -> None:
    done = []

    async def body(child: ChildContext, receive: trio.MemoryReceiveChannel[int]) -> None:
        while not child.stop_requested:
            with child.stop_scope():
                item = await receive.receive()
            if not child.stop_requested:
                await trio.sleep(10)
                done.append(item)

    async def main() -> None:
        send, receive = trio.open_memory_channel[int](10)
        attempt = make_attempt(body, receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            for i in range(5):
                send.send_nowait(i)
            await trio.sleep(15)
            attempt.request_stop("deploy")
        assert attempt.ended_at == attempt.started_at + 20
        assert attempt.stop_scopes == {}

    run_virtual(main)
    assert done == [0, 1]


def test_a_stop_scope_is_not_left_behind_by_an_error_or_a_cancel() -> None:
    async def body(child: ChildContext) -> None:
        with pytest.raises(ValueError, match="x"), child.stop_scope():
            raise ValueError("x")
        with trio.move_on_after(1), child.stop_scope():
            await trio.sleep_forever()

    async def main() -> None:
        attempt = make_attempt(body)
        assert await run_to_end(attempt) == Succeeded(None)
        assert attempt.stop_scopes == {}

    run_virtual(main)


def test_a_cancel_wakes_even_those_who_wait_behind_a_shield() -> None:
    async def body(child: ChildContext) -> None:
        with trio.CancelScope(shield=True):
            await child.wait_stop_requested()
        with trio.CancelScope(shield=True), child.stop_scope():
            await trio.sleep_forever()

    async def main() -> None:
        attempt = make_attempt(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_attempt, attempt)
            await wait_all_tasks_blocked()
            attempt.cancel("now")
        assert attempt.judge() == Stopped("now")

    run_virtual(main)


# ---------------------------------------------------------------- values of others


def test_values_are_asked_for_by_spec_or_by_name() -> None:
    async def keep(child: ChildContext) -> None: ...

    store = ChildSpec("store", keep)

    async def body(child: ChildContext) -> None:
        assert child.value(store) == child.value("store") == 42
        assert child.value(SupervisorSpec("tree")) == "a tree"
        with pytest.raises(KeyError):
            child.value("nobody")
        start = trio.current_time()
        assert await child.wait_value(store) == await child.wait_value("store") == 42
        assert trio.current_time() == start + 2

    async def main() -> None:
        host = Host()
        host.values = {"store": 42, "tree": "a tree"}
        assert await run_to_end(make_attempt(body, host=host)) == Succeeded(None)

    run_virtual(main)


# ---------------------------------------------------------------- after the end


def test_what_is_said_after_the_end_is_ignored() -> None:
    async def body(child: ChildContext, box: list[ChildContext]) -> None:
        box.append(child)

    async def main() -> None:
        box: list[ChildContext] = []
        host = Host()
        attempt = make_attempt(body, box, host=host, watched=True, readiness="explicit")
        await run_to_end(attempt)
        told = list(host.told)
        child = box[0]
        child.ready("late")
        child.not_ready("late")
        child.heartbeat("late")
        child.extend_start_timeout(10)
        with child.busy(10):
            pass
        assert host.told == told
        assert (attempt.is_ready, attempt.beat_at, attempt.ready_value) == (False, None, None)
        assert not child.stop_requested
        assert child.name == "c"

    run_virtual(main)


def test_what_is_said_when_even_trio_has_ended_is_ignored() -> None:
    async def body(child: ChildContext) -> ChildContext:
        return child

    exit_ = run_virtual(run_body, body)
    assert isinstance(exit_, Succeeded)
    child: Any = exit_.value
    child.ready("late")
    child.not_ready("late")
    child.heartbeat("late")
    child.extend_start_timeout(10)
    assert not child.stop_requested


def test_what_cannot_be_had_after_the_end_is_a_clear_error() -> None:
    async def body(child: ChildContext, box: list[ChildContext]) -> None:
        box.append(child)

    async def main() -> None:
        box: list[ChildContext] = []
        attempt = make_attempt(body, box)
        await run_to_end(attempt)
        child = box[0]
        # Whatever a host may still hear of an attempt that has ended, nobody listens.
        attempt.host.post_ready(attempt)
        attempt.host.post_not_ready(attempt, "")
        attempt.host.post_beat(attempt)
        attempt.host.post_busy(attempt, 0.0)
        attempt.host.post_extend(attempt, 0.0)
        attempt.host.post_exit(attempt)
        with pytest.raises(SupervisorError, match="has ended"):
            _ = child.nursery
        with pytest.raises(SupervisorError, match="has ended"):
            _ = child.supervisor
        with pytest.raises(SupervisorError, match="has ended"):
            child.value("x")
        with pytest.raises(SupervisorError, match="has ended"):
            await child.wait_value("x")

    run_virtual(main)
