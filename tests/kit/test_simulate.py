"""Deterministic runs: virtual time, schedules, seeds, and what ends a run that would not end."""

from __future__ import annotations

import random

import pytest
import trio

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import (
    Behaviour,
    LiveLock,
    Stuck,
    TaskLeftBehind,
    explore,
    search,
    shrink_schedule,
    simulate,
)

TREE = SupervisorSpec(
    "app",
    [
        ChildSpec("a", Behaviour()),
        ChildSpec("b", Behaviour(ends_at=1, attempts=2)),
        ChildSpec("c", Behaviour()),
    ],
    strategy="rest_for_one",
)


async def some_time(seconds: float = 5) -> float:
    async with open_supervisor(TREE):
        await trio.sleep(seconds)
    return trio.current_time()


def test_time_is_virtual_and_the_trace_has_everything() -> None:
    trace = simulate(some_time, 1000.0)
    assert trace.ok
    assert trace.result == trace.seconds == 1000
    assert {type(event).__name__ for event in trace.events} >= {"ChildExited", "ExitJudged"}
    assert set(trace.verdicts.values()) == {"holds"}
    assert "b#1" in trace.render()


def test_the_same_arguments_give_the_same_trace() -> None:
    for seed in (None, 1, 2):
        first, again = simulate(some_time, seed=seed), simulate(some_time, seed=seed)
        assert first.events == again.events
        assert first.digest == again.digest
        replayed = simulate(some_time, schedule=first.schedule, seed=seed)
        assert replayed.digest == first.digest


def test_other_seeds_give_other_schedules_and_other_jitter() -> None:
    assert len({simulate(some_time, seed=seed).schedule for seed in range(5)}) == 5
    assert len({simulate(some_time, schedule=(), seed=seed).digest for seed in range(5)}) == 5


def test_the_module_random_is_seeded_and_put_back() -> None:
    async def scenario() -> float:
        return random.random()

    random.seed(7)
    expected = random.random()
    random.seed(7)
    assert simulate(scenario, seed=1).result == simulate(scenario, seed=1).result
    assert random.random() == expected


async def racy() -> None:
    """Wrong as soon as the second task runs before the first."""
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(note, number)
    assert order[0] == 0, order


def test_oldest_first_is_the_default_and_a_schedule_changes_it() -> None:
    assert simulate(racy).ok
    assert isinstance(simulate(racy, schedule=[1]).error, AssertionError)
    assert simulate(racy, schedule=[0, 1, 1]).ok


def test_search_shrinks_what_it_finds_to_one_step_out_of_turn() -> None:
    with pytest.raises(AssertionError) as caught:
        search(racy, runs=20)
    (note,) = [n for n in caught.value.__notes__ if n.startswith("to repeat")]
    picks = [int(p) for p in note[note.index("[") + 1 : note.index("]")].split(",")]
    assert sum(map(bool, picks)) == 1
    assert max(picks) == 1


def test_search_counts_different_runs() -> None:
    assert search(some_time, runs=5) == 5


def test_a_schedule_shrinks_without_hypothesis_too() -> None:
    runs: list[tuple[int, ...]] = []

    def fails(picks: tuple[int, ...]) -> bool:
        runs.append(picks)
        return len(picks) > 3 and picks[3] > 0

    assert shrink_schedule([3, 1, 4, 1, 5, 9, 2, 6, 0, 0], fails) == (0, 0, 0, 1)
    assert len(runs) < 60


def test_explore_finds_the_race_and_says_whether_it_saw_everything() -> None:
    found = explore(racy)
    assert found.failures
    assert sum(map(bool, found.failures[0].schedule)) == 1
    with pytest.raises(AssertionError):
        found.check()

    async def two() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)

    everything = explore(two)
    assert everything.complete
    assert everything.runs == 2 * 2
    assert "every schedule" in str(everything)
    bounded = explore(some_time, max_runs=5)
    assert not bounded.complete
    assert "INCOMPLETE" in str(bounded)
    assert explore(some_time, deviations=0).complete


def test_a_live_lock_is_found_and_says_where() -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    trace = simulate(spin, max_steps=200)
    assert isinstance(trace.error, LiveLock)
    assert "spin" in "".join(trace.error.__notes__)


def test_waiting_for_ever_is_found_and_says_where() -> None:
    async def wait_in_vain() -> None:
        await trio.sleep_forever()

    trace = simulate(wait_in_vain)
    assert isinstance(trace.error, Stuck)
    assert "wait_in_vain" in "".join(trace.error.__notes__)
    with pytest.raises(Stuck):
        trace.check()


def test_a_task_that_is_left_behind_is_found() -> None:
    async def scenario() -> None:
        trio.lowlevel.spawn_system_task(trio.sleep_forever, name="lost")

    trace = simulate(scenario)
    assert isinstance(trace.error, TaskLeftBehind)
    assert "lost" in str(trace.error)


def test_an_error_comes_with_the_way_to_repeat_it() -> None:
    async def scenario(child: ChildContext | None = None) -> None:
        raise KeyError("x")

    trace = simulate(scenario, seed=3)
    assert isinstance(trace.error, KeyError)
    with pytest.raises(KeyError) as caught:
        trace.check()
    assert "schedule=[], seed=3" in caught.value.__notes__[0]


def test_it_cannot_be_called_from_inside_of_trio() -> None:
    async def scenario() -> None:
        simulate(some_time)

    with pytest.raises(RuntimeError, match="ordinary code"):
        trio.run(scenario)
