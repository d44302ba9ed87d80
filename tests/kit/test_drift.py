"""Time that drifts: late by drawn amounts, never early, recorded, repeated and made simple."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.children import every, plain
from trio_supervisor.testing import (
    Behaviour,
    TrioMoved,
    commands,
    exercise,
    search,
    simulate,
    supervisor_specs,
)
from trio_supervisor.testing._sim import trio_internals


async def open_and_wait(*children: ChildSpec[Any], seconds: float = 9.5) -> None:
    async with open_supervisor(SupervisorSpec("app", children)):
        await trio.sleep(seconds)


async def notes_times(child: ChildContext, seen: list[float], pause: float = 1) -> None:
    while True:
        await trio.sleep(pause)
        seen.append(trio.current_time())


def times(**options: Any) -> list[float]:
    seen: list[float] = []
    simulate(open_and_wait, ChildSpec("a", notes_times, seen), **options).check()
    return seen


def test_without_it_all_sleeps_are_exact() -> None:
    assert times(seed=3) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert simulate(open_and_wait).drift == ()


def test_a_sleep_is_late_by_eighths_of_half_of_it() -> None:
    assert times(drift=[0, 2, 8])[:4] == [1, 2.125, 3.625, 4.625]


def test_a_sleep_is_late_by_a_second_at_most() -> None:
    seen: list[float] = []
    simulate(open_and_wait, ChildSpec("a", notes_times, seen, 8), drift=[8], seed=1).check()
    assert seen == [9]


def test_what_is_drawn_is_repeated() -> None:
    seen: list[float] = []
    child = ChildSpec("a", notes_times, seen)
    first = simulate(open_and_wait, child, seed=5, drift=True)
    drawn = list(seen)
    seen.clear()
    again = simulate(open_and_wait, child, seed=5, schedule=first.schedule, drift=first.drift)
    assert seen == drawn != [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert again.digest == first.digest
    assert "drift=[" in first.replay
    assert all(late >= 1 for late in drawn)


async def shows_its_deadline(child: ChildContext, seen: list[Any]) -> None:
    with trio.CancelScope(deadline=trio.current_time() + 2) as scope:
        seen.append(scope.deadline)
        await trio.sleep_forever()
    seen.append(trio.current_time())
    with trio.move_on_after(4) as scope:
        scope.deadline = trio.current_time() + 1
        await trio.sleep_forever()
    seen.append(trio.current_time())
    await trio.sleep_forever()


def test_a_deadline_shows_what_the_body_gave_and_can_be_moved() -> None:
    seen: list[Any] = []
    simulate(open_and_wait, ChildSpec("a", shows_its_deadline, seen), drift=[4, 0, 8]).check()
    assert seen == [2, 2.5, 4]


async def starts_tasks(child: ChildContext, seen: list[float]) -> None:
    child.nursery.start_soon(notes_times, child, seen, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notes_times, child, seen, 3)


async def tick(seen: list[float]) -> None:
    seen.append(trio.current_time())


@pytest.mark.parametrize(
    "body", [starts_tasks, "every", "plain", "behaviour"], ids=["tasks", "every", "plain", "script"]
)
def test_tasks_and_adapters_of_a_body_drift_as_well(body: Any) -> None:
    seen: list[float] = []
    specs: dict[Any, ChildSpec[Any]] = {
        starts_tasks: ChildSpec("a", starts_tasks, seen),
        "every": ChildSpec("a", every(1, tick, seen)),
        "plain": ChildSpec("a", plain(cast("Any", notes_times), None, seen)),
        "behaviour": ChildSpec("a", Behaviour(ends_at=3, attempts=1)),
    }
    trace = simulate(open_and_wait, specs[body], drift=[3] * 20)
    trace.check()
    assert trace.late


async def scenario_and_supervisor_are_exact() -> None:
    spec = SupervisorSpec("app", [ChildSpec("a", Behaviour(ends_at=1, attempts=1))])
    async with open_supervisor(spec):
        await trio.sleep(5)
        assert trio.current_time() == 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
        assert trio.current_time() == 10


def test_the_scenario_and_the_supervisor_are_exact() -> None:
    trace = simulate(scenario_and_supervisor_are_exact, seed=1, drift=True)
    trace.check()


@given(st.data(), st.integers(0, 1000))
def test_no_promise_of_the_supervisor_is_broken_by_it(data: st.DataObject, seed: int) -> None:
    spec = data.draw(supervisor_specs())
    told = data.draw(commands(spec))
    trace = simulate(exercise, spec, told, seed=seed, drift=True)
    trace.check()


# ---------------------------------------------------------------- a race that only drift meets


async def publishes(child: ChildContext, page: dict[str, Any]) -> None:
    while True:
        await trio.sleep(1)
        page["state"] = "half"
        await trio.sleep(0.25)
        page["state"] = "whole"


async def looks(child: ChildContext, page: dict[str, Any]) -> None:
    await trio.sleep(2)
    while True:
        page["seen"].add(page["state"])
        await trio.sleep(2.5)


async def nobody_sees_half_a_page() -> None:
    page: dict[str, Any] = {"state": "whole", "seen": set()}
    await open_and_wait(
        ChildSpec("writer", publishes, page), ChildSpec("reader", looks, page), seconds=40
    )
    assert "half" not in page["seen"], "half a page was seen"


def test_search_finds_with_drift_what_lockstep_hides() -> None:
    search(nobody_sees_half_a_page, runs=30)
    with pytest.raises(AssertionError, match="half a page") as caught:
        search(nobody_sees_half_a_page, runs=30, drift=True)
    notes = caught.value.__notes__
    (line,) = [note for note in notes if note.startswith("to repeat this run: ")]
    late = [note for note in notes if note.startswith("late: app/")]
    assert 1 <= len(late) <= 3, notes
    assert "test_drift.py" in late[0]
    arguments = line.removeprefix("to repeat this run: simulate(..., ").removesuffix(")")
    assert arguments.startswith("schedule=[], ")
    with pytest.raises(AssertionError, match="half a page"):
        eval(f"simulate(nobody_sees_half_a_page, {arguments})", globals()).check()


# ---------------------------------------------------------------- what it needs of Trio


def test_trio_still_passes_every_deadline_by_that_method() -> None:
    """If this fails, `drifting` has to learn where Trio keeps its deadlines now."""
    asked: list[float] = []
    ended: list[float] = []

    def delay(deadline: float) -> float:
        asked.append(deadline)
        return 0.5

    async def main() -> None:
        with trio.CancelScope(deadline=1) as scope:  # noqa: ASYNC125
            await trio.sleep_forever()
        ended.append(trio.current_time())
        assert scope.deadline == 1
        assert scope.cancelled_caught
        await trio.sleep(1)
        ended.append(trio.current_time())
        with trio.move_on_after(9) as scope:
            scope.deadline = trio.current_time() + 1
            await trio.sleep_forever()
        ended.append(trio.current_time())

    add = trio._core._run.Deadlines.add
    with trio_internals.drifting(delay):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert trio._core._run.Deadlines.add is add
    assert ended == [1.5, 3, 4.5]
    assert asked[:2] == [1, 2.5]


@pytest.mark.parametrize("name", ["Deadlines", "add"])
def test_a_trio_that_has_moved_it_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    core = trio._core._run
    monkeypatch.delattr(core if name == "Deadlines" else core.Deadlines, name)
    with pytest.raises(TrioMoved, match=name):
        simulate(open_and_wait, drift=True)
