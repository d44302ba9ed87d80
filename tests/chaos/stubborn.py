"""Children that do not end when they are told to."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import trio

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor

from .verdict import Scene, percentile, until

if TYPE_CHECKING:
    from trio_supervisor import ShutdownReport

ABORT_WAIT = 1.0  # what is granted beyond the grace


async def _block(child: ChildContext) -> None:
    await trio.sleep_forever()


async def block_forever(scene: Scene) -> None:
    """Bodies that block for ever and hear no stop request: gone within their grace and a little."""
    grace = 1.0 * scene.length + 0.2
    children = [ChildSpec(f"b{n}", _block, grace=grace) for n in range(100)]
    tree = SupervisorSpec("app", children, ordering="graph")
    took: list[float] = []

    async def stop(name: str) -> None:
        began = perf_counter()
        await supervisor.stop_child(name)
        took.append(perf_counter() - began)

    async with open_supervisor(tree) as supervisor:
        async with trio.open_nursery() as nursery:
            for child in children[:50]:
                nursery.start_soon(stop, child.name)
        scene.require("slowest stop beyond grace", max(took) - grace, "<", ABORT_WAIT, "s")
        scene.require("quickest stop beyond grace", min(took) - grace, ">=", -0.01, "s")
        report = await supervisor.shutdown("enough")
        scene.require("shutdown beyond grace", report.seconds - grace, "<", ABORT_WAIT, "s")
        scene.check("every child is in the report", len(report.children) == 100)
        scene.check("nobody was called unresponsive", not any(c.stack for c in report.children))
    scene.require("left behind", len(scene.meter.alive), "=", 0)


async def _ignore_cancel(child: ChildContext, until: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await until.wait()


async def ignore_cancel(scene: Scene) -> None:
    """Bodies that ignore their cancel: named with their stacks in time, and nobody else waits."""
    patience = 0.3
    let_go = trio.Event()
    stubborn = [ChildSpec(f"s{n}", _ignore_cancel, let_go) for n in range(10)]
    polite = ChildSpec("polite", _block)
    tree = SupervisorSpec("app", [polite, *stubborn], ordering="graph", report_after=patience)
    reports: list[ShutdownReport] = []

    async def shut_down() -> None:
        reports.append(await supervisor.shutdown("enough"))

    async with open_supervisor(tree) as supervisor, trio.open_nursery() as nursery:
        stopping = stubborn[:5]
        began = perf_counter()
        for child in stopping:
            nursery.start_soon(supervisor.stop_child, child.name)
        handles = [supervisor.child(child.name) for child in stopping]
        scene.check("unresponsive", await until(lambda: all(h.unresponsive for h in handles)))
        late = perf_counter() - began - patience
        scene.require("named too late by", late, "<", 0.25, "s")
        answers = []
        for _ in range(100):
            began = perf_counter()
            await supervisor.restart_child("polite")
            answers.append(perf_counter() - began)
        scene.require("others restart p99", percentile(answers, 0.99), "<", 0.1, "ms")
        nursery.start_soon(shut_down)
        await trio.sleep(patience + 0.1 + 2 * scene.length)
        began = perf_counter()
        let_go.set()
        await until(lambda: reports)
        scene.require("gone after they let go", perf_counter() - began, "<", ABORT_WAIT, "s")
    named = [entry for entry in reports[0].children if entry.unresponsive]
    scene.require("named in the report", len(named), "=", 10)
    told = all("_ignore_cancel" in line for entry in named for line in entry.stack[:1])
    scene.check("the stacks show where they hung", told)
    scene.require("left behind", len(scene.meter.alive), "=", 0)
