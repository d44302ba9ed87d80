"""Many failures, and a loop that has no time."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorError,
    SupervisorSpec,
    fold,
    open_supervisor,
)

from .verdict import Scene, percentile, until

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

AT_ONCE = BackoffPolicy.delays(0)


class Panic(Exception):
    """What everybody dies of."""


async def _panic(child: ChildContext, seconds: float = 0) -> None:
    await trio.sleep(seconds)
    raise Panic(f"{child.name} {child.attempt}")


def fold_is_state(supervisor: Supervisor) -> bool:
    """Whether the journal leaves nothing out."""
    snapshot = supervisor.journal.base
    for event in supervisor.journal:
        snapshot = fold(snapshot, event)
    return snapshot == supervisor.state()


async def panic_storm(scene: Scene) -> None:
    """60 s of panics: the supervisor does not fail, and recording an event stays cheap."""
    storm: list[Any] = [
        ChildSpec(f"p{n}", _panic, n / 1000, restart_limit=None, backoff=AT_ONCE) for n in range(10)
    ]
    calm = ChildSpec("calm", _sleep)
    failures = crashes = 0
    emit = 0.0
    try:
        async with open_supervisor(SupervisorSpec("app", [*storm, calm])) as supervisor:
            await trio.sleep(60 * scene.length)
            crashes = sum(handle.restarts for handle in supervisor.children.values())
            scene.check("nobody else was touched", supervisor.child("calm").attempt == 1)
            scene.check("the journal folds to the state", fold_is_state(supervisor))
            report = await supervisor.shutdown("the storm is over")
            scene.check("it ends in order", report.cause == "shutdown")
            emit = scene.meter.p99
    except SupervisorError:
        failures += 1
    scene.note(f"{crashes:,} crashes")
    scene.require("supervisor failures", failures, "=", 0)
    scene.require("crashes", crashes, ">", 0)
    scene.require("emit p99", emit, "<", 100e-6, "µs")
    scene.require("left behind", len(scene.meter.alive), "=", 0)


async def rapid_failures(scene: Scene) -> None:
    """10,000 failures in a row within 60 s: each one counted, and then the budget recovers."""
    often = 10_000 if scene.length >= 0.1 else 1_000
    within = 60.0 * max(scene.length, 0.25) if scene.length >= 0.1 else 3.0
    limit = RestartLimit(often, within=within)
    child = ChildSpec("c", _panic, restart_limit=limit, on_limit="quarantine", backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [child])) as supervisor:
        handle = supervisor.child("c")
        began = perf_counter()
        await handle.wait_state("quarantined")
        seconds = perf_counter() - began
        scene.note(f"{often / seconds:,.0f} restarts/s")
        scene.require("restarts admitted", handle.restarts, "=", often)
        scene.require("seconds for them", seconds, "<", min(within, 60.0), "s")
        scene.require("emit p99", scene.meter.p99, "<", 10e-3, "ms")
        await trio.sleep(max(within - (perf_counter() - began), 0) + 0.05)
        # What was charged is out of the window by now.
        await supervisor.restart_child("c")
        again = await until(lambda: handle.restarts >= often + 100)
        scene.check("the budget recovers", again)
        scene.check("the journal folds to the state", fold_is_state(supervisor))


async def starvation(scene: Scene) -> None:
    """30 s in which children hog the loop: it goes on, and commands get through."""
    hogs = [ChildSpec(f"h{n}", _hog, 0.02) for n in range(4)]
    crashing = ChildSpec("c", _panic, 0.01, restart_limit=None, backoff=AT_ONCE)
    turns = 0
    answers = []
    async with open_supervisor(SupervisorSpec("app", [*hogs, crashing])) as supervisor:
        seconds = 30 * scene.length
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            await trio.lowlevel.checkpoint()
            turns += 1
            if turns % 4 == 0:
                began = perf_counter()
                await supervisor.restart_child("c")
                answers.append(perf_counter() - began)
        scene.require("turns of the loop per second", turns / seconds, ">", 0)
        scene.require("emit p99", scene.meter.p99, "<", 100e-3, "ms")
        scene.require("crashes", supervisor.child("c").restarts, ">", 0)
        scene.require("restart by hand p99", percentile(answers, 0.99), "<", 2.0, "s")
        report = await supervisor.shutdown("enough")
        scene.require("shutdown", report.seconds, "<", 2.0, "s")
    scene.require("left behind", len(scene.meter.alive), "=", 0)


async def _hog(child: ChildContext, seconds: float) -> None:
    while True:
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            pass
        await trio.lowlevel.checkpoint()


async def _sleep(child: ChildContext) -> None:
    await trio.sleep_forever()
