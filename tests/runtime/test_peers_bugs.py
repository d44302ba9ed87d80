"""Bugs that were found in other supervisors for Python, one test each: none can happen here.

Where each was seen is said in its docstring.
"""

from __future__ import annotations

import gc
import signal
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import AT_ONCE, Boom, Lab, scenario
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    ChildStarted,
    ChildStartError,
    RestartLimit,
    RestartLimitExceeded,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Callable


async def idle(child: ChildContext) -> None:
    """Does nothing until it is cancelled."""
    await trio.sleep_forever()


# ---------------------------------------------------------------- what has to get through


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_fatal_exception_out_of_a_child_is_no_reason_to_restart_it(
    fatal: type[BaseException],
) -> None:
    """triotp: catches BaseException and restarts the child; Ctrl-C is swallowed."""
    lab = Lab()

    async def main() -> None:
        async with lab.run(*lab.children("a b")):

            def die(child: ChildContext) -> None:
                raise fatal

            lab["a"].do(die)
            await trio.sleep_forever()

    with pytest.raises(fatal):
        run_virtual(main)
    assert lab.starts("a b") == [1, 1]


def test_a_ctrl_c_that_hits_a_child_ends_the_program() -> None:
    """triotp: a Ctrl-C that lands in a child is swallowed."""
    lab = Lab()

    async def main() -> None:
        async with lab.run(*lab.children("a b")):

            def press(child: ChildContext) -> None:
                signal.raise_signal(signal.SIGINT)

            lab["a"].do(press)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    assert lab.starts("a b") == [1, 1]
    assert lab["a"].live == lab["b"].live == 0


@scenario
async def test_an_outer_cancellation_is_not_swallowed(lab: Lab) -> None:
    """fauxtp: its loop catches Cancelled, and the scope around it never learns that it worked."""
    with trio.move_on_after(5) as scope:
        async with lab.run(*lab.children("a b")):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 5
    # Nor where it comes in the middle of a start, or in the middle of a stop.
    lab["a"].start_takes = 10.0
    with trio.move_on_after(5) as scope:
        async with lab.run(*lab.children("a b")):
            raise AssertionError("it was never ready")
    assert scope.cancelled_caught
    lab["a"].start_takes, lab["b"].stop_takes = 0.0, 10.0
    with trio.move_on_after(2) as scope:
        async with lab.run(*lab.children("a b", grace=100)):
            pass
    assert scope.cancelled_caught
    assert trio.current_time() == 12


# ---------------------------------------------------------------- noticing


@scenario
async def test_no_crash_is_missed_because_nobody_was_waiting_for_one(lab: Lab) -> None:
    """mode: wakes its supervisor by a flag; a crash while that is busy is seen at the next poll."""
    names = " ".join(f"c{number}" for number in range(20))

    def crash_another(report: Any) -> None:
        # The collector is busy with one crash, and here comes the next.
        lab["last"].crash_soon()

    first = lab.child("first", decide=crash_another)
    async with lab.run(first, *lab.children(names), lab.child("last")):
        lab["first"].crash_soon()
        for name in names.split():
            lab[name].crash_soon()
        await lab.settle()
        assert lab.starts(f"first {names} last") == [2] * 22
        assert trio.current_time() == 0


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


def test_nobody_polls() -> None:
    """runsmith, aiomisc, mode: look every quarter of a second, or every five, for what happened."""

    async def main() -> None:
        steps = Steps()
        watched = ChildSpec("watched", beats, stale_after=100_000, backoff=AT_ONCE)
        children = [ChildSpec(str(number), idle) for number in range(100)]
        async with open_supervisor(SupervisorSpec("app", [*children, watched])):
            await trio.sleep(100)  # the log has looked once whether the start is complete
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(10_000)
            # Only this task has done anything, however long it was.
            assert steps.count <= 3
            trio.lowlevel.remove_instrument(steps)

    async def beats(child: ChildContext) -> None:
        child.heartbeat()
        await trio.sleep_forever()

    run_virtual(main)


@scenario
async def test_a_crash_before_the_first_checkpoint_is_not_lost(lab: Lab) -> None:
    """otpylib: monitors a child only after it has been started; whoever was quicker is gone."""

    async def quick(child: ChildContext) -> None:
        if child.attempt <= 3:
            raise Boom("at once")
        await trio.sleep_forever()

    async with lab.run(ChildSpec("a", quick, backoff=AT_ONCE)) as supervisor:
        await lab.settle()
        assert (supervisor.child("a").state, supervisor.child("a").attempt) == ("ready", 4)
        assert lab.exits("a") == ["crashed"] * 3
        with pytest.raises(ChildStartError):
            await supervisor.start_child(ChildSpec("b", quick, readiness="explicit"))
        assert supervisor.state().state == "running"


