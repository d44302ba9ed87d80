"""OTP's supervisor suite: many children, and what is kept of those that are gone.

Sizes are a small part of OTP's, so that the folder takes seconds; the bounds are OTP's own.
"""

from __future__ import annotations

import gc
import weakref
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import AT_ONCE, Lab, scenario
from helpers.support import run_virtual

from trio_supervisor import ChildSpec, Supervisor, SupervisorSpec, open_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor import ChildContext

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


async def idle(child: ChildContext, *args: object) -> None:
    """Does nothing until it is cancelled."""
    await trio.sleep_forever()


async def count(supervisor: Supervisor, many: int, make: Callable[[int], ChildSpec[Any]]) -> None:
    """Start ``many``, then as many more, and let none of them be counted wrongly."""
    for start in (0, many):
        for number in range(start, start + many):
            supervisor.start_child_soon(make(number))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            counts = supervisor.count_children()
            assert counts.specs == counts.active == counts.ready == start + many
            assert len(supervisor.children) == len(supervisor.state().children) == start + many


async def drop(supervisor: Supervisor) -> None:
    """Kill them all, and nothing is left to be counted."""
    for name in list(supervisor.children):
        await supervisor.remove_child(name)
    counts = supervisor.count_children()
    assert (counts.specs, counts.active, counts.workers, counts.supervisors) == (0, 0, 0, 0)
    assert len(supervisor.children) == len(supervisor.state().children) == 0


def test_count_children() -> None:
    async def main() -> None:
        async with open_supervisor() as supervisor:
            await count(supervisor, 300, lambda number: ChildSpec(str(number), idle))
            assert supervisor.count_children().workers == 600
            assert supervisor.count_children().supervisors == 0
            await drop(supervisor)

    run_virtual(main)


def test_count_children_supervisor() -> None:
    async def main() -> None:
        async with open_supervisor() as supervisor:
            await count(supervisor, 50, lambda number: SupervisorSpec(str(number)).as_child())
            assert supervisor.count_children().workers == 0
            assert supervisor.count_children().supervisors == 100
            await drop(supervisor)

    run_virtual(main)


class Argument:
    """Something of which one can see whether it is still kept."""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_do_not_save_start_parameters_for_temporary_children(strategy: str) -> None:
    async def main() -> list[int]:
        kept: dict[str, list[weakref.ref[Argument]]] = {"temporary": [], "transient": []}
        async with open_supervisor(strategy=strategy) as supervisor:  # type: ignore[arg-type]
            for restart, refs in kept.items():
                for number in range(100):
                    argument = Argument()
                    refs.append(weakref.ref(argument))
                    name = f"{restart}-{number}"
                    options: Any = {"restart": restart}
                    supervisor.start_child_soon(ChildSpec(name, _ends, argument, **options))
                    del argument
            await trio.sleep(2)
            await supervisor.start_child(ChildSpec("later", idle))
            gc.collect()
            return [sum(ref() is not None for ref in refs) for refs in kept.values()]

    # A transient child can be restarted by hand, so it has to keep what it was started with.
    assert run_virtual(main) == [0, 100]


async def _ends(child: ChildContext, argument: Argument) -> None:
    await trio.sleep(1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("way", ["kill", "normal", "abnormal", "by hand"])
@scenario
async def test_do_not_save_child_specs_for_temporary_children(
    lab: Lab, way: str, strategy: str
) -> None:
    async with lab.run(strategy=strategy) as supervisor:
        for restart in ("permanent", "transient", "temporary"):
            spec = lab.child("a", restart=restart)
            await supervisor.start_child(spec)
            if way == "kill":
                await lab["a"].cancel_itself()
            elif way == "normal":
                await lab["a"].finish()
            elif way == "abnormal":
                await lab["a"].crash()
            else:
                await supervisor.stop_child("a")
            expected = {
                ("permanent", "by hand"): "stopped",
                ("transient", "by hand"): "stopped",
                # A stop by hand holds down whoever it is; OTP would have forgotten this one.
                ("temporary", "by hand"): "stopped",
                ("transient", "normal"): "done",
            }.get((restart, way), "" if restart == "temporary" else "ready")
            assert lab.state("a") == expected
            if expected:
                await supervisor.remove_child("a")
            # The name can be used again at once.
            assert lab.names() == []


def cost(many: int, run: Callable[[int], object]) -> float:
    """Seconds of processor time; the best of two."""
    best = float("inf")
    for _ in range(2):
        gc.collect()
        start = process_time()
        run(many)
        best = min(best, process_time() - start)
    return best


def test_simple_one_for_one_scale_many_temporary_children() -> None:
    def start_and_stop_one_by_one(many: int) -> None:
        async def main() -> None:
            async with open_supervisor() as supervisor:
                for number in range(many):
                    supervisor.start_child_soon(ChildSpec(str(number), idle, restart="temporary"))
                await trio.testing.wait_all_tasks_blocked()
                for number in range(many):
                    await supervisor.remove_child(str(number))

        run_virtual(main)

    assert cost(600, start_and_stop_one_by_one) < 50 * cost(60, start_and_stop_one_by_one)


def test_scale_start_stop_many_children() -> None:
    def start_and_stop(many: int) -> None:
        children = [ChildSpec(str(number), idle, backoff=AT_ONCE) for number in range(many)]

        async def main() -> None:
            async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
                assert supervisor.count_children().ready == many

        run_virtual(main)

    few, many = 100, 1000
    assert cost(many, start_and_stop) < 10 * (many / few) * cost(few, start_and_stop)
