"""What comes from outside: readers, operators, and the wall clock."""

from __future__ import annotations

import time
from itertools import pairwise
from time import perf_counter
from unittest import mock

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    EventGap,
    RestartLimit,
    SupervisorClosed,
    SupervisorError,
    SupervisorSnapshot,
    SupervisorSpec,
    TooManyChildren,
    fold,
    open_supervisor,
)

from .storms import AT_ONCE, Panic, fold_is_state
from .verdict import Scene, percentile, until


async def _crash_every(child: ChildContext, seconds: float) -> None:
    await trio.sleep(seconds)
    raise Panic(f"{child.name} {child.attempt}")


async def _wait(child: ChildContext) -> None:
    await trio.sleep_forever()


async def slow_reader(scene: Scene) -> None:
    """A reader that takes 100 ms for each event: it loses some, is told how many, delays nobody."""
    crashing = ChildSpec("c", _crash_every, 0.001, restart_limit=None, backoff=AT_ONCE)
    read = told = gaps = 0
    async with open_supervisor(SupervisorSpec("app", [crashing])) as supervisor:
        journal = supervisor.journal
        async with supervisor.subscribe(max_buffer=64) as events:
            began = journal.last_sequence
            with trio.move_on_after(60 * scene.length):
                async for event in events:
                    if isinstance(event, EventGap):
                        gaps += 1
                        told += event.lost
                    else:
                        read += 1
                    await trio.sleep(0.1)
            written = journal.last_sequence - began
            left = len(events._buffer) + (events._next is not None)
            scene.note(f"{written:,} events, {read} of them read")
            scene.require("gaps announced", gaps, ">", 0)
            missing = written - read - told - left - events._missed
            scene.require("neither read nor announced", missing, "=", 0)
            scene.require("events read per gap", read / max(gaps, 1), ">=", 0.9)
            scene.require("kept for it", len(events._buffer), "<=", 64)
        scene.require("emit p99", scene.meter.p99, "<", 100e-6, "µs")
        kept = journal.events
        holes = sum(b.sequence - a.sequence - 1 for a, b in pairwise(kept))
        scene.require("journal gaps", holes, "=", 0)
        scene.check("the journal folds to the state", fold_is_state(supervisor))


async def reader_crash_loop(scene: Scene) -> None:
    """A dashboard that is killed 5 times: after each it shows what the supervisor shows."""
    shown: list[SupervisorSnapshot] = []
    fatal = [False]

    async def dashboard(child: ChildContext) -> None:
        async with child.supervisor.subscribe(max_buffer=10_000) as events:
            shown[:] = [events.snapshot]
            async for event in events:
                if fatal[0]:
                    fatal[0] = False
                    raise Panic("the dashboard is killed")
                assert not isinstance(event, EventGap)
                shown[0] = fold(shown[0], event)

    crashing = ChildSpec("c", _crash_every, 0.002, restart_limit=None, backoff=AT_ONCE)
    board = ChildSpec("board", dashboard, backoff=BackoffPolicy.delays(0.05))
    slowest = 0.0
    async with open_supervisor(SupervisorSpec("app", [board, crashing])) as supervisor:
        for kill in range(1, 6):
            await trio.sleep(0.1)
            fatal[0] = True
            began = perf_counter()
            while supervisor.child("board").restarts < kill:  # noqa: ASYNC110
                await trio.sleep(0.001)
            aligned = await until(lambda: shown and shown[0] == supervisor.state())
            scene.check(f"aligned again after kill {kill}", aligned)
            slowest = max(slowest, perf_counter() - began)
        scene.require("kills", supervisor.child("board").restarts, "=", 5)
        scene.require("aligned again within", slowest, "<", 10, "s")


