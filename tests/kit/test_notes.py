"""What the program says stands between the events."""

from __future__ import annotations

import trio
from helpers.support import run_virtual

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import note, simulate


async def sells(child: ChildContext) -> None:
    note("open")
    await trio.sleep(1)
    child.nursery.start_soon(delivers, 7, name="delivery")
    note("sold", 7, "to", ["Ada"])
    await trio.sleep_forever()


async def delivers(item: int) -> None:
    await trio.sleep(1)
    note("delivered", item)


async def a_day() -> None:
    note("morning")
    async with open_supervisor(SupervisorSpec("shop", [ChildSpec("north", sells)])):
        await trio.sleep(5)


def test_notes_stand_between_the_events_with_task_and_time() -> None:
    trace = simulate(a_day)
    assert [(one.time, one.task, one.text) for one in trace.notes] == [
        (0, trace.notes[0].task, "morning"),
        (0, "shop/north#1", "open"),
        (1, "shop/north#1", "sold 7 to ['Ada']"),
        (2, "shop/north#1 delivery", "delivered 7"),
    ]
    lines = trace.render().splitlines()
    sold = next(at for at, line in enumerate(lines) if "sold 7" in line)
    stopping = next(at for at, line in enumerate(lines) if "SupervisorStopping" in line)
    started = next(at for at, line in enumerate(lines) if "ChildStarted" in line)
    assert started < sold < stopping
    assert "shop/north#1" in lines[sold]


def test_outside_of_a_simulated_run_it_does_nothing() -> None:
    note("ignored")
    run_virtual(a_day)
    assert simulate(trio.sleep, 1).notes == ()


def test_a_run_with_notes_is_the_same_run() -> None:
    assert simulate(a_day).digest == simulate(a_day).digest