@scenario
async def test_a_task_that_returns_is_noticed(lab: Lab) -> None:
    """mode: never notices that a service's task has returned."""
    async with lab.run(*lab.children("a b"), auto_shutdown="all_done") as supervisor:
        await lab["a"].finish()
        assert lab.starts("a") == [2]
        assert lab.exits("a") == ["succeeded"]
        assert supervisor.state().state == "running"


# ---------------------------------------------------------------- restarting


@scenario
async def test_a_restart_that_fails_is_a_failure_like_any_other(lab: Lab) -> None:
    """otpylib: swallows it, and the child is gone for ever; mode: its supervisor crashes."""
    spec = lab.child("a", backoff=BackoffPolicy.delays(1))
    async with lab.run(spec, lab.child("b")) as supervisor:
        lab["a"].next_starts(Boom("restart"), Boom("restart"), "ok")
        await lab["a"].crash()
        assert lab.state("a") == "backing_off"
        await lab.sleep(3)
        assert lab.states("a b") == ["ready", "ready"]
        assert lab.starts("a b") == [4, 1]
        assert lab.actions("a") == ["restart"] * 3
        assert supervisor.child("a").restarts == 3


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@scenario
async def test_nobody_is_started_before_the_old_one_is_gone(lab: Lab, strategy: str) -> None:
    """otpylib: starts the new sibling 0.3 s before the old one has cleaned up."""
    async with lab.run(*lab.children("a b", grace=1), strategy=strategy) as supervisor:
        for name in "ab":
            lab[name].stop_takes, lab[name].cleanup = 100.0, 5.0
        await lab["a"].crash()
        await supervisor.restart_child("b")
        await lab.sleep(20)
        assert [lab[name].most_live for name in "ab"] == [1, 1]
        assert lab.states("a b") == ["ready", "ready"]
        for name in "ab":
            lab[name].stop_takes = lab[name].cleanup = 0.0


def test_a_child_that_fails_without_a_checkpoint_does_not_freeze_the_loop() -> None:
    """engin: restarts in a bare loop, 1.6 million times in 4 s, deaf to SIGINT and SIGTERM."""
    starts = 0

    async def hot(child: ChildContext) -> None:  # noqa: ASYNC124 - that is the point
        nonlocal starts
        starts += 1
        raise Boom("at once")

    async def main() -> None:
        spec = ChildSpec("hot", hot, backoff=AT_ONCE, restart_limit=None)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            # Others have their turns between any two attempts, and a shutdown is heard.
            assert starts < 150
            await supervisor.shutdown()

    run_virtual(main)
    assert starts < 200


@scenario
async def test_a_temporary_child_that_raises_takes_nobody_with_it(lab: Lab) -> None:
    """triotp: takes down its supervisor and all siblings."""
    async with lab.run(lab.child("a", restart="temporary"), lab.child("b")) as supervisor:
        await lab["a"].crash()
        assert (lab.names(), lab.state("b"), lab.starts("b")) == (["b"], "ready", [1])
        assert supervisor.state().state == "running"


# ---------------------------------------------------------------- limits


def test_a_window_keeps_what_is_in_it_and_nothing_else() -> None:
    """triotp: with a big enough limit its window never drops an entry."""

    async def main() -> None:
        async def brief(child: ChildContext) -> None:
            await trio.sleep(0.1)
            raise Boom("again")

        limit = RestartLimit(1_000_000, within=10)
        spec = ChildSpec("a", brief, backoff=AT_ONCE, restart_limit=limit)
        app = SupervisorSpec("app", [spec], restart_limit=limit)
        async with open_supervisor(app) as supervisor:
            await trio.sleep(200)
            machine = supervisor._shell.machine
            windows = [machine.children["a"].window, machine.window]
            for window in windows:
                assert window is not None
                assert 99 <= len(window.times) <= 101
            assert supervisor.child("a").restarts > 1900

    run_virtual(main)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@scenario
async def test_a_group_restart_is_charged_once(lab: Lab, strategy: str) -> None:
    """otpylib: spends one unit per sibling, so that four children may never crash."""
    limit = RestartLimit(3, within=60)
    async with lab.run(*lab.children("a b c d"), strategy=strategy, restart_limit=limit):
        for _ in range(3):
            await lab["a"].crash()
        assert lab.starts("a b c d") == [4] * 4