async def command_load(scene: Scene) -> None:
    """Thousands of commands while children hang in their stop: each one is answered at once."""
    most = max(int(10_000 * scene.length), 512)
    let_go = trio.Event()

    async def hang(child: ChildContext) -> None:
        await let_go.wait()

    hanging = [ChildSpec(f"h{n}", hang, grace=1000) for n in range(10)]
    useful = [ChildSpec(f"u{n}", _wait) for n in range(10)]
    tree = SupervisorSpec("app", [*hanging, *useful], max_children=24)
    answers: list[float] = []
    refused = 0
    async with open_supervisor(tree) as supervisor, trio.open_nursery() as nursery:
        for child in hanging:
            nursery.start_soon(supervisor.stop_child, child.name)

        async def command(number: int) -> None:
            nonlocal refused
            began = perf_counter()
            try:
                if number % 8 == 0:
                    spec = ChildSpec(f"d{number}", _wait, restart="temporary")
                    await supervisor.start_child(spec)
                elif number % 2:
                    await supervisor.restart_child(f"u{number % 10}")
                else:
                    await supervisor.stop_child(f"u{number % 10}")
            except TooManyChildren:
                refused += 1
            answers.append(perf_counter() - began)

        with trio.move_on_after(30) as patience:
            for start in range(0, most, 256):
                async with trio.open_nursery() as full:
                    for number in range(start, min(start + 256, most)):
                        full.start_soon(command, number)
        scene.require("commands that hung", most - len(answers), "=", 0)
        scene.check("in time", not patience.cancelled_caught)
        scene.require("256 at once, answered p99", percentile(answers, 0.99), "<", 0.5, "ms")
        scene.require("refused beyond max_children", refused, ">", 0)
        let_go.set()
    closed = 0
    try:
        await supervisor.start_child(ChildSpec("late", _wait))
    except SupervisorClosed:
        closed = 1
    scene.require("refused after the end", closed, "=", 1)
    scene.require("left behind", len(scene.meter.alive), "=", 0)


async def junk_commands(scene: Scene) -> None:
    """1,000 commands that make no sense: each is refused, and all that do make sense succeed."""
    good = [ChildSpec(f"g{n}", _wait) for n in range(10)]
    refused = succeeded = 0
    answers = []
    async with open_supervisor(SupervisorSpec("app", good)) as supervisor:

        async def junk(number: int) -> None:
            nonlocal refused
            try:
                if number % 3 == 0:
                    await supervisor.stop_child(f"nobody {number}")
                elif number % 3 == 1:
                    await supervisor.start_child(ChildSpec(f"g{number % 10}", _wait))
                else:
                    spec = ChildSpec(f"j{number}", _wait, requires=("nobody",))
                    await supervisor.start_child(spec)
            except SupervisorError:
                refused += 1

        for number in range(100):
            async with trio.open_nursery() as nursery:
                for one in range(10):
                    nursery.start_soon(junk, number * 10 + one)
            began = perf_counter()
            await supervisor.restart_child(f"g{number % 10}")
            answers.append(perf_counter() - began)
            succeeded += 1
        state = supervisor.state()
        scene.check("nothing has come of it", len(state.children) == 10)
    scene.require("junk refused", refused, "=", 1000)
    scene.require("others that succeeded", succeeded / 100, "=", 1.0)
    scene.require("answered p50", percentile(answers, 0.5), "<", 10e-3, "ms")


async def clock_step(scene: Scene) -> None:
    """The wall clock goes back by 10 s: windows, backoff and stops do not notice."""
    offset = [0.0]
    real = time.time

    def wall() -> float:
        return real() + offset[0]

    limit = RestartLimit(20, within=3600)
    child = ChildSpec(
        "c",
        _crash_every,
        0.01,
        restart_limit=limit,
        on_limit="quarantine",
        backoff=BackoffPolicy.delays(0.01),
    )
    blocked = ChildSpec("blocked", _wait, grace=0.3)
    with mock.patch("time.time", wall):  # also read by the meter, for the events
        async with open_supervisor(SupervisorSpec("app", [child, blocked])) as supervisor:
            handle = supervisor.child("c")
            await until(lambda: handle.restarts >= 10)
            offset[0] = -10.0
            began = perf_counter()
            await supervisor.stop_child("blocked")
            grace = perf_counter() - began
            await handle.wait_state("quarantined")
            scene.require("restarts in the window", handle.restarts, "=", 20)
            scene.require("grace across the step", abs(grace - 0.3), "<", 0.2, "s")
            offset[0] = +3600.0
            await trio.sleep(0.1)
            scene.check("the limit stands", handle.state == "quarantined")
            events = supervisor.journal.events
            back = sum(b.wall < a.wall for a, b in pairwise(events))
            scene.require("steps back seen in wall times", back, "=", 1)
            ordered = all(a.time <= b.time for a, b in pairwise(events))
            scene.check("times only grow", ordered)
            scene.check("the journal folds to the state", fold_is_state(supervisor))
