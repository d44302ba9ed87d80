"""Elixir's tests of `DynamicSupervisor` that have a meaning here: terminating.

``shutdown: :brutal_kill`` is ``grace=0``, an integer is so many seconds, ``:infinity`` is `inf`.
The exit reasons ``:shutdown`` and ``:killed`` are `Stopped` and `Aborted`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import BackoffPolicy, ChildNotFound

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

NAMES = "1 2 3"


async def outcomes(lab: Lab, pool: Supervisor) -> tuple[float, list[str]]:
    """How long the shutdown took, and how each ended."""
    report = await pool.shutdown()
    assert {puppet.starts for puppet in lab.puppets.values()} == {1}
    return report.seconds, [report.child(name).outcome for name in lab.puppets]


async def start(lab: Lab, pool: Supervisor, **options: Any) -> None:
    for spec in lab.children(NAMES, **options):
        await pool.start_child(spec)


@scenario
async def test_terminates_children_with_brutal_kill(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=0)
        assert await outcomes(lab, pool) == (0, ["aborted"] * 3)


@scenario
async def test_terminates_children_with_infinity_shutdown(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=inf)
        for name in NAMES.split():
            lab[name].stop_takes = 5000.0
        # All of them at the same time.
        assert await outcomes(lab, pool) == (5000, ["stopped"] * 3)


@scenario
async def test_terminates_children_with_infinity_shutdown_and_abnormal_reason(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=inf)
        for name in NAMES.split():
            lab[name].at_stop = Boom("oops")
        assert await outcomes(lab, pool) == (0, ["crashed"] * 3)


@scenario
async def test_terminates_children_with_integer_shutdown(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=1000)
        assert await outcomes(lab, pool) == (0, ["stopped"] * 3)


@scenario
async def test_terminates_children_with_integer_shutdown_and_abnormal_reason(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=1000)
        for name in NAMES.split():
            lab[name].at_stop = Boom("oops")
            lab[name].stop_takes = 999.0
        assert await outcomes(lab, pool) == (999, ["crashed"] * 3)


@scenario
async def test_terminates_children_with_expired_integer_shutdown(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=1)
        lab["2"].stop_takes = 1000.0
        assert await outcomes(lab, pool) == (1, ["stopped", "aborted", "stopped"])


@scenario
async def test_terminates_children_with_permanent_restart_and_normal_reason(lab: Lab) -> None:
    async with lab.run() as pool:
        await start(lab, pool, grace=inf, restart="permanent")
        assert await outcomes(lab, pool) == (0, ["stopped"] * 3)
        assert lab.actions() == []


@scenario
async def test_terminates_with_mixed_children(lab: Lab) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1", grace=inf))
        await pool.start_child(lab.child("2", grace=0))
        lab["1"].stop_takes = 10.0
        assert await outcomes(lab, pool) == (10, ["stopped", "aborted"])


@scenario
async def test_terminates_child_with_brutal_kill(lab: Lab) -> None:
    await _terminate(lab, 0, "aborted")


@scenario
async def test_terminates_child_with_integer_shutdown(lab: Lab) -> None:
    await _terminate(lab, 1000, "stopped")


async def _terminate(lab: Lab, grace: float, outcome: str) -> None:
    async with lab.run() as pool:
        handle = await pool.start_child(lab.child("1", grace=grace))
        await pool.remove_child("1")
        assert (await handle.wait_finished()).exit.kind == outcome
        with pytest.raises(ChildNotFound):
            await pool.remove_child("1")
        assert lab.counts() == (0, 0, 0)


@scenario
async def test_terminates_restarting_child(lab: Lab) -> None:
    async with lab.run(child_restart_limit=None) as pool:
        handle = await pool.start_child(lab.child("1", backoff=BackoffPolicy.delays(10)))
        lab["1"].usually = Boom("found")
        await lab["1"].crash()
        await lab.sleep(35)
        assert lab.state("1") == "backing_off"
        await pool.remove_child("1")
        assert (handle.state, lab.counts()) == ("removed", (0, 0, 0))
        with pytest.raises(ChildNotFound):
            await pool.remove_child("1")
        # And it does not come back.
        await lab.sleep(100)
        assert lab.starts("1") == [4]