@scenario
async def test_a_shared_limit_is_shared(lab: Lab) -> None:
    """triotp: counts each child for itself, so that two that take turns are never stopped."""
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b"), restart_limit=RestartLimit(3, within=60)):
            for _ in range(2):
                await lab["a"].crash()
                await lab["b"].crash()
    assert lab.starts("a b") == [3, 2]


@pytest.mark.parametrize("way", ["return", "crash"])
@scenario
async def test_giving_up_is_never_silent(lab: Lab, way: str) -> None:
    """triotp returns quietly if exits were clean; otpylib vanishes; mode lets siblings run on."""
    spec = lab.child("a", restart_limit=RestartLimit(3, within=60))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with lab.run(spec, lab.child("b")):
            for _ in range(4):
                await (lab["a"].finish() if way == "return" else lab["a"].crash())
    assert "app/a gave up: 3 restarts in 60s" in str(caught.value)
    assert len(caught.value.reports) == 4
    # And a supervisor above hears it as the failure that it is.
    again = Lab()
    nested = SupervisorSpec(
        "nested", [again.child("a", restart_limit=RestartLimit(0, within=60))]
    ).as_child(backoff=AT_ONCE)
    async with again.run(nested, again.child("b")) as supervisor:
        await (again["a"].finish() if way == "return" else again["a"].crash())
        assert again.exits("nested") == ["crashed"]
        assert again.starts("a b") == [2, 1]
        last = supervisor.child("nested").last_report
        assert last is not None
        assert last.exit.has(RestartLimitExceeded)


@scenario
async def test_the_exceptions_are_kept(lab: Lab) -> None:
    """otpylib, fauxtp, aiotools: the exception is dropped, or only its repr is kept."""
    cause = Boom("cause")
    async with lab.run(lab.child("a")) as supervisor:
        await lab["a"].crash(cause)
        last = supervisor.child("a").last_report
        assert last is not None
        assert last.exit.error is cause
        assert cause.__traceback__ is not None
    with pytest.raises(RestartLimitExceeded) as caught:
        async with lab.run(lab.child("b", restart_limit=RestartLimit(0, within=1))):
            await lab["b"].crash(cause)
    assert cause in caught.value.exceptions
    chain: BaseException | None = caught.value
    while chain is not None and chain is not cause:
        if isinstance(chain, BaseExceptionGroup) and cause in chain.exceptions:
            break
        chain = chain.__cause__
    assert chain is not None


# ---------------------------------------------------------------- many


def cost(many: int, run: Callable[[int], object]) -> float:
    """Seconds of processor time; the best of two."""
    best = float("inf")
    for _ in range(2):
        gc.collect()
        start = process_time()
        run(many)
        best = min(best, process_time() - start)
    return best


def test_starting_one_more_child_costs_the_same_however_many_there_are() -> None:
    """fauxtp: copies the map of all children for each one; triotp is superlinear, too."""

    def start(many: int) -> None:
        async def main() -> None:
            async with open_supervisor() as supervisor:
                for number in range(many):
                    supervisor.start_child_soon(ChildSpec(str(number), idle))
                await trio.testing.wait_all_tasks_blocked()
                assert supervisor.count_children().ready == many

        run_virtual(main)

    # Copying would make it 10 times as much per child, and it would still be far from 10,000.
    assert cost(2000, start) < 4 * 10 * cost(200, start)


def test_heartbeats_of_many_are_neither_lost_nor_piled_up() -> None:
    """runsmith: one queue of 100 for all; a thousand that beat twice a second never all came up."""

    async def beat(child: ChildContext) -> None:
        child.ready()
        while True:
            await trio.sleep(0.5)
            child.heartbeat()
            child.heartbeat()

    async def main() -> None:
        children = [
            ChildSpec(str(number), beat, readiness="explicit", start_timeout=5, stale_after=1)
            for number in range(1000)
        ]
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            await trio.sleep(4.1)
            assert supervisor.count_children().ready == 1000
            handles = supervisor.children.values()
            assert {handle.attempt for handle in handles} == {1}
            assert all(handle.last_heartbeat is not None for handle in handles)
            # They are no events, and nothing waits to be dealt with.
            events = [event for event in supervisor.journal if not isinstance(event, ChildStarted)]
            assert all(event.time == 0 for event in events)
            assert supervisor._shell.collector.waiting == 0

    run_virtual(main)
