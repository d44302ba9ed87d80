"""Readers of real trees: whatever their buffers hold, events and gaps add up to what happened."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    EventGap,
    RestartLimit,
    SupervisorClosed,
    SupervisorFinished,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor import Event, Supervisor


class Reader:
    """One subscription, and the events that it could have had."""

    def __init__(self, supervisor: Supervisor, happened: list[Event], random: Random) -> None:
        self.supervisor, self.happened, self.random = supervisor, happened, random
        self.buffer = random.choice((1, 2, 3, 1000))
        self.pause = random.choice((0, 0, 0.02, 0.3))
        self.begun = -1
        self.seen: list[Event | EventGap] = []
        self.lost = 0
        self.end = ""

    async def read(self) -> None:
        async with self.supervisor.subscribe(max_buffer=self.buffer) as events:
            self.begun = len(self.happened)
            try:
                while True:
                    with trio.CancelScope() as scope:
                        if self.random.random() < 0.2:
                            scope.cancel()
                        self.seen.append(await anext(events))
                        assert not scope.cancel_called, "it has not noticed the cancellation"
                        if not self.pause:
                            self.check_time(self.seen[-1])
                    if self.pause:
                        await trio.sleep(self.pause)
            except StopAsyncIteration:
                self.end = "finished"
            except SupervisorClosed:
                self.end = "broke down"
            self.lost = events.lost

    def check_time(self, event: Event | EventGap) -> None:
        """One that reads on without a pause hears of each event at once."""
        assert isinstance(event, EventGap) or event.time == trio.current_time(), event

    def check(self) -> None:
        prefix = f"{self.supervisor.path}/"
        mine = [e for e in self.happened[self.begun :] if f"{e.path}/".startswith(prefix)]
        at = lost = 0
        for number, event in enumerate(self.seen):
            if isinstance(event, EventGap):
                assert number == 0 or not isinstance(self.seen[number - 1], EventGap)
                at += event.lost
                lost += event.lost
            else:
                assert event == mine[at]
                at += 1
        assert lost == self.lost
        assert not (lost and self.buffer == 1000)
        if self.seen and self.end == "finished":
            last = self.seen[-1]
            assert isinstance(last, SupervisorFinished)
            assert last.path == self.supervisor.path
            assert [e for e in mine[at:] if e.run == last.run] == []


async def crash(child: ChildContext) -> None:
    await trio.sleep(0.03)  # so the event about its readiness is alone in its step
    child.ready()
    await trio.sleep(0.1 * child.attempt)
    raise ValueError("x")


async def steady(child: ChildContext) -> None:
    await child.wait_stop_requested()


async def watch(random: Random) -> list[Reader]:
    at_once: dict[str, Any] = {"backoff": BackoffPolicy.delays(0.01), "restart_limit": None}
    inner = [ChildSpec("x", crash, readiness="explicit", backoff=BackoffPolicy.delays(0.01))]
    limit = RestartLimit(2, within=60)
    pool = SupervisorSpec("pool", inner, child_restart_limit=limit).as_child(**at_once)
    feed = ChildSpec("feed", crash, readiness="explicit", **at_once)
    spec = SupervisorSpec("app", [feed, pool, ChildSpec("web", steady)], strategy="rest_for_one")
    happened: list[Event] = []
    readers: list[Reader] = []
    async with trio.open_nursery() as nursery, open_supervisor(spec) as supervisor:
        supervisor._shell.tree.journal.attach(happened.append)  # at once, and one by one
        for number in range(30):
            await trio.sleep(random.choice((0, 0.05, 0.4)))
            supervisor.start_child_soon(ChildSpec(f"late-{number}", steady, restart="temporary"))
            followed = [supervisor]
            if supervisor.child("pool").state == "ready":
                followed.append(supervisor.child("pool").value)
            reader = Reader(random.choice(followed), happened, random)
            nursery.start_soon(reader.read)
            readers.append(reader)
    return readers


@pytest.mark.parametrize("seed", range(3))
def test_events_and_gaps_add_up_to_what_happened(seed: int) -> None:
    readers = run_virtual(watch, Random(seed))
    for reader in readers:
        reader.check()
    assert {reader.end for reader in readers} == {"finished"}
    assert {reader.supervisor.path for reader in readers} == {"app", "app/pool"}
    assert sum(reader.lost for reader in readers) > 100
    assert sum(len(reader.seen) for reader in readers) > 1000
