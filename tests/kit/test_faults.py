"""`crash_everywhere` reaches what a child has started, and leaves alone what is none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import Behaviour, crash_everywhere

if TYPE_CHECKING:
    from trio_supervisor import ChildContext


async def use(body: Any) -> None:
    log: list[str] = []
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body, log)])):
        await trio.sleep(10)
    assert log.count("open") == log.count("close")


async def careless(child: ChildContext, log: list[str]) -> None:
    log.append("open")
    await trio.sleep(1)
    log.append("close")
    await trio.sleep_forever()


async def in_the_background(child: ChildContext, log: list[str]) -> None:
    child.nursery.start_soon(careless, child, log, name="careless")
    async with trio.open_nursery() as own:
        own.start_soon(trio.sleep, 2)


async def with_a_tree_inside(child: ChildContext, log: list[str]) -> None:
    inner = SupervisorSpec("inner", [ChildSpec("x", Behaviour())])
    async with open_supervisor(inner):
        await trio.sleep_forever()


@pytest.mark.parametrize("fault", ["raise", "cancel"])
def test_a_fault_in_the_tasks_that_a_child_has_started(fault: Any) -> None:
    found = crash_everywhere(use, in_the_background, child="app/a", fault=fault)
    assert found.complete
    # The body at the end of its own nursery, the task in that one, and `careless`, twice.
    assert len(found.points) == 4
    lines = [point.where for point in found.failures]
    assert any("in careless" in line for line in lines), lines
    with pytest.raises(AssertionError) as caught:
        found.check()
    assert "checkpoint" in "".join(caught.value.__notes__)


def test_a_supervisor_in_a_body_is_no_part_of_the_body() -> None:
    found = crash_everywhere(use, with_a_tree_inside, child="app/a")
    found.check()
    assert found.complete
    assert found.points
    assert all("with_a_tree_inside" in point.where for point in found.points)
